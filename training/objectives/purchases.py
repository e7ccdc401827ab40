"""How many purchases follow within any number of days: a rate that falls, as buy-till-you-die models say it does.

The Pareto/NBD (Schmittlein, Morrison and Colombo, "Counting Your Customers", Management Science 33, 1987) holds that a customer buys at a
rate of their own until, unseen, they leave. Of somebody known for T days it expects, with a shared s and β,

    E[number within h days] = rate · ∫₀ʰ (b / (b + t))^s dt,   b = β + T

so that how a rate falls is learned from who was watched for long, and holds for who was not: nobody's whole horizon need have been seen.
The rate now is (r + x) / (α + T) after x purchases, times the chance that the customer is still there, here that of the BG/NBD (Fader,
Hardie and Lee, "Counting Your Customers the Easy Way", Marketing Science 24, 2005), which is elementary; a network corrects their product.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.models.rhythm import NUM_PURCHASES, SINCE_FIRST, SINCE_PURCHASE

QUICKER = 10.0  # shared numbers learn so much quicker than weights: a small log has few steps for them
NEAR_ONE = 1e-3  # of s: there the integral is told by its series


class FallingRate(nn.Module):
    """What all customers share: the logarithms of s, β, r, α, and of the BG/NBD's a and b. watched_days: how long the log has been kept."""

    def __init__(self, *, watched_days: float) -> None:
        super().__init__()
        scale = math.log(max(watched_days, 2.0) / 2)
        self.shared = nn.Parameter(torch.tensor([0.7, scale, -0.5, scale, -1.0, 1.0]) / QUICKER)

    def log_rate(self, rhythm: Tensor) -> Tensor:
        """Of purchases a day, now, by what a table would know: rhythm [Q, RHYTHM_SIZE] to [Q]."""
        _, _, log_r, log_alpha, log_a, log_b = self._shared()
        known, silent = _known_days(rhythm), rhythm[:, SINCE_PURCHASE].expm1() / 24
        repeats = (rhythm[:, NUM_PURCHASES].expm1() - 1).clamp(min=0)
        number, span, bought_until = log_r.exp() + repeats, log_alpha.exp() + known, log_alpha.exp() + (known - silent).clamp(min=0)
        log_odds_of_having_left = log_a - (log_b.exp() + repeats).log() + number * (span.log() - bought_until.log())
        return number.log() - span.log() - F.softplus(log_odds_of_having_left.clamp(max=30.0))

    @property
    def fall(self) -> Tensor:
        """s."""
        return self._shared()[0].exp()

    def rate_days(self, rhythm: Tensor) -> Tensor:
        """b: [Q]."""
        return self._shared()[1].exp() + _known_days(rhythm)

    def days_that_count(self, rhythm: Tensor, days: Tensor) -> Tensor:
        """The integral: how many days at today's rate the next `days` [Q, K] are worth: [Q, K]."""
        b = self.rate_days(rhythm)[:, None]
        stretch = torch.log1p(days / b)
        x = (1 - self.fall) * stretch
        near = x.abs() < NEAR_ONE
        grown = torch.where(near, 1 + x / 2, torch.expm1(x) / torch.where(near, torch.ones_like(x), x))
        return b * stretch * grown

    def _shared(self) -> tuple[Tensor, ...]:
        return (QUICKER * self.shared).clamp(-8.0, 10.0).unbind()


def negative_log_likelihood(number: Tensor, expected: Tensor, evenness: Tensor) -> Tensor:
    """Of so many purchases in each of K stretches of time, up to a constant: number, expected [Q, K], evenness [Q] to [Q].

    Poisson at a rate that is gamma-distributed with shape `evenness` (negative multinomial): the sum is negative binomial, and how it falls
    into the stretches tells how the rate falls.
    """
    total, log_room = number.sum(-1), (evenness + expected.sum(-1)).log()
    shares = (number * (expected.clamp(min=1e-12).log() - log_room[:, None])).sum(-1)
    return evenness * (log_room - evenness.log()) + torch.lgamma(evenness) - torch.lgamma(evenness + total) - shares


def _known_days(rhythm: Tensor) -> Tensor:
    return rhythm[:, SINCE_FIRST].expm1()
