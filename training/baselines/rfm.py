"""RFM: every customer's fifth by recency, frequency and monetary value at the moment, put through a logistic curve."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from training.baselines.snapshots import Snapshots

NUM_GROUPS = 5


@dataclass(frozen=True)
class Rfm:
    """`together`: the sum of the three scores decides; otherwise each has its own weight."""

    curve: LogisticRegression
    together: bool

    @classmethod
    def fit(cls, train: Snapshots, validation: Snapshots, *, seed: int) -> "Rfm":
        """Fitted on past snapshots; sum or three, whichever has the better AUROC on validation."""
        fitted = [
            cls(LogisticRegression(random_state=seed).fit(_scores(train, together=sum_), train.labels), sum_) for sum_ in (True, False)
        ]
        return max(fitted, key=lambda one: roc_auc_score(validation.labels, one.probabilities(validation)))

    @property
    def settings(self) -> str:
        return "sum of the three scores" if self.together else "a weight for each of the three scores"

    def probabilities(self, snapshots: Snapshots) -> np.ndarray:
        """float64 [rows]. A row is ranked among the rows of its own moment."""
        return self.curve.predict_proba(_scores(snapshots, together=self.together))[:, 1]


def rfm_scores(snapshots: Snapshots) -> np.ndarray:
    """Recency, frequency, monetary: 1 (worst fifth) to 5 (best) among the buyers of a moment, 0 for who never bought. float64 [rows, 3]."""
    measured = snapshots.columns(["recency_days", "purchases", "spend"]).T
    scores = np.zeros((len(snapshots.moment), 3))
    for moment in np.unique(snapshots.moment):
        rows = snapshots.moment == moment
        scores[rows] = fifths(*measured[:, rows])
    return scores


def fifths(recency_days: np.ndarray, frequency: np.ndarray, monetary: np.ndarray) -> np.ndarray:
    """The three scores of customers at one moment, each given as [n]: float64 [n, 3]."""
    buyers = np.flatnonzero(frequency > 0)
    scores = np.zeros((len(frequency), 3))
    for column, values in enumerate((-recency_days, frequency, monetary)):
        scores[buyers, column] = np.ceil(rankdata(values[buyers]) / max(len(buyers), 1) * NUM_GROUPS)
    return scores


def _scores(snapshots: Snapshots, *, together: bool) -> np.ndarray:
    scores = rfm_scores(snapshots)
    return scores.sum(axis=1, keepdims=True) if together else scores
