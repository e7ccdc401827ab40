"""What a fused attention needs of the two tables on the device: their bias for a tile of pairs, and the tile's part of their gradients.

A pair stands at a knot u = log2(1 + gap / unit) of each table, a number between 0 and the last knot.
"""

import triton
import triton.language as tl

MOST_KNOTS = tl.constexpr(64)  # a gap is an int64, less than 2**63: counted in microseconds it stands before knot 63


@triton.jit
def knots(sees_i, place_j, moment_i, moment_j, inverse_unit, num_positions, num_times):  # type: ignore[no-untyped-def]
    """Where pairs i, j stand on the table of positions and on that of times. One of i and j is a column, the other a row."""
    places = (sees_i - place_j).to(tl.float32)
    time = (moment_i - moment_j).to(tl.float32) * inverse_unit  # subtracted as integers: a float can't hold microseconds since 1970
    place_knot = tl.minimum(tl.log2(1.0 + tl.maximum(places, 0.0)), num_positions - 1.0)
    time_knot = tl.minimum(tl.log2(1.0 + tl.maximum(time, 0.0)), num_times - 1.0)
    return place_knot, time_knot


@triton.jit
def read(table, knot, num_knots):  # type: ignore[no-untyped-def]
    """The value of one head's table at each knot: on a straight line between its two neighbours."""
    below = tl.minimum(knot.to(tl.int32), num_knots - 2)
    low = tl.load(table + below)
    return low + (tl.load(table + below + 1) - low) * (knot - below)


@triton.jit
def spread(total, grad, knot):  # type: ignore[no-untyped-def]
    """`total` [MOST_KNOTS] and what a tile of pairs adds to it: `grad` at a knot goes to its two neighbours, by how near they are.

    One sum over the tile for each whole knot next to any of its pairs, always in the same order: no atomics.
    """
    index = tl.arange(0, MOST_KNOTS)
    for neighbour in range(tl.min(knot).to(tl.int32), tl.max(knot).to(tl.int32) + 2):
        nearness = tl.maximum(1.0 - tl.abs(knot - neighbour), 0.0)
        total += tl.where(index == neighbour, tl.sum(grad * nearness), 0.0)
    return total
