"""Will the customer buy soon: the probability of a purchase within a horizon of the moment and, if asked, of one of each category.

As a binary question about what a customer does, asked at any moment of their history: Moe and Fader, "Dynamic Conversion Behavior at
E-Commerce Sites", Management Science 50, 2004; by a sequence model of the events themselves: Sheil, Rana and Reilly, "Predicting Purchasing
Intent: Automatic Feature Learning using Recurrent Neural Networks", SIGIR eCom 2018.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from training.baselines.intent import past_moments
from training.errors import ConfigError
from training.evaluation.category_comparison import compare_categories
from training.evaluation.compared import Comparison
from training.evaluation.comparison import compare_intent
from training.evaluation.outcomes import outcome_metrics
from training.evaluation.rivals import Rivals
from training.models.facts import Facts
from training.objectives.calibration import Calibration, together
from training.objectives.categories import Categories
from training.objectives.category_intent import CategoryIntent
from training.objectives.head import Head
from training.objectives.objective import Context, Objective, Output
from training.sequences.future import Future
from training.sequences.history import History, Log
from training.sequences.split import DAY, Split
from training.settings import Count, Names, NotNegative, Positive, Share

NOT_JUDGED = "Whether they come back is not judged: leave-one-out asks right before a step, so that everybody comes back."


class Intent(Objective):
    """events: names of the events that count as buying. horizon_days: how soon is soon.

    categories: of which to tell by themselves, by name or how many of those that training saw bought most often; null: of none.
    category: the field of events, or the attribute of items, that holds them.
    """

    headline, section = "auroc", "intent"

    def __init__(
        self,
        *,
        events: Names,
        horizon_days: Positive,
        dim: Count,
        dropout: Share,
        weight: NotNegative,
        facts: Facts,
        categories: Names | Count | None = None,
        category: str = "category",
    ) -> None:
        super().__init__()
        self.weight = weight
        self.kinds = facts.event_ids(events)
        self.horizon_days = horizon_days
        self.horizon = round(horizon_days * DAY)
        self.head, self.calibration = Head(1, facts=facts, dim=dim, dropout=dropout), Calibration()
        self.of_categories: CategoryIntent | None = None
        if categories is not None:
            asked = Categories.of(facts, category, categories, kinds=self.kinds)
            self.of_categories = CategoryIntent(asked, kinds=self.kinds, horizon=self.horizon, facts=facts, dim=dim, dropout=dropout)
            self.reads = [asked.field]

    def labels(self, known: History, now: np.ndarray, owner: np.ndarray, until: np.ndarray) -> dict[str, np.ndarray]:
        """bought float32 [Q]; observed bool [Q]: the whole horizon is known, and the customer had been seen before.

        Where categories are asked about, bought_of float32 [Q, K].
        """
        future = Future.after(known, kinds=self.kinds, now=now, owner=owner, until=until)
        has_events = known.num_events > 0
        first_event = np.full(known.num_customers, np.iinfo(np.int64).max)
        first_event[has_events] = known.columns["timestamp"][known.offsets[:-1][has_events]]
        of_each = {"bought_of": self.of_categories.labels(known, now, owner, until)} if self.of_categories else {}
        return {
            "bought": (future.time_of_first() <= now + self.horizon).astype(np.float32),
            "observed": (now + self.horizon <= until) & (first_event[owner] <= now),
            **of_each,
        }

    def loss(self, context: Context, labels: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        observed = labels["observed"]
        losses = F.binary_cross_entropy_with_logits(self._logit(context), labels["bought"], reduction="none")
        if self.of_categories:
            losses = losses + self.of_categories.losses(context, labels["bought_of"])
        return (losses * observed).sum(), observed.sum()

    def calibrate(self, asked: Sequence[tuple[Context, Mapping[str, Tensor]]]) -> None:
        labels = together([labels for _, labels in asked])
        bought, seen = labels["bought"], labels["observed"]
        logit = torch.cat([self.head(context)[:, 0] for context, _ in asked])
        self.calibration.fit(lambda x: F.binary_cross_entropy_with_logits(x, bought[seen]), logit[seen])
        if self.of_categories:
            self.of_categories.calibrate([context for context, _ in asked], labels["bought_of"], seen)

    def judge(self, context: Context, labels: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
        """What was said (`probability`) and what happened (`bought`); of each category [Q, K] as `category_...`."""
        seen = labels["observed"].cpu().numpy()
        probability = torch.sigmoid(self._logit(context)).double().cpu().numpy()
        evidence = {
            "probability": np.where(seen, probability, np.nan),
            "bought": np.where(seen, labels["bought"].cpu().numpy(), np.nan),
        }
        if self.of_categories:
            of_each = self.of_categories.probabilities(context).double().cpu().numpy()
            evidence["category_probability"] = np.where(seen[:, None], of_each, np.nan)
            evidence["category_bought"] = np.where(seen[:, None], labels["bought_of"].cpu().numpy(), np.nan)
        return evidence

    def summarise(self, evidence: dict[str, np.ndarray]) -> dict[str, float]:
        seen = ~np.isnan(evidence["bought"])
        if not seen.any():
            return {}
        figures = outcome_metrics(evidence["bought"][seen] > 0, evidence["probability"][seen])
        if self.of_categories:
            figures |= self.of_categories.summarise(evidence["category_bought"][seen], evidence["category_probability"][seen])
        return figures

    @property
    def outputs(self) -> list[Output]:
        any_purchase = Output("purchase_probability", "float32", "probability")
        if self.of_categories is None:
            return [any_purchase]
        size = (len(self.of_categories.categories.names),)
        return [any_purchase, Output("category_probability", "float32", "probability, of each of purchase_categories", size)]

    @property
    def terms(self) -> Mapping[str, int | float | list[float] | list[str]]:
        names = {"purchase_categories": self.of_categories.categories.names} if self.of_categories else {}
        return {"purchase_horizon_days": self.horizon_days, **names}

    def why_not_judged(self, split: Split) -> str:
        """A window of leave-one-out ends with its answer, so that "nobody came" is never seen."""
        return "" if split.kind == "time" else NOT_JUDGED

    def check_answerable(self, log: Log, split: Split) -> None:
        past_moments(int(log.columns["timestamp"].min()), int(split.validation.now[0]), self.horizon)
        for name, window in (("validation", split.validation), ("test", split.test)):
            labels = self.labels_in(log, window)
            self._check_both_outcomes(labels["bought"][labels["observed"]], name)
        if self.of_categories:
            self.of_categories.check_answerable(log, split)

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
        any_purchase = compare_intent(rivals, customers, evidence, kinds=self.kinds, horizon=self.horizon)
        if self.of_categories is None:
            return [any_purchase]
        asked = self.of_categories.categories
        of_each = compare_categories(
            rivals, customers, evidence, names=asked.names, place=asked.of_events(rivals.store), kinds=self.kinds, horizon=self.horizon
        )
        return [any_purchase, of_each]

    def predict(self, context: Context) -> dict[str, Tensor]:
        """purchase_probability float32 [Q]; where categories are asked about, category_probability float32 [Q, K]."""
        of_each = {"category_probability": self.of_categories.probabilities(context)} if self.of_categories else {}
        return {"purchase_probability": torch.sigmoid(self._logit(context)), **of_each}

    def _logit(self, context: Context) -> Tensor:
        return self.calibration(self.head(context)[:, 0])
