"""When will the customer buy again: a hazard over time, from which follow the chance of silence for any number of days, the day on which
they are expected back, and how unusual such a silence would be for them.

Customers who have not come back by the end of what is known count for as long as they were watched (right-censored), no longer: the
likelihood is that of training.objectives.hazard. As a network's output it is PC-Hazard (Kvamme and Borgan, "Continuous and
discrete-time survival prediction with neural networks", Lifetime Data Analysis 27, 2021).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from training.errors import ConfigError
from training.evaluation.compared import Comparison
from training.evaluation.customers import compare_return
from training.evaluation.outcomes import outcome_metrics
from training.evaluation.rivals import Rivals
from training.models.facts import Facts
from training.models.rhythm import OWN_GAP
from training.objectives import hazard
from training.objectives.calibration import Calibration, together
from training.objectives.head import Head
from training.objectives.objective import Context, Objective, Output
from training.sequences.future import Future, has_begun
from training.sequences.history import History, Log
from training.sequences.split import DAY, Split
from training.settings import Count, Names, NotNegative, Positive, Share

RETURN_DAYS = "return_days"
LONGEST_DAYS = 3650.0  # "not to be expected" is told as ten years
NOT_JUDGED = "When they come back is not judged: leave-one-out asks right before a step, so that everybody comes back."


class Dormancy(Objective):
    """events: names of the events that count as buying. horizon_days: how far the hazard reaches, in `bins` bins; further than
    what the test window can judge, if wished: who buys rarely is told from who has left by a longer silence.
    """

    headline, section = "auroc", "returns"
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
        """Each [Q]: days float32 to the next purchase, or as long as it is known that none came; came bool; asked bool: somebody seen."""
        end = np.minimum(until, now + round(self.horizon_days * DAY))
        first = Future.after(known, kinds=self.kinds, now=now, owner=owner, until=end).time_of_first()
        return {
            "days": ((np.minimum(first, end) - now) / DAY).astype(np.float32),
            "known_days": ((end - now) / DAY).astype(np.float32),
            "came": first <= end,
            "asked": has_begun(known, now, owner) & (end > now),
        }

    def loss(self, context: Context, labels: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        losses = hazard.negative_log_likelihood(self._log_hazard(context), labels["days"], labels["came"], self.edges)
        return (losses * labels["asked"]).sum(), labels["asked"].sum()

    def calibrate(self, asked: Sequence[tuple[Context, Mapping[str, Tensor]]]) -> None:
        """Scale and shift of the logarithm of the hazard, by its likelihood: whatever the number of days, silence keeps one meaning."""
        labels = together([labels for _, labels in asked])
        chosen = labels["asked"]
        days, came = labels["days"][chosen], labels["came"][chosen]
        log_hazard = torch.cat([self.head(context) for context, _ in asked])[chosen]
        self.calibration.fit(lambda x: hazard.negative_log_likelihood(x, days, came, self.edges).mean(), log_hazard)

    def judge(self, context: Context, labels: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
        """`probability` to be back within what is known, whether they `came`, after how many `days`; `expected_days` of those that are
        known; `survival` [Q, K].
        """
        log_hazard = self._log_hazard(context)
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

    @property
    def outputs(self) -> list[Output]:
        return [
            Output("return_probability", "float32", "probability"),
            Output("silence_probability", "float32", "probability, at each of silence_days", (len(self.edges) - 1,)),
            Output(RETURN_DAYS, "float32", "days"),
            Output("slipping_away", "float32", "probability"),
        ]

    @property
    def terms(self) -> Mapping[str, int | float | list[float]]:
        return {"return_horizon_days": self.horizon_days, "silence_days": self.edges[1:].tolist()}

    def predict(self, context: Context) -> dict[str, Tensor]:
        """return_probability [Q]: a purchase within the horizon. silence_probability [Q, K]: none within each of silence_days.

        return_days [Q]: by then half of such customers are back. slipping_away [Q]: the chance of no purchase for as long as usually lies
        between two of the customer's own; for who bought once or less, within the horizon.
        """
        log_hazard = self._log_hazard(context)
        silence = hazard.survival_at_edges(log_hazard, self.edges)
        own_gap = context.rhythm[:, OWN_GAP].expm1().clamp(max=self.horizon_days)
        own_gap = torch.where(own_gap > 0, own_gap, torch.full_like(own_gap, self.horizon_days))
        return {
            "return_probability": 1 - silence[:, -1],
            "silence_probability": silence,
            RETURN_DAYS: hazard.median_days(log_hazard, self.edges, longest=LONGEST_DAYS),
            "slipping_away": hazard.survival(log_hazard, own_gap, self.edges),
        }

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

    def compare(self, rivals: Rivals, customers: np.ndarray, evidence: dict[str, np.ndarray]) -> list[Comparison]:
        asked = ~np.isnan(evidence["came"])
        told = {name: values[asked] for name, values in evidence.items()}
        return compare_return(rivals, customers[asked], told, kinds=self.kinds, edges=self.edges.numpy(), horizon_days=self.horizon_days)

    def _log_hazard(self, context: Context) -> Tensor:
        """Of a day, in each bin: [Q, K]; bounded, so that one wild answer can't be infinite."""
        return self.calibration(self.head(context)).clamp(-20.0, 5.0)


def _numbers(values: Tensor) -> np.ndarray:
    return values.double().cpu().numpy()
