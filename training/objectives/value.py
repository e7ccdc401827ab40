"""How much will the customer spend within a horizon: so many purchases, each of some amount.

A table of recency, frequency and money says how often they buy (training.objectives.purchases) and what it costs each time
(training.objectives.amounts); the network corrects both. The table's rates are the most likely ones already, so the logarithm of what the
network makes of them may have a normal prior around none. In the table's place the hazard of the next purchase that another objective
says may tell how often (training.objectives.heard): it knows of every kind of event, and of silences beyond this one's horizon.

Given its mean M the number is negative binomial with shape k, the same for all who buy so often: a k of each customer's own would tell
who comes back in place of M, and the expected spend would not hear of it. Amounts are gamma-distributed with mean m and shape p (so joined
by Fader, Hardie and Lee, "RFM and CLV: Using Iso-Value Curves", Journal of Marketing Research 42, 2005). Hence

    P(nothing) = (1 + M / k)^−k,   E[spend] = M·m,   Var[spend] = M·m²·(1 + 1/p) + M²·m²/k

and, where anything is spent, a lognormal spend of that mean and variance, which gives the interval: the distribution of spend is a
zero-inflated lognormal whose mass at nothing, mean and variance follow from counts and amounts. It is told for any number of days, since M
is (serving/spending.py). Every moment is learned from over as much of its future as is known, however little.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from training.errors import ConfigError
from training.evaluation.compared import Comparison
from training.evaluation.customers import compare_value
from training.evaluation.figures import value_figures
from training.evaluation.rivals import Rivals
from training.models.facts import Facts
from training.objectives.amounts import UsualAmount
from training.objectives.calibration import Calibration, together
from training.objectives.dormancy import Dormancy
from training.objectives.head import Head
from training.objectives.heard import HeardRate
from training.objectives.objective import Context, Objective, Output
from training.objectives.purchases import Evenness, FallingRate, most_likely, negative_log_likelihood
from training.sequences.future import Future, has_begun
from training.sequences.history import History, Log, step_starts
from training.sequences.money import spend_of
from training.sequences.split import DAY, Split
from training.settings import Count, Names, NotNegative, Positive, Share

NOT_JUDGED = "What they will spend is not judged: leave-one-out looks no further than the next step."


class Value(Objective):
    """events: names of the events that count as buying. horizon_days: of the answer.

    parts: purchases are counted in so many equal parts of what is known of a moment's future, which tells how their rate falls. interval:
    the share of customers whose spend lies between `value_low` and `value_high`. prior: the precision (1 / variance) of that by whose
    logarithm the network corrects a rate, weighed against the purchases after one moment; 0 for none. rate_of: the objective, by its name
    in the config, whose hazard of the next purchase says how often they buy; null for the table.
    """

    headline, section = "spearman", "value"

    def __init__(
        self,
        *,
        events: Names,
        horizon_days: Positive,
        parts: Count,
        interval: Share,
        prior: NotNegative,
        rate_of: str | None,
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
        self.prior = prior
        self.hears = rate_of or ""
        self.heard: HeardRate | None = None
        self.falling, self.usual = FallingRate(most_likely(facts, self.kinds)), UsualAmount(mean=_usual_amount(facts, self.kinds))
        self.evenness = Evenness()
        self.head = Head(3, facts=facts, dim=dim, dropout=dropout).start_with(0.0)
        self.rate, self.amount = Calibration(), Calibration()

    def listen(self, other: Objective) -> None:
        if not isinstance(other, Dormancy) or set(other.kinds) != set(self.kinds):
            raise ConfigError(
                f"expected rate_of of value to name an objective like dormancy that waits for the same events, received {self.hears}; "
                "choose dormancy, or set rate_of=null"
            )
        if other.horizon_days < self.horizon_days:
            raise ConfigError(
                f"expected objectives.{self.hears}.horizon_days to reach as far as value's, {self.horizon_days:g}, "
                f"received {other.horizon_days:g}; set it as high, or rate_of=null"
            )
        self.heard = HeardRate(other, horizon_days=self.horizon_days)

    def labels(self, known: History, now: np.ndarray, owner: np.ndarray, until: np.ndarray) -> dict[str, np.ndarray]:
        """purchases float32 [Q, parts]: how many cost anything in each part of what is known, which ends after so many `days` (the same).

        spend float32 [Q]: in all of them; asked bool [Q].
        """
        end = np.minimum(until, now + round(self.horizon_days * DAY))
        ends = [now + (end - now) * part // self.parts for part in range(self.parts + 1)]
        futures = [self._future(known, start, owner, stop) for start, stop in pairwise(ends)]
        whole = self._future(known, now, owner, end)
        paid = _paid(whole.events)
        return {
            "purchases": np.stack([future.totals(paid) for future in futures], 1).astype(np.float32),
            "spend": whole.totals(spend_of(whole.events)).astype(np.float32),
            "days": ((np.stack(ends[1:], 1) - now[:, None]) / DAY).astype(np.float32),
            "asked": has_begun(known, now, owner) & (end - now >= DAY),
        }

    def loss(self, context: Context, labels: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        numbers = self.head(context)
        losses = self._of(numbers, context, labels["days"]).negative_log_likelihood(labels["purchases"], labels["spend"])
        losses = losses + self.prior * numbers[:, 0] ** 2 / 2
        return (losses * labels["asked"]).sum(), labels["asked"].sum()

    def calibrate(self, asked: Sequence[tuple[Context, Mapping[str, Tensor]]]) -> None:
        """One factor on all rates, and one on all amounts, so that the sums are what was bought and what was spent."""
        self.rate.reset()
        self.amount.reset()
        labels = together([labels for _, labels in asked])
        said = [self._over(context, labels["days"]) for context, labels in asked]
        chosen = labels["asked"]
        expected = torch.cat([spending.expected.sum(-1) for spending in said])[chosen]
        spend = torch.cat([spending.mean for spending in said])[chosen]
        bought, spent = labels["purchases"][chosen].sum(), labels["spend"][chosen].sum()
        if bought > 0 and spent > 0:
            self.rate.shift.copy_((bought / expected.sum()).log())
            self.amount.shift.copy_((spent / spend.sum()).log() - self.rate.shift)

    def judge(self, context: Context, labels: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
        """`spend` over what is known, what was `expected`, `low` and `high`."""
        spend = self._over(context, labels["days"])
        low, high = spend.interval(self.interval)
        said = {"spend": labels["spend"], "expected": spend.mean, "low": low, "high": high, "zero": spend.zero}
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
            Output("value_purchases", "float32", "purchases"),
            Output("value_evenness", "float32", "shape of their number, negative binomial"),
            Output("value_amount_shape", "float32", "shape of what each costs, gamma"),
            Output("value_rate_days", "float32", "days, by which the rate of purchases falls"),
        ]

    @property
    def terms(self) -> Mapping[str, int | float | list[float]]:
        return {"value_horizon_days": self.horizon_days, "value_interval": self.interval, "value_rate_fall": self.falling.fall.item()}

    def predict(self, context: Context) -> dict[str, Tensor]:
        """Each [Q]: value, the expected spend within the horizon, value_low and value_high around it, value_zero_probability.

        What it follows from, for any horizon: value_purchases M, value_evenness k, value_amount_shape p, value_rate_days b.
        """
        spend = self._over(context, torch.full_like(context.representation[:, :1], self.horizon_days))
        low, high = spend.interval(self.interval)
        return {
            "value": spend.mean,
            "value_low": low,
            "value_high": high,
            "value_zero_probability": spend.zero,
            "value_purchases": spend.number,
            "value_evenness": spend.evenness,
            "value_amount_shape": spend.shape,
            "value_rate_days": self.falling.rate_days(context.rhythm),
        }

    def why_not_judged(self, split: Split) -> str:
        """A window of leave-one-out ends with the next step."""
        return "" if split.kind == "time" else NOT_JUDGED

    def check_answerable(self, log: Log, split: Split) -> None:
        for name, window in (("validation", split.validation), ("test", split.test)):
            labels = self.labels_in(log, window)
            spend = labels["spend"][labels["asked"]]
            if not len(spend) or np.ptp(spend) == 0:
                raise ConfigError(
                    f"expected customers who spend differently after the {name} cutoff, found {len(spend)} who all spend the same; "
                    "set the cutoffs, data.split.horizon_days or data.intent_events to fit the log"
                )

    def compare(self, rivals: Rivals, customers: np.ndarray, evidence: dict[str, np.ndarray]) -> list[Comparison]:
        asked = ~np.isnan(evidence["spend"])
        told = {name: values[asked] for name, values in evidence.items()}
        return compare_value(rivals, customers[asked], told, kinds=self.kinds, horizon_days=self.horizon_days, interval=self.interval)

    def _future(self, known: History, now: np.ndarray, owner: np.ndarray, until: np.ndarray) -> Future:
        return Future.after(known, kinds=self.kinds, now=now, owner=owner, until=until)

    def _over(self, context: Context, days: Tensor) -> "Spending":
        """What is said of the next days, up to the end of each stretch [Q, K]."""
        return self._of(self.head(context), context, days)

    def _of(self, numbers: Tensor, context: Context, days: Tensor) -> "Spending":
        """By the head's numbers [Q, 3]."""
        more_often, more, shape = numbers.unbind(-1)
        amount = self.amount(self.usual.log_amount(context.rhythm) + more).clamp(-10.0, 20.0).exp()
        log_rate = self.rate(self._log_rate(context) + more_often).clamp(-20.0, 5.0)
        reached = log_rate.exp()[:, None] * self.falling.days_that_count(context.rhythm, days)
        expected = torch.cat([reached[:, :1], reached[:, 1:] - reached[:, :-1]], -1)
        evenness = self.evenness(log_rate + math.log(self.horizon_days))
        return Spending(expected, evenness, amount, shape.clamp(-4.0, 4.0).exp())

    def _log_rate(self, context: Context) -> Tensor:
        """Of purchases a day, now, before the network corrects it: [Q]."""
        if self.heard is None:
            return self.falling.log_rate(context.rhythm)
        horizon = torch.full_like(context.rhythm[:, :1], self.horizon_days)
        return self.heard(context) - self.falling.days_that_count(context.rhythm, horizon)[:, 0].log()


