"""How customers and what is said of them change between two refreshes, and what it costs to act on the older one.

stability_index(before, after)             of a feature or a score: below .1 stable, above .25 another population
migration(before, after, num_classes=5)    how many customers went from which class to which
stale_share(classes, every=13)             how many stand in a wrong class when only every 13th refresh is used
"""

import numpy as np

from training.errors import ConfigError

NUM_BINS = 10


def stability_index(before: np.ndarray, after: np.ndarray, *, num_bins: int = NUM_BINS) -> float:
    """The population stability index of a feature or score, over bins that hold equally many of `before` [n]; `after` [m].

    The sum of (a − b)·ln(a / b) over the shares b and a of each bin (Siddiqi 2006, Credit Risk Scorecards), 0 where nothing changed: the
    divergence of Jeffreys 1946. NaN is a bin of its own, and so is a value that would fill several. Half a customer is added to each bin,
    so that an empty one has no infinite weight.
    """
    before, after = _numbers(before), _numbers(after)
    known = before[~np.isnan(before)]
    edges = _edges(known, num_bins) if len(known) else np.zeros(0)
    earlier, later = (_shares(values, edges) for values in (before, after))
    return float(((later - earlier) * np.log(later / earlier)).sum())


def migration(before: np.ndarray, after: np.ndarray, *, num_classes: int) -> np.ndarray:
    """How many customers were in class i and are in class j: int64 [num_classes, num_classes].

    before, after: the class of each customer [n], from 0 on; -1 for who has none at that refresh, and is not counted.
    """
    before, after = np.asarray(before), np.asarray(after)
    if before.shape != after.shape or before.ndim != 1:
        raise ConfigError(f"expected two classes a customer, received {before.shape} and {after.shape}")
    if max(before.max(initial=-1), after.max(initial=-1)) >= num_classes or min(before.min(initial=0), after.min(initial=0)) < -1:
        raise ConfigError(f"expected classes from -1 to {num_classes - 1}, received others; set num_classes to fit")
    both = (before >= 0) & (after >= 0)
    return np.bincount(before[both] * num_classes + after[both], minlength=num_classes**2).reshape(num_classes, num_classes)


def moved_share(moves: np.ndarray) -> float:
    """Which share of the customers of a migration [K, K] changed their class; NaN of nobody."""
    total = moves.sum()
    return float(1 - np.trace(moves) / total) if total else float("nan")


def stale_share(classes: np.ndarray, *, every: int) -> float:
    """Which share of customers is in a wrong class where only each `every`th refresh is made, on average over all refreshes.

    classes: [refreshes, n], the class of each customer at refreshes of the finest rhythm (daily, weekly), -1 where there is none yet; the
    first is always made. A customer who has a class now and had none at the last refresh made is in a wrong one. NaN of nobody.
    """
    wrong, known = stale_refreshes(classes, every=every)
    return float(wrong.sum() / known.sum()) if known.any() else float("nan")


def stale_refreshes(classes: np.ndarray, *, every: int) -> tuple[np.ndarray, np.ndarray]:
    """At how many refreshes each customer is in a wrong class, and has one at all: int64 [n] each. classes, every: as above."""
    known = classes >= 0
    return ((_as_used(classes, every) != classes) & known).sum(0), known.sum(0)


def stale_loss(classes: np.ndarray, outcomes: np.ndarray, *, every: int) -> float:
    """How much of what its classes foretell is lost where only each `every`th refresh is made: the share of the explained variance.

    classes: as above; outcomes: [refreshes, n], what each customer did after each refresh (spend, or whether they came). 0: nothing is
    lost; 1: stale classes say no more than one mean for all; NaN where fresh ones say nothing either. Customers without a class are
    left out.
    """
    used, known = _as_used(classes, every), classes >= 0
    fresh, stale = (_explained(classes_of, outcomes, known) for classes_of in (classes, used))
    return float(1 - stale / fresh) if fresh > 0 else float("nan")


def _as_used(classes: np.ndarray, every: int) -> np.ndarray:
    """The class that is acted on at each refresh: that of the last one made."""
    if every < 1 or classes.ndim != 2:
        raise ConfigError(f"expected classes [refreshes, customers] and every from 1 on, received {classes.shape} and {every}")
    return classes[np.arange(len(classes)) // every * every]


def _explained(classes: np.ndarray, outcomes: np.ndarray, known: np.ndarray) -> float:
    """The variance between the classes, of all refreshes together; who has none is a class, as they are where such classes are used."""
    group, values = classes[known] + 1, outcomes[known].astype(np.float64)
    count, total = np.bincount(group), np.bincount(group, weights=values)
    mean = total / np.maximum(count, 1)
    return float((count * (mean - values.mean()) ** 2).sum())


def _edges(values: np.ndarray, num_bins: int) -> np.ndarray:
    """The greatest value of each bin but the last, rising; below a value that fills several bins stands an edge too."""
    quantiles = np.quantile(values, np.arange(1, num_bins) / num_bins, method="inverted_cdf")
    several = quantiles[1:][np.diff(quantiles) == 0]
    return np.unique(np.concatenate([quantiles, np.nextafter(several, -np.inf)]))


def _shares(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    missing = np.isnan(values)
    count = np.bincount(np.where(missing, len(edges) + 1, np.searchsorted(edges, values, side="left")), minlength=len(edges) + 2) + 0.5
    return count / count.sum()


def _numbers(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or not len(values):
        raise ConfigError(f"expected one number a customer, received {values.shape}")
    return values
