"""Which events make a step: those of one customer at one timestamp."""

from dataclasses import dataclass

import torch
from torch import Tensor

from kernels import ragged
from training.sequences.batch import Batch


@dataclass
class Grouping:
    """owner, step: customer and step of each event [T]. time: µs of each step [S], gap: µs since the one before [S]; offsets of steps."""

    owner: Tensor
    step: Tensor
    time: Tensor
    offsets: Tensor
    gap: Tensor


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
