"""What an item is to the model: a vector for each id, shared by what is read and what is recommended, and for what is said of it."""

from typing import Any

import torch
from torch import Tensor, nn

from training.models.item_tower import ItemTower

NEWNESS = 0.1


class Items(nn.Embedding):
    """Ids to vectors, [...] to [..., D]. sparse: gradients hold only the items that were looked up.

    With a tower, a vector is that of the id and that of what is said of the item. In training one in ten is taken for new and goes by
    what is said alone, as those will that were never seen (Volkovs et al., "DropoutNet", NeurIPS 2017).
    """

    tower: ItemTower | None

    def __init__(self, *sizes: Any, **settings: Any) -> None:
        super().__init__(*sizes, **settings)
        self.tower = None

    def forward(self, ids: Tensor) -> Tensor:
        by_id = super().forward(ids)
        return by_id if self.tower is None else self._unless_new(by_id) + self.tower(ids)

    @property
    def table(self) -> Tensor:
        """The vectors of all items: [num_items, D]."""
        return self.weight if self.tower is None else self._unless_new(self.weight) + self.tower()

    def _unless_new(self, by_id: Tensor) -> Tensor:
        if not self.training:
            return by_id
        return by_id * (torch.rand(*by_id.shape[:-1], 1, device=by_id.device) >= NEWNESS)
