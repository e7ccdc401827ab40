"""What a purchase costs: between what the customer's own cost so far and what everybody's do.

The weighted mean of the gamma-gamma model (Fader, Hardie and Lee, "RFM and CLV: Using Iso-Value Curves", Journal of Marketing Research 42,
2005): everybody's mean counts for so many purchases as the shared weight says, the customer's own for those they made.
"""

import math

import torch
from torch import Tensor, nn

from training.models.rhythm import YEAR_PURCHASES, YEAR_SPEND

QUICKER = 10.0  # shared numbers learn so much quicker than weights: a small log has few steps for them


class UsualAmount(nn.Module):
    """What all customers share: the logarithms of the weight and of everybody's mean, which starts at `mean`."""

    def __init__(self, *, mean: float) -> None:
        super().__init__()
        self.shared = nn.Parameter(torch.tensor([1.0, math.log(mean)]) / QUICKER)

    def log_amount(self, rhythm: Tensor) -> Tensor:
        """Of a purchase, by those of the last year: rhythm [Q, RHYTHM_SIZE] to [Q]."""
        log_weight, log_mean = (QUICKER * self.shared).clamp(-10.0, 20.0).unbind()
        spend, number = rhythm[:, YEAR_SPEND].expm1(), rhythm[:, YEAR_PURCHASES].expm1()
        return ((log_weight + log_mean).exp() + spend).log() - (log_weight.exp() + number).log()
