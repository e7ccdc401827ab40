"""Time to an event, cut into bins: a hazard for each, constant inside it (Friedman, 1982; Kvamme and Borgan, Lifetime Data Analysis, 2021).

Inside a bin the hazard is constant, so that a window which ends in the middle of one counts for exactly what it has shown, and survival
has a value at any time. The chance of the event in a bin, if it has not come before, is 1 − exp(−hazard · width): the discrete-time hazard.
"""

import math

import torch
from torch import Tensor


def bin_edges(horizon_days: float, num_bins: int) -> Tensor:
    """0 to the horizon, finer where it is near: days float32 [num_bins + 1]."""
    return horizon_days * torch.linspace(0.0, 1.0, num_bins + 1) ** 2


def time_in_bins(days: Tensor, edges: Tensor) -> Tensor:
    """How much of each bin lies before a time: days [Q] to days [Q, K]."""
    return (days[:, None] - edges[:-1]).clamp(min=0).minimum(edges.diff())


def negative_log_likelihood(log_hazard: Tensor, days: Tensor, came: Tensor, edges: Tensor) -> Tensor:
    """Of the event at `days` where it came, of none up to `days` where it didn't: [Q]. log_hazard: of a day [Q, K]; came: bool [Q]."""
    at = torch.searchsorted(edges[1:-1].contiguous(), days.contiguous())
    instant = log_hazard.gather(1, at[:, None])[:, 0]
    return cumulated(log_hazard, days, edges) - torch.where(came, instant, torch.zeros_like(instant))


def survival(log_hazard: Tensor, days: Tensor, edges: Tensor) -> Tensor:
    """P(no event within `days`), where `days` [Q] lies within the last edge: [Q]."""
    return (-cumulated(log_hazard, days, edges)).exp()


def cumulated(log_hazard: Tensor, days: Tensor, edges: Tensor) -> Tensor:
    """The hazard summed over time: [Q]."""
    return (log_hazard.exp() * time_in_bins(days, edges)).sum(-1)


def survival_at_edges(log_hazard: Tensor, edges: Tensor) -> Tensor:
    """P(no event up to the end of each bin): [Q, K]. In between it falls exponentially, so that its logarithm is linear."""
    return (-(log_hazard.exp() * edges.diff()).cumsum(-1)).exp()


def mean_days(log_hazard: Tensor, days: Tensor, edges: Tensor) -> Tensor:
    """The expected time to the event, or to `days` [Q] where that comes first (restricted mean survival time): days [Q]."""
    hazard = log_hazard.exp()
    after = (-(hazard * time_in_bins(days, edges)).cumsum(-1)).exp()
    before = torch.cat([torch.ones_like(after[:, :1]), after[:, :-1]], -1)
    return ((before - after) / hazard.clamp(min=1e-12)).sum(-1)


def median_days(log_hazard: Tensor, edges: Tensor, *, longest: float) -> Tensor:
    """The time by which half of those like this one have had the event: days [Q], at most `longest`.

    Beyond the last edge its hazard goes on: an assumption, of which the answer should remind by being far away.
    """
    edges = torch.cat([edges, edges.new_tensor([longest])])
    hazard = torch.cat([log_hazard, log_hazard[:, -1:]], -1).exp()
    spent = (hazard * edges.diff()).cumsum(-1)
    left = math.log(2.0) - torch.cat([torch.zeros_like(spent[:, :1]), spent[:, :-1]], -1)
    return (left.clamp(min=0) / hazard.clamp(min=1e-12)).minimum(edges.diff()).sum(-1)
