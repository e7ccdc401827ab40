"""Events to steps and questions, from raw ids, times and numbers. All preprocessing that a model depends on happens here, inside the graph.

A step is everything that one customer did at one timestamp (a basket). It is the mean of its events, so their order can't matter.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kernels import ragged
from training.models import clock
from training.models.facts import Facts
from training.models.rhythm import RHYTHM_SIZE, Rhythm
from training.sequences.batch import Batch


@dataclass
class Tokens:
    """x [N, D], time µs [N], offsets [B + 1] by customer."""

    x: Tensor
    time: Tensor
    offsets: Tensor


@dataclass
class Grouping:
    """owner, step: customer and step of each event [T]. time: µs of each step [S], gap: µs since the one before [S]; offsets of steps."""

    owner: Tensor
    step: Tensor
    time: Tensor
    offsets: Tensor
    gap: Tensor


@dataclass
class Embedded:
    """steps: a token a step; questions: a token a moment; rhythm: the numbers behind the questions [Q, R]; grouping: events to steps."""

    steps: Tokens
    questions: Tokens
    rhythm: Tensor
    grouping: Grouping


class Features(nn.Module):
    """Embeds a batch: `steps`, one token a step, and `questions`, one token a moment."""

    def __init__(
        self, *, categories: list[str], numbers: list[str], rhythm_events: list[str], dim: int, dropout: float, facts: Facts
    ) -> None:
        super().__init__()
        self.numbers = numbers
        self.embeddings = nn.ModuleDict({field: nn.Embedding(facts.sizes[field], dim) for field in categories})
        for parameter in self.embeddings.parameters():
            nn.init.normal_(parameter, std=0.05)
        self.from_numbers = nn.Linear(2 * len(numbers), dim) if numbers else None
        self.from_step = nn.Linear(clock.CALENDAR_SIZE + 3, dim)
        self.rhythm = Rhythm(events=rhythm_events, facts=facts)
        self.from_rhythm = nn.Sequential(nn.Linear(RHYTHM_SIZE, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))
        self.dropout = nn.Dropout(dropout)

    @property
    def item_weight(self) -> Tensor:
        """The item embeddings [num_items, D], shared by what is read and what is recommended."""
        return self.embeddings["item"].weight  # type: ignore[return-value]

    def forward(self, batch: Batch) -> Embedded:
        """The steps and questions of a batch."""
        grouping = group(batch)
        steps = Tokens(self.dropout(self._steps(batch, grouping)), grouping.time, grouping.offsets)
        rhythm = self.rhythm(batch, grouping)
        return Embedded(steps, Tokens(self.from_rhythm(rhythm), batch.now, batch.question_offsets), rhythm, grouping)

    def _steps(self, batch: Batch, grouping: Grouping) -> Tensor:
        event = sum(embedding(batch.fields[field]) for field, embedding in self.embeddings.items())
        if self.from_numbers is not None:
            event = event + self.from_numbers(torch.cat([_number(batch.fields[name]) for name in self.numbers], -1))
        num_steps = grouping.time.shape[0]
        count = torch.zeros(num_steps, device=event.device).index_add(0, grouping.step, torch.ones_like(grouping.step, dtype=torch.float32))
        mean = torch.zeros(num_steps, event.shape[1], device=event.device).index_add(0, grouping.step, event) / count[:, None]
        gap = torch.stack([count.log(), clock.log_days(grouping.gap), (grouping.gap < 0).to(torch.float32)], -1)
        return mean + self.from_step(torch.cat([clock.calendar(grouping.time), gap], -1))


def group(batch: Batch) -> Grouping:
    """Events of one customer with the same timestamp become one step. A customer's first step has gap -1."""
    time, num_events = batch.fields["timestamp"], batch.fields["timestamp"].shape[0]
    owner = ragged.row_of_value(batch.offsets, num_events)
    starts = (time != torch.cat([time[:1] - 1, time[:-1]])) | (owner != torch.cat([owner[:1] - 1, owner[:-1]]))
    step = starts.to(torch.int64).cumsum(0) - 1
    num_steps = ragged.size_of(starts.to(torch.int64).sum())
    step_time = time.new_zeros(num_steps).scatter(0, step, time)
    step_owner = owner.new_zeros(num_steps).scatter(0, step, owner)
    per_customer = owner.new_zeros(batch.offsets.shape[0] - 1)
    offsets = ragged.offsets_of_lengths(per_customer.scatter_add(0, step_owner, torch.ones_like(step_owner)))
    before = torch.cat([step_time[:1], step_time[:-1]])
    is_first = torch.arange(num_steps, device=time.device) == offsets[step_owner]
    gap = torch.where(is_first, torch.full_like(step_time, -1), step_time - before)
    return Grouping(owner, step, step_time, offsets, gap)


def _number(values: Tensor) -> Tensor:
    """A raw number as its signed logarithm and a flag for missing: [T, 2]."""
    missing = values.isnan()
    known = torch.where(missing, torch.zeros_like(values), values)
    return torch.stack([known.sign() * known.abs().log1p(), missing.to(values.dtype)], -1)
