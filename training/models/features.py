"""Events to steps and questions, from raw ids, times and numbers. All preprocessing that a model depends on happens here, inside the graph.

A step is everything that one customer did at one timestamp (a basket). It is the mean of its events, so their order can't matter.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kernels import ragged
from training.models import clock
from training.models.dropout import Dropout
from training.models.facts import Facts
from training.models.grouping import Grouping, group
from training.models.item_tower import ItemTower
from training.models.items import Items
from training.models.rhythm import Rhythm, rhythm_size
from training.models.tokens import Tokens, past_of_questions
from training.sequences.batch import Batch

ONE_KEY = 3  # the size of a vocabulary with one key beside the reserved two: what always says the same says nothing


@dataclass
class Embedded:
    """steps: a token a step; questions: a token a moment; grouping: events to steps.

    rhythm: the numbers behind the questions [Q, R], or [Q, 0] where nobody reads them.
    """

    steps: Tokens
    questions: Tokens
    rhythm: Tensor
    grouping: Grouping


class Features(nn.Module):
    """Embeds a batch: `steps`, one token a step, and `questions`, one token a moment. sparse_items: see `Items`.

    Where a log tells only in which order things happened, steps are what was in them, and a question starts from the latest of them, as in
    SASRec, instead of from the customer's rhythm. Where the model is not to tell items apart, it reads what was done, and not with which.
    """

    def __init__(
        self,
        *,
        categories: list[str],
        numbers: list[str],
        rhythm_events: list[str],
        dim: int,
        dropout: float,
        facts: Facts,
        sparse_items: bool = False,
    ) -> None:
        super().__init__()
        self.numbers, self.knows_times = numbers, facts.knows_times
        self.embeddings = nn.ModuleDict(
            {
                field: Items(facts.sizes[field], dim, sparse=sparse_items) if field == "item" else nn.Embedding(facts.sizes[field], dim)
                for field in _embedded(categories, facts)
            }
        )
        if self.items is not None and facts.said:
            self.items.tower = ItemTower(facts.said, dim)
        for parameter in self.embeddings.parameters():
            nn.init.normal_(parameter, std=0.05)
        if self.items is not None:
            with torch.no_grad():
                self.items.weight[torch.from_numpy(facts.new_items())] = 0.0  # known by what is said of them alone
        self.from_numbers = nn.Linear(2 * len(numbers), dim) if numbers else None
        if self.knows_times:
            self.from_step = nn.Linear(clock.CALENDAR_SIZE + 3, dim)
        else:
            self.norm_step = nn.LayerNorm(dim)
        self.rhythm = Rhythm(events=rhythm_events, facts=facts)
        if self.knows_times:
            self.from_rhythm = nn.Sequential(nn.Linear(rhythm_size(facts), 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))
        self.dropout = Dropout(dropout)

    @property
    def items(self) -> Items | None:
        """The item embeddings, shared by what is read and what is recommended; None where the model knows no items."""
        if "item" not in self.embeddings:
            return None
        return self.embeddings["item"]  # type: ignore[return-value]

    def forward(self, batch: Batch, *, with_rhythm: bool = True) -> Embedded:
        """The steps and questions of a batch. with_rhythm: whether anybody but the questions themselves reads it."""
        grouping = group(batch)
        steps = Tokens(self.dropout(self._steps(batch, grouping)), grouping.time, grouping.offsets)
        with_rhythm = with_rhythm or self.knows_times
        rhythm = self.rhythm(batch, grouping) if with_rhythm else steps.x.new_zeros(len(batch.now), 0)
        questions = Tokens(self.from_rhythm(rhythm), batch.now, batch.question_offsets) if self.knows_times else _latest(steps, batch)
        return Embedded(steps, questions, rhythm, grouping)

    def _steps(self, batch: Batch, grouping: Grouping) -> Tensor:
        event = sum(embedding(batch.fields[field]) for field, embedding in self.embeddings.items())
        if self.from_numbers is not None:
            event = event + self.from_numbers(torch.cat([_number(batch.fields[name]) for name in self.numbers], -1))
        num_steps = grouping.time.shape[0]
        count = torch.zeros(num_steps, device=event.device).index_add(0, grouping.step, torch.ones_like(grouping.step, dtype=torch.float32))
        mean = torch.zeros(num_steps, event.shape[1], device=event.device).index_add(0, grouping.step, event) / count[:, None]
        if not self.knows_times:
            return self.norm_step(mean)
        gap = torch.stack([count.log(), clock.log_days(grouping.gap), (grouping.gap < 0).to(torch.float32)], -1)
        return mean + self.from_step(torch.cat([clock.calendar(grouping.time), gap], -1))


def _embedded(categories: list[str], facts: Facts) -> list[str]:
    """Those of the fields that say anything; one at least."""
    items = {"item"} if facts.knows_items else set()
    return [field for field in categories if field in items or (field != "item" and facts.sizes[field] > ONE_KEY)] or ["event"]


def _latest(steps: Tokens, batch: Batch) -> Tokens:
    """Questions that are their latest step, or zeros where there is none."""
    owner = ragged.row_of_value(batch.question_offsets, batch.now.shape[0])
    past = past_of_questions(steps, Tokens(steps.x, batch.now, batch.question_offsets))
    padded = torch.cat([steps.x, steps.x.new_zeros(1, steps.x.shape[1])])
    latest = torch.where(past > 0, steps.offsets[owner] + past - 1, steps.x.shape[0])
    return Tokens(padded.index_select(0, latest), batch.now, batch.question_offsets, latest)


def _number(values: Tensor) -> Tensor:
    """A raw number as its signed logarithm and a flag for missing: [T, 2]."""
    missing = values.isnan()
    known = torch.where(missing, torch.zeros_like(values), values)
    return torch.stack([known.sign() * known.abs().log1p(), missing.to(values.dtype)], -1)
