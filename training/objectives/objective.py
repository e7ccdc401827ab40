"""What every objective promises: read its labels from the future, turn representations into a loss, and into answers."""

import abc
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from training.models.features import Grouping
from training.sequences.batch import Batch
from training.sequences.history import History


@dataclass
class Context:
    """representation: [Q, D], one row a question; item_weight: [num_items, D]."""

    batch: Batch
    grouping: Grouping
    representation: Tensor
    item_weight: Tensor


class Objective(nn.Module, abc.ABC):
    """One kind of question. `weight` is its share of the total loss."""

    weight: float

    @abc.abstractmethod
    def labels(self, known: History, now: np.ndarray, owner: np.ndarray, until: np.ndarray) -> dict[str, np.ndarray]:
        """What came after each moment, as far as it is known: `known` ends at `until` (µs [Q]); what lies beyond is censored, not zero."""

    @abc.abstractmethod
    def loss(self, context: Context, labels: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The sum of the losses of all labelled questions, and how many there are. Both scalars; their quotient is the loss."""

    @abc.abstractmethod
    def predict(self, context: Context) -> dict[str, Tensor]:
        """Named answers, one row a question."""
