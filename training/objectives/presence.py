"""Is the customer still there: the hazard of the next visit, whatever is done in it.

Who has left is hidden; what tells of it is how long nothing was seen of somebody who used to be seen so often (Schmittlein, Morrison and
Colombo, "Counting Your Customers: Who Are They and What Will They Do Next?", Management Science 33, 1987). They had purchases only to
count. Visits are many times as frequent, so that a silence says more, and sooner; who looks and doesn't buy is still a customer.
"""

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from training.evaluation.compared import Comparison
from training.evaluation.customers import compare_presence
from training.evaluation.rivals import Rivals
from training.objectives import hazard
from training.objectives.objective import Context, Output
from training.objectives.waiting import Waiting
from training.sequences.history import History
from training.sequences.visits import beginnings


class Presence(Waiting):
    """events: names of what only a customer does who is there. What goes on at the moment is no visit to come: the next one begins
    after half an hour without any of them.
    """

    section = "presence"

    def awaited(self, known: History) -> History:
        return beginnings(known, self.kinds)

    @property
    def outputs(self) -> list[Output]:
        return [
            Output("visit_probability", "float32", "probability"),
            Output("absence_probability", "float32", "probability, at each of absence_days", (len(self.edges) - 1,)),
        ]

    @property
    def terms(self) -> Mapping[str, int | float | list[float]]:
        return {"visit_horizon_days": self.horizon_days, "absence_days": self.edges[1:].tolist()}

    def predict(self, context: Context) -> dict[str, Tensor]:
        """visit_probability [Q]: to be seen again within the horizon. absence_probability [Q, K]: not within each of absence_days."""
        absence = hazard.survival_at_edges(self.log_hazard(context), self.edges)
        return {"visit_probability": 1 - absence[:, -1], "absence_probability": absence}

    def compare(self, rivals: Rivals, customers: np.ndarray, evidence: dict[str, np.ndarray]) -> list[Comparison]:
        asked = ~np.isnan(evidence["came"])
        told = {name: values[asked] for name, values in evidence.items()}
        return [compare_presence(rivals, customers[asked], told, kinds=self.kinds, horizon_days=self.horizon_days)]
