"""Which category an event is of, and what a customer has bought of each so far."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
import torch
from torch import Tensor, nn

from kernels import ragged
from training.errors import ConfigError
from training.models import clock
from training.models.facts import Facts
from training.objectives.objective import Context
from training.sequences.history import Log

WINDOW_DAYS = (14.0, 56.0, 182.0, 3650.0)
NEVER_DAYS = 3650.0
OWN_SIZE = len(WINDOW_DAYS) + 1


@dataclass(frozen=True)
class Categories:
    """names: the categories that are asked about [K]. field: of which field's ids it depends: a field of events, or the item.

    place: of each id of that field, where its category stands among the names, -1 where it is none of them: int64.
    """

    names: list[str]
    field: str
    place: np.ndarray

    @classmethod
    def of(cls, facts: Facts, field: str, wanted: list[str] | int, *, kinds: np.ndarray) -> "Categories":
        """By a category field of events or, where they have none of that name, an attribute of items.

        wanted: names, or how many of those that training saw bought most often (kinds: ids of such events). Raises ConfigError for a name
        that the log does not have.
        """
        told_by, texts = _texts(facts, field)
        bought = facts.training.columns[told_by][np.isin(facts.training.columns["event"], kinds)]
        counts: dict[str, int] = {}
        for text, count in zip(texts, np.bincount(bought, minlength=len(texts)).tolist(), strict=True):
            counts[text] = counts.get(text, 0) + count
        names = _most_bought(counts, wanted) if isinstance(wanted, int) else _checked(wanted, counts, field)
        numbers = {name: number for number, name in enumerate(names)}
        return cls(names, told_by, np.array([numbers.get(text, -1) for text in texts]))

    def of_events(self, events: Log) -> np.ndarray:
        """Where the category of each event stands among the names, -1 for others: int64 [N]."""
        return self.place[events.columns[self.field]]


class OwnCategories(nn.Module):
    """What a customer has bought of each category by the moment of a question: how often in some windows, and how long ago."""

    place: Tensor
    is_purchase: Tensor
    windows: Tensor

    def __init__(self, categories: Categories, *, kinds: np.ndarray, num_events: int) -> None:
        super().__init__()
        self.field, self.num_categories = categories.field, len(categories.names)
        is_purchase = torch.zeros(num_events, dtype=torch.bool)
        is_purchase[torch.from_numpy(kinds)] = True
        self.register_buffer("place", torch.from_numpy(categories.place), persistent=False)
        self.register_buffer("is_purchase", is_purchase, persistent=False)
        self.register_buffer("windows", torch.tensor(WINDOW_DAYS), persistent=False)

    def forward(self, context: Context) -> Tensor:
        """float32 [Q, K, OWN_SIZE]; events after a question's moment count for nothing."""
        batch = context.batch
        num_cells = batch.now.shape[0] * self.num_categories
        question, event = ragged.pair_up(batch.question_offsets, batch.offsets)
        since = batch.now[question] - batch.fields["timestamp"][event]
        category = self.place[batch.fields[self.field]][event]
        counts = (since >= 0) & self.is_purchase[batch.fields["event"]][event] & (category >= 0)
        cell, age = question * self.num_categories + category.clamp(min=0), clock.days(since)
        within = (counts[:, None] & (age[:, None] < self.windows)).to(torch.float32)
        sums = torch.zeros(num_cells, len(WINDOW_DAYS), device=age.device).index_add(0, cell, within)
        far = torch.full_like(age, NEVER_DAYS)
        latest = torch.full((num_cells,), NEVER_DAYS, device=age.device)
        latest = latest.scatter_reduce(0, cell, torch.where(counts, age, far), "amin")
        own = torch.cat([sums.log1p(), latest.log1p()[:, None]], -1)
        return own.view(batch.now.shape[0], self.num_categories, OWN_SIZE)


def _texts(facts: Facts, field: str) -> tuple[str, Sequence[str]]:
    """The field by whose ids an event's category is told, and the category of each id."""
    if field in facts.vocabularies and field not in ("item", "event"):
        return field, facts.vocabularies[field].keys
    attributes: Mapping[str, list[str]] = facts.vocabularies["item"].attributes if "item" in facts.vocabularies else {}
    if field not in attributes:
        known = sorted({*facts.vocabularies, *attributes} - {"item", "event"})
        raise ConfigError(
            f"expected objectives.intent.category to be a category field of this log or an attribute of its items "
            f"({', '.join(known) or 'it has none'}), received {field}; correct it or leave categories out"
        )
    return "item", attributes[field]


def _most_bought(counts: Mapping[str, int], size: int) -> list[str]:
    ranked = sorted((-count, text) for text, count in counts.items() if text and count)
    return [text for _, text in ranked[:size]]


def _checked(wanted: list[str], counts: Mapping[str, int], field: str) -> list[str]:
    for name in wanted:
        if not name or name not in counts:
            near = get_close_matches(name, counts, n=1)
            remedy = f"did you mean {near[0]}?" if near else "correct it"
            raise ConfigError(f"expected objectives.intent.categories to name values of {field}, received {name!r}; {remedy}")
    return list(dict.fromkeys(wanted))
