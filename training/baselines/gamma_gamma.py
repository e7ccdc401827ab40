"""What a customer spends when they buy, from what they spent so far (gamma-gamma: Fader and Hardie 2013)."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import gammaln

from training.baselines.transactions import Transactions
from training.errors import ConfigError

_LIMIT = 12.0  # of a logarithm: a parameter that the log says nothing about stays a number


@dataclass(frozen=True)
class GammaGamma:
    """Spend of a transaction is gamma-distributed with shape p; its scale over customers with shape q and scale gamma.

    q is above 1: below, the mean over customers would be infinite.
    """

    p: float
    q: float
    gamma: float

    @classmethod
    def fit(cls, transactions: Transactions) -> "GammaGamma":
        """By maximum likelihood, from the repeat transactions that cost anything."""
        paid = transactions.spend > 0
        if not paid.any():
            raise ConfigError("expected customers who paid for a repeat purchase, found none; leave out what depends on spend")
        number, spend, unit = transactions.repeats[paid], transactions.spend[paid], float(transactions.spend[paid].mean())

        def loss(logarithms: np.ndarray) -> float:
            return -float(cls._of(logarithms).log_likelihood(number, spend / unit).mean())

        found = minimize(loss, np.ones(3), method="L-BFGS-B", bounds=[(-_LIMIT, _LIMIT)] * 3, options={"ftol": 1e-12})
        best = cls._of(found.x)
        return cls(best.p, best.q, best.gamma * unit)

    @classmethod
    def _of(cls, logarithms: np.ndarray) -> "GammaGamma":
        p, above_one, gamma = np.exp(logarithms)
        return cls(float(p), float(1 + above_one), float(gamma))

    @property
    def settings(self) -> str:
        """The parameters in words."""
        return f"p {self.p:.3g}, q {self.q:.3g}, gamma {self.gamma:.3g}"

    def log_likelihood(self, number: np.ndarray, spend: np.ndarray) -> np.ndarray:
        """Of the mean `spend` [n] of `number` [n] transactions: float64 [n]."""
        shape = self.p * number
        return (
            gammaln(shape + self.q)
            - gammaln(shape)
            - gammaln(self.q)
            + self.q * np.log(self.gamma)
            + (shape - 1) * np.log(spend)
            + shape * np.log(number)
            - (shape + self.q) * np.log(self.gamma + number * spend)
        )

    def spend(self, of: Transactions) -> np.ndarray:
        """The expected spend of a transaction: own mean and that of all, weighed by how often the customer bought again. float64 [n]."""
        number = np.where(of.spend > 0, of.repeats, 0.0)
        return self.p * (self.gamma + number * of.spend) / (self.p * number + self.q - 1)
