"""What a shop's own arithmetic knows of a customer at a moment: recency, frequency, money over several windows, and the rhythm of visits.

RFM is a summary of the log; here it is computed inside the graph at each question's own moment and given to the network as one more
thing to read, so that a sequence model starts from what the baseline knows.
"""

import torch
from torch import Tensor, nn

from kernels import ragged
from training.models import clock
from training.models.activity import FAR_DAYS, Activity, activity_size
from training.models.facts import Facts
from training.models.grouping import Grouping
from training.sequences.batch import Batch

WINDOW_DAYS = (1, 3, 7, 14, 28, 56, 91, 182, 365)
NUM_WEEKS = 26  # half a year of weeks, each with or without a purchase: the regularity that sums over windows lose
RHYTHM_SIZE = 3 * len(WINDOW_DAYS) + NUM_WEEKS + 3 + 7 + 8 + clock.CALENDAR_SIZE
YEAR_PURCHASES, YEAR_SPEND = len(WINDOW_DAYS) - 1, 3 * len(WINDOW_DAYS) - 1  # where log(1 + of the last year) stands
_REGULARITY = RHYTHM_SIZE - clock.CALENDAR_SIZE - 8  # where it begins, and then logarithms of 1 + ...
SINCE_PURCHASE = _REGULARITY + 1  # ... hours since the latest purchase
SINCE_FIRST = _REGULARITY + 2  # ... days since the first step
OWN_GAP = _REGULARITY + 5  # ... mean days between the customer's purchases; 0 before the second
NUM_PURCHASES = _REGULARITY + 7  # ... steps with a purchase


def rhythm_size(facts: Facts) -> int:
    """How many numbers a question: RHYTHM_SIZE, then those of the events that are counted beside purchases, and of visits."""
    return RHYTHM_SIZE + activity_size(facts)


class Rhythm(nn.Module):
    """rhythm_size numbers a question, the calendar of its moment among them. events: the names of the events that count as a purchase."""

    is_purchase: Tensor
    windows: Tensor
    weeks: Tensor

    def __init__(self, *, events: list[str], facts: Facts) -> None:
        super().__init__()
        is_purchase = torch.zeros(facts.sizes["event"], dtype=torch.bool)
        is_purchase[torch.from_numpy(facts.event_ids(events))] = True
        self.activity = Activity(facts) if activity_size(facts) else None
        self.register_buffer("is_purchase", is_purchase, persistent=False)
        self.register_buffer("windows", torch.tensor(WINDOW_DAYS) * clock.MICROSECONDS_PER_DAY, persistent=False)
        self.register_buffer("weeks", torch.arange(NUM_WEEKS) * 7 * clock.MICROSECONDS_PER_DAY, persistent=False)

    def forward(self, batch: Batch, grouping: Grouping) -> Tensor:
        """[Q, rhythm_size]. Steps after a question's moment count for nothing."""
        of_step = self._of_step(batch, grouping)
        question, step = ragged.pair_up(batch.question_offsets, grouping.offsets)
        age = batch.now[question] - grouping.time[step]
        past = (age >= 0).to(torch.float32)[:, None]
        bought, bought_items, spent, weekday, gap = (past * part[step] for part in of_step)
        within = (age[:, None] < self.windows).to(torch.float32)
        in_week = ((age[:, None] >= self.weeks) & (age[:, None] < self.weeks + self.weeks[1])).to(torch.float32) * bought
        parts = [within * bought, within * bought_items, within * spent, in_week, weekday, gap, past, bought]
        sums = torch.zeros(batch.now.shape[0], sum(part.shape[1] for part in parts), device=age.device)
        sums = sums.index_add(0, question, torch.cat(parts, -1))
        over_windows, weeks, by_weekday, gaps, steps, purchases = sums.split([3 * len(WINDOW_DAYS), NUM_WEEKS, 7, 2, 1, 1], -1)
        active = (weeks > 0).to(torch.float32)
        active_weeks = torch.stack([active[:, :4].sum(-1), active[:, :12].sum(-1), active.sum(-1)], -1) / 4
        return torch.cat(
            [
                over_windows.log1p(),
                active,
                active_weeks,
                by_weekday / purchases.clamp(min=1),
                self._regularity(batch, question, clock.days(age), past[:, 0], bought[:, 0], gaps, steps, purchases),
                clock.calendar(batch.now),
                *([self.activity(batch, grouping, question, step)] if self.activity else []),
            ],
            -1,
        )

    def _of_step(self, batch: Batch, grouping: Grouping) -> list[Tensor]:
        """Of each step: anything bought (0 or 1), how much, for how much, on which weekday [7]; days since the one before, their square."""
        purchase = self.is_purchase[batch.fields["event"]].to(torch.float32)
        amount = purchase
        if "price" in batch.fields:
            amount = amount * batch.fields["price"].nan_to_num(0.0)
        if "quantity" in batch.fields:
            amount = amount * batch.fields["quantity"].nan_to_num(1.0)
        sums = torch.zeros(grouping.time.shape[0], 2, device=amount.device)
        sums = sums.index_add(0, grouping.step, torch.stack([purchase, amount.clamp(min=0)], -1))
        bought = (sums[:, :1] > 0).to(torch.float32)
        gap = clock.days(grouping.gap)[:, None]
        return [bought, sums[:, :1], sums[:, 1:], bought * clock.calendar(grouping.time)[:, :7], torch.cat([gap, gap**2], -1)]

    def _regularity(
        self, batch: Batch, question: Tensor, age: Tensor, past: Tensor, bought: Tensor, gaps: Tensor, steps: Tensor, purchases: Tensor
    ) -> Tensor:
        """How long ago, how far apart and how evenly: [Q, 8]."""
        latest = self._nearest(batch, question, age, past)
        latest_purchase = self._nearest(batch, question, age, bought)
        first = torch.zeros_like(latest).scatter_reduce(0, question, age * past, "amax")
        first_purchase = torch.zeros_like(latest).scatter_reduce(0, question, age * bought, "amax")
        mean, square = (gaps / (steps - 1).clamp(min=1)).unbind(-1)
        spread = (square - mean**2).clamp(min=0)  # no root: near zero it would turn float noise into days
        between = (first_purchase - latest_purchase).clamp(min=0) / (purchases[:, 0] - 1).clamp(min=1)
        hours = torch.stack([latest, latest_purchase], -1) * 24
        spans = torch.stack([first, mean, spread, between, latest_purchase / (between + 0.5)], -1)
        return torch.cat([hours.log1p(), spans.log1p(), purchases.log1p()], -1)

    def _nearest(self, batch: Batch, question: Tensor, age: Tensor, counts: Tensor) -> Tensor:
        """Days since the latest step that counts."""
        far = torch.full((batch.now.shape[0],), FAR_DAYS, device=age.device)
        return far.scatter_reduce(0, question, torch.where(counts > 0, age, torch.full_like(age, FAR_DAYS)), "amin")
