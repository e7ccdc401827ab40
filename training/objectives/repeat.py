"""Copying from a customer's own history: how strongly each past event suggests its item again, and what that adds up to."""

import torch
from torch import Tensor, nn

from kernels import ragged
from training.models import clock
from training.models.facts import Facts
from training.objectives.objective import Context

AGE_KNOTS = 12  # log_days runs from 0 (now) to about 3 (a year): four knots a factor of 25 hours
MICROSECONDS_PER_HOUR = clock.MICROSECONDS_PER_DAY // 24
NEVER = -1e4  # a logit that adds nothing


class Repeat(nn.Module):
    """How strongly each past event suggests its item again: a curve over the logarithm of its age, piecewise linear.

    Its height at each knot is shared + the item's own + the event type's own + the customer's own. sparse: the gradient of the items' own
    holds only those in the batch. Where a log tells no times, an event is as many hours old as steps came after it.
    """

    can_be_copied: Tensor

    def __init__(self, dim: int, candidates: Tensor, facts: Facts, *, sparse: bool) -> None:
        super().__init__()
        self.register_buffer("can_be_copied", candidates, persistent=False)
        self.knows_times = facts.knows_times
        knots = torch.arange(AGE_KNOTS + 1, dtype=torch.float32) / 4
        self.shared = nn.Parameter(-1.0 - 1.5 * knots)  # log of a power law: older counts less
        self.of_item = nn.Embedding(facts.sizes["item"], AGE_KNOTS + 1, sparse=sparse)
        self.of_event = nn.Embedding(facts.sizes["event"], AGE_KNOTS + 1)
        self.of_customer = nn.Linear(dim, AGE_KNOTS + 1, bias=False)
        for weight in (self.of_item.weight, self.of_event.weight, self.of_customer.weight):
            nn.init.zeros_(weight)

    def forward(self, context: Context) -> tuple[Tensor, Tensor, Tensor]:
        """Question, event and logit of every pair of the same customer; later events and items not for sale count for nothing."""
        batch = context.batch
        question, event = ragged.pair_up(batch.question_offsets, batch.offsets)
        is_past = batch.fields["timestamp"][event] <= batch.now[question]
        if self.knows_times:
            age = batch.now[question] - batch.fields["timestamp"][event]
        else:
            age = steps_back(context, question, event, is_past) * MICROSECONDS_PER_HOUR
        knot = (clock.log_days(age) * 4).clamp(max=AGE_KNOTS - 1)
        below = knot.floor()
        share = knot - below
        by_event = self.of_item(batch.fields["item"]) + self.of_event(batch.fields["event"]) + self.shared
        by_question = self.of_customer(context.representation)
        lower = below.to(torch.int64)

        def height(index: Tensor) -> Tensor:
            flat = by_event.flatten()[event * (AGE_KNOTS + 1) + index]
            return flat + by_question.flatten()[question * (AGE_KNOTS + 1) + index]

        logit = height(lower) * (1 - share) + height(lower + 1) * share
        counts = is_past & self.can_be_copied[batch.fields["item"]][event]
        return question, event, torch.where(counts, logit, torch.full_like(logit, NEVER))


def steps_back(context: Context, question: Tensor, event: Tensor, is_past: Tensor) -> Tensor:
    """How many steps each event lies behind the latest that its question knows, int64 [P]; below 0 where it lies after that."""
    step = context.grouping.step[event]
    latest = torch.full_like(context.batch.now, -1).scatter_reduce(0, question, torch.where(is_past, step, -1), "amax")
    return latest[question] - step


def segment_logsumexp(values: Tensor, segment: Tensor, num_segments: int) -> Tensor:
    """log Σ exp of the values of each segment: [num_segments]; a very low number where a segment is empty."""
    top = torch.full((num_segments,), NEVER, device=values.device).scatter_reduce(0, segment, values.detach(), "amax")
    total = torch.zeros(num_segments, device=values.device).index_add(0, segment, (values - top[segment]).exp())
    return top + total.clamp(min=1e-30).log()
