"""Buy till you die: customers who buy at a rate of their own until, unseen, they leave (BG/NBD and Pareto/NBD).

    model = ParetoNBD.fit(transactions)
    model.purchases(transactions, days=91), model.returns(transactions, days=91), model.alive(transactions)

Rates of purchase are gamma-distributed over customers (shape r, scale alpha). In the Pareto/NBD a customer leaves at a rate that is
gamma-distributed too (s, beta; Schmittlein, Morrison, Colombo 1987), in the BG/NBD after any purchase with a beta-distributed probability
(a, b; Fader, Hardie, Lee 2005). Time is in days, so alpha and beta are seven times those that are published in weeks.

While a customer is alive, the rate of purchase is gamma-distributed with shape r + x and scale alpha + T. Both likelihoods are then that of
being alive times (1 + odds of having left), kept as logarithms: no power of a long history overflows.
"""

from abc import ABC, abstractmethod
from dataclasses import astuple, dataclass, fields
from typing import ClassVar, Self

import numpy as np
from scipy.optimize import minimize
from scipy.special import betaln, expit, gammaln, hyp2f1

from training.baselines.transactions import Transactions
from training.errors import ConfigError

_LIMIT = 12.0  # of a logarithm: a parameter that the log says nothing about stays a number
_IMPOSSIBLE = 1e9
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(32)


@dataclass(frozen=True)
class _Model(ABC):
    """r, alpha: shape and scale (days) of the purchase rates."""

    r: float
    alpha: float

    in_days: ClassVar[tuple[bool, ...]]  # which parameters are times

    @classmethod
    def fit(cls, transactions: Transactions) -> Self:
        """By maximum likelihood. Customers with the same history are counted, not repeated."""
        if not (transactions.repeats > 0).any():
            raise ConfigError(
                f"expected customers who bought on several days, none of {len(transactions.repeats)} did; leave out buy-till-you-die models"
            )
        unit = np.where(cls.in_days, max(float(transactions.age.mean()), 1.0), 1.0)
        history, count = np.unique(np.stack([transactions.repeats, transactions.last, transactions.age], 1), axis=0, return_counts=True)
        repeats, last, age = history.T
        grouped = Transactions(np.arange(len(history)), repeats, last, age, np.zeros(len(history)))

        def loss(logarithms: np.ndarray) -> float:
            with np.errstate(over="ignore", invalid="ignore"):
                mean = float(count @ cls(*(np.exp(logarithms) * unit)).log_likelihood(grouped)) / count.sum()
            return -mean if np.isfinite(mean) else _IMPOSSIBLE  # a step too far: a finite number sends the search back

        found = minimize(loss, np.zeros(len(unit)), method="L-BFGS-B", bounds=[(-_LIMIT, _LIMIT)] * len(unit), options={"ftol": 1e-12})
        return cls(*(float(value) for value in np.exp(found.x) * unit))

    @property
    def settings(self) -> str:
        """The parameters in words."""
        values = zip(fields(self), astuple(self), self.in_days, strict=True)
        return ", ".join(f"{field.name} {value:.3g}{' days' if in_days else ''}" for field, value, in_days in values)

    def log_likelihood(self, of: Transactions) -> np.ndarray:
        """Of each history: float64 [n]."""
        shape = self.r + of.repeats
        buying = gammaln(shape) - gammaln(self.r) + self.r * np.log(self.alpha) - shape * np.log(self.alpha + of.age)
        return buying + self._log_staying(of) + np.logaddexp(0.0, self._log_odds_of_having_left(of))

    def alive(self, of: Transactions) -> np.ndarray:
        """The probability that a customer has not left by the moment: float64 [n]."""
        return expit(-self._log_odds_of_having_left(of))

    def returns(self, of: Transactions, *, days: float) -> np.ndarray:
        """The probability of at least one purchase in the next `days`: float64 [n]."""
        chance, _ = self._first_purchase(of, days)
        return self.alive(of) * (chance @ _WEIGHTS)

    def days_to_next(self, of: Transactions, *, days: float) -> np.ndarray:
        """The mean number of days to the next purchase, `days` where none comes by then: float64 [n]."""
        chance, when = self._first_purchase(of, days)
        return days - self.alive(of) * ((days - when) * chance @ _WEIGHTS)

    @abstractmethod
    def purchases(self, of: Transactions, *, days: float) -> np.ndarray:
        """The expected number of purchases in the next `days`: float64 [n]."""

    @abstractmethod
    def _log_staying(self, of: Transactions) -> np.ndarray:
        """The logarithm of the probability that a customer did not leave at any occasion up to the moment."""

    @abstractmethod
    def _log_odds_of_having_left(self, of: Transactions) -> np.ndarray: ...

    @abstractmethod
    def _here_after(self, of: Transactions, days: np.ndarray) -> np.ndarray:
        """The probability that who is alive is so without a purchase `days` [n, k] later: float64 [n, k]."""

    def _first_purchase(self, of: Transactions, days: float) -> tuple[np.ndarray, np.ndarray]:
        """Of who is alive, when the next purchase comes: chances (to be weighted) and days [n, nodes].

        Gauss-Legendre in the probability of no purchase by t, ((alpha + T) / (alpha + T + t)) ** (r + x): along it nothing is steep.
        """
        scale, shape = (self.alpha + of.age)[:, None], (self.r + of.repeats)[:, None]
        width = -np.expm1(-shape * np.log1p(days / scale)) / 2
        when = scale * np.expm1(-np.log1p(width * (_NODES - 1)) / shape)
        return width * self._here_after(of, when), when


