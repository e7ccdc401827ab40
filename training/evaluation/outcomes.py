"""How good a probability is: does it put those who come above those who don't, and does it mean what it says."""

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from training.errors import ConfigError

NUM_BINS = 10


@dataclass(frozen=True)
class Reliability:
    """Customers in bins of equal size by predicted probability: the mean prediction, what happened and how many, each [bins]."""

    predicted: np.ndarray
    observed: np.ndarray
    count: np.ndarray


def outcome_metrics(labels: np.ndarray, probabilities: np.ndarray, *, num_bins: int = NUM_BINS) -> dict[str, float]:
    """`auroc`, `average_precision`, `brier` and `calibration_error` of labels [n] (bool) and probabilities [n] in 0..1.

    Where every label is the same there is nothing to rank: `auroc` and `average_precision` are NaN, the other two still hold.
    """
    labels, probabilities = _checked(labels, probabilities)
    both = labels.any() and not labels.all()
    return {
        "auroc": float(roc_auc_score(labels, probabilities)) if both else float("nan"),
        "average_precision": float(average_precision_score(labels, probabilities)) if both else float("nan"),
        "brier": float(brier_score_loss(labels, probabilities, pos_label=True)),
        "calibration_error": calibration_error(labels, probabilities, num_bins=num_bins),
    }


def calibration_error(labels: np.ndarray, probabilities: np.ndarray, *, num_bins: int = NUM_BINS) -> float:
    """Expected calibration error over bins of equal size: the mean distance between what was said and what happened."""
    curve = reliability(labels, probabilities, num_bins=num_bins)
    return float(np.average(np.abs(curve.predicted - curve.observed), weights=curve.count))


def reliability(labels: np.ndarray, probabilities: np.ndarray, *, num_bins: int = NUM_BINS) -> Reliability:
    """The reliability curve. Customers with the same probability share a bin, so that their order decides nothing."""
    labels, probabilities = _checked(labels, probabilities)
    of_customer = bins_of_equal_size(probabilities, num_bins=num_bins)
    count = np.bincount(of_customer, minlength=num_bins)
    said = np.bincount(of_customer, weights=probabilities, minlength=num_bins)
    happened = np.bincount(of_customer, weights=labels, minlength=num_bins)
    used = count > 0
    return Reliability(said[used] / count[used], happened[used] / count[used], count[used])


def bins_of_equal_size(predicted: np.ndarray, *, num_bins: int) -> np.ndarray:
    """The bin of each prediction [n], the lowest first: int64 [n], 0 to num_bins - 1. Equal predictions share a bin; one may stay empty."""
    _, level, at_level = np.unique(predicted, return_inverse=True, return_counts=True)
    middle = np.cumsum(at_level) - at_level / 2
    return np.minimum((middle * num_bins / len(predicted)).astype(np.int64), num_bins - 1)[level]


def _checked(labels: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    labels, probabilities = np.asarray(labels).astype(bool), np.asarray(probabilities, dtype=np.float64)
    if labels.shape != probabilities.shape or labels.ndim != 1 or not len(labels):
        raise ConfigError(f"expected one label and one probability a customer, received {labels.shape} and {probabilities.shape}")
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise ConfigError("expected probabilities between 0 and 1, received others; put scores through a logistic curve first")
    return labels, probabilities