@dataclass(frozen=True)
class Spending:
    """expected: numbers of purchases in each of K stretches [Q, K]; evenness: k of their sum; amount, shape: m and p of each. Each [Q].

    The likelihood is exact. The interval is not: a lognormal distribution stands for what is spent by who spends anything.
    """

    expected: Tensor
    evenness: Tensor
    amount: Tensor
    shape: Tensor

    @property
    def number(self) -> Tensor:
        return self.expected.sum(-1).clamp(min=1e-9)

    @property
    def zero(self) -> Tensor:
        return (-self.evenness * torch.log1p(self.number / self.evenness)).exp()

    @property
    def mean(self) -> Tensor:
        return self.number * self.amount

    def negative_log_likelihood(self, purchases: Tensor, spend: Tensor) -> Tensor:
        """Of numbers [Q, K] and what was spent on them together [Q], up to a constant."""
        of_number = negative_log_likelihood(purchases, self.expected, self.evenness)
        return of_number + torch.where(spend > 0, self._of_amount(purchases.sum(-1), spend), torch.zeros_like(spend))

    def interval(self, share: float) -> tuple[Tensor, Tensor]:
        """The bounds between which lies so large a share, as much below as above: each [Q]."""
        return self._quantile((1 - share) / 2), self._quantile((1 + share) / 2)

    def _of_amount(self, number: Tensor, spend: Tensor) -> Tensor:
        """The sum of gamma-distributed amounts is gamma-distributed, its shape p for each of them."""
        shape, spend = self.shape * number.clamp(min=1), spend.clamp(min=1e-2)
        rate = self.shape / self.amount
        return torch.lgamma(shape) - shape * (rate * spend).log() + rate * spend

    def _quantile(self, share: float) -> Tensor:
        something = -torch.expm1(-self.evenness * torch.log1p(self.number / self.evenness))
        spread = 1 + (1 + 1 / self.shape) / self.number + 1 / self.evenness  # E[spend²] / E[spend]²
        variance = (something * spread).log().clamp(min=1e-6)
        above = (share - self.zero) / something
        amount = self.mean / something * (variance.sqrt() * normal_quantile(above) - variance / 2).exp()
        return torch.where(above > 0, amount, torch.zeros_like(amount))


