"""The feed-forward layer of a block: four times as wide in between."""

from torch import Tensor, nn

from kernels.feed_forward import feed_forward
from training.models.dropout import Dropout, seed_of_coins


class FeedForward(nn.Sequential):
    """dim: width of a token; dropout: share between the layers, None for no such layer."""

    def __init__(self, dim: int, dropout: float | None = None) -> None:
        between = [] if dropout is None else [Dropout(dropout)]
        super().__init__(nn.Linear(dim, 4 * dim), nn.GELU(), *between, nn.Linear(4 * dim, dim))

    def forward(self, x_TD: Tensor) -> Tensor:
        """[T, D]."""
        if x_TD.device.type != "cpu":
            return super().forward(x_TD)
        inner, outer = self[0], self[-1]
        assert isinstance(inner, nn.Linear)
        assert isinstance(outer, nn.Linear)
        dropped = max(layer.dropped if isinstance(layer, Dropout) else 0 for layer in self)
        weights = inner.weight, inner.bias, outer.weight, outer.bias
        return feed_forward(x_TD, *weights, dropped=dropped, seed=seed_of_coins() if dropped else 0)
