"""AdamW that costs what a step has touched, however large the tables are."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn


class AdamWByRow(torch.optim.AdamW):
    """AdamW; of a parameter whose gradient is sparse, only the rows in the gradient are looked at.

    Their moments and their weights decay when they are touched and not in between, as in SparseAdam of torch. Dense gradients go the way
    that they always went.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None and parameter.grad.is_sparse:
                    self._step_of_rows(parameter, group)
                    parameter.grad = None
        super().step()
        return loss

    def _step_of_rows(self, parameter: nn.Parameter, group: dict[str, Any]) -> None:
        gradient, state = parameter.grad.coalesce(), self.state[parameter]  # type: ignore[union-attr]
        if not state:
            moments = {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
            state.update(step=torch.zeros((), device=parameter.device), **moments)
        state["step"] += 1
        (beta, beta_square), step = group["betas"], state["step"].item()
        rows, values = gradient.indices()[0], gradient.values()
        mean = state["exp_avg"].index_select(0, rows).lerp_(values, 1 - beta)
        square = state["exp_avg_sq"].index_select(0, rows).lerp_(values.square(), 1 - beta_square)
        state["exp_avg"].index_copy_(0, rows, mean)
        state["exp_avg_sq"].index_copy_(0, rows, square)
        size = square.div_(1 - beta_square**step).sqrt_().add_(group["eps"])
        weight = parameter.index_select(0, rows).mul_(1 - group["lr"] * group["weight_decay"])
        parameter.index_copy_(0, rows, weight.addcdiv_(mean, size, value=-group["lr"] / (1 - beta**step)))


def clip_gradients(parameters: Iterable[nn.Parameter], *, max_norm: float) -> None:
    """Shorten all gradients together to a length of at most `max_norm`; sparse ones as if they were dense."""
    values = [_values(parameter) for parameter in parameters if parameter.grad is not None]
    share = (max_norm / (torch.nn.utils.get_total_norm(values) + 1e-6)).clamp(max=1.0)
    torch._foreach_mul_(values, share)


def _values(parameter: nn.Parameter) -> Tensor:
    gradient = parameter.grad
    assert gradient is not None
    if not gradient.is_sparse:
        return gradient
    parameter.grad = gradient.coalesce()
    return parameter.grad.values()
