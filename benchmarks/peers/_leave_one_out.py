"""What the peers of `python -m benchmarks.train` share: the question, the clock and the figure. Standard library alone."""

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import log2
from pathlib import Path

K = 10


@dataclass(frozen=True)
class Settings:
    """The same for everybody. loss: `full`, or `sampled` with num_negatives. max_length: items that a model reads.

    until: stop once validation NDCG@10 is that high (None: train all epochs); judged: whether validation is asked at all.
    longest: seconds of an epoch after which no other follows (None: all do); within: seconds of training after which none does.
    """

    epochs: int
    loss: str
    num_negatives: int
    dim: int
    num_blocks: int
    num_heads: int
    dropout: float
    max_length: int
    batch_size: int
    learning_rate: float
    seed: int
    judged: bool = False
    until: float | None = None
    longest: float | None = None
    within: float | None = None


@dataclass(frozen=True)
class Customers:
    """A line a customer: all but the last two items to learn from, the last but one to validate, the last one to test."""

    names: list[str]
    items: list[list[str]]

    @classmethod
    def read(cls, path: str) -> "Customers":
        rows = [line.split() for line in Path(path).read_text().splitlines()]
        return cls([row[0] for row in rows], [row[1:] for row in rows])

    @property
    def training(self) -> list[list[str]]:
        return [items[:-2] for items in self.items]

    @property
    def known_at_test(self) -> list[list[str]]:
        return [items[:-1] for items in self.items]


@dataclass
class Diary:
    """Seconds of each epoch and the validation NDCG@10 after it. valid, test: what asks the model as it now is."""

    settings: Settings
    ask_validation: Callable[[], float]
    ask_test: Callable[[], float]
    seconds: list[float] = field(default_factory=list)
    valid: list[float] = field(default_factory=list)

    def note(self, seconds: float) -> bool:
        """Write an epoch down. Whether it is enough."""
        self.seconds.append(seconds)
        if self.settings.judged:
            self.valid.append(self.ask_validation())
        wanted, longest, within = self.settings.until, self.settings.longest, self.settings.within
        reached = wanted is not None and self.valid[-1] >= wanted
        return reached or (longest is not None and seconds > longest) or (within is not None and sum(self.seconds) >= within)

    def close(self) -> None:
        """Ask the test once, where anything is asked at all, and print everything as the last line."""
        test = self.ask_test() if self.settings.judged else None
        print(json.dumps({"seconds": self.seconds, "valid": self.valid, "test": test}))


def diary_of(settings: Settings, customers: Customers, recommend: Callable[[list[list[str]]], Sequence[Sequence[str]]]) -> Diary:
    """recommend: histories to the ten best items of each, what was had among them."""
    before_last, last = ([items[place] for items in customers.items] for place in (-2, -1))
    return Diary(
        settings,
        lambda: ndcg(recommend(customers.training), before_last),
        lambda: ndcg(recommend(customers.known_at_test), last),
    )


class Clock:
    """Lightning's hooks, of whichever of its two packages: the seconds of each epoch's training alone go to `note`.

    note: a plain function, since trainers are copied together with their callbacks.
    """

    def __init__(self, note: Callable[[float], bool]) -> None:
        super().__init__()
        self.note = note
        self.began = self.ended = 0.0

    def on_train_start(self, *_: object) -> None:
        self.began = time.perf_counter()

    def on_train_batch_end(self, *_: object) -> None:
        self.ended = time.perf_counter()

    def on_train_epoch_end(self, trainer: object, module: object) -> None:
        trainer.should_stop = self.note(self.ended - self.began)  # type: ignore[attr-defined]
        module.train()  # type: ignore[attr-defined]
        self.began = time.perf_counter()


def ndcg(recommended: Sequence[Sequence[str]], wanted: Sequence[str]) -> float:
    """NDCG@10 where one item is wanted: 1 / log2(1 + its place) on average, 0 beyond the tenth."""
    found = [list(items[:K]).index(item) if item in items[:K] else None for items, item in zip(recommended, wanted, strict=True)]
    return sum(1 / log2(2 + place) for place in found if place is not None) / len(found)


def asked() -> tuple[Path, Settings]:
    """The command line: `python SCRIPT LINES SETTINGS`, settings as JSON."""
    return Path(sys.argv[1]), Settings(**json.loads(sys.argv[2]))
