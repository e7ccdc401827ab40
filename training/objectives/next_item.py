"""What will the customer take next: a probability for every item of the catalogue.

Two ways lead to an item. Exploring is a softmax over the catalogue (`representation · item embedding + bias`). Repeating copies from the
customer's own history: every past event lends its item some weight, more or less according to how long ago it was, to the item and to
the customer. Both share one normaliser, as in CopyNet (Gu et al., ACL 2016):

    P(i) = (exp(explore_i) + Σ_{past events j of item i} exp(repeat_j)) / Z

so that two purchases count twice, and an item due again may outweigh a fresh one. The decay over time is learned for each item, as in the
base-level activation of ACT-R (Anderson and Schooler, 1991), of which a power law is the starting point here.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from kernels import ragged
from kernels.linear_cross_entropy import linear_logsumexp
from training.errors import ConfigError
from training.evaluation.compared import Comparison
from training.evaluation.comparison import compare_ranking
from training.evaluation.ranking import ScoredChunk, metric_names, ranking_metrics
from training.models import clock
from training.models.facts import Facts
from training.objectives.objective import Context, Objective, Output
from training.sequences.future import Future
from training.sequences.history import History, Log
from training.sequences.split import Split
from training.sequences.store import SequenceStore
from training.settings import Count, Names, NotNegative

AGE_KNOTS = 12  # log_days runs from 0 (now) to about 3 (a year): four knots a factor of 25 hours
NEVER = -1e4  # a logit that adds nothing
SCATTER = -7046029254386353131  # 2^64 divided by the golden ratio: multiplied by it, near numbers land far apart


class NextItem(Objective):
    """events: names of the events whose items are predicted. repeat: whether a past event can be copied. top_k: answers given.

    every: in training, learn from one moment in so many only. A softmax over the catalogue costs far more than the rest of the model;
    thinning it out leaves time for the other objectives to see more moments.
    """

    headline, section = "ndcg@10", "ranking"
    candidate_bias: Tensor
    kinds: np.ndarray

    def __init__(self, *, events: Names, dim: Count, repeat: bool, top_k: Count, every: Count, weight: NotNegative, facts: Facts) -> None:
        super().__init__()
        self.weight = weight
        self.top_k = top_k
        self.every = every
        self.kinds = facts.event_ids(events)
        candidates = torch.from_numpy(facts.candidates(events))
        self.register_buffer("candidate_bias", torch.where(candidates, 0.0, -torch.inf))
        counts = torch.from_numpy(facts.item_counts(events)).to(torch.float32)
        self.popularity = nn.Parameter(((counts + 0.3) / (counts + 0.3).sum()).log())
        self.question = nn.Linear(dim, dim, bias=False)
        self.repeat = Repeat(dim, candidates, facts) if repeat else None

    def labels(self, known: History, now: np.ndarray, owner: np.ndarray, until: np.ndarray) -> dict[str, np.ndarray]:
        future = Future.after(known, kinds=self.kinds, now=now, owner=owner, until=until)
        items, offsets = future.items(whole_window=False)
        return {"items": items, "offsets": offsets}

    def loss(self, context: Context, labels: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Cross-entropy against the items of the next basket.

        A basket of n items weighs √n: were it n, a few large baskets would decide everything; were it 1, what people buy in a hurry would.
        """
        items, counts = labels["items"], labels["offsets"].diff()
        chosen = counts > 0
        if self.training:
            chosen = chosen & one_in(self.every, context.batch.now)
        items, counts = items[chosen.repeat_interleave(counts)], counts[chosen]
        log_p = self._log_probability(context.only(chosen), items, ragged.offsets_of_lengths(counts))
        weight = counts.repeat_interleave(counts) ** -0.5
        return -(log_p * weight).sum(), weight.sum()

    def _log_probability(self, context: Context, items: Tensor, offsets: Tensor) -> Tensor:
        """log P of some items [N] of each question, without the scores of all the others: [N]."""
        target = ragged.row_of_value(offsets, items.shape[0])
        x, bias = self.question(context.representation), self.popularity + self.candidate_bias
        normaliser = linear_logsumexp(x, context.item_weight, bias)
        explore = (x[target] * context.item_weight[items]).sum(-1) + bias[items]
        if self.repeat is None:
            return explore - normaliser[target]
        pair_question, pair_event, logit = self.repeat(context)
        normaliser = torch.logaddexp(normaliser, segment_logsumexp(logit, pair_question, len(x)))
        copied = self._copied(context, items, target, pair_question, pair_event, (logit - normaliser[pair_question]).exp())
        return ((explore - normaliser[target]).exp() + copied).clamp(min=1e-30).log()

    def judge(self, context: Context, labels: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
        """Every ranking metric of each question, over the full catalogue."""
        items, offsets = labels["items"].cpu().numpy(), labels["offsets"].cpu().numpy()
        answered = np.flatnonzero(np.diff(offsets))
        scores = self.scores(context)[torch.from_numpy(answered)].cpu()
        if not len(answered):
            return {metric: np.full(len(offsets) - 1, np.nan) for metric in metric_names()}
        chunk = ScoredChunk(scores, items, np.append(offsets[answered], offsets[-1]))
        metrics = ranking_metrics([chunk], num_items=scores.shape[1])
        return {metric: _spread(values, answered, len(offsets) - 1) for metric, values in metrics.items()}

    def summarise(self, evidence: dict[str, np.ndarray]) -> dict[str, float]:
        return {metric: float(np.nanmean(values)) for metric, values in evidence.items() if not np.isnan(values).all()}

    @property
    def outputs(self) -> list[Output]:
        return [
            Output("item_id", "int64", "id", (self.top_k,), vocabulary="item"),
            Output("item_score", "float32", "natural logarithm of a probability", (self.top_k,)),
        ]

    @property
    def terms(self) -> dict[str, int | float]:
        return {"top_k": self.top_k}

    def check_answerable(self, log: Log, split: Split) -> None:
        size = int(torch.isfinite(self.candidate_bias).sum())
        if size < self.top_k:
            raise ConfigError(
                f"expected at least top_k={self.top_k} items to recommend, found {size}; set objectives.next_item.top_k={size} or less"
            )
        for name, window in (("validation", split.validation), ("test", split.test)):
            if not len(self.labels_in(log, window)["items"]):
                raise ConfigError(
                    f"expected customers for whom something to recommend follows in the {name} window, found none; "
                    "set data.split or data.next_item_events to fit the log"
                )

    def compare(
        self, store: SequenceStore, split: Split, customers: np.ndarray, evidence: dict[str, np.ndarray], *, seed: int
    ) -> Comparison:
        candidates = torch.isfinite(self.candidate_bias).numpy()
        return compare_ranking(store, split, customers, evidence, kinds=self.kinds, candidates=candidates, seed=seed)

    def predict(self, context: Context) -> dict[str, Tensor]:
        """item_id int64 [Q, K] and item_score float32 [Q, K]: the natural logarithm of each item's probability, falling."""
        scores, items = torch.topk(self.scores(context), self.top_k)
        return {"item_id": items, "item_score": scores}

    def scores(self, context: Context) -> Tensor:
        """log P of every item: [Q, num_items]; −inf for what isn't in the catalogue."""
        explore = self.question(context.representation) @ context.item_weight.T + self.popularity + self.candidate_bias
        normaliser = wide_logsumexp(explore)
        if self.repeat is None:
            return explore - normaliser[:, None]
        pair_question, pair_event, logit = self.repeat(context)
        normaliser = torch.logaddexp(normaliser, segment_logsumexp(logit, pair_question, explore.shape[0]))
        probability = (explore - normaliser[:, None]).exp()
        place = pair_question * explore.shape[1] + context.batch.fields["item"][pair_event]
        copied = (logit - normaliser[pair_question]).exp()
        probability = probability.flatten().index_add(0, place, copied).view_as(explore)
        return probability.log() + self.candidate_bias

    def _copied(self, context: Context, items: Tensor, target: Tensor, pair_question: Tensor, pair_event: Tensor, share: Tensor) -> Tensor:
        """The probability that each target is copied: the shares of its question's past events that are of the same item. [N]."""
        num_items = context.item_weight.shape[0]
        wanted = target * num_items + items  # rising: targets come by question, then item
        offered = pair_question * num_items + context.batch.fields["item"][pair_event]
        place = torch.searchsorted(wanted, offered).clamp(max=max(len(wanted) - 1, 0))
        hit = (wanted[place] == offered) if len(wanted) else torch.zeros_like(offered, dtype=torch.bool)
        return torch.zeros(len(items), device=share.device).index_add(0, place[hit], share[hit])


class Repeat(nn.Module):
    """How strongly each past event suggests its item again: a curve over the logarithm of its age, piecewise linear.

    Its height at each knot is shared + the item's own + the event type's own + the customer's own.
    """

    can_be_copied: Tensor

    def __init__(self, dim: int, candidates: Tensor, facts: Facts) -> None:
        super().__init__()
        self.register_buffer("can_be_copied", candidates, persistent=False)
        knots = torch.arange(AGE_KNOTS + 1, dtype=torch.float32) / 4
        self.shared = nn.Parameter(-1.0 - 1.5 * knots)  # log of a power law: older counts less
        self.of_item = nn.Embedding(facts.sizes["item"], AGE_KNOTS + 1)
        self.of_event = nn.Embedding(facts.sizes["event"], AGE_KNOTS + 1)
        self.of_customer = nn.Linear(dim, AGE_KNOTS + 1, bias=False)
        for weight in (self.of_item.weight, self.of_event.weight, self.of_customer.weight):
            nn.init.zeros_(weight)

    def forward(self, context: Context) -> tuple[Tensor, Tensor, Tensor]:
        """Question, event and logit of every pair of the same customer; later events and items not for sale count for nothing."""
        batch = context.batch
        question, event = ragged.pair_up(batch.question_offsets, batch.offsets)
        age = batch.now[question] - batch.fields["timestamp"][event]
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
        counts = (age >= 0) & self.can_be_copied[batch.fields["item"]][event]
        return question, event, torch.where(counts, logit, torch.full_like(logit, NEVER))


def one_in(every: int, now: Tensor) -> Tensor:
    """One moment out of so many, by its own number alone: on any number of processes, at any time of a life. bool [Q]."""
    return torch.remainder((now * SCATTER) >> 33, every) == 0


def _spread(values: np.ndarray, places: np.ndarray, size: int) -> np.ndarray:
    spread = np.full(size, np.nan)
    spread[places] = values
    return spread


def wide_logsumexp(values: Tensor) -> Tensor:
    """log Σ exp over the last dimension, summed in float64: runtimes add up 70,000 float32 numbers in different orders, 4e-4 apart."""
    top = values.amax(-1, keepdim=True)
    return top[..., 0] + (values - top).exp().to(torch.float64).sum(-1).log().to(values.dtype)


def segment_logsumexp(values: Tensor, segment: Tensor, num_segments: int) -> Tensor:
    """log Σ exp of the values of each segment: [num_segments]; a very low number where a segment is empty."""
    top = torch.full((num_segments,), NEVER, device=values.device).scatter_reduce(0, segment, values.detach(), "amax")
    total = torch.zeros(num_segments, device=values.device).index_add(0, segment, (values - top[segment]).exp())
    return top + total.clamp(min=1e-30).log()