def normal_quantile(share: Tensor) -> Tensor:
    """The inverse of the normal distribution function, off by less than 5e-4 (Abramowitz and Stegun, 1964, 26.2.23).

    By operators that ONNX has: the inverse error function is none of them.
    """
    tail = torch.minimum(share, 1 - share).clamp(1e-6, 0.5)
    t = (-2 * tail.log()).sqrt()
    size = t - (2.515517 + 0.802853 * t + 0.010328 * t**2) / (1 + 1.432788 * t + 0.189269 * t**2 + 0.001308 * t**3)
    return torch.where(share < 0.5, -size, size)


def _paid(events: History) -> np.ndarray:
    """1 at the first event of each step that cost anything, 0 elsewhere: float64 [N]. Each such step is a purchase."""
    paid, starts = np.zeros(len(events.columns["timestamp"])), np.flatnonzero(step_starts(events))
    if len(starts):
        paid[starts] = np.add.reduceat(spend_of(events), starts) > 0
    return paid


def _usual_amount(facts: Facts, kinds: np.ndarray) -> float:
    """What a purchase in the training window costs on average: where learning starts."""
    bought = facts.training.where(np.isin(facts.training.columns["event"], kinds))
    number, spend = _paid(bought).sum(), spend_of(bought).sum()
    return float(spend / number) if number and spend > 0 else 1.0
