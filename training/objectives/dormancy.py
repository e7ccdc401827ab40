"""When will the customer buy again: a hazard over time, from which follow the chance of silence for any number of days, the day on which
they are expected back, and how unusual such a silence would be for them. Paper and likelihood: training.objectives.waiting.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from training.evaluation.compared import Comparison
from training.evaluation.customers import compare_return
from training.evaluation.rivals import Rivals
from training.models.rhythm import OWN_GAP
from training.objectives import hazard
from training.objectives.objective import Context, Output
from training.objectives.waiting import Waiting

RETURN_DAYS = "return_days"
LONGEST_DAYS = 3650.0  # "not to be expected" is told as ten years


class Dormancy(Waiting):
    """events: names of the events that count as buying."""

    section = "returns"

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
        log_hazard = self.log_hazard(context)
        silence = hazard.survival_at_edges(log_hazard, self.edges)
        own_gap = context.rhythm[:, OWN_GAP].expm1().clamp(max=self.horizon_days)
        own_gap = torch.where(own_gap > 0, own_gap, torch.full_like(own_gap, self.horizon_days))
        return {
            "return_probability": 1 - silence[:, -1],
            "silence_probability": silence,
            RETURN_DAYS: hazard.median_days(log_hazard, self.edges, longest=LONGEST_DAYS),
            "slipping_away": hazard.survival(log_hazard, own_gap, self.edges),
        }

    def compare(self, rivals: Rivals, customers: np.ndarray, evidence: dict[str, np.ndarray]) -> list[Comparison]:
        asked = ~np.isnan(evidence["came"])
        told = {name: values[asked] for name, values in evidence.items()}
        return compare_return(rivals, customers[asked], told, kinds=self.kinds, edges=self.edges.numpy(), horizon_days=self.horizon_days)
