"""One batch: the histories of some customers, the moments at which they are asked, and what came of it. Values plus offsets throughout."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class Batch:
    """B customers, T events, Q questions.

    fields: {name: [T]}, categories int64 ids, timestamp int64 µs, numbers float32 with NaN for missing. offsets: int64 [B + 1].
    now: int64 µs [Q], question_offsets: int64 [B + 1]. labels: {objective: {name: tensor}}, empty when nothing is to be learned.
    """

    fields: Mapping[str, Tensor]
    offsets: Tensor
    now: Tensor
    question_offsets: Tensor
    labels: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)

    def to(self, device: torch.device | str) -> "Batch":
        return Batch(
            {name: values.to(device) for name, values in self.fields.items()},
            self.offsets.to(device),
            self.now.to(device),
            self.question_offsets.to(device),
            {objective: {name: values.to(device) for name, values in labels.items()} for objective, labels in self.labels.items()},
        )
