"""Both fast paths give what the plain expressions give, value and every gradient; the operator is one that torch knows how to treat."""

import math
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kernels import dispatch
from kernels.linear_cross_entropy import (
    blocked,
    linear_cross_entropy,
    linear_logsumexp,
    one_pass,
    sampled_cross_entropy,
    weighted_logsumexp,
)

PATHS = ["blocked", "fused"]
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}  # sums of at most a thousand float32 numbers near 1
SHAPES = [(1, 1, 32), (1, 130, 50), (63, 129, 64), (200, 300, 50), (65, 70, 128)]


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocked, "TILE_ROWS", 32)
    monkeypatch.setattr(blocked, "TILE_ITEMS", 48)
    monkeypatch.setattr(blocked, "TILE", 32 * 48)
    monkeypatch.setattr(one_pass, "LOGITS", 24 * 300)
    monkeypatch.setattr(one_pass, "LEAST_ROWS", 16)


@pytest.fixture(autouse=True)
def poison(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not written is seen: every empty tensor is full of NaN."""
    for name in ("empty", "empty_like"):
        monkeypatch.setattr(torch, name, _poisoned(getattr(torch, name)))
    monkeypatch.setattr(Tensor, "new_empty", _poisoned(Tensor.new_empty))


def _poisoned(make):  # type: ignore[no-untyped-def]
    def made(*args, **kwargs):  # type: ignore[no-untyped-def]
        tensor = make(*args, **kwargs)
        return tensor.fill_(math.nan) if tensor.is_floating_point() else tensor

    return made


def catalogue(num_rows: int, num_items: int, dim: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    shapes = (num_rows, dim), (num_items, dim), (num_items,)
    x, weight, bias = (torch.randn(*shape, dtype=dtype) * scale for shape, scale in zip(shapes, (0.7, 0.4, 1.0), strict=True))
    return x, weight, bias, torch.randint(num_items, (num_rows,))


def with_gradients(path, function, *inputs: Tensor) -> list[Tensor]:  # type: ignore[no-untyped-def]
    """The result and the gradients of all floating inputs, each row having a weight of its own."""
    leaves = [tensor.clone().requires_grad_(tensor.is_floating_point()) for tensor in inputs]
    with dispatch.using(path):
        result = function(*leaves)
    upstream = torch.linspace(-1.0, 2.0, len(result), dtype=result.dtype)
    return [result.detach(), *torch.autograd.grad(result, [leaf for leaf in leaves if leaf.requires_grad], upstream)]


def compare(path, function, *inputs: Tensor, **tolerance: float) -> None:  # type: ignore[no-untyped-def]
    ours, theirs = (with_gradients(p, function, *inputs) for p in (path, "reference"))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, **(tolerance or TOLERANCE))


def loss(x: Tensor, weight: Tensor, bias: Tensor, target: Tensor) -> Tensor:
    return linear_cross_entropy(x, weight, target, bias=bias)


def weighted(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return weighted_logsumexp(x, weight, bias, torch.linspace(-1.0, 2.0, len(x), dtype=x.dtype))[None]


def sampled(x, target_weight, negative_weight, target, negatives, log_q, target_bias, negative_bias):  # type: ignore[no-untyped-def]
    return sampled_cross_entropy(
        x, target_weight, negative_weight, target, negatives, log_q, target_bias=target_bias, negative_bias=negative_bias
    )


def sample(num_rows: int, num_negatives: int, dim: int, num_items: int = 40) -> list[Tensor]:
    """Few items, so that many a row has its target among the negatives."""
    return [
        torch.randn(num_rows, dim) * 0.7,
        torch.randn(num_rows, dim) * 0.4,
        torch.randn(num_negatives, dim) * 0.4,
        torch.randint(num_items, (num_rows,)),
        torch.randint(num_items, (num_negatives,)),
        torch.rand(num_negatives).add(0.01).log(),
        torch.randn(num_rows),
        torch.randn(num_negatives),
    ]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_loss_equals_reference(path: str, shape: tuple[int, int, int]) -> None:
    compare(path, loss, *catalogue(*shape))


@pytest.mark.parametrize("path", PATHS)
def test_normaliser_equals_reference_with_items_left_out(path: str) -> None:
    x, weight, bias, _ = catalogue(63, 129, 50)
    bias[::3] = bias[64:] = -math.inf  # some of every tile, all of some
    compare(path, linear_logsumexp, x, weight, bias)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_weighted_sum_equals_reference(path: str, shape: tuple[int, int, int]) -> None:
    *inputs, _ = catalogue(*shape)
    inputs[2][1::3] = -math.inf
    compare(path, weighted, *inputs, rtol=1e-5, atol=5e-5)  # of up to 200 rows
    compare(path, weighted, 20 * inputs[0], *inputs[1:], rtol=1e-3, atol=1e-2)  # too far apart to be bounded


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_reduced_loss_equals_reference(path: str, reduction: str) -> None:
    compare(
        path,
        lambda *inputs: linear_cross_entropy(*inputs[:2], inputs[3], bias=inputs[2], reduction=reduction)[None],
        *catalogue(65, 70, 32),
        rtol=1e-5,
        atol=5e-5,
    )


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("shape", [(1, 1, 32), (63, 70, 50), (20, 200, 64)], ids=str)
def test_sampled_loss_equals_reference(path: str, shape: tuple[int, int, int]) -> None:
    compare(path, sampled, *sample(*shape))


@settings(max_examples=8, deadline=None, derandomize=True)
@given(st.integers(0, 40), st.integers(1, 90), st.integers(1, 70), st.booleans())
def test_any_shape(num_rows: int, num_items: int, dim: int, masked: bool) -> None:
    x, weight, bias, _ = catalogue(num_rows, num_items, dim)
    if masked:
        bias[torch.rand(num_items) < 0.3] = -math.inf
        bias[0] = 0.0
    for path in PATHS:
        compare(path, linear_logsumexp, x, weight, bias)
        compare(path, sampled, *sample(num_rows, num_items, dim))
        compare(path, linear_logsumexp, 20 * x, weight, bias, rtol=1e-3, atol=1e-3)
        compare(path, weighted, x, weight, bias, rtol=1e-5, atol=5e-5)


@pytest.mark.parametrize("path", PATHS)
def test_large_logits(path: str) -> None:
    """They do not overflow; a number in the hundreds has four digits left behind the point."""
    x, weight, bias, target = catalogue(33, 100, 32)
    compare(path, loss, x * 10, weight * 10, bias, target, rtol=1e-3, atol=5e-3)
    same = torch.full((2, 1), 100.0), torch.full((40, 1), 100.0), torch.zeros(40)
    with dispatch.using(path):
        torch.testing.assert_close(linear_logsumexp(*same), torch.full((2,), 10_000.0) + math.log(40))


@pytest.mark.parametrize("path", PATHS)
def test_own_target_among_the_negatives_is_not_a_negative(path: str) -> None:
    inputs = sample(20, 60, 32)
    target, negatives, row = inputs[3], inputs[4], 3
    negatives[7] = target[row]
    hits = negatives == target[row]
    before = with_gradients(path, sampled, *inputs)
    inputs[2][hits] += 100.0
    after = with_gradients(path, sampled, *inputs)
    for one, other in zip(before[:3], after[:3], strict=True):  # loss, gradients of x and of target_weight
        torch.testing.assert_close(one[row], other[row], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("path", PATHS)
def test_only_accidental_hits(path: str) -> None:
    """Nothing is left to be wrong about: no loss and no gradient."""
    inputs = sample(5, 3, 32, num_items=1)
    for result in with_gradients(path, sampled, *inputs):
        assert torch.equal(result, torch.zeros_like(result))


@pytest.mark.parametrize("path", PATHS)
def test_items_left_out_do_not_leak(path: str) -> None:
    x, weight, bias, _ = catalogue(20, 130, 32)
    bias[5] = -math.inf
    before = with_gradients(path, linear_logsumexp, x, weight, bias)
    weight[5] += 100.0
    after = with_gradients(path, linear_logsumexp, x, weight, bias)
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert not before[2][5].any()
    assert before[3][5] == 0


@pytest.mark.filterwarnings("ignore:All-NaN slice encountered")  # numpy's, inside Triton's interpreter
@pytest.mark.parametrize("path", PATHS)
def test_a_row_that_is_no_number_spoils_no_other(path: str) -> None:
    x, weight, bias, _ = catalogue(70, 130, 32)
    spoiled = x.clone()
    spoiled[4] = math.nan
    with dispatch.using(path):
        clean, result = linear_logsumexp(x, weight, bias), linear_logsumexp(spoiled, weight, bias)
    assert result[4].isnan()
    others = torch.arange(70) != 4
    torch.testing.assert_close(clean[others], result[others], **TOLERANCE)


@pytest.mark.parametrize("path", PATHS)
def test_same_bits_twice(path: str) -> None:
    inputs = catalogue(63, 130, 50)
    once, twice = (with_gradients(path, loss, *inputs) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(once, twice, strict=True))


@pytest.mark.parametrize("path", PATHS)
def test_negligible_tiles_are_skipped_within_their_bound(path: str) -> None:
    """A rare half of the catalogue is skipped: its items get no gradient, and no gradient is off by more than was neglected."""
    x, weight, bias, _ = catalogue(64, 256, 32)
    bias[128:] -= 30.0
    exact = with_gradients(path, linear_logsumexp, x, weight, bias)
    skipping = with_gradients(path, lambda *inputs: linear_logsumexp(*inputs, negligible=2**-12), x, weight, bias)
    assert torch.equal(exact[0], skipping[0])
    assert exact[2][192:].any()
    assert not skipping[2][192:].any()
    for one, other in zip(exact, skipping, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-4)


@pytest.mark.parametrize("path", ["reference", "blocked"])
def test_gradcheck(path: str) -> None:
    x, weight, bias, target = catalogue(5, 11, 3, torch.float64)
    leaves = [tensor.requires_grad_() for tensor in (x, weight, bias)]
    negatives = [tensor.double().requires_grad_() if tensor.is_floating_point() else tensor for tensor in sample(5, 7, 3, num_items=4)]
    with dispatch.using(path):
        torch.autograd.gradcheck(linear_logsumexp, leaves)
        torch.autograd.gradcheck(loss, [*leaves, target])
        torch.autograd.gradcheck(sampled, negatives)
        torch.autograd.gradcheck(weighted, leaves)


def test_sampled_normaliser_is_unbiased() -> None:
    """Over all draws that there can be, each as often as it comes, the mean normaliser is that of the whole catalogue."""
    x, weight, bias, _ = catalogue(1, 6, 4, torch.float64)
    q, target = torch.rand(6, dtype=torch.float64).softmax(0), torch.tensor([2])
    of_target = (x[0] @ weight[2] + bias[2]).exp()
    mean = torch.zeros(1, dtype=torch.float64)
    for item in range(6):
        one = torch.tensor([item])
        value = sampled_cross_entropy(
            x, weight[target], weight[one], target, one, q[one].log(), target_bias=bias[target], negative_bias=bias[one]
        )
        mean += q[item] * value.exp() * of_target
    torch.testing.assert_close(mean, (x @ weight.T + bias).exp().sum(1))


def test_sampled_loss_touches_only_the_rows_it_was_given() -> None:
    table = torch.nn.Embedding(50_000, 8, sparse=True)
    target, negatives = torch.randint(50_000, (10,)), torch.randint(50_000, (30,))
    rows = table(torch.cat([target, negatives]))
    log_q = torch.full((30,), -math.log(50_000))
    sampled_cross_entropy(torch.randn(10, 8), rows[:10], rows[10:], target, negatives, log_q).sum().backward()
    gradient = table.weight.grad.coalesce()
    assert {*gradient.indices()[0].tolist()} == {*target.tolist(), *negatives.tolist()}


def test_sum_over_a_large_catalogue_stays_accurate(monkeypatch: pytest.MonkeyPatch) -> None:
    """70,000 items in float32, against float64: off by at most 1e-5, value and gradients."""
    monkeypatch.undo()  # tiles as they are in use
    x, weight, bias, target = catalogue(24, 70_000, 32)
    ours = with_gradients("blocked", loss, x, weight, bias, target)
    exact = with_gradients("reference", loss, x.double(), weight.double(), bias.double(), target)
    for one, other in zip(ours, exact, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-5)


def test_bfloat16_is_summed_in_float32() -> None:
    x, weight, bias, target = catalogue(33, 100, 32)
    ours = linear_cross_entropy(x.bfloat16(), weight.bfloat16(), target, bias=bias)
    theirs = F.cross_entropy(x.bfloat16().float() @ weight.bfloat16().float().T + bias, target, reduction="none")
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, theirs, **TOLERANCE)


@pytest.mark.parametrize("path", PATHS)
def test_opcheck(path: str) -> None:
    x, weight, bias, _ = catalogue(5, 7, 3)
    leaves = [tensor.requires_grad_() for tensor in (x, weight, bias)]
    for ids in ((torch.empty(0, dtype=torch.int64),) * 2, (torch.arange(5), torch.arange(7))):
        torch.library.opcheck(torch.ops.revisit.linear_logsumexp.default, (*leaves, ids[0], ids[1].clone(), 0.0, path))


def test_opcheck_of_the_weighted_sum() -> None:
    *leaves, _ = (tensor.requires_grad_(tensor.is_floating_point()) for tensor in catalogue(5, 7, 3))
    torch.library.opcheck(torch.ops.revisit.weighted_logsumexp.default, (*leaves, torch.rand(5)))


def test_compiles_whole() -> None:
    inputs = catalogue(9, 20, 3)
    for function, arguments in ((loss, inputs), (weighted, inputs[:3])):
        compiled = torch.compile(function, backend="aot_eager", fullgraph=True)
        for one, other in zip(*(with_gradients("blocked", f, *arguments) for f in (function, compiled)), strict=True):
            torch.testing.assert_close(one, other)


def test_meta() -> None:
    x, weight, bias, target = (tensor.to("meta") for tensor in catalogue(9, 20, 3))
    result = linear_cross_entropy(x.requires_grad_(), weight, target, bias=bias)
    assert result.shape == (9,)
    assert torch.autograd.grad(result.sum(), x)[0].shape == x.shape


def test_an_exported_graph_holds_stock_operators() -> None:
    class Loss(torch.nn.Module):
        def forward(self, x: Tensor, weight: Tensor, bias: Tensor, target: Tensor) -> Tensor:
            return loss(x, weight, bias, target)

    program = torch.export.export(Loss(), catalogue(9, 20, 3))
    assert not any("revisit" in str(node.target) for node in program.graph.nodes)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: linear_logsumexp(torch.zeros(2, 3), torch.zeros(5, 4), torch.zeros(5)), r"expected x \[Q, D\]"),
        (lambda: linear_logsumexp(torch.zeros(2, 3), torch.zeros(0, 3), torch.zeros(0)), "V at least 1"),
        (lambda: linear_logsumexp(torch.zeros(2, 3), torch.zeros(5, 3), torch.zeros(5), negligible=1.0), "negligible"),
        (lambda: linear_cross_entropy(torch.zeros(2, 3), torch.zeros(5, 3), torch.zeros(2)), r"expected target int64 \[2\]"),
        (lambda: linear_cross_entropy(*catalogue(2, 5, 3)[:2], torch.ones(2, dtype=torch.int64), reduction="all"), "none, sum or mean"),
        (lambda: weighted_logsumexp(*catalogue(2, 5, 3)[:3], torch.ones(3)), r"expected row_weight \[2\]"),
        (lambda: sampled(*(sample(3, 4, 2)[:-3]), torch.zeros(5), torch.zeros(3), torch.zeros(4)), r"log_q \[4\]"),
    ],
    ids=["widths differ", "no items", "everything negligible", "target no id", "no such reduction", "too many weights", "too many log_q"],
)
def test_what_does_not_fit_is_refused(call, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        call()


def test_fused_takes_what_it_was_compiled_for() -> None:
    with dispatch.using("fused"), pytest.raises(ValueError, match="float32 or bfloat16"):
        linear_logsumexp(*catalogue(2, 3, 4, torch.float64)[:3])


STEP_IN_A_FRESH_PROCESS = """
import resource, torch
from kernels.linear_cross_entropy import linear_cross_entropy
torch.set_num_threads(2)
def step(num_rows, num_items):
    x, weight, bias = (torch.randn(*shape, requires_grad=True) for shape in ((num_rows, 64), (num_items, 64), (num_items,)))
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    linear_cross_entropy(x, weight, torch.arange(num_rows), bias=bias).mean().backward()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - held
step(8, 16)
print(step(%d, 100_000) / 1024)
"""


def test_memory_does_not_grow_with_rows_times_items() -> None:
    """512 rows of 100,000 logits would be 205 MB; what is held beyond the inputs is their gradients and a few copies of the items."""
    done = subprocess.run([sys.executable, "-c", STEP_IN_A_FRESH_PROCESS % 512], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 180
