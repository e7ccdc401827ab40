"""What lies between two tokens of a sequence, as a bias on their attention: how many places, and how much time.

Both gaps are read on a logarithmic scale, u = log2(1 + gap / unit), from a learned table with a value at each whole u and straight lines in
between. So a table of 12 places reaches 2,047 positions back and 16 hours-based ones reach more than three years, no step of the
function is steep, and a slope (as in ALiBi: Press et al., ICLR 2022) is the special case of a table that rises evenly.
Relative position and time biases for sequences of actions: Zhai et al., "Actions Speak Louder than Words", ICML 2024 (HSTU).
"""

from dataclasses import dataclass

from torch import Tensor

from kernels.gap_bias.reference import gap_bias

__all__ = ["HOUR", "GapTables", "gap_bias"]

HOUR = 3_600_000_000  # in microseconds


@dataclass(frozen=True)
class GapTables:
    """positions [H, P], times [H, K] (a value a head and knot; P, K ≥ 2), moment int64 µs [T] of each token, unit of time in µs.

    Without moments, where a log knows an order and no times, the bias is that of places alone.
    """

    positions: Tensor
    times: Tensor
    moment: Tensor | None
    unit: float = HOUR

    def __post_init__(self) -> None:
        if self.positions.ndim != 2 or self.times.ndim != 2 or min(self.positions.shape[1], self.times.shape[1]) < 2:
            received = f"{[*self.positions.shape]} and {[*self.times.shape]}"
            raise ValueError(f"expected tables [heads, knots] with at least 2 knots, received {received}")
