"""A last correction of what a model says, learned on validation and kept with its weights: scale and shift (Platt, 1999; of scores alone,
temperature scaling: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017).

Two numbers can't overfit, and stay in the exported graph.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

MOST_STEPS = 100


class Calibration(nn.Module):
    """scale · x + shift, of one number or, with a size, of each of so many by itself. Changes nothing until it is fitted."""

    scale: Tensor
    shift: Tensor

    def __init__(self, *size: int) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(size))
        self.register_buffer("shift", torch.zeros(size))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x + self.shift

    def reset(self) -> None:
        self.scale.fill_(1.0)
        self.shift.zero_()

    def fit(self, loss_of: Callable[[Tensor], Tensor], x: Tensor) -> None:
        """Minimise `loss_of` the corrected x. The scale stays positive, so that no order is turned around."""
        x = x.detach()
        log_scale, shift = (torch.zeros(self.scale.shape, requires_grad=True) for _ in range(2))
        optimizer = torch.optim.LBFGS([log_scale, shift], max_iter=MOST_STEPS, line_search_fn="strong_wolfe")

        def step() -> Tensor:
            optimizer.zero_grad()
            loss = loss_of(log_scale.exp() * x + shift)
            loss.backward()
            return loss

        with torch.enable_grad():
            optimizer.step(step)
        if torch.isfinite(log_scale).all() and torch.isfinite(shift).all():
            self.scale.copy_(log_scale.detach().exp())
            self.shift.copy_(shift.detach())


def together(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The labels of several batches as one."""
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
