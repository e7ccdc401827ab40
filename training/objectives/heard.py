"""How many purchases are expected, by the hazard of the next one that another objective of the same model says.

Of somebody who buys now and then as many are expected as there are chances; who buys as by a clock has a hazard that grows while they
wait, and buys less often than it says. With the hazard Λ summed over a horizon

    log E[number within it] = a + log Λ + c · log(1 + Λ)

where all share a and c, which are learned. The hazard is taken as it stands, before its calibration, and learns nothing from this.
"""

import torch
from torch import Tensor, nn

from training.objectives import hazard
from training.objectives.objective import Context
from training.objectives.waiting import Waiting

LEAST = 1e-9


class HeardRate(nn.Module):
    """waiting: whose hazard it is, not a part of this module. horizon_days: over which it is summed."""

    def __init__(self, waiting: Waiting, *, horizon_days: float) -> None:
        super().__init__()
        self.shared = nn.Parameter(torch.zeros(2))
        self.horizon_days = horizon_days
        self._waiting = (waiting,)  # in a tuple: its weights are trained and saved where it belongs

    def forward(self, context: Context) -> Tensor:
        """The logarithm of the number: [Q]."""
        (waiting,) = self._waiting
        horizon = torch.full_like(context.representation[:, 0], self.horizon_days)
        summed = hazard.cumulated(waiting.uncalibrated(context).detach(), horizon, waiting.edges).clamp(min=LEAST)
        level, bend = self.shared.unbind()
        return level + summed.log() + bend * summed.log1p()
