"""The path that is taken on a CPU whose machine has a C compiler: a row and head at a time, in a core's own cache (compiled.c).

Rows of three tokens cost what three tokens cost: no batched products to be called, no tiles to be laid out.
"""

import ctypes
import math
from functools import lru_cache

import torch
from torch import Tensor

from kernels import native
from kernels.gap_bias.blocked import hats
from kernels.jagged_attention.latest import Latest

LOG2_E = math.log2(math.e)
GROUPS = 64  # of rows, each of which one thread treats: more than threads as a rule, so that nobody waits long for the last
PAIRS_WORTH_A_THREAD = 1 << 14  # waking one costs as much as some thousands of logits

_Pointer, _Number = ctypes.c_void_p, ctypes.c_int64


class _Attention(ctypes.Structure):
    """As the structure of that name in compiled.c."""

    doubles = ("d_distance", "d_time")

    _fields_ = (
        *((name, _Number) for name in ("heads", "dim", "longest", "num_groups", "num_threads")),
        *((name, _Pointer) for name in ("offsets", "groups", "sees", "q", "k", "v")),
        *((name, _Number) for name in ("q_step", "k_step", "v_step")),
        *((name, _Pointer) for name in ("by_distance", "by_time", "moment")),
        ("num_knots", _Number),
        ("per_unit", ctypes.c_double),
        *((name, _Pointer) for name in ("out", "log_normaliser", "grad", "dq", "dk", "dv", "d_distance", "d_time")),
    )


def forward(
    q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, sees: Tensor, positions: Tensor, times: Tensor, moment: Tensor, unit: float
) -> tuple[Tensor, Tensor]:
    """The result [T, H, D] and the logarithm of each token's normaliser [T, H]."""
    out, log_normaliser = q.new_empty(q.shape), q.new_empty(q.shape[:2])
    rows = _rows.of(offsets)
    _run("attention_forward", rows, (q, k, v), sees, positions, times, moment, unit, out=out, log_normaliser=log_normaliser)
    return out, log_normaliser


def backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    offsets: Tensor,
    sees: Tensor,
    positions: Tensor,
    times: Tensor,
    moment: Tensor,
    out: Tensor,
    log_normaliser: Tensor,
    unit: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of q, k, v and of both tables."""
    rows = _rows.of(offsets)
    given = {"grad": grad.contiguous(), "log_normaliser": log_normaliser.contiguous()}
    learned = {name: q.new_empty(q.shape) for name in ("dq", "dk", "dv")}
    d_distance = torch.zeros(rows.num_groups, len(positions), rows.longest + 1, dtype=torch.float64)
    d_time = torch.zeros(rows.num_groups, *times.shape, dtype=torch.float64)
    learned |= {"d_distance": d_distance, "d_time": d_time}
    _run("attention_backward", rows, (q, k, v), sees, positions, times, moment, unit, **given, **learned)
    d_positions = d_distance.sum(0).to(positions.dtype) @ rows.knots_at(positions).T
    return learned["dq"], learned["dk"], learned["dv"], d_positions, d_time.sum(0).to(times.dtype)


class _Rows:
    """What both ways need to know of a batch, from its offsets [B + 1].

    groups [G + 1]: where each begins, of neighbours that cost about as much together: memory is read from one end to the other.
    """

    def __init__(self, offsets: Tensor) -> None:
        self.offsets = offsets.contiguous()
        lengths = offsets.diff()
        self.longest = int(lengths.max()) if len(lengths) else 0
        self.num_groups = max(1, min(GROUPS, len(lengths)))
        pairs = (lengths * (lengths + native.LANES)).cumsum(0)  # a token meets at least a vector of keys
        self.num_pairs = int(pairs[-1]) if len(pairs) else 0
        cuts = torch.arange(1, self.num_groups) * self.num_pairs // self.num_groups
        self.groups = torch.cat([offsets.new_tensor([0]), torch.searchsorted(pairs, cuts, right=True), offsets.new_tensor([len(lengths)])])

    def knots_at(self, positions: Tensor) -> Tensor:
        """How much of each knot of the table [H, P] counts at the distances longest … 0: [P, longest + 1]."""
        return _hats_from_far(positions.shape[1], self.longest, positions.dtype)


def _run(
    function: str,
    rows: _Rows,
    qkv: tuple[Tensor, Tensor, Tensor],
    sees: Tensor,
    positions: Tensor,
    times: Tensor,
    moment: Tensor,
    unit: float,
    **others: Tensor,
) -> None:
    _, heads, dim = qkv[0].shape
    told = _Attention(
        heads=heads,
        dim=dim,
        longest=rows.longest,
        num_groups=rows.num_groups,
        num_threads=native.threads(heads * rows.num_pairs / PAIRS_WORTH_A_THREAD),
        num_knots=times.shape[1],
        per_unit=1 / unit,
    )
    named = dict(zip("qkv", map(_heads_side_by_side, qkv), strict=True))
    for name, tensor in named.items():
        setattr(told, f"{name}_step", tensor.stride(0))
    named |= {"offsets": rows.offsets, "groups": rows.groups, "sees": sees.contiguous(), **others}
    named["by_distance"] = (positions * LOG2_E) @ rows.knots_at(positions)
    if len(moment) and times.shape[1]:
        named |= {"moment": moment.contiguous(), "by_time": (times * LOG2_E).contiguous()}
    native.call("jagged_attention", function, told, named)


_rows = Latest(_Rows)


@lru_cache(maxsize=16)
def _hats_from_far(num_knots: int, longest: int, dtype: torch.dtype) -> Tensor:
    return hats(max(2, num_knots), longest, dtype, torch.device("cpu"))[:num_knots].flip(1).contiguous()


def _heads_side_by_side(x_THD: Tensor) -> Tensor:
    """As it is where a token's heads stand one behind the other, however far apart tokens are, as the parts of one projection do."""
    return x_THD if x_THD.stride()[1:] == (x_THD.shape[2], 1) else x_THD.contiguous()
