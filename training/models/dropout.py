"""Dropout as a layer: on a CPU by coins of a byte, on a GPU torch's own."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kernels.dropout import SIDES, dropout


class Dropout(nn.Module):
    """share: of numbers that become 0 in training, rounded to a 256th, the others being scaled so that the mean stays."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    @property
    def dropped(self) -> int:
        """Of SIDES sides of a coin, how many drop a number at present."""
        return min(round(self.share * SIDES), SIDES - 1) if self.training else 0

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            return F.dropout(x, self.share, self.training)
        return dropout(x, self.dropped, seed_of_coins()) if self.dropped else x


def seed_of_coins() -> int:
    """The next of torch's generator."""
    return int(torch.randint(2**63 - 1, (), device="cpu"))