@dataclass(frozen=True)
class BGNBD(_Model):
    """a, b: of the beta distribution of the probability to leave after a purchase."""

    a: float
    b: float

    in_days = (False, True, False, False)

    def purchases(self, of: Transactions, *, days: float) -> np.ndarray:
        """Fader, Hardie, Lee 2005, equation 10, by Euler's transformation of 2F1: its arguments stay small where the history is long."""
        share, total = days / (self.alpha + of.age + days), self.a + self.b + of.repeats - 1
        left = (1 - share) ** (self.a - 1) * hyp2f1(self.a - 1, self.a + self.b - 1 - self.r, total, share)
        return self.alive(of) * total / (self.a - 1) * (1 - left)

    def _log_staying(self, of: Transactions) -> np.ndarray:
        return betaln(self.a, self.b + of.repeats) - betaln(self.a, self.b)

    def _log_odds_of_having_left(self, of: Transactions) -> np.ndarray:
        """Nobody leaves before the first repeat."""
        again = of.repeats > 0
        waited = np.log((self.alpha + of.age) / (self.alpha + of.last))
        odds = np.log(self.a / (self.b + np.where(again, of.repeats, 1.0) - 1)) + (self.r + of.repeats) * waited
        return np.where(again, odds, -np.inf)

    def _here_after(self, of: Transactions, days: np.ndarray) -> np.ndarray:
        return np.ones_like(days)


@dataclass(frozen=True)
class ParetoNBD(_Model):
    """s, beta: shape and scale (days) of the rates at which customers leave."""

    s: float
    beta: float

    in_days = (False, True, False, True)

    def purchases(self, of: Transactions, *, days: float) -> np.ndarray:
        """Schmittlein, Morrison, Colombo 1987, in the form of Fader and Hardie 2005."""
        rate = (self.r + of.repeats) / (self.alpha + of.age)
        power, longer = self.s - 1, np.log1p(days / (self.beta + of.age))
        stay = (self.beta + of.age) * (-np.expm1(-power * longer) / power if power else longer)
        return self.alive(of) * rate * stay

    def _log_staying(self, of: Transactions) -> np.ndarray:
        return -self.s * np.log1p(of.age / self.beta)

    def _log_odds_of_having_left(self, of: Transactions) -> np.ndarray:
        """The integral over the time of leaving, from the last purchase to the moment, that Fader and Hardie 2005 write as two 2F1.

        Gauss-Legendre in ((alpha + t_x) / (alpha + y)) ** (r + s + x), over which what is left of the integrand hardly changes.
        """
        power = (self.r + self.s + of.repeats)[:, None]
        since, now, gone = (self.alpha + of.last)[:, None], self.alpha + of.age, self.beta + of.age
        width = -np.expm1(-power[:, 0] * np.log(now / since[:, 0])) / 2
        left_at = since * np.exp(-np.log1p(width[:, None] * (_NODES - 1)) / power)
        ratio = (left_at / (left_at + self.beta - self.alpha)) ** (self.s + 1)
        with np.errstate(divide="ignore"):  # who bought at the moment itself has not left
            integral = np.log(width * (ratio @ _WEIGHTS))
        waited = (self.r + of.repeats) * np.log(now / since[:, 0]) + self.s * np.log(gone / since[:, 0])
        return np.log(self.s) - np.log(power[:, 0]) + waited + integral

    def _here_after(self, of: Transactions, days: np.ndarray) -> np.ndarray:
        return (1 + days / (self.beta + of.age)[:, None]) ** -self.s
