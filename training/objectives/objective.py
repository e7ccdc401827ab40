"""What every objective promises: read its labels from the future, turn representations into a loss, and into answers.

It also says what its answers are and what they are compared with: contract, summary and report are built from that.
"""

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from kernels import ragged
from training.evaluation.compared import Comparison, of_the_model_alone
from training.evaluation.rivals import Rivals
from training.models.grouping import Grouping
from training.models.items import Items
from training.sequences.batch import Batch
from training.sequences.history import History, Log
from training.sequences.split import Split, Window


@dataclass
class Context:
    """What objectives work on. representation: [Q, D], a row a question; items: ids to vectors, [N] to [N, D]; None where
    the model knows no items.

    rhythm: [Q, rhythm_size], what RFM and the like know of each question (training.models.rhythm).
    """

    batch: Batch
    grouping: Grouping
    rhythm: Tensor
    representation: Tensor
    items: Items | None

    @property
    def item_weight(self) -> Tensor:
        """The vectors of all items: [num_items, D]."""
        assert self.items is not None
        return self.items.table

    def vectors_of(self, items: Tensor) -> Tensor:
        """The vectors of some items: [N] to [N, D]."""
        assert self.items is not None
        vectors: Tensor = self.items(items)
        return vectors

    def only(self, chosen: Tensor) -> "Context":
        """The same customers, asked only the chosen questions: bool [Q]."""
        return self.each(chosen.to(torch.int64))

    def each(self, times: Tensor) -> "Context":
        """The same customers, each question asked so many times: int64 [Q]."""
        counts = torch.zeros_like(self.batch.question_offsets[1:])
        owner = ragged.row_of_value(self.batch.question_offsets, times.shape[0])
        offsets = ragged.offsets_of_lengths(counts.index_add(0, owner, times))
        now, rhythm, x = (values.repeat_interleave(times, 0) for values in (self.batch.now, self.rhythm, self.representation))
        return Context(replace(self.batch, now=now, question_offsets=offsets, labels={}), self.grouping, rhythm, x, self.items)


@dataclass(frozen=True)
class Output:
    """One named answer. shape: of one question's. vocabulary: of the field whose ids it holds; callers receive its keys, without `_id`."""

    name: str
    dtype: str
    unit: str
    shape: tuple[int, ...] = ()
    vocabulary: str = ""

    @property
    def served_as(self) -> str:
        """The name by which callers know it."""
        return self.name.removesuffix("_id") if self.vocabulary else self.name


class Objective(nn.Module, abc.ABC):
    """One kind of question.

    weight: its share of the total loss. headline: the metric by which it is judged, more is better. section: its name in summary.json,
    where that is not its name in the config. chosen_by_loss: validation chooses the epoch by its loss, not by its headline: the likelihood
    of an outcome hears of order and of calibration alike. sees_a_sample: it learns from a few items of the catalogue at a time.
    reads_rhythm: it looks at what RFM knows of a question, beside the representation. reads: fields of events that it looks at itself.
    hears: the name of another objective of the same model whose answers it takes up; empty for none.
    """

    weight: float
    headline: str
    section: str = ""
    chosen_by_loss: bool = True
    sees_a_sample: bool = False
    reads_rhythm: bool = True
    reads: Sequence[str] = ()
    hears: str = ""

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

    @property
    @abc.abstractmethod
    def outputs(self) -> list[Output]:
        """What `predict` answers, in this order."""

    @abc.abstractmethod
    def predict(self, context: Context) -> dict[str, Tensor]:
        """Named answers, one row a question."""

    @property
    def terms(self) -> Mapping[str, int | float | list[float] | list[str]]:
        """What a reader of the contract must know beside the outputs, by its names there."""
        return {}

    @property
    def decided(self) -> Mapping[str, bool]:
        """Settings that may be left to the log, by their names in the config, as they were decided: figures are read by them."""
        return {}

    def why_not_judged(self, _split: Split) -> str:
        """Why the answers can't be judged under a split, in a sentence; empty where they can."""
        return ""

    def listen(self, _other: "Objective") -> None:
        """To the one that it `hears`, before anything is learned. Raises ConfigError where that one can't tell what is to be taken up."""

    def check_answerable(self, log: Log, split: Split) -> None:
        """Raises ConfigError where the log can't judge the answers, or a baseline's, on the validation or the test window."""

    def calibrate(self, _asked: Sequence[tuple[Context, Mapping[str, Tensor]]]) -> None:
        """Learn from the validation window, whose batches these are, to mean what is said. What is learned is part of the weights."""

    def take_over(self, _chosen: Self) -> None:
        """What was chosen on validation by the same objective of a model that had not seen it, where this one has."""

    def compare(self, _rivals: Rivals, customers: np.ndarray, evidence: dict[str, np.ndarray]) -> list[Comparison]:
        """The answers in the test window beside those of baselines, of which there may be none.

        customers: positions, rising [n]; evidence: what `judge` found of each.
        """
        judged = ~np.any([np.isnan(values) for values in evidence.values()], axis=0)
        return [of_the_model_alone(type(self).__name__, customers[judged], self.summarise(evidence))]

    def labels_in(self, log: Log, window: Window) -> dict[str, np.ndarray]:
        """What every customer who is asked in a window will be judged by."""
        asked = np.flatnonzero(window.asked)
        return self.labels(History.at(log, window.until), window.now[asked], asked, window.until[asked])
