"""Will the customer buy soon of a category: one probability for each, beside that of any purchase.

Each is read from the representation, as intent itself, and from what the customer has bought of that category so far: by one small network
for all categories, so that a rare one learns from the others.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.baselines.intent import past_moments
from training.errors import ConfigError
from training.evaluation.outcomes import outcome_metrics
from training.models.facts import Facts
from training.objectives.calibration import Calibration
from training.objectives.categories import OWN_SIZE, Categories, OwnCategories
from training.objectives.head import Head
from training.objectives.objective import Context
from training.sequences.future import Future
from training.sequences.history import History, Log
from training.sequences.split import Split, Window

HIDDEN = 16
METRICS = ("auroc", "average_precision", "calibration_error")


class CategoryIntent(nn.Module):
    """kinds: ids of the events that count as buying; horizon: µs."""

    def __init__(self, categories: Categories, *, kinds: np.ndarray, horizon: int, facts: Facts, dim: int, dropout: float) -> None:
        super().__init__()
        self.categories, self.kinds, self.horizon = categories, kinds, horizon
        self.own = OwnCategories(categories, kinds=kinds, num_events=facts.sizes["event"])
        self.head = Head(len(categories.names), facts=facts, dim=dim, dropout=dropout)
        self.from_own = nn.Sequential(nn.Linear(OWN_SIZE + 1, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, 1))
        self.calibration = Calibration(len(categories.names))

    def labels(self, known: History, now: np.ndarray, owner: np.ndarray, until: np.ndarray) -> np.ndarray:
        """Whether a purchase of each category is known to follow within the horizon: float32 [Q, K]."""
        future = Future.after(known, kinds=self.kinds, now=now, owner=owner, until=np.minimum(until, now + self.horizon))
        category = self.categories.of_events(future.events)
        bought = [future.totals(category == number) > 0 for number in range(len(self.categories.names))]
        return np.stack(bought, 1).astype(np.float32)

    def losses(self, context: Context, bought: Tensor) -> Tensor:
        """Of each question, the mean over categories: [Q]."""
        return F.binary_cross_entropy_with_logits(self._logits(context), bought, reduction="none").mean(-1)

    def calibrate(self, contexts: Sequence[Context], bought: Tensor, observed: Tensor) -> None:
        """Each category by itself."""
        logits = torch.cat([self._raw(context) for context in contexts])[observed]
        self.calibration.fit(lambda x: F.binary_cross_entropy_with_logits(x, bought[observed]), logits)

    def probabilities(self, context: Context) -> Tensor:
        """[Q, K]."""
        return torch.sigmoid(self._logits(context))

    def summarise(self, bought: np.ndarray, probability: np.ndarray) -> dict[str, float]:
        """The mean over categories of each metric; bought, probability: [n, K]."""
        each = [outcome_metrics(bought[:, k] > 0, probability[:, k]) for k in range(bought.shape[1])]
        return {f"category_{metric}": float(np.nanmean([of[metric] for of in each])) for metric in METRICS if len(bought)}

    def check_answerable(self, log: Log, split: Split) -> None:
        """Raises ConfigError for a category that everybody buys or nobody, in a window or after the moments that baselines learn from."""
        for name, window in (("validation", split.validation), ("test", split.test)):
            self._check_both(self._labels_in(log, window), f"the {name} cutoff")
        known, validation = History.at(log, split.validation.until), int(split.validation.now[0])
        bought = known.where(np.isin(known.columns["event"], self.kinds))
        category = self.categories.of_events(bought)
        for number in range(len(self.categories.names)):
            first = int(bought.columns["timestamp"][category == number].min(initial=validation))
            moments = past_moments(first, validation, self.horizon)
            labels = [self._labels_at(known, moment)[:, [number]] for moment in (moments[0], moments[-1])]
            self._check_both(np.concatenate(labels), "past moments", only=number)

    def _check_both(self, bought: np.ndarray, after: str, *, only: int | None = None) -> None:
        names = self.categories.names if only is None else [self.categories.names[only]]
        for name, came in zip(names, bought.T, strict=True):
            if came.min(initial=1) == came.max(initial=0):
                raise ConfigError(
                    f"expected some customers to buy of category {name} after {after} and some not, found {int(came.sum())} of "
                    f"{len(came)}; leave it out of objectives.intent.categories, or ask about fewer"
                )

    def _labels_in(self, log: Log, window: Window) -> np.ndarray:
        asked = np.flatnonzero(window.asked)
        return self.labels(History.at(log, window.until), window.now[asked], asked, window.until[asked])

    def _labels_at(self, known: History, moment: int) -> np.ndarray:
        everybody = np.arange(known.num_customers)
        return self.labels(known, np.full(len(everybody), moment), everybody, np.full(len(everybody), moment + self.horizon))

    def _logits(self, context: Context) -> Tensor:
        return self.calibration(self._raw(context))

    def _raw(self, context: Context) -> Tensor:
        by_taste = self.head(context)
        return by_taste + self.from_own(torch.cat([self.own(context), by_taste[..., None]], -1))[..., 0]
