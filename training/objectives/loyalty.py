"""Will the customer still be there: the chance of buying in every one of the next periods, and not only on discount.

A customer is loyal through k periods who qualifies in each of them; what may qualify is in the config. How often somebody buys is no part
of it: bargain hunters buy often, and leave first (Reinartz and Kumar, "The Mismanagement of Customer Loyalty", Harvard Business Review,
2002). Each period has a chance of its own, given the ones before (Cox, "Regression Models and Life-Tables", 1972, the discrete model), so
that periods which end after what is known are censored, and the chances through 1, 2, ... periods fall.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from training.errors import ConfigError
from training.evaluation.compared import Comparison
from training.evaluation.customers import compare_loyalty
from training.evaluation.outcomes import outcome_metrics
from training.evaluation.rivals import Rivals
from training.models.facts import Facts
from training.objectives.calibration import Calibration, together
from training.objectives.head import Head
from training.objectives.objective import Context, Objective, Output
from training.sequences.future import Future, has_begun
from training.sequences.history import History, Log
from training.sequences.money import bought_on_discount
from training.sequences.split import DAY, Split
from training.settings import Chance, Count, Names, NotNegative, Positive, Share

NOT_JUDGED = "Who stays is not judged: leave-one-out looks no further than the next step."


class Loyalty(Objective):
    """events: names of the events that count as buying; discount_events: of those which say that a discount was used.

    Through `within_days`, in `periods` equal parts: in each at least one purchase, and at most a share of `discount_share` of them on a
    day on which the customer used a discount.
    """

    headline, section = "auroc", "loyalty"

    def __init__(
        self,
        *,
        events: Names,
        discount_events: list[str],
        discount_share: Chance,
        periods: Count,
        within_days: Positive,
        dim: Count,
        dropout: Share,
        weight: NotNegative,
        facts: Facts,
    ) -> None:
        super().__init__()
        self.weight = weight
        self.kinds, self.discounts = facts.event_ids(events), facts.event_ids(discount_events)
        self.discount_share = discount_share
        self.periods = periods
        self.within_days = float(within_days)
        self.period = round(within_days * DAY) // periods
        self.head = Head(periods, facts=facts, dim=dim, dropout=dropout)
        self.calibration = Calibration()

    def labels(self, known: History, now: np.ndarray, owner: np.ndarray, until: np.ndarray) -> dict[str, np.ndarray]:
        """Each [Q]: stayed int64, through how many of the `known` periods (int64) the customer was loyal; asked bool."""
        num_known = np.clip((until - now) // self.period, 0, self.periods)
        loyal = self._loyal(known, now, owner)
        stayed = np.minimum(np.cumprod(loyal, axis=1).sum(1), num_known)
        return {"stayed": stayed, "known": num_known, "asked": has_begun(known, now, owner) & (num_known > 0)}

    def loss(self, context: Context, labels: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        losses = _negative_log_likelihood(self._logits(context), labels["stayed"], labels["known"])
        return (losses * labels["asked"]).sum(), labels["asked"].sum()

    def calibrate(self, asked: Sequence[tuple[Context, Mapping[str, Tensor]]]) -> None:
        labels = together([labels for _, labels in asked])
        chosen = labels["asked"]
        stayed, known = labels["stayed"][chosen], labels["known"][chosen]
        logits = torch.cat([self.head(context) for context, _ in asked])[chosen]
        self.calibration.fit(lambda x: _negative_log_likelihood(x, stayed, known).mean(), logits)

    def judge(self, context: Context, labels: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
        """`probability` to be loyal through all the periods that are known, and whether they `stayed`."""
        through = labels["known"].clamp(min=1)
        probability = self._through(context).gather(1, through[:, None] - 1)[:, 0].double().cpu().numpy()
        asked = labels["asked"].cpu().numpy()
        stayed = (labels["stayed"] == labels["known"]).cpu().numpy()
        return {"probability": np.where(asked, probability, np.nan), "stayed": np.where(asked, stayed, np.nan)}

    def summarise(self, evidence: dict[str, np.ndarray]) -> dict[str, float]:
        asked = ~np.isnan(evidence["stayed"])
        return outcome_metrics(evidence["stayed"][asked] > 0, evidence["probability"][asked]) if asked.any() else {}

    @property
    def outputs(self) -> list[Output]:
        return [Output("loyalty", "float32", "probability, through each period", (self.periods,))]

    @property
    def terms(self) -> Mapping[str, int | float | list[float]]:
        return {"loyalty_period_days": self.period / DAY, "loyalty_discount_share": self.discount_share}

    def predict(self, context: Context) -> dict[str, Tensor]:
        """loyalty float32 [Q, periods]: the chance to be loyal through the first, the first two, ... periods."""
        return {"loyalty": self._through(context)}

    def why_not_judged(self, split: Split) -> str:
        """A window of leave-one-out ends with the next step."""
        return "" if split.kind == "time" else NOT_JUDGED

    def check_answerable(self, log: Log, split: Split) -> None:
        for name, window in (("validation", split.validation), ("test", split.test)):
            labels = self.labels_in(log, window)
            stayed = (labels["stayed"] == labels["known"])[labels["asked"]]
            if not len(stayed) or stayed.all() or not stayed.any():
                raise ConfigError(
                    f"expected some customers to be loyal after the {name} cutoff and some not, found {stayed.sum()} of {len(stayed)}; "
                    "set objectives.loyalty.periods, within_days or the cutoffs to fit the log"
                )

    def compare(self, rivals: Rivals, customers: np.ndarray, evidence: dict[str, np.ndarray]) -> list[Comparison]:
        asked = ~np.isnan(evidence["stayed"])
        told = {name: values[asked] for name, values in evidence.items()}
        num_known = round(rivals.known_days(self.within_days) * DAY) // self.period
        days = self.within_days if num_known >= self.periods else num_known * self.period / DAY
        return compare_loyalty(rivals, customers[asked], told, kinds=self.kinds, periods=num_known, within_days=days)

    def _loyal(self, known: History, now: np.ndarray, owner: np.ndarray) -> np.ndarray:
        """Whether each period after each moment qualifies: bool [Q, periods]."""
        starts = [now + self.period * period for period in range(self.periods)]
        futures = [Future.after(known, kinds=self.kinds, now=start, owner=owner, until=start + self.period) for start in starts]
        on_discount = bought_on_discount(futures[0].events, known, self.discounts)
        bought = np.stack([future.window_end - future.first for future in futures], 1)
        discounted = np.stack([future.totals(on_discount) for future in futures], 1)
        return (bought > 0) & (discounted <= self.discount_share * bought)

    def _through(self, context: Context) -> Tensor:
        return F.logsigmoid(self._logits(context)).cumsum(-1).exp()

    def _logits(self, context: Context) -> Tensor:
        """Of each period, given that the ones before it qualified: [Q, periods]."""
        return self.calibration(self.head(context))


def _negative_log_likelihood(logits: Tensor, stayed: Tensor, known: Tensor) -> Tensor:
    """Of `stayed` periods in a row out of `known` ones: those, and the first that broke the row if it is known: [Q]."""
    period = torch.arange(logits.shape[1], device=logits.device)
    went_well, broke = period < stayed[:, None], (period == stayed[:, None]) & (stayed < known)[:, None]
    return -(F.logsigmoid(logits) * went_well + F.logsigmoid(-logits) * broke).sum(-1)
