"""The batches of training, validation and test, from a log and its split.

The same seed and epoch give the same batches on any number of processes.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset

from training.errors import ConfigError
from training.sequences.batch import Batch
from training.sequences.history import History, Log, count_until, keep_last, take
from training.sequences.moments import Moments
from training.sequences.questions import Questions
from training.sequences.split import Split, Window

FEWEST_TOKENS = 128  # in smaller batches a step is all overhead


def num_batches(size: int, size_of_batch: int) -> int:
    """Batches that so many customers, or tokens, make."""
    return -(-size // size_of_batch)


def tokens_per_batch_of(log: Log, until: np.ndarray, *, max_events: int, batches_per_epoch: int) -> int:
    """How many events make a batch where an epoch is to have about so many batches; at least as many as are worth one."""
    return max(FEWEST_TOKENS, num_batches(int(np.minimum(count_until(log, until), max_events).sum()), batches_per_epoch))


class TrainingBatches(Dataset[Batch]):
    """One epoch: customers of similar length together, so that little is padded; each at freshly drawn moments.

    tokens_per_batch: about how many events a batch holds, where that is given and not how many customers: batches then cost much the same.
    """

    def __init__(
        self,
        questions: Questions,
        split: Split,
        moments: Moments,
        *,
        customers_per_batch: int,
        tokens_per_batch: int | None = None,
        seed: int,
        epoch: int,
        rank: int,
        num_ranks: int,
    ) -> None:
        self.questions = questions
        self.until = split.train_until
        self.moments = moments
        self.customers_per_batch, self.tokens_per_batch = customers_per_batch, tokens_per_batch
        self.seed, self.epoch = seed, epoch
        self.rank, self.num_ranks = rank, num_ranks
        self.num_events = count_until(questions.log, split.train_until)
        self.customers = np.flatnonzero(self.num_events)
        self.groups = self._groups()
        smallest = min(map(len, self.groups))
        if smallest < num_ranks:
            raise ConfigError(
                f"expected a customer for each of {num_ranks} processes in every batch, received a batch of {smallest}; "
                f"set {'tokens' if tokens_per_batch else 'customers'}_per_batch higher or trainer.devices lower"
            )

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, index: int) -> Batch:
        return self.of(self.groups[index][self.rank :: self.num_ranks])

    def of(self, mine: np.ndarray) -> Batch:
        """Some customers [B] at the moments of this epoch."""
        now, counts = self._draw(mine, Generators(self.seed, self.epoch, mine))
        return self.questions.ask(mine, now, counts, self.until[mine])

    def _groups(self) -> list[np.ndarray]:
        """Customers of roughly the same length, to pad little. Roughly: a batch of one length is of one loyalty, and pulls astray."""
        generator = np.random.default_rng([self.seed, self.epoch])
        noisy_length = self.num_events[self.customers] * generator.lognormal(0.0, 0.5, len(self.customers))
        by_length = self.customers[np.argsort(noisy_length, kind="stable")]
        groups = self._of_like_size(by_length)
        return [groups[index] for index in generator.permutation(len(groups))]

    def _of_like_size(self, customers: np.ndarray) -> list[np.ndarray]:
        if self.tokens_per_batch is None:
            return np.array_split(customers, num_batches(len(customers), self.customers_per_batch))
        tokens = np.minimum(self.num_events[customers], self.questions.max_events)
        middle, total = tokens.cumsum() - tokens / 2, tokens.sum()
        group = (middle * num_batches(total, self.tokens_per_batch) / total).astype(np.int64)
        return np.split(customers, np.flatnonzero(np.diff(group)) + 1)

    def _draw(self, customers: np.ndarray, generators: Sequence[np.random.Generator]) -> tuple[np.ndarray, np.ndarray]:
        """Moments within a stretch of each history that fits into `max_events`.

        Where a history is longer, the stretch ends at random between the moment at which it was full and the end of training: at a time,
        not at an event, or silence after many events would hardly ever be seen. Of a stretch that does not reach back to the customer's
        first event the earlier half is only read: a moment there would see next to nothing of a long history, as no answer ever does.
        """
        known, until = History.at(take(self.questions.log, customers), self.until[customers]), self.until[customers]
        max_events, timestamp, born = self.questions.max_events, known.columns["timestamp"], known.offsets[:-1]
        is_longer = known.num_events > max_events
        full = timestamp[born + np.where(is_longer, max_events - 1, 0)]
        share = np.array([generators[place].random() if longer else 1.0 for place, longer in enumerate(is_longer)])
        until = np.where(is_longer, full + (share * (until - full)).astype(np.int64), until)
        before = History.at(known, until)
        asked = keep_last(before, np.where(before.num_events > max_events, max(1, max_events // 2), max_events))
        return self.moments.draw(asked, timestamp[born], until, generators)


class Generators(Sequence[np.random.Generator]):
    """Each customer's own random numbers, the same in whichever batch; made when asked for, which costs more than to draw from them."""

    def __init__(self, seed: int, epoch: int, customers: np.ndarray) -> None:
        self._seed, self._epoch, self._customers = seed, epoch, customers
        self._made: dict[int, np.random.Generator] = {}

    def __len__(self) -> int:
        return len(self._customers)

    def __getitem__(self, place: Any) -> Any:
        if place not in range(len(self)):
            raise IndexError(place)
        if place not in self._made:
            self._made[place] = np.random.default_rng([self._seed, self._epoch, self._customers[place]])
        return self._made[place]


