"""What every objective promises: read its labels from the future, turn representations into a loss, and into answers."""

import abc
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from kernels import ragged
from training.models.grouping import Grouping
from training.sequences.batch import Batch
from training.sequences.history import History


@dataclass
class Context:
    """What objectives work on. representation: [Q, D], a row a question; item_weight: [num_items, D].

    rhythm: [Q, RHYTHM_SIZE], what RFM and the like know of each question (training.models.rhythm).
    """

    batch: Batch
    grouping: Grouping
    rhythm: Tensor
    representation: Tensor
    item_weight: Tensor

    def only(self, chosen: Tensor) -> "Context":
        """The same customers, asked only the chosen questions: bool [Q]."""
        counts = torch.zeros_like(self.batch.question_offsets[1:])
        owner = ragged.row_of_value(self.batch.question_offsets, chosen.shape[0])
        counts = counts.index_add(0, owner[chosen], torch.ones_like(owner[chosen]))
        batch = replace(self.batch, now=self.batch.now[chosen], question_offsets=ragged.offsets_of_lengths(counts), labels={})
        return Context(batch, self.grouping, self.rhythm[chosen], self.representation[chosen], self.item_weight)


class Objective(nn.Module, abc.ABC):
    """One kind of question. `weight` is its share of the total loss; `headline`: the metric by which it is judged, more is better."""

    weight: float
    headline: str

    @abc.abstractmethod
    def labels(self, known: History, now: np.ndarray, owner: np.ndarray, until: np.ndarray) -> dict[str, np.ndarray]:
        """What came after each moment, as far as it is known: `known` ends at `until` (µs [Q]); what lies beyond is censored, not zero."""

    @abc.abstractmethod
    def loss(self, context: Context, labels: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The sum of the losses of all labelled questions, and how many there are. Both scalars; their quotient is the loss."""

    @abc.abstractmethod
    def judge(self, context: Context, labels: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
        """What `summarise` needs to know of each question, one array entry a question; questions that can't be judged are NaN."""

    @abc.abstractmethod
    def summarise(self, evidence: dict[str, np.ndarray]) -> dict[str, float]:
        """The quality over many questions, by the field's names."""

    @abc.abstractmethod
    def predict(self, context: Context) -> dict[str, Tensor]:
        """Named answers, one row a question."""
