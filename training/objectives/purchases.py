"""How many purchases follow within any number of days: a rate that falls, as buy-till-you-die models say it does.

The Pareto/NBD (Schmittlein, Morrison and Colombo, "Counting Your Customers", Management Science 33, 1987) holds that a customer buys at a
rate of their own until, unseen, they leave. Of somebody known for T days, with x purchases after the first, it expects

    E[number within h days] = P(still there) · (r + x) / (α + T) · ∫₀ʰ (b / (b + t))^s dt,   b = β + T

so that how a rate falls is learned from who was watched for long, and holds for who was not: nobody's whole horizon need have been seen.
r, α, s and β are the most likely ones of all purchases in the training window, the time since the last of them included, which no window
that is cut from it knows as well. They stay; a network corrects the rate that follows.
"""

import numpy as np
import torch
from torch import Tensor, nn

from training.baselines.btyd import ParetoNBD
from training.baselines.features import Steps
from training.baselines.transactions import Transactions
from training.models.facts import Facts
from training.models.rhythm import NUM_PURCHASES, OWN_GAP, SINCE_FIRST, SINCE_PURCHASE
from training.objectives.amounts import QUICKER
from training.sequences.split import DAY

MOST_FITTED = 30_000  # customers: four numbers need no more
NEAR_ONE = 1e-3  # of s: there the integral is told by its series
LEAST = 1e-30
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(32)


class FallingRate(nn.Module):
    """What all customers share, which is not trained: the logarithms of s, β, r and α (times in days).

    Computed in float64: large logarithms all but cancel each other where a fit is extreme, and ONNX takes expm1 and log1p apart.
    """

    shared: Tensor
    nodes: Tensor
    weights: Tensor

    def __init__(self, model: ParetoNBD) -> None:
        super().__init__()
        self.register_buffer("shared", torch.tensor([model.s, model.beta, model.r, model.alpha], dtype=torch.float64).log())
        self.register_buffer("nodes", torch.tensor((1 - _NODES) / 2), persistent=False)
        self.register_buffer("weights", torch.tensor(_WEIGHTS / 2), persistent=False)

    def log_rate(self, rhythm: Tensor) -> Tensor:
        """Of purchases a day, now, by what a table would know: rhythm [Q, RHYTHM_SIZE] to [Q]."""
        _, _, r, alpha = self.shared.exp().unbind()
        repeats, _, known = _history(rhythm)
        still_there = -torch.log1p(self._log_odds_of_having_left(rhythm).exp())
        return ((r + repeats).log() - (alpha + known).log() + still_there).to(rhythm.dtype)

    @property
    def fall(self) -> Tensor:
        """s."""
        return self.shared[0].exp()

    def rate_days(self, rhythm: Tensor) -> Tensor:
        """b: [Q]."""
        return self._rate_days(rhythm).to(rhythm.dtype)

    def days_that_count(self, rhythm: Tensor, days: Tensor) -> Tensor:
        """The integral: how many days at today's rate the next `days` [Q, K] are worth: [Q, K]."""
        b = self._rate_days(rhythm)[:, None]
        stretch = torch.log1p(days / b)
        x = (1 - self.fall) * stretch
        near = x.abs() < NEAR_ONE
        grown = torch.where(near, 1 + x / 2, torch.expm1(x) / torch.where(near, torch.ones_like(x), x))
        return (b * stretch * grown).to(days.dtype)

    def _rate_days(self, rhythm: Tensor) -> Tensor:
        return self.shared[1].exp() + _history(rhythm)[2]

    def _log_odds_of_having_left(self, rhythm: Tensor) -> Tensor:
        """As ParetoNBD integrates over the time of leaving, by elementary operators: [Q]."""
        s, beta, r, alpha = self.shared.exp().unbind()
        repeats, last, known = _history(rhythm)
        power, since, now, gone = r + s + repeats, alpha + last, alpha + known, beta + known
        width = -torch.expm1(power * (since / now).log())
        left_at = since[:, None] * (-torch.log1p(-width[:, None] * self.nodes) / power[:, None]).exp()
        ratio = (s + 1) * (left_at / (beta + (left_at - alpha).clamp(min=0))).log()
        waited = (r + repeats) * (now / since).log() + s * (gone / since).log()
        of_node = (width[:, None] * self.weights).clamp(min=LEAST).log() + ratio
        return (s.log() - power.log() + waited + of_node.logsumexp(-1)).clamp(max=30.0)


class Evenness(nn.Module):
    """k, the shape of numbers of purchases, by how often somebody buys: its logarithm lies on a line over the rate's, which all share."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Parameter(torch.zeros(2))

    def forward(self, log_rate: Tensor) -> Tensor:
        """Of a rate in any unit that is always the same: [Q] to [Q]."""
        level, slope = (QUICKER * self.shared).unbind()
        return (level + slope * log_rate).clamp(-6.0, 6.0).exp()


def most_likely(facts: Facts, kinds: np.ndarray) -> ParetoNBD:
    """Of the purchases (events of these `kinds`) in the training window. Where nobody bought twice, one that half of it would fit."""
    told = _told(facts, kinds)
    if (told.repeats > 0).any():
        return ParetoNBD.fit(told)
    half = max(float(told.age.max(initial=0.0)), 2.0) / 2
    return ParetoNBD(r=0.6, alpha=half, s=2.0, beta=half)


def negative_log_likelihood(number: Tensor, expected: Tensor, evenness: Tensor) -> Tensor:
    """Of so many purchases in each of K stretches of time, up to a constant: number, expected [Q, K], evenness [Q] to [Q].

    Poisson at a rate that is gamma-distributed with shape `evenness` (negative multinomial): the sum is negative binomial, and how it falls
    into the stretches tells how the rate falls.
    """
    total, log_room = number.sum(-1), (evenness + expected.sum(-1)).log()
    shares = (number * (expected.clamp(min=1e-12).log() - log_room[:, None])).sum(-1)
    return evenness * (log_room - evenness.log()) + torch.lgamma(evenness) - torch.lgamma(evenness + total) - shares


def _told(facts: Facts, kinds: np.ndarray) -> Transactions:
    """The buyers as their rhythm would tell of them at the end of the training window, evenly chosen where there are very many.

    Each basket is a purchase, and time goes on within a day: other than in the tables of buy-till-you-die models.
    """
    steps = Steps.of(facts.training.where(np.isin(facts.training.columns["event"], kinds)))
    first = np.flatnonzero(np.diff(steps.customer, prepend=-1))
    last = np.append(first[1:], len(steps.customer))[: len(first)] - 1
    chosen = np.linspace(0, len(first) - 1, min(len(first), MOST_FITTED)).astype(np.int64)
    first, last = first[chosen], last[chosen]
    born, customer = steps.timestamp[first], steps.customer[first]
    days = ((steps.timestamp[last] - born) / DAY, (facts.until[customer] - born) / DAY)
    return Transactions(customer, (last - first).astype(np.float64), *days, np.zeros(len(first)))


def _history(rhythm: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Purchases after the first; days from the first to the last, and from the first to now: each float64 [Q].

    Who never bought is known since their first step, and has not bought again.
    """
    rhythm = rhythm.double()
    repeats = (rhythm[:, NUM_PURCHASES].expm1() - 1).clamp(min=0)
    last = rhythm[:, OWN_GAP].expm1() * repeats
    has_bought = rhythm[:, NUM_PURCHASES] > 0
    known = torch.where(has_bought, last + rhythm[:, SINCE_PURCHASE].expm1() / 24, rhythm[:, SINCE_FIRST].expm1())
    return repeats, last, known