class EpochLoader:
    """The batches of one epoch in order, from the position on that a checkpoint remembers; by `state_dict` Lightning keeps it there."""

    def __init__(self, batches: TrainingBatches) -> None:
        self.batches = batches
        self.position = 0

    def __len__(self) -> int:
        return len(self.batches)  # of the whole epoch, wherever it goes on

    def __iter__(self) -> Iterator[Batch]:
        while self.position < len(self.batches):
            self.position += 1
            yield self.batches[self.position - 1]
        self.position = 0

    def state_dict(self) -> dict[str, int]:
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.position = state["position"]


class WindowBatches(Dataset[Batch]):
    """Every customer of a window that is asked, once, at its moment; `customers` is their order, shortest history first."""

    def __init__(self, questions: Questions, window: Window, *, customers_per_batch: int) -> None:
        self.questions = questions
        self.window = window
        asked = np.flatnonzero(window.asked)
        self.customers = asked[np.argsort(np.diff(questions.log.offsets)[asked], kind="stable")]
        self.customers_per_batch = customers_per_batch

    def __len__(self) -> int:
        return num_batches(len(self.customers), self.customers_per_batch)

    def __getitem__(self, index: int) -> Batch:
        if index >= len(self):
            raise IndexError(index)
        customers = self.customers[index * self.customers_per_batch : (index + 1) * self.customers_per_batch]
        return self.questions.ask(
            customers, self.window.now[customers], np.ones(len(customers), dtype=np.int64), self.window.until[customers]
        )


class SequenceData(pl.LightningDataModule):
    """What Lightning's trainer asks for. Every process validates on everything: results do not depend on how many there are."""

    def __init__(
        self,
        log: Log,
        split: Split,
        questions: Questions,
        moments: Moments,
        *,
        customers_per_batch: int,
        tokens_per_batch: int | None = None,
        seed: int,
    ) -> None:
        super().__init__()
        self.log = log
        self.split = split
        self.questions = questions
        self.moments = moments
        self.customers_per_batch, self.tokens_per_batch = customers_per_batch, tokens_per_batch
        self.seed = seed

    def train_dataloader(self) -> EpochLoader:
        trainer = self.trainer
        epoch, rank, num_ranks = (trainer.current_epoch, trainer.global_rank, trainer.world_size) if trainer else (0, 0, 1)
        return EpochLoader(self.training_batches(epoch=epoch, rank=rank, num_ranks=num_ranks))

    def training_batches(self, *, epoch: int, rank: int, num_ranks: int) -> TrainingBatches:
        """The share of one process in an epoch. Raises ConfigError where a batch has not a customer for each."""
        return TrainingBatches(
            self.questions,
            self.split,
            self.moments,
            customers_per_batch=self.customers_per_batch,
            tokens_per_batch=self.tokens_per_batch,
            seed=self.seed,
            epoch=epoch,
            rank=rank,
            num_ranks=num_ranks,
        )

    def val_dataloader(self) -> DataLoader[Batch]:
        return DataLoader(
            WindowBatches(self.questions, self.split.validation, customers_per_batch=self.customers_per_batch), batch_size=None
        )

    def test_dataloader(self) -> DataLoader[Batch]:
        return DataLoader(WindowBatches(self.questions, self.split.test, customers_per_batch=self.customers_per_batch), batch_size=None)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, _dataloader: int) -> Batch:
        return batch.to(device)
