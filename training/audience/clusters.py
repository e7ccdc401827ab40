"""Segments that nobody defined: customers whom the model sees alike, found among their representations and named by how they differ."""

from dataclasses import dataclass
from string import ascii_uppercase

import numpy as np
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score

from training.audience.traits import Trait, distinguishing, in_words

FEWEST, MOST = 4, 8  # segments that somebody can keep in mind
NUM_STARTS = 4
MOST_PAIRED = 1_000  # customers whose distances to one another choose the number of segments


@dataclass(frozen=True)
class Segment:
    """letter: for pictures. members: bool [m]. differences: {trait: standardised difference to all others}, the largest first."""

    letter: str
    words: str
    members: np.ndarray
    differences: dict[str, float]

    @property
    def name(self) -> str:
        return f"{self.letter}: {self.words}"


@dataclass(frozen=True)
class Clusters:
    """labels: the segment of each customer [m], segments by falling size; silhouette: how well they are told apart, −1 to 1.

    centres: [K, D] of scaled representations; shift, scale: [D], what they were scaled by.
    """

    labels: np.ndarray
    silhouette: float
    centres: np.ndarray
    shift: np.ndarray
    scale: np.ndarray

    def assign(self, embedding: np.ndarray) -> np.ndarray:
        """The nearest segment of representations [m, D], -1 for those that are NaN: int64 [m]."""
        scaled = (embedding - self.shift) / self.scale
        distance = ((scaled[:, None] - self.centres) ** 2).sum(-1)
        return np.where(np.isnan(distance[:, 0]), -1, distance.argmin(1))


def find_clusters(embedding: np.ndarray, *, seed: int) -> Clusters | None:
    """k-means (Lloyd 1982) on representations [m, D], with the number of segments that has the best silhouette (Rousseeuw 1987).

    None where there are too few different customers to tell segments apart.
    """
    shift, scale = embedding.mean(0), embedding.std(0)
    scale[scale == 0] = 1.0
    scaled = ((embedding - shift) / scale).astype(np.float64)
    most = min(MOST, len(np.unique(scaled, axis=0)) - 1)
    if most < FEWEST:
        return None
    fits = [KMeans(size, n_init=NUM_STARTS, random_state=seed).fit(scaled) for size in range(FEWEST, most + 1)]
    paired = min(MOST_PAIRED, len(scaled))
    quality = [_silhouette(scaled, fit.labels_, paired, seed) for fit in fits]
    best = int(np.argmax(quality))
    order = np.argsort(-np.bincount(fits[best].labels_), kind="stable")
    return Clusters(np.argsort(order)[fits[best].labels_], quality[best], fits[best].cluster_centers_[order], shift, scale)


def named(labels: np.ndarray, traits: list[Trait]) -> list[Segment]:
    """The segments of customers [m] with what distinguishes each; traits of the same customers."""
    segments: list[Segment] = []
    for label in range(int(labels.max()) + 1):
        members = labels == label
        distinct = distinguishing(traits, members)
        differences = {trait.name: round(by, 3) for trait, by in distinct}
        segments.append(Segment(ascii_uppercase[label], in_words(distinct, members), members, differences))
    return segments


def _silhouette(scaled: np.ndarray, labels: np.ndarray, paired: int, seed: int) -> float:
    chosen = np.random.default_rng(seed).choice(len(scaled), paired, replace=False)
    num_found = len(np.unique(labels[chosen]))
    return float(silhouette_score(scaled[chosen], labels[chosen])) if 1 < num_found < paired else -1.0
