"""What else a customer does beside buying: of chosen kinds of event, how many there were lately, how long ago the latest was and how long
usually lies between two; and the same of visits, whatever was done in them.

Recency, frequency and money see purchases only, but who still looks has not left. The steps tell of it too; attention, though, takes means
and does not count. Of whether somebody has left, ten views in a visit tell no more than one: what comes at random times is the visit. How
often it came, while it came, must be told as well: a silence of months leaves no visit in any shorter window.
"""

import torch
from torch import Tensor, nn

from kernels import ragged
from training.models import clock
from training.models.facts import Facts
from training.models.grouping import Grouping
from training.sequences.batch import Batch
from training.sequences.visits import SILENCE

FAR_DAYS = 3650.0  # as long ago as never
WINDOW_DAYS = (1, 7, 28, 91, 182, 365)
NUMBERS_A_KIND = len(WINDOW_DAYS) + 3


def activity_size(facts: Facts) -> int:
    """How many numbers a question."""
    return NUMBERS_A_KIND * (len(facts.counted) + bool(facts.visited))


class Activity(nn.Module):
    """NUMBERS_A_KIND numbers a question of each of `facts.counted`, as log(1 + ...): events within each window and ever, hours since
    the latest, mean hours between two; 0 before the second. "Ever" is as far back as the model reads.

    Where there are `facts.visited`, visits are one kind more. A visit is where it begins, by an event of these kinds.
    """

    kinds: Tensor
    is_visit: Tensor

    def __init__(self, facts: Facts) -> None:
        super().__init__()
        self.register_buffer("kinds", torch.tensor(facts.counted, dtype=torch.int64), persistent=False)
        is_visit = torch.zeros(facts.sizes["event"], dtype=torch.int64)
        is_visit[torch.tensor(facts.visited, dtype=torch.int64)] = 1
        self.register_buffer("is_visit", is_visit, persistent=False)
        self.tells_visits = bool(facts.visited)

    def forward(self, batch: Batch, grouping: Grouping, question: Tensor, step: Tensor) -> Tensor:
        """[Q, NUMBERS_A_KIND * kinds], window by window. question, step: every question with every step of its customer, each [P]."""
        age = batch.now[question] - grouping.time[step]
        counts = self._of_step(batch, grouping)[step] * (age >= 0).to(torch.float32)[:, None]  # later steps count for nothing
        within = self._within(question, age, counts, num_questions=batch.now.shape[0])
        latest, first = self._since(question, age, counts, num_questions=batch.now.shape[0])
        gaps = within[:, -counts.shape[1] :] - 1
        between = torch.where(gaps > 0, (first - latest) / gaps.clamp(min=1), torch.zeros_like(gaps))
        return torch.cat([within, latest, between], -1).log1p()

    def _of_step(self, batch: Batch, grouping: Grouping) -> Tensor:
        """How many events of each kind a step holds, and whether a visit begins there: [S, kinds]."""
        of_kind = (batch.fields["event"][:, None] == self.kinds).to(torch.float32)
        counts = torch.zeros(grouping.time.shape[0], of_kind.shape[1], device=of_kind.device).index_add(0, grouping.step, of_kind)
        return torch.cat([counts, self._begins(batch, grouping)[:, None]], -1) if self.tells_visits else counts

    def _begins(self, batch: Batch, grouping: Grouping) -> Tensor:
        """1 where a visit begins, 0 elsewhere: [S]. What the customer did before is looked up by its rank among all that customers did."""
        is_visit = self.is_visit[batch.fields["event"]]
        num_steps = grouping.time.shape[0]
        step = torch.arange(num_steps, device=is_visit.device)
        there = (torch.zeros_like(step).index_add(0, grouping.step, is_visit) > 0).to(torch.int64)
        rank = there.cumsum(0)
        of_rank = step.new_zeros(num_steps + 1).scatter_add(0, rank * there, step * there)
        before = of_rank[rank - there]
        is_first = (rank - there == 0) | (before < grouping.offsets[ragged.row_of_value(grouping.offsets, num_steps)])
        return (there * (is_first | (grouping.time - grouping.time[before] > SILENCE)).to(torch.int64)).to(torch.float32)

    def _within(self, question: Tensor, age: Tensor, counts: Tensor, *, num_questions: int) -> Tensor:
        """Within each window and ever, summed between their edges, then over them: a pair is added once and not in every window."""
        num_stretches = len(WINDOW_DAYS) + 1
        stretch = question * num_stretches
        for days in WINDOW_DAYS:  # one by one: of nothing ONNX Runtime can't reduce a row's comparisons
            stretch = stretch + (age >= days * clock.MICROSECONDS_PER_DAY).to(torch.int64)
        sums = torch.zeros(num_questions * num_stretches, counts.shape[1], device=counts.device).index_add(0, stretch, counts)
        return sums.view(num_questions, num_stretches, -1).cumsum(1).flatten(1)

    def _since(self, question: Tensor, age: Tensor, counts: Tensor, *, num_questions: int) -> tuple[Tensor, Tensor]:
        """Hours since the latest event of each kind and since the first: [Q, kinds] each. Without any, since FAR_DAYS and 0."""
        num_kinds = counts.shape[1]
        place = (question[:, None] * num_kinds + torch.arange(num_kinds, device=question.device)).flatten()
        days, there = clock.days(age).clamp(max=FAR_DAYS)[:, None].expand_as(counts), counts > 0
        never = counts.new_full((num_questions * num_kinds,), FAR_DAYS)
        latest = never.scatter_reduce(0, place, torch.where(there, days, FAR_DAYS).flatten(), "amin")
        first = torch.zeros_like(never).scatter_reduce(0, place, torch.where(there, days, 0.0).flatten(), "amax")
        return latest.view(num_questions, num_kinds) * 24, first.view(num_questions, num_kinds) * 24
