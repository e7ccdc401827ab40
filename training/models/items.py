"""What an item is to the model: a vector for each id, shared by what is read and what is recommended."""

from torch import Tensor, nn


class Items(nn.Embedding):
    """Ids to vectors, [...] to [..., D]. sparse: gradients hold only the items that were looked up."""

    @property
    def table(self) -> Tensor:
        """The vectors of all items: [num_items, D]."""
        return self.weight
