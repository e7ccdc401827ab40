"""What others took near what this customer took: a second opinion about the next item, beside what an encoder has learned.

Where many items are rare, an encoder with a vector for each has little to learn them from; that two of them were taken by the same people
shortly after each other is known from a handful of cases. From the training window, for events of one customer at most REACH steps apart,

    n(a, b) = Σ 1 / distance, where b came after a; half as much where it came before
    T(b | a) = n(a, b) · count(b)^-DAMPING / (PRIOR + Σ_b of the same)

of which each a keeps its KEPT strongest. An answer blends T of the customer's last LAGS steps with the model's own distribution; nearer
steps count for more, and items of which more is known. Session-based neighbours of this kind stand beside networks in most comparisons
(Ludewig and Jannach, UMUAI 2018).

Nothing of it is learned by gradients: in training both opinions know the answer already, the model by heart and the table because it was
counted in, and neither deserves the trust that it seems to. How much the model's own counts is chosen on validation.
"""

import numpy as np
import torch
from torch import Tensor, nn

from kernels import ragged
from training.models.facts import Facts
from training.objectives.objective import Context
from training.objectives.repeat import NEVER, segment_logsumexp, steps_back
from training.sequences.history import Log, customer_of_event, step_starts

REACH, BACKWARDS, DAMPING, PRIOR = 20, 0.5, 0.2, 1.0
KEPT, LAGS = 200, 8
LAG_LOGITS, SUPPORT_SLOPE = (-1.0, -3.0), 0.3  # from the latest step to the last that counts; a logit's gain with log(1 + support)
FAVOUR = 1.0  # until it is chosen: near what it is chosen to be, so that the epoch chosen before it suits it
FAVOURS = (-2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 5.0, 12.0)  # logits of the model's own opinion to choose from; 12 is the model alone


class Neighbours(nn.Module):
    """The table, and how much it counts. kinds: ids of the events whose items are recommended."""

    near: Tensor
    strength: Tensor
    support: Tensor
    lag_logits: Tensor
    favour: Tensor

    def __init__(self, kinds: np.ndarray, facts: Facts) -> None:
        super().__init__()
        num_items = facts.sizes["item"]
        damping = np.maximum(np.bincount(facts.training.columns["item"], minlength=num_items), 1.0) ** -DAMPING
        source, target, weight = cases(facts.training, kinds)
        near, strength, support = table(source, target, weight * damping[target], num_items=num_items)
        for name, values in {"near": near, "strength": strength, "support": support}.items():
            self.register_buffer(name, torch.from_numpy(values))
        self.register_buffer("lag_logits", torch.linspace(*LAG_LOGITS, LAGS))
        self.register_buffer("favour", torch.tensor(FAVOUR))

    def blended(self, log_p: Tensor, context: Context) -> Tensor:
        """log P of every item [Q, V], given what the model alone makes of them; −inf stays."""
        question, event, share = self._shares(context)
        source = context.batch.fields["item"][event]
        strength = (share / (self.support[source] + PRIOR))[:, None] * self.strength[source]
        alone = 1 - torch.zeros_like(log_p[:, 0]).index_add(0, question, strength.sum(1))
        place = question[:, None] * log_p.shape[1] + self.near[source]
        blended = (log_p.exp() * alone[:, None]).flatten().index_add(0, place.flatten(), strength.flatten()).view_as(log_p)
        return torch.where(log_p.isinf(), log_p, blended.clamp(min=1e-30).log())

    def _shares(self, context: Context) -> tuple[Tensor, Tensor, Tensor]:
        """Every pair of a question and an event of the same customer, and how much of the answer is left to that event's item."""
        batch, grouping = context.batch, context.grouping
        question, event = ragged.pair_up(batch.question_offsets, batch.offsets)
        is_past = batch.fields["timestamp"][event] <= batch.now[question]
        lag = steps_back(context, question, event, is_past)
        support = self.support[batch.fields["item"][event]]
        counts = is_past & (lag < LAGS) & (support > 0)
        lag = lag.clamp(min=0, max=LAGS - 1)
        size = torch.zeros_like(grouping.time).index_add(0, grouping.step, torch.ones_like(grouping.step))
        logit = self.lag_logits[lag] - size[grouping.step[event]].to(support.dtype).log() + SUPPORT_SLOPE * support.log1p()
        logit = torch.where(counts, logit, torch.full_like(logit, NEVER))
        rest = segment_logsumexp(logit, question, batch.now.shape[0])
        whole = torch.logaddexp(rest, self.favour.expand_as(rest))
        return question, event, torch.where(counts, (logit - whole[question]).exp(), 0.0)


def cases(log: Log, kinds: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Events of one customer at most REACH steps apart, either way: item, neighbour, weight, each [n]. Known items only."""
    starts = np.flatnonzero(step_starts(log))
    num_events = len(log.columns["item"])
    sizes = np.diff(np.append(starts, num_events))
    step = np.repeat(np.arange(len(starts)), sizes)
    owner, item = customer_of_event(log.offsets), log.columns["item"].astype(np.int64)
    is_wanted = np.isin(log.columns["event"], kinds) & (item > 1)
    found = []
    for distance in range(1, REACH + 1):
        later = np.minimum(step + distance, len(starts) - 1)
        there = (step + distance < len(starts)) & (owner[starts[later]] == owner) & (item > 1)
        counts = np.where(there, sizes[later], 0)
        before = np.repeat(np.arange(num_events), counts)
        after = np.repeat(starts[later] - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())
        for source, target, weight in ((before, after, 1.0), (after, before, BACKWARDS)):
            use = is_wanted[target] & (item[source] > 1)
            found.append((item[source[use]], item[target[use]], np.full(use.sum(), weight / distance)))
    source, target, weights = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return source, target, weights


def table(source: np.ndarray, target: np.ndarray, strength: np.ndarray, *, num_items: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The strongest neighbours of each item [V, KEPT] (int64), how strong they are, 0 where there are fewer, and the sum over all [V]."""
    key, strength = summed(source * num_items + target, strength)
    source, target = key // num_items, key % num_items
    order = np.lexsort((target, -strength, source))
    source, target, strength = source[order], target[order], strength[order]
    counts = np.bincount(source, minlength=num_items)
    place = np.arange(len(source)) - (np.cumsum(counts) - counts)[source]
    kept = place < KEPT
    near, strong = np.zeros((num_items, KEPT), dtype=np.int64), np.zeros((num_items, KEPT), dtype=np.float32)
    near[source[kept], place[kept]], strong[source[kept], place[kept]] = target[kept], strength[kept]
    return near, strong, np.bincount(source, weights=strength, minlength=num_items).astype(np.float32)


def summed(keys: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct keys, rising, and the sum of the values of each, float32."""
    distinct, place = np.unique(keys, return_inverse=True)
    return distinct, np.bincount(place, weights=values, minlength=len(distinct)).astype(np.float32)
