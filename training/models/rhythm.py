"""What a shop's own arithmetic knows of a customer at a moment: recency, frequency, money over several windows, and the rhythm of visits.

RFM is a summary of the log; here it is computed inside the graph at each question's own moment and given to the network as one more
thing to read, so that a sequence model starts from what the baseline knows.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from kernels import ragged
from training.models import clock
from training.models.facts import Facts
from training.sequences.batch import Batch

if TYPE_CHECKING:
    from training.models.features import Grouping

WINDOW_DAYS = (1, 3, 7, 14, 28, 56, 91, 182, 365)


class Rhythm(nn.Module):
    """`size` numbers a question. events: the names of the events that count as a purchase."""

    is_purchase: Tensor
    windows: Tensor

    def __init__(self, *, events: list[str], facts: Facts) -> None:
        super().__init__()
        is_purchase = torch.zeros(facts.sizes["event"], dtype=torch.bool)
        is_purchase[torch.from_numpy(facts.event_ids(events))] = True
        self.register_buffer("is_purchase", is_purchase, persistent=False)
        windows = torch.tensor(WINDOW_DAYS, dtype=torch.int64) * clock.MICROSECONDS_PER_DAY
        self.register_buffer("windows", windows, persistent=False)
        self.size = 2 * len(WINDOW_DAYS) + 6 + 7

    def forward(self, batch: Batch, grouping: "Grouping") -> Tensor:
        """[Q, size]. Steps after a question's moment count for nothing."""
        bought, spent = self._purchases(batch, grouping)
        question, step = ragged.pair_up(batch.question_offsets, grouping.offsets)
        age = batch.now[question] - grouping.time[step]
        past = (age >= 0).to(torch.float32)
        counts = bought[step] * past
        within = (age[:, None] < self.windows).to(torch.float32)
        weekday = clock.calendar(grouping.time)[:, :7]
        gap = clock.days(grouping.gap)[step] * past
        sums = self._sum(
            batch,
            question,
            torch.cat(
                [within * counts[:, None], within * (spent[step] * past)[:, None], weekday[step] * counts[:, None], gap[:, None]], -1
            ),
        )
        steps = self._sum(batch, question, torch.stack([past, counts], -1))
        ages = torch.stack(
            [
                self._extreme(batch, question, age, past),
                self._extreme(batch, question, age, counts),
                self._oldest(batch, question, age, past),
            ],
            -1,
        )
        mean_gap = sums[:, -1] / (steps[:, 0] - 1).clamp(min=1)
        silence = ages[:, 0] / (mean_gap + 0.5)
        num_windows = len(WINDOW_DAYS)
        share = sums[:, 2 * num_windows : 2 * num_windows + 7] / steps[:, 1:].clamp(min=1)
        scalars = torch.stack(
            [
                (ages[:, 0] * 24).log1p(),
                (ages[:, 1] * 24).log1p(),
                ages[:, 2].log1p(),
                mean_gap.log1p(),
                silence.log1p(),
                steps[:, 1].log1p(),
            ],
            -1,
        )
        return torch.cat([sums[:, : 2 * num_windows].log1p(), scalars, share], -1)

    def _purchases(self, batch: Batch, grouping: "Grouping") -> tuple[Tensor, Tensor]:
        """Whether each step has a purchase (0 or 1), and what was spent in it: float32 [S] each."""
        purchase = self.is_purchase[batch.fields["event"]].to(torch.float32)
        amount = purchase
        if "price" in batch.fields:
            amount = amount * batch.fields["price"].nan_to_num(0.0)
        if "quantity" in batch.fields:
            amount = amount * batch.fields["quantity"].nan_to_num(1.0)
        per_step = torch.zeros(grouping.time.shape[0], 2, device=amount.device)
        sums = per_step.index_add(0, grouping.step, torch.stack([purchase, amount.clamp(min=0)], -1))
        return (sums[:, 0] > 0).to(torch.float32), sums[:, 1]

    def _sum(self, batch: Batch, question: Tensor, values: Tensor) -> Tensor:
        return torch.zeros(batch.now.shape[0], values.shape[1], device=values.device).index_add(0, question, values)

    def _extreme(self, batch: Batch, question: Tensor, age: Tensor, counts: Tensor) -> Tensor:
        """Days since the latest step that counts; ten years where there is none."""
        far = torch.full((batch.now.shape[0],), 3650.0, device=age.device)
        return far.scatter_reduce(0, question, torch.where(counts > 0, clock.days(age), torch.full_like(counts, 3650.0)), "amin")

    def _oldest(self, batch: Batch, question: Tensor, age: Tensor, past: Tensor) -> Tensor:
        """Days since the first step; zero where there is none."""
        return torch.zeros(batch.now.shape[0], device=age.device).scatter_reduce(0, question, clock.days(age) * past, "amax")
