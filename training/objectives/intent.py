"""Will the customer buy soon: the probability of a purchase within a horizon of the moment."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from training.baselines.intent import past_moments
from training.errors import ConfigError
from training.evaluation.compared import Comparison
from training.evaluation.comparison import compare_intent
from training.evaluation.outcomes import outcome_metrics
from training.evaluation.rivals import Rivals
from training.models.facts import Facts
from training.objectives.calibration import Calibration, together
from training.objectives.head import Head
from training.objectives.objective import Context, Objective, Output
from training.sequences.future import Future
from training.sequences.history import History, Log
from training.sequences.split import DAY, Split
from training.settings import Count, Names, NotNegative, Positive, Share

NOT_JUDGED = "Whether they come back is not judged: leave-one-out asks right before a step, so that everybody comes back."


class Intent(Objective):
    """events: names of the events that count as buying. horizon_days: how soon is soon."""

    headline, section = "auroc", "intent"

    def __init__(self, *, events: Names, horizon_days: Positive, dim: Count, dropout: Share, weight: NotNegative, facts: Facts) -> None:
        super().__init__()
        self.weight = weight
        self.kinds = facts.event_ids(events)
        self.horizon_days = horizon_days
        self.horizon = round(horizon_days * DAY)
        self.head, self.calibration = Head(1, dim=dim, dropout=dropout), Calibration()

    def labels(self, known: History, now: np.ndarray, owner: np.ndarray, until: np.ndarray) -> dict[str, np.ndarray]:
        """bought float32 [Q]; observed bool [Q]: the whole horizon is known, and the customer had been seen before."""
        future = Future.after(known, kinds=self.kinds, now=now, owner=owner, until=until)
        has_events = known.num_events > 0
        first_event = np.full(known.num_customers, np.iinfo(np.int64).max)
        first_event[has_events] = known.columns["timestamp"][known.offsets[:-1][has_events]]
        return {
            "bought": (future.time_of_first() <= now + self.horizon).astype(np.float32),
            "observed": (now + self.horizon <= until) & (first_event[owner] <= now),
        }

    def loss(self, context: Context, labels: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        observed = labels["observed"]
        losses = F.binary_cross_entropy_with_logits(self._logit(context), labels["bought"], reduction="none")
        return (losses * observed).sum(), observed.sum()

    def calibrate(self, asked: Sequence[tuple[Context, Mapping[str, Tensor]]]) -> None:
        labels = together([labels for _, labels in asked])
        bought, seen = labels["bought"], labels["observed"]
        logit = torch.cat([self.head(context)[:, 0] for context, _ in asked])
        self.calibration.fit(lambda x: F.binary_cross_entropy_with_logits(x, bought[seen]), logit[seen])

    def judge(self, context: Context, labels: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
        """What was said (`probability`) and what happened (`bought`)."""
        seen = labels["observed"].cpu().numpy()
        probability = torch.sigmoid(self._logit(context)).double().cpu().numpy()
        return {
            "probability": np.where(seen, probability, np.nan),
            "bought": np.where(seen, labels["bought"].cpu().numpy(), np.nan),
        }

    def summarise(self, evidence: dict[str, np.ndarray]) -> dict[str, float]:
        seen = ~np.isnan(evidence["bought"])
        return outcome_metrics(evidence["bought"][seen] > 0, evidence["probability"][seen]) if seen.any() else {}

    @property
    def outputs(self) -> list[Output]:
        return [Output("purchase_probability", "float32", "probability")]

    @property
    def terms(self) -> dict[str, int | float]:
        return {"purchase_horizon_days": self.horizon_days}

    def why_not_judged(self, split: Split) -> str:
        """A window of leave-one-out ends with its answer, so that "nobody came" is never seen."""
        return "" if split.kind == "time" else NOT_JUDGED

    def check_answerable(self, log: Log, split: Split) -> None:
        past_moments(int(log.columns["timestamp"].min()), int(split.validation.now[0]), self.horizon)
        for name, window in (("validation", split.validation), ("test", split.test)):
            labels = self.labels_in(log, window)
            self._check_both_outcomes(labels["bought"][labels["observed"]], name)

    def _check_both_outcomes(self, bought: np.ndarray, window: str) -> None:
        if not len(bought):
            raise ConfigError(
                f"expected a {window} window that holds the {self.horizon_days:g} days of data.intent_horizon_days, found a shorter one; "
                "set data.split.horizon_days to as many or more"
            )
        if bought.min() == bought.max():
            raise ConfigError(
                f"expected some customers to come back within {self.horizon_days:g} days of the {window} cutoff and some not, found "
                f"{int(bought.sum())} of {len(bought)}; set the cutoffs or data.intent_horizon_days to fit the log"
            )

    def compare(self, rivals: Rivals, customers: np.ndarray, evidence: dict[str, np.ndarray]) -> list[Comparison]:
        return [compare_intent(rivals, customers, evidence, kinds=self.kinds, horizon=self.horizon)]

    def predict(self, context: Context) -> dict[str, Tensor]:
        """purchase_probability float32 [Q]."""
        return {"purchase_probability": torch.sigmoid(self._logit(context))}

    def _logit(self, context: Context) -> Tensor:
        return self.calibration(self.head(context)[:, 0])
