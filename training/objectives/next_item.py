"""What will the customer take next: a probability for every item of the catalogue.

Two ways lead to an item. Exploring is a softmax over the catalogue (`representation · item embedding + bias`). Repeating copies from the
customer's own history: every past event lends its item some weight, more or less according to how long ago it was, to the item and to
the customer. Both share one normaliser, as in CopyNet (Gu et al., ACL 2016):

    P(i) = (exp(explore_i) + Σ_{past events j of item i} exp(repeat_j)) / Z

so that two purchases count twice, and an item due again may outweigh a fresh one. The decay over time is learned for each item, as in the
base-level activation of ACT-R (Anderson and Schooler, 1991), of which a power law is the starting point here.

Where `neighbours` are asked for, what others took near the customer's last items is blended in (training.objectives.neighbours).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kernels import ragged
from kernels.linear_cross_entropy import linear_logsumexp, sampled_cross_entropy, weighted_logsumexp
from training.errors import ConfigError
from training.evaluation.breadth import SHOWN, top_items
from training.evaluation.compared import Comparison
from training.evaluation.comparison import compare_ranking
from training.evaluation.ranking import ScoredChunk, metric_names, metrics_from_ranks, relevant_ranks
from training.evaluation.rivals import Rivals
from training.evaluation.verdict import MODEL
from training.models.facts import Facts
from training.objectives.catalogue_loss import Draws, Loss, Negatives, check_loss, gbce, power_of, smoothed
from training.objectives.neighbours import FAVOURS, Neighbours
from training.objectives.objective import Context, Objective, Output
from training.objectives.repeat import NEVER, Repeat, segment_logsumexp
from training.sequences.future import Future
from training.sequences.history import History, Log, offsets_of
from training.sequences.split import Split
from training.settings import Chance, Count, Names, NotNegative, Positive, Share

SHOWN_ITEMS = "shown_items"  # among the evidence: what each customer was recommended in the test window
NEW = "new_items_"  # before a metric's name: of the items that training never saw
SCORES_AT_ONCE = 1 << 24  # 64 MiB of them: of a large catalogue only a few questions' at a time
SELDOM = 0.02  # of what is taken is taken again: fewer are mistakes of the log, or exceptions, and cost more than they bring
SCATTER = -7046029254386353131  # 2^64 divided by the golden ratio: multiplied by it, near numbers land far apart


class NextItem(Objective):
    """events: names of the events whose items are predicted. repeat: whether a past event can be copied. top_k: answers given.

    every: in training, learn from one moment in so many only. A softmax over the catalogue costs far more than the rest of the model;
    thinning it out leaves time for the other objectives to see more moments.
    loss: of the whole catalogue (full), or of `num_negatives` draws that a batch shares: a softmax corrected for how likely each draw was
    (sampled), or gbce with its `calibration`. negatives: see `Negatives`. Validation always asks the whole catalogue.
    normalise: items are vectors of length one. temperature: what logits are divided by. label_smoothing: the share of the loss that asks
    for all items alike.
    projects: whether a matrix of its own turns what is known of a question into what is looked for. Without, as in SASRec, the latest item
    leads straight to its likes.
    neighbours: whether what others took near the customer's last items is blended in. leave_out_seen: whether an item that the customer
    has had is out of question, as in most published comparisons. Of it and of `repeat`, None is what the training window says: who takes
    again what they had is copied from, and where that is seldom seen, what was had is left out.
    """

    headline, section, reads_rhythm = "ndcg@10", "ranking", False
    chosen_by_loss = False  # that of a large catalogue is ruled by the items that nobody could have guessed
    candidate_bias: Tensor
    learned_bias: Tensor
    counts: Tensor
    kinds: np.ndarray

    def __init__(
        self,
        *,
        events: Names,
        dim: Count,
        repeat: bool | None,
        top_k: Count,
        every: Count,
        weight: NotNegative,
        loss: Loss = "full",
        num_negatives: Count = 256,
        negatives: Draws = "uniform",
        calibration: Chance = 0.75,
        temperature: Positive = 1.0,
        normalise: bool = False,
        label_smoothing: Share = 0.0,
        projects: bool = True,
        neighbours: bool = False,
        leave_out_seen: bool | None = False,
        facts: Facts,
    ) -> None:
        super().__init__()
        repeat, leave_out_seen = _as_the_log_says(repeat, leave_out_seen, facts, events)
        check_loss(loss, negatives, repeat=repeat, label_smoothing=label_smoothing, leave_out_seen=leave_out_seen)
        self.weight, self.top_k, self.every = weight, top_k, every
        self.temperature, self.normalise, self.label_smoothing = temperature, normalise, label_smoothing
        self.kinds = facts.event_ids(events)
        candidates, self.is_new = torch.from_numpy(facts.candidates(events)), torch.from_numpy(facts.new_items())
        self.tells_of_new_items = bool(facts.said)
        self.register_buffer("candidate_bias", torch.where(candidates | self.is_new, 0.0, -torch.inf))
        self.register_buffer("learned_bias", torch.where(candidates, 0.0, -torch.inf), persistent=False)
        counts = torch.from_numpy(facts.item_counts(events)).to(torch.float32)
        self.register_buffer("counts", counts, persistent=False)
        self.question = nn.Linear(dim, dim, bias=False) if projects else nn.Identity()
        self.sees_a_sample = loss != "full"
        popularity = ((counts + 0.3) / (counts + 0.3).sum()).log()[:, None]
        self.of_item = nn.Embedding.from_pretrained(popularity, freeze=False, sparse=self.sees_a_sample)
        self.repeat = Repeat(dim, candidates | self.is_new, facts, sparse=self.sees_a_sample) if repeat else None
        self.neighbours = Neighbours(self.kinds, facts) if neighbours else None
        self.leave_out_seen = leave_out_seen
        self.negatives = Negatives(negatives, num_negatives, candidates=candidates, counts=counts) if self.sees_a_sample else None
        self.power = power_of(num_negatives, int(candidates.sum()), calibration=calibration) if loss == "gbce" else None

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
        times = counts * chosen
        items, counts = items[chosen.repeat_interleave(counts)], counts[chosen]
        weight = counts.repeat_interleave(counts) ** -0.5
        if self.training and self.negatives is not None:
            summed = (self._sampled_losses(context.each(times), items, *self.negatives(items)) * weight).sum()
        else:
            summed = self._summed_losses(context.only(chosen), items, ragged.offsets_of_lengths(counts), weight)
        return summed, weight.sum()

    def _summed_losses(self, context: Context, items: Tensor, offsets: Tensor, weight: Tensor) -> Tensor:
        """The weighted sum of −log P of some items [N] of each question, without the scores of all the others."""
        target = ragged.row_of_value(offsets, items.shape[0])
        x, table, bias = self._query(context), self._vectors(context.item_weight), self.popularity + self._offered
        explore = (x.index_select(0, target) * table.index_select(0, items)).sum(-1) + bias[items]
        if self.repeat is None and not self.label_smoothing:
            of_question = torch.zeros_like(x[:, 0]).index_add(0, target, weight)
            return weighted_logsumexp(x, table, bias, of_question) - (explore * weight).sum()
        normaliser = linear_logsumexp(x, table, bias)
        losses, normaliser = self._with_repeats(context, items, target, explore, normaliser)
        if self.training and self.label_smoothing:
            share = self.learned_bias.isfinite().to(x.dtype)
            share = share / share.sum()
            mean_logit = (x @ (share @ table))[target] + share @ self.popularity
            losses = smoothed(losses, normaliser[target], mean_logit, smoothing=self.label_smoothing)
        return (losses * weight).sum()

    def _sampled_losses(self, context: Context, items: Tensor, negatives: Tensor, log_q: Tensor) -> Tensor:
        """The same, the catalogue being judged by some of it [K], for questions that each have one item: [N]."""
        x, own, others = self._query(context), self._vectors(context.vectors_of(items)), self._vectors(context.vectors_of(negatives))
        own_bias, other_bias = self._bias(items), self._bias(negatives)
        explore = (x * own).sum(-1) + own_bias
        if self.power is not None:
            return gbce(explore, x @ others.T + other_bias, items[:, None] == negatives, power=self.power)
        if not len(negatives):
            return explore
        losses = sampled_cross_entropy(x, own, others, items, negatives, log_q, target_bias=own_bias, negative_bias=other_bias)
        target = torch.arange(len(items), device=items.device)
        return self._with_repeats(context, items, target, explore, losses + explore)[0]

    def _with_repeats(self, context: Context, items: Tensor, target: Tensor, explore: Tensor, normaliser: Tensor) -> tuple[Tensor, Tensor]:
        """−log P [N] of items whose logit of exploring is `explore` [N], and the normaliser of both ways [Q] from that of exploring."""
        if self.repeat is None:
            return normaliser[target] - explore, normaliser
        pair_question, pair_event, logit = self.repeat(context)
        normaliser = torch.logaddexp(normaliser, segment_logsumexp(logit, pair_question, len(normaliser)))
        copied = self._copied(context, items, target, pair_question, pair_event, (logit - normaliser[pair_question]).exp())
        return -((explore - normaliser[target]).exp() + copied).clamp(min=1e-30).log(), normaliser

    @property
    def popularity(self) -> Tensor:
        """What each item has for itself, [num_items]; at first the logarithm of its share of what is taken."""
        return self.of_item.weight[:, 0]

    @property
    def _offered(self) -> Tensor:
        """0 for what may be recommended, −inf for the rest, [num_items]. In training new items are left out: they were not there yet."""
        return self.learned_bias if self.training else self.candidate_bias

    def _query(self, context: Context) -> Tensor:
        x: Tensor = self.question(context.representation)
        return x / self.temperature

    def _vectors(self, items: Tensor) -> Tensor:
        return F.normalize(items, dim=-1) if self.normalise else items

    def _bias(self, items: Tensor) -> Tensor:
        return self.of_item(items)[:, 0] + self.learned_bias[items]

    def judge(self, context: Context, labels: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
        """Every ranking metric of each question, over the full catalogue; where new items may be told of, for these alone too."""
        items, offsets = labels["items"].cpu().numpy(), labels["offsets"].cpu().numpy()
        ranks, shown = self._ranks(context, items, offsets)
        evidence = _metrics(ranks, np.diff(offsets))
        evidence[SHOWN_ITEMS] = shown
        if self.tells_of_new_items:
            is_new = self.is_new.numpy()[items]
            of_new = _metrics(ranks[is_new], np.diff(offsets_of(is_new)[offsets]))
            evidence |= {NEW + metric: values for metric, values in of_new.items()}
        return evidence

    def _ranks(self, context: Context, items: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The place of each item in its question's ranking [N], and the ten items that each question is answered with [Q, 10].

        A few questions at a time: all scores may be too many to hold. Questions without an item are not answered: zeros.
        """
        num_items, counts = len(self.popularity), np.diff(offsets)
        answered = np.flatnonzero(counts)
        ranks, shown = [np.empty(0)], np.zeros((len(counts), SHOWN), dtype=np.int64)
        for part in np.array_split(answered, max(1, -(-len(answered) * num_items // SCORES_AT_ONCE))) if len(answered) else []:
            relevant = items[offsets[part[0]] : offsets[part[-1] + 1]]
            chunk = ScoredChunk(self._scores_for(context, part), relevant, offsets_of(counts[part]))
            ranks.append(relevant_ranks(chunk, num_items=num_items))
            shown[part] = top_items(chunk.scores)
        return np.concatenate(ranks), shown

    def _scores_for(self, context: Context, questions: np.ndarray) -> Tensor:
        chosen = torch.zeros_like(context.batch.now, dtype=torch.bool)
        chosen[torch.from_numpy(questions)] = True
        return self.scores(context.only(chosen)).cpu()

    def summarise(self, evidence: dict[str, np.ndarray]) -> dict[str, float]:
        metrics = {metric: values for metric, values in evidence.items() if metric != SHOWN_ITEMS}
        return {metric: float(np.nanmean(values)) for metric, values in metrics.items() if not np.isnan(values).all()}

    @property
    def outputs(self) -> list[Output]:
        return [
            Output("item_id", "int64", "id", (self.top_k,), vocabulary="item"),
            Output("item_score", "float32", "natural logarithm of a probability", (self.top_k,)),
        ]

    @property
    def terms(self) -> dict[str, int | float]:
        return {"top_k": self.top_k}

    @property
    def decided(self) -> dict[str, bool]:
        return {"repeat": self.repeat is not None, "leave_out_seen": self.leave_out_seen}

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

    def calibrate(self, asked: Sequence[tuple[Context, Mapping[str, Tensor]]]) -> None:
        """Choose by NDCG@10 how much the model's own opinion counts beside its neighbours."""
        if self.neighbours is None:
            return
        quality = {}
        for favour in FAVOURS:
            self.neighbours.favour.fill_(favour)
            evidence = [self.judge(context, labels)[self.headline] for context, labels in asked]
            quality[favour] = float(np.nanmean(np.concatenate(evidence)))
        self.neighbours.favour.fill_(max(quality, key=lambda favour: quality[favour]))

    def take_over(self, chosen: Self) -> None:
        if self.neighbours is not None and chosen.neighbours is not None:
            self.neighbours.favour.copy_(chosen.neighbours.favour)

    def compare(self, rivals: Rivals, customers: np.ndarray, evidence: dict[str, np.ndarray]) -> list[Comparison]:
        candidates = torch.isfinite(self.candidate_bias).numpy()
        of_all = {metric: values for metric, values in evidence.items() if metric != SHOWN_ITEMS and not metric.startswith(NEW)}
        comparison = compare_ranking(
            rivals,
            customers,
            of_all,
            kinds=self.kinds,
            shown=evidence[SHOWN_ITEMS],
            counts=self.counts.numpy(),
            candidates=candidates,
            leave_out_seen=self.leave_out_seen,
        )
        of_new = self.summarise({metric: values for metric, values in evidence.items() if metric.startswith(NEW)})
        return [replace(comparison, figures={**comparison.figures, MODEL: {**comparison.figures[MODEL], **of_new}})]

    def predict(self, context: Context) -> dict[str, Tensor]:
        """item_id int64 [Q, K] and item_score float32 [Q, K]: the natural logarithm of each item's probability, falling.

        Where fewer than K items are left to recommend, the rest is id 0 with the score NEVER.
        """
        scores, items = torch.topk(self.scores(context).clamp(min=NEVER), self.top_k)
        return {"item_id": torch.where(scores > NEVER, items, torch.zeros_like(items)), "item_score": scores}

    def scores(self, context: Context) -> Tensor:
        """log P of every item: [Q, num_items]; −inf for what isn't in the catalogue, or has been had where that is left out."""
        scores = self._alone(context)
        if self.neighbours is not None:
            scores = self.neighbours.blended(scores, context)
        if self.leave_out_seen:
            scores = scores + never_again(context, num_items=scores.shape[1])
            scores = scores - wide_logsumexp(scores)[:, None]
        return scores

    def _alone(self, context: Context) -> Tensor:
        """log P of every item as the model has learned it."""
        explore = self._query(context) @ self._vectors(context.item_weight).T + self.popularity + self.candidate_bias
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
        num_items = len(self.popularity)
        wanted = target * num_items + items  # rising: targets come by question, then item
        offered = pair_question * num_items + context.batch.fields["item"][pair_event]
        place = torch.searchsorted(wanted, offered).clamp(max=max(len(wanted) - 1, 0))
        hit = (wanted[place] == offered) if len(wanted) else torch.zeros_like(offered, dtype=torch.bool)
        return torch.zeros(len(items), device=share.device).index_add(0, place[hit], share[hit])


def _as_the_log_says(repeat: bool | None, leave_out_seen: bool | None, facts: Facts, events: list[str]) -> tuple[bool, bool]:
    """Both settings, what is None decided by whether customers take again what they had."""
    if repeat is None:
        repeat = facts.share_taken_again(events) > SELDOM
    if leave_out_seen is None:
        leave_out_seen = not repeat and facts.share_taken_again(events) <= SELDOM
    return repeat, leave_out_seen


def one_in(every: int, now: Tensor) -> Tensor:
    """One moment out of so many, by its own number alone: on any number of processes, at any time of a life. bool [Q]."""
    return torch.remainder((now * SCATTER) >> 33, every) == 0


def never_again(context: Context, *, num_items: int) -> Tensor:
    """−inf for items that a customer has had by the moment of the question, else 0: [Q, num_items]."""
    batch = context.batch
    question, event = ragged.pair_up(batch.question_offsets, batch.offsets)
    is_past = batch.fields["timestamp"][event] <= batch.now[question]
    had = torch.zeros(batch.now.shape[0] * num_items, device=batch.now.device)
    had = had.index_add(0, question * num_items + batch.fields["item"][event], is_past.to(had.dtype))
    return torch.where(had > 0, -torch.inf, 0.0).view(batch.now.shape[0], num_items)


def _metrics(ranks: np.ndarray, counts: np.ndarray) -> dict[str, np.ndarray]:
    """Ranks of each question's items to its metrics, NaN where it has none."""
    asked = np.flatnonzero(counts)
    metrics = metrics_from_ranks(ranks, offsets_of(counts[asked])) if len(asked) else {metric: np.empty(0) for metric in metric_names()}
    return {metric: _spread(values, asked, len(counts)) for metric, values in metrics.items()}


def _spread(values: np.ndarray, places: np.ndarray, size: int) -> np.ndarray:
    spread = np.full(size, np.nan)
    spread[places] = values
    return spread


def wide_logsumexp(values: Tensor) -> Tensor:
    """log Σ exp over the last dimension, summed in float64: runtimes add up 70,000 float32 numbers in different orders, 4e-4 apart."""
    top = values.amax(-1, keepdim=True)
    return top[..., 0] + (values - top).exp().to(torch.float64).sum(-1).log().to(values.dtype)
