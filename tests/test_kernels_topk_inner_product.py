"""The k best items are those of the plain scores, on every path. Scores are whole numbers here: exact however summed, and full of ties."""

from collections.abc import Iterator
from pathlib import Path

import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kernels import dispatch
from kernels.topk_inner_product import blocked, topk_inner_product
from kernels.topk_inner_product.keys import EMPTY, answer_of, keys_of, scores_of

FAST = ["blocked", "fused"]
Answer = tuple[Tensor, Tensor]


@pytest.fixture(autouse=True)
def poisoned() -> Iterator[None]:
    """What torch.empty gives is NaN, or the largest integer."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def whole(*shape: int) -> Tensor:
    return torch.randint(-3, 4, shape).float()


def some_excluded(num_queries: int, num_items: int, most: int) -> tuple[Tensor, Tensor]:
    """Lists of all lengths, with ids twice and ids that no item has."""
    lengths = torch.randint(0, most + 1, (num_queries,))
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
    return torch.randint(-2, num_items + 2, (int(offsets[-1]),)), offsets


def answer(path: str, *inputs: Tensor | int, **options: object) -> Answer:
    with dispatch.using(path):
        return topk_inner_product(*inputs, **options)  # type: ignore[arg-type]


def check(path: str, num_queries: int, num_items: int, width: int, k: int, **options: object) -> None:
    queries, items = whole(num_queries, width), whole(num_items, width)
    expected, received = (answer(p, queries, items, k, **options) for p in ("reference", path))
    assert received[0].equal(expected[0])
    assert received[1].equal(expected[1])


# Against the specification


@pytest.mark.parametrize("path", FAST)
@pytest.mark.parametrize(
    ("num_queries", "num_items", "width", "k"),
    [(3, 300, 8, 5), (18, 200, 50, 3), (2, 1, 4, 1), (3, 7, 4, 10), (1, 129, 130, 128), (0, 5, 3, 2), (2, 0, 3, 2)],
)
def test_every_path_equals_the_specification(path: str, num_queries: int, num_items: int, width: int, k: int) -> None:
    bias = torch.where(torch.rand(num_items) < 0.2, -torch.inf, torch.randint(-2, 3, (num_items,)))
    check(path, num_queries, num_items, width, k)
    check(path, num_queries, num_items, width, k, bias=bias, excluded=some_excluded(num_queries, num_items, 6))


@pytest.mark.parametrize("k", [1, 10, 100])
@pytest.mark.parametrize("num_items", [4096, 5000])
def test_many_tiles(monkeypatch: pytest.MonkeyPatch, num_items: int, k: int) -> None:
    monkeypatch.setattr(blocked, "TILE_ITEMS", 512)
    monkeypatch.setattr(blocked, "TILE_QUERIES", 16)
    check("blocked", 40, num_items, 4, k, excluded=some_excluded(40, num_items, 200))


@settings(max_examples=12, deadline=None, derandomize=True)
@given(st.integers(1, 8), st.integers(1, 280), st.integers(1, 40), st.integers(1, 9), st.sampled_from(FAST))
def test_drawn_shapes(num_queries: int, num_items: int, width: int, k: int, path: str) -> None:
    check(path, num_queries, num_items, width, k, excluded=some_excluded(num_queries, num_items, 4))


@pytest.mark.parametrize("path", FAST)
def test_scores_of_any_size(path: str) -> None:
    queries, items = torch.randn(4, 20), torch.randn(400, 20)
    expected, received = answer("reference", queries, items, 9), answer(path, queries, items, 9)
    torch.testing.assert_close(received[0], expected[0])
    assert received[1].equal(expected[1])


def test_bfloat16_is_summed_in_float32() -> None:
    queries, items = torch.randn(4, 20).bfloat16(), torch.randn(400, 20).bfloat16()
    scores, ids = answer("blocked", queries, items, 9)
    expected = answer("reference", queries.float(), items.float(), 9)
    torch.testing.assert_close(scores, expected[0])
    assert ids.equal(expected[1])


# Ties, what is left out, determinism


@pytest.mark.parametrize("path", ["reference", *FAST])
def test_equal_scores_come_by_id(path: str) -> None:
    scores, ids = answer(path, torch.ones(2, 1), torch.ones(200, 1), 5, bias=torch.where(torch.arange(200) < 150, 0.0, -0.0))
    assert scores.equal(torch.ones(2, 5))
    assert ids.equal(torch.arange(5).expand(2, 5))
    assert answer(path, torch.zeros(1, 1), torch.tensor([[1.0], [-1.0], [1.0]]), 3)[1].tolist() == [[0, 1, 2]]  # 0, −0, 0


@pytest.mark.parametrize("path", ["reference", *FAST])
def test_fewer_candidates_than_asked_for(path: str) -> None:
    excluded = torch.tensor([0, 1, 3, 3, 2]), torch.tensor([0, 4, 5])
    scores, ids = answer(path, torch.ones(2, 1), torch.arange(4.0)[:, None], 3, excluded=excluded)
    assert ids.tolist() == [[2, -1, -1], [3, 1, 0]]
    assert scores.tolist() == [[2.0, -torch.inf, -torch.inf], [3.0, 1.0, 0.0]]


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # of numpy, on which Triton's interpreter runs
@pytest.mark.parametrize("path", ["reference", *FAST])
def test_garbage_in_what_is_left_out_changes_nothing(path: str) -> None:
    queries, items = whole(3, 4), whole(300, 4)
    excluded = torch.tensor([7, 130]).repeat(3), torch.arange(4) * 2
    bias = torch.zeros(300).index_fill(0, torch.tensor([8]), -torch.inf)
    expected = answer(path, queries, items, 6, bias=bias, excluded=excluded)
    items[[7, 8, 130]] = torch.tensor([[torch.nan], [torch.nan], [torch.inf]])
    for ours, theirs in zip(answer(path, queries, items, 6, bias=bias, excluded=excluded), expected, strict=True):
        assert ours.equal(theirs)


@pytest.mark.parametrize("path", FAST)
def test_the_same_twice(path: str) -> None:
    queries, items = torch.randn(5, 16), torch.randn(300, 16)
    first, second = (answer(path, queries, items, 20) for _ in range(2))
    assert first[0].equal(second[0])
    assert first[1].equal(second[1])


def test_keys_order_as_scores_do() -> None:
    scores = torch.tensor([-torch.inf, -3.0, -1e-40, -0.0, 0.0, 1e-40, 2.0, torch.inf])
    keys = keys_of(scores, torch.arange(8).flip(0))
    assert keys.equal(keys.sort().values)
    assert scores_of(keys).equal(scores)
    assert answer_of(keys)[1].tolist() == [-1, 6, 5, 4, 3, 2, 1, 0]
    assert int(keys[0]) > EMPTY


# Registration and export


def test_the_registered_operator_holds_its_contract() -> None:
    for path in FAST:
        operands = (torch.randn(2, 3), torch.randn(5, 3), torch.randn(5), *some_excluded(2, 5, 2), 2, path)
        torch.library.opcheck(torch.ops.revisit.topk_inner_product.default, operands)


def test_it_compiles_whole() -> None:
    queries, items = whole(3, 4), whole(50, 4)
    compiled = torch.compile(topk_inner_product, backend="aot_eager", fullgraph=True)
    assert compiled(queries, items, 4)[1].equal(topk_inner_product(queries, items, 4)[1])


class TopK(torch.nn.Module):
    def forward(self, queries: Tensor, items: Tensor, values: Tensor, offsets: Tensor) -> Answer:
        return topk_inner_product(queries, items, 4, excluded=(values, offsets))


@pytest.mark.filterwarnings("ignore")  # the exporter's own
def test_an_exported_graph_holds_stock_operators_and_breaks_ties_alike(tmp_path: Path) -> None:
    example = (whole(3, 4), whole(50, 4), torch.tensor([1, 2, 3, 4]), torch.tensor([0, 1, 2, 4]))
    program = torch.onnx.export(TopK().eval(), example, dynamo=True, dynamic_shapes=({0: torch.export.Dim.DYNAMIC},) * 4, verbose=False)
    assert program is not None
    assert {node.domain for node in program.model.graph} == {""}
    program.save(tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    for num_items in (2, 70):
        inputs = (whole(5, 4), whole(num_items, 4), *some_excluded(5, num_items, 9))
        names = [declared.name for declared in session.get_inputs()]
        scores, ids = session.run(None, dict(zip(names, (x.numpy() for x in inputs), strict=True)))
        expected = TopK()(*inputs)
        assert scores.tolist() == expected[0].tolist()
        assert ids.tolist() == expected[1].tolist()


# Errors


def test_going_backward_says_what_to_do() -> None:
    scores, _ = topk_inner_product(torch.randn(2, 3, requires_grad=True), torch.randn(5, 3), 2)
    with pytest.raises(NotImplementedError, match="score the chosen ones"):
        scores.sum().backward()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"items": torch.zeros(5, 4)}, r"queries \[Q, D\] and items \[V, D\]; received \[2, 3\] and \[5, 4\]"),
        ({"items": torch.zeros(5, 3, dtype=torch.float64)}, "both float32 or both bfloat16"),
        ({"k": 0}, "k of at least 1"),
        ({"bias": torch.zeros(4)}, r"bias of floats \[5\]"),
        ({"excluded": (torch.zeros(1, dtype=torch.int64), torch.zeros(2, dtype=torch.int64))}, r"offsets int64 \[3\]"),
    ],
)
def test_inputs_that_do_not_fit(change: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        topk_inner_product(**{"queries": torch.zeros(2, 3), "items": torch.zeros(5, 3), "k": 2, **change})  # type: ignore[arg-type]
