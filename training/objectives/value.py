"""How much will the customer spend within a horizon: nothing with some probability, otherwise an amount that is lognormal.

The zero-inflated lognormal of Wang, Liu and Miao, "A Deep Probabilistic Model for Customer Lifetime Value Prediction" (2019). It is told
for any horizon: over h days, with x = log(h / horizon),

    P(nothing) = exp(−exp(a + s·x)),  log amount ~ Normal(m + c·x, exp(d + e·x)),  s > 0

so that windows which are cut short by the end of what is known are learned from as what they are, shorter ones, and a customer of whom
nobody has seen so long a future yet is answered for by the same six numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from training.errors import ConfigError
from training.evaluation.compared import Comparison
from training.evaluation.customers import compare_value
from training.evaluation.figures import value_figures
from training.evaluation.rivals import Rivals
from training.models.facts import Facts
from training.objectives.calibration import Calibration, together
from training.objectives.head import Head
from training.objectives.objective import Context, Objective, Output
from training.sequences.future import Future, has_begun
from training.sequences.history import History, Log
from training.sequences.money import spend_of
from training.sequences.split import DAY, Split
from training.settings import Count, Names, NotNegative, Positive, Share

NOT_JUDGED = "What they will spend is not judged: leave-one-out looks no further than the next step."


class Value(Objective):
    """events: names of the events that count as buying. horizon_days: of the answer.

    parts: each moment is learned from over so many horizons, equal parts of what is known of its future. interval: the share of customers
    whose spend lies between `value_low` and `value_high`.
    """

    headline, section = "spearman", "value"

    def __init__(
        self,
        *,
        events: Names,
        horizon_days: Positive,
        parts: Count,
        interval: Share,
        dim: Count,
        dropout: Share,
        weight: NotNegative,
        facts: Facts,
    ) -> None:
        super().__init__()
        self.weight = weight
        self.kinds = facts.event_ids(events)
        self.horizon_days = float(horizon_days)
        self.parts = parts
        self.interval = interval
        self.head = Head(6, dim=dim, dropout=dropout).start_at(-1.0, 0.5, _usual_log_spend(facts, self.kinds), 0.3, 0.0, 0.0)
        self.chance, self.amount = Calibration(), Calibration()

    def labels(self, known: History, now: np.ndarray, owner: np.ndarray, until: np.ndarray) -> dict[str, np.ndarray]:
        """spend, days float32 [Q, parts]: what was spent within so many days, of which the last are all that are known; asked bool [Q]."""
        end = np.minimum(until, now + round(self.horizon_days * DAY))
        ends = [now + (end - now) * part // self.parts for part in range(1, self.parts + 1)]
        spends = [self._spend(known, now, owner, one) for one in ends]
        return {
            "spend": np.stack(spends, 1).astype(np.float32),
            "days": (np.stack(ends, 1) - now[:, None]).astype(np.float64).astype(np.float32) / np.float32(DAY),
            "asked": has_begun(known, now, owner) & (end - now >= DAY),
        }

    def loss(self, context: Context, labels: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        numbers = self.head(context)
        losses = [
            self._over(numbers, labels["days"][:, part]).negative_log_likelihood(labels["spend"][:, part]) for part in range(self.parts)
        ]
        return (torch.stack(losses, 1).mean(1) * labels["asked"]).sum(), labels["asked"].sum()

    def calibrate(self, asked: Sequence[tuple[Context, Mapping[str, Tensor]]]) -> None:
        """The chance of nothing by its likelihood; then one factor on all amounts, so that their sum is what was spent."""
        labels = together([labels for _, labels in asked])
        chosen = labels["asked"]
        numbers = torch.cat([self.head(context) for context, _ in asked])[chosen]
        days, spend = labels["days"][chosen, -1], labels["spend"][chosen, -1]
        self.chance.reset()
        self.amount.reset()
        self.chance.fit(lambda log_rate: nothing_or_something(log_rate, spend).mean(), self._over(numbers, days).log_rate)
        if spend.sum() > 0:
            self.amount.shift.copy_((spend.sum() / self._over(numbers, days).mean.sum()).log())

    def judge(self, context: Context, labels: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
        """`spend` over what is known, what was `expected`, `low` and `high`."""
        spend = self._over(self.head(context), labels["days"][:, -1])
        low, high = spend.interval(self.interval)
        said = {"spend": labels["spend"][:, -1], "expected": spend.mean, "low": low, "high": high, "zero": spend.zero}
        asked = labels["asked"].cpu().numpy()
        return {name: np.where(asked, values.double().cpu().numpy(), np.nan) for name, values in said.items()}

    def summarise(self, evidence: dict[str, np.ndarray]) -> dict[str, float]:
        asked = ~np.isnan(evidence["spend"])
        return value_figures(evidence["spend"][asked], evidence["expected"][asked]) if asked.any() else {}

    @property
    def outputs(self) -> list[Output]:
        money = "as price times quantity in the log"
        return [
            Output("value", "float32", money),
            Output("value_low", "float32", money),
            Output("value_high", "float32", money),
            Output("value_zero_probability", "float32", "probability"),
        ]

    @property
    def terms(self) -> Mapping[str, int | float | list[float]]:
        return {"value_horizon_days": self.horizon_days, "value_interval": self.interval}

    def predict(self, context: Context) -> dict[str, Tensor]:
        """Each [Q]: value, the expected spend within the horizon, value_low and value_high around it, value_zero_probability."""
        spend = self._over(self.head(context), torch.full_like(context.representation[:, 0], self.horizon_days))
        low, high = spend.interval(self.interval)
        return {"value": spend.mean, "value_low": low, "value_high": high, "value_zero_probability": spend.zero}

    def why_not_judged(self, split: Split) -> str:
        """A window of leave-one-out ends with the next step."""
        return "" if split.kind == "time" else NOT_JUDGED

    def check_answerable(self, log: Log, split: Split) -> None:
        for name, window in (("validation", split.validation), ("test", split.test)):
            labels = self.labels_in(log, window)
            spend = labels["spend"][labels["asked"], -1]
            if not len(spend) or np.ptp(spend) == 0:
                raise ConfigError(
                    f"expected customers who spend differently after the {name} cutoff, found {len(spend)} who all spend the same; "
                    "set the cutoffs, data.split.horizon_days or data.intent_events to fit the log"
                )

    def compare(self, rivals: Rivals, customers: np.ndarray, evidence: dict[str, np.ndarray]) -> list[Comparison]:
        asked = ~np.isnan(evidence["spend"])
        told = {name: values[asked] for name, values in evidence.items()}
        return compare_value(rivals, customers[asked], told, kinds=self.kinds, horizon_days=self.horizon_days, interval=self.interval)

    def _spend(self, known: History, now: np.ndarray, owner: np.ndarray, until: np.ndarray) -> np.ndarray:
        future = Future.after(known, kinds=self.kinds, now=now, owner=owner, until=until)
        return future.totals(spend_of(future.events))

    def _over(self, numbers: Tensor, days: Tensor) -> "Spend":
        """What six numbers [Q, 6] say of the spend over some days [Q]."""
        a, s, m, c, d, e = numbers.unbind(-1)
        x = (days.clamp(min=1e-3) / self.horizon_days).log()
        log_rate, mean_log, log_spread = self.chance(a + F.softplus(s) * x), self.amount(m + c * x), d + e * x
        return Spend(log_rate.clamp(-20.0, 4.0), mean_log.clamp(-20.0, 20.0), log_spread.clamp(-3.0, 0.7).exp())


@dataclass(frozen=True)
class Spend:
    """A spend that is zero with probability exp(−exp(log_rate)), and otherwise lognormal. Each [Q]."""

    log_rate: Tensor
    mean_log: Tensor
    spread: Tensor

    @property
    def zero(self) -> Tensor:
        return (-self.log_rate.exp()).exp()

    @property
    def mean(self) -> Tensor:
        return (1 - self.zero) * (self.mean_log + self.spread**2 / 2).exp()

    def negative_log_likelihood(self, spend: Tensor) -> Tensor:
        """Of amounts [Q], up to a constant."""
        return nothing_or_something(self.log_rate, spend) + torch.where(spend > 0, self._of_amount(spend), torch.zeros_like(spend))

    def interval(self, share: float) -> tuple[Tensor, Tensor]:
        """The bounds between which lies so large a share, as much below as above: each [Q]."""
        return self._quantile((1 - share) / 2), self._quantile((1 + share) / 2)

    def _of_amount(self, spend: Tensor) -> Tensor:
        deviation = (spend.clamp(min=1e-2).log() - self.mean_log) / self.spread
        return deviation**2 / 2 + self.spread.log()

    def _quantile(self, share: float) -> Tensor:
        above = (share - self.zero) / (1 - self.zero).clamp(min=1e-6)
        amount = (self.mean_log + self.spread * normal_quantile(above)).exp()
        return torch.where(above > 0, amount, torch.zeros_like(amount))


def nothing_or_something(log_rate: Tensor, spend: Tensor) -> Tensor:
    """−log P(nothing) or −log P(something): [Q]."""
    rate = log_rate.clamp(-20.0, 4.0).exp()
    return torch.where(spend > 0, -torch.log(-torch.expm1(-rate.clamp(min=1e-9))), rate)


def normal_quantile(share: Tensor) -> Tensor:
    """The inverse of the normal distribution function, off by less than 5e-4 (Abramowitz and Stegun, 1964, 26.2.23).

    By operators that ONNX has: the inverse error function is none of them.
    """
    tail = torch.minimum(share, 1 - share).clamp(1e-6, 0.5)
    t = (-2 * tail.log()).sqrt()
    size = t - (2.515517 + 0.802853 * t + 0.010328 * t**2) / (1 + 1.432788 * t + 0.189269 * t**2 + 0.001308 * t**3)
    return torch.where(share < 0.5, -size, size)


def _usual_log_spend(facts: Facts, kinds: np.ndarray) -> float:
    """The logarithm of what a customer of the training window spends in the middle: where amounts start to be learned from."""
    bought = facts.training.where(np.isin(facts.training.columns["event"], kinds))
    owner = np.repeat(np.arange(bought.num_customers), bought.num_events)
    spend = np.bincount(owner, weights=spend_of(bought), minlength=bought.num_customers)
    return float(np.log(np.median(spend[spend > 0]))) if (spend > 0).any() else 0.0
