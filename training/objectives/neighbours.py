"""What others took near what this customer took: a second opinion about the next item, beside what an encoder has learned.

Where many items are rare, an encoder with a vector for each has little to learn them from; that two of them were taken by the same people
shortly after each other is known from a handful of cases. From the training window, for events of one customer at most REACH steps apart,

    n(a, b) = Σ 1 / distance, where b came after a; half as much where it came before
    T(b | a) = n(a, b) · count(b)^-DAMPING / (PRIOR + Σ_b of the same)

of which each a keeps its KEPT strongest. A question blends T of the customer's last LAGS steps with the model's own distribution, as
weights say that depend on how many steps ago, on how well known the neighbourhood is, and on the customer. Session-based neighbours of this
kind stand beside networks in most comparisons (Ludewig and Jannach, UMUAI 2018).

In training a customer's own cases are taken off first, or the answer would be read from a table that it was written into.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from kernels import ragged
from training.models.facts import Facts
from training.objectives.objective import Context
from training.objectives.repeat import NEVER, segment_logsumexp
from training.sequences.history import History, Log, customer_of_event, step_starts

REACH, BACKWARDS, DAMPING, PRIOR = 10, 0.5, 0.2, 1.0
KEPT, LAGS = 50, 8


class Neighbours(nn.Module):
    """The table, and how far it is to be trusted. kinds: ids of the events whose items are recommended."""

    near: Tensor
    strength: Tensor
    support: Tensor
    damping: Tensor

    def __init__(self, dim: int, kinds: np.ndarray, facts: Facts) -> None:
        super().__init__()
        self.kinds, self.num_items = kinds, facts.sizes["item"]
        damping = np.maximum(np.bincount(facts.training.columns["item"], minlength=self.num_items), 1.0) ** -DAMPING
        _, source, target, weight = cases(facts.training, kinds)
        near, strength, support = table(source, target, weight * damping[target], num_items=self.num_items)
        for name, values in {"near": near, "strength": strength, "support": support, "damping": damping.astype(np.float32)}.items():
            self.register_buffer(name, torch.from_numpy(values))
        self.of_lag = nn.Parameter(torch.linspace(0.0, -2.0, LAGS))
        self.of_support = nn.Parameter(torch.full((LAGS,), 0.3))
        self.of_customer = nn.Linear(dim, LAGS)
        nn.init.zeros_(self.of_customer.weight)
        nn.init.zeros_(self.of_customer.bias)

    def own_cases(self, known: History) -> dict[str, np.ndarray]:
        """What each of some customers wrote into the table: rising keys of (customer, item, neighbour) and (customer, item), and sums."""
        owner, source, target, weight = cases(known, self.kinds)
        row = owner * self.num_items + source
        damped = weight * self.damping.numpy()[target]
        of_pair, of_item = summed(row * self.num_items + target, damped), summed(row, damped)
        return {"own_pair": of_pair[0], "own_strength": of_pair[1], "own_item": of_item[0], "own_support": of_item[1]}

    def blended(self, log_p: Tensor, context: Context, items: Tensor, offsets: Tensor, own: Mapping[str, Tensor] | None = None) -> Tensor:
        """log P [N] of some items of each question, given `log_p` [N], what the model alone makes of them.

        offsets [Q + 1]: whose the items are. own: what `own_cases` says, to be taken off.
        """
        question, event, share = self._shares(context)
        lately = share > 0
        question, event, share = question[lately], event[lately], share[lately]
        counts = offsets.diff()[question]
        pair = ragged.row_of_value(ragged.offsets_of_lengths(counts), int(counts.sum()))
        target = offsets[question][pair] + ragged.place_in_row(ragged.offsets_of_lengths(counts), len(pair))
        source = context.batch.fields["item"][event]
        strength = ((self.near[source[pair]] == items[target, None]) * self.strength[source[pair]]).sum(1)
        support = self.support[source]
        held = self.strength[source].sum(1)
        if own is not None:
            customer = context.grouping.owner[event]
            row = customer * self.num_items + source
            off = looked_up(row, own["own_item"], own["own_support"])
            support, held = (support - off).clamp(min=0), (held - off).clamp(min=0)
            written = looked_up(row[pair] * self.num_items + items[target], own["own_pair"], own["own_strength"])
            strength = torch.where(strength - written > 1e-5 * strength, strength - written, 0.0)
        share = share / (support + PRIOR)
        near = torch.zeros_like(log_p).index_add(0, target, share[pair] * strength)
        alone = 1 - torch.zeros(len(offsets) - 1, device=share.device).index_add(0, question, share * held)
        alone = alone[ragged.row_of_value(offsets, len(items))]
        return (alone.clamp(min=1e-6) * log_p.exp() + near).clamp(min=1e-30).log()

    def blended_with_all(self, probability: Tensor, context: Context) -> Tensor:
        """P of every item [Q, V], given what the model alone makes of them."""
        question, event, share = self._shares(context)
        source = context.batch.fields["item"][event]
        share = share / (self.support[source] + PRIOR)
        strength = share[:, None] * self.strength[source]
        alone = 1 - torch.zeros_like(probability[:, 0]).index_add(0, question, strength.sum(1))
        place = question[:, None] * self.num_items + self.near[source]
        blended = (probability * alone[:, None]).flatten().index_add(0, place.flatten(), strength.flatten())
        return blended.view_as(probability)

    def _shares(self, context: Context) -> tuple[Tensor, Tensor, Tensor]:
        """Every pair of a question and an event of the same customer, and how much of the answer is left to that event's item."""
        batch, grouping = context.batch, context.grouping
        question, event = ragged.pair_up(batch.question_offsets, batch.offsets)
        step = grouping.step[event]
        is_past = batch.fields["timestamp"][event] <= batch.now[question]
        latest = torch.full_like(batch.now, -1).scatter_reduce(0, question, torch.where(is_past, step, -1), "amax")
        lag = latest[question] - step
        support = self.support[batch.fields["item"][event]]
        counts = is_past & (lag < LAGS) & (support > 0)
        lag = lag.clamp(min=0, max=LAGS - 1)
        size = torch.zeros_like(grouping.time).index_add(0, grouping.step, torch.ones_like(grouping.step))
        logit = (self.of_lag[lag] - size[step].to(support.dtype).log()) + self.of_support[lag] * support.log1p()
        logit = logit + self.of_customer(context.representation).flatten()[question * LAGS + lag]
        logit = torch.where(counts, logit, torch.full_like(logit, NEVER))
        rest = segment_logsumexp(logit, question, batch.now.shape[0])
        return question, event, torch.where(counts, (logit - torch.logaddexp(rest, torch.zeros_like(rest))[question]).exp(), 0.0)


def cases(log: Log, kinds: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Events of one customer at most REACH steps apart, either way: customer, item, neighbour, weight, each [n]. Known items only."""
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
            source, target = source[use], target[use]
            found.append((owner[source], item[source], item[target], np.full(len(source), weight / distance)))
    customer, source, target, weight = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return customer, source, target, weight


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


def looked_up(wanted: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """The value of each wanted key, 0 where there is none."""
    if not len(keys):
        return torch.zeros_like(wanted, dtype=values.dtype)
    place = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
    return torch.where(keys[place] == wanted, values[place], 0.0)
