"""How long until the next event of some kinds: a hazard over time, learned from those who came and from those who didn't.

Customers of whom nothing has been seen by the end of what is known count for as long as they were watched (right-censored), no longer: the
likelihood is that of training.objectives.hazard. As a network's output it is PC-Hazard (Kvamme and Borgan, "Continuous and discrete-time
survival prediction with neural networks", Lifetime Data Analysis 27, 2021).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from training.errors import ConfigError
from training.evaluation.outcomes import outcome_metrics
from training.models.facts import Facts
from training.objectives import hazard
from training.objectives.calibration import Calibration, together
from training.objectives.head import Head
from training.objectives.objective import Context, Objective
from training.sequences.future import Future, has_begun
from training.sequences.history import History, Log
from training.sequences.split import DAY, Split
from training.settings import Count, Names, NotNegative, Positive, Share

NOT_JUDGED = "When they come back is not judged: leave-one-out asks right before a step, so that everybody comes back."


class Waiting(Objective):
    """events: names of the events that are waited for. horizon_days: how far the hazard reaches, in `bins` bins; further than
    what the test window can judge, if wished: who comes rarely is told from who has left by a longer silence.
    """

    headline = "auroc"
    edges: Tensor

    def __init__(
        self, *, events: Names, horizon_days: Positive, bins: Count, dim: Count, dropout: Share, weight: NotNegative, facts: Facts
    ) -> None:
        super().__init__()
        self.weight = weight
        self.kinds = facts.event_ids(events)
        self.horizon_days = float(horizon_days)
        self.register_buffer("edges", hazard.bin_edges(self.horizon_days, bins), persistent=False)
        self.head = Head(bins, facts=facts, dim=dim, dropout=dropout).start_at(-float(np.log(self.horizon_days)))
        self.calibration = Calibration()

    def labels(self, known: History, now: np.ndarray, owner: np.ndarray, until: np.ndarray) -> dict[str, np.ndarray]:
        """Each [Q]: days float32 to the next such event, or as long as it is known that none came; came bool; asked bool: somebody seen."""
        end = np.minimum(until, now + round(self.horizon_days * DAY))
        first = Future.after(self.awaited(known), kinds=self.kinds, now=now, owner=owner, until=end).time_of_first()
        return {
            "days": ((np.minimum(first, end) - now) / DAY).astype(np.float32),
            "known_days": ((end - now) / DAY).astype(np.float32),
            "came": first <= end,
            "asked": has_begun(known, now, owner) & (end > now),
        }

    def awaited(self, known: History) -> History:
        """The events that are waited for are among these."""
        return known

    def loss(self, context: Context, labels: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        losses = hazard.negative_log_likelihood(self.log_hazard(context), labels["days"], labels["came"], self.edges)
        return (losses * labels["asked"]).sum(), labels["asked"].sum()

    def calibrate(self, asked: Sequence[tuple[Context, Mapping[str, Tensor]]]) -> None:
        """Scale and shift of the logarithm of the hazard, by its likelihood: whatever the number of days, silence keeps one meaning."""
        labels = together([labels for _, labels in asked])
        chosen = labels["asked"]
        days, came = labels["days"][chosen], labels["came"][chosen]
        log_hazard = torch.cat([self.head(context) for context, _ in asked])[chosen]
        self.calibration.fit(lambda x: hazard.negative_log_likelihood(x, days, came, self.edges).mean(), log_hazard)

    def judge(self, context: Context, labels: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
        """`probability` to come within what is known, whether they `came`, after how many `days`; `expected_days` of those that are
        known; `survival` [Q, K].
        """
        log_hazard = self.log_hazard(context)
        said = {
            "probability": 1 - hazard.survival(log_hazard, labels["known_days"], self.edges),
            "expected_days": hazard.mean_days(log_hazard, labels["known_days"], self.edges),
            "survival": hazard.survival_at_edges(log_hazard, self.edges),
            "came": labels["came"],
            "days": labels["days"],
        }
        asked = labels["asked"].cpu().numpy()
        return {name: np.where(asked if values.ndim == 1 else asked[:, None], _numbers(values), np.nan) for name, values in said.items()}

    def summarise(self, evidence: dict[str, np.ndarray]) -> dict[str, float]:
        asked = ~np.isnan(evidence["came"])
        return outcome_metrics(evidence["came"][asked] > 0, evidence["probability"][asked]) if asked.any() else {}

    def log_hazard(self, context: Context) -> Tensor:
        """Of a day, in each bin: [Q, K]; bounded, so that one wild answer can't be infinite."""
        return self.calibration(self.head(context)).clamp(-20.0, 5.0)

    def uncalibrated(self, context: Context) -> Tensor:
        """The same as training left it."""
        return self.head(context).clamp(-20.0, 5.0)

    def why_not_judged(self, split: Split) -> str:
        """A window of leave-one-out ends with its answer, so that "nobody came" is never seen."""
        return "" if split.kind == "time" else NOT_JUDGED

    def check_answerable(self, log: Log, split: Split) -> None:
        for name, window in (("validation", split.validation), ("test", split.test)):
            labels = self.labels_in(log, window)
            came = labels["came"][labels["asked"]]
            if not len(came) or came.all() or not came.any():
                raise ConfigError(
                    f"expected some customers to come back after the {name} cutoff and some not, found {int(came.sum())} of {len(came)}; "
                    "set the cutoffs or data.split.horizon_days to fit the log"
                )


def _numbers(values: Tensor) -> np.ndarray:
    return values.double().cpu().numpy()
