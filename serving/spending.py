"""What a customer will spend within any number of days, by what a model tells of its own horizon.

Purchases come at a rate that, t days from now, is (b / (b + t))^s of today's: of so many within the horizon H follow so many within h days.
Their number is negative binomial with mean N and shape k; each costs m on average, gamma-distributed with shape p. Hence

    N(h) = N(H) · I(h) / I(H),   I(h) = ∫₀ʰ (b / (b + t))^s dt
    P(nothing) = (1 + N / k)^−k,   E[spend] = N·m,   E[spend²] / E[spend]² = 1 + (1 + 1/p) / N + 1/k

and, where anything is spent, a lognormal spend of that mean and variance. So it is computed when the model is trained, too: at its own
horizon this is what its outputs say.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serving.errors import RequestError

TOLD = ("value", "value_purchases", "value_evenness", "value_amount_shape", "value_rate_days")  # the outputs that it follows from
LEAST_NUMBER = 1e-9  # of purchases, as in training
MOST_DAYS = 1e6  # beyond all that can be meant; amounts stay within float32
_LEAST, _LARGEST = 1e-38, 3e38  # float32's: what a model rounds to nothing or to infinity still has an answer


@dataclass(frozen=True)
class Spend:
    """expected: as price times quantity in the log; between low and high lies a share of `value_interval`, as much below as above.

    purchases: how many are expected, N.
    """

    expected: float
    low: float
    high: float
    zero_probability: float
    purchases: float


def spend_within(days: float, told: Mapping[str, Any], terms: Mapping[str, Any]) -> Spend:
    """Within the next `days`, above 0, at most MOST_DAYS. told: the outputs TOLD, one number each; terms: the contract's.

    Raises RequestError for another number of days.
    """
    if not 0 < days <= MOST_DAYS:
        raise RequestError(f"expected a number of days above 0, at most {MOST_DAYS:g}, received {days:g}; ask about some of the future")
    value, purchases, evenness, amount_shape, rate_days = (min(max(float(told[name]), _LEAST), _LARGEST) for name in TOLD)
    fall, share = terms["value_rate_fall"], terms["value_interval"]
    longer = _days_that_count(days, rate_days, fall) / _days_that_count(terms["value_horizon_days"], rate_days, fall)
    number = max(purchases * longer, LEAST_NUMBER)
    mean, log_zero = value / purchases * number, -evenness * math.log1p(number / evenness)
    spread = 1 + (1 + 1 / amount_shape) / number + 1 / evenness
    low, high = (_quantile(at, mean, spread, log_zero) for at in ((1 - share) / 2, (1 + share) / 2))
    return Spend(mean, low, high, math.exp(log_zero), number)


def _days_that_count(days: float, rate_days: float, fall: float) -> float:
    """The integral I: how many days at today's rate they are worth."""
    stretch = math.log1p(days / rate_days)
    x = (1 - fall) * stretch
    return rate_days * stretch * (math.expm1(x) / x if x else 1.0)


def _quantile(share: float, mean: float, spread: float, log_zero: float) -> float:
    """What so large a share spends at most: nothing, or by the lognormal distribution of who spends anything."""
    something = -math.expm1(log_zero)
    above = (share - math.exp(log_zero)) / something
    if above <= 0:
        return 0.0
    variance = max(math.log(something * spread), 1e-6)
    return mean / something * math.exp(math.sqrt(variance) * normal_quantile(above) - variance / 2)


def normal_quantile(share: float) -> float:
    """The inverse of the normal distribution function, off by less than 5e-4 (Abramowitz and Stegun, 1964, 26.2.23).

    The graph has no exact one; bounds must be those that it tells.
    """
    t = math.sqrt(-2 * math.log(max(min(share, 1 - share), 1e-6)))
    size = t - (2.515517 + 0.802853 * t + 0.010328 * t**2) / (1 + 1.432788 * t + 0.189269 * t**2 + 0.001308 * t**3)
    return -size if share < 0.5 else size
