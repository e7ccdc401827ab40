"""Full-catalogue ranking metrics against a naive loop."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from training.errors import ConfigError
from training.evaluation.ranking import ScoredChunk, arbitrary_order, means, metric_names, ranking_metrics, relevant_ranks

NUM_ITEMS = 23


def random_chunk(*, seed: int, num_customers: int = 40) -> ScoredChunk:
    """Scores from a handful of levels, so that ties abound; a fifth of the items are no candidates."""
    random = np.random.default_rng(seed)
    scores = random.choice(np.array([-1.5, -0.0, 0.0, 0.25, 3.0], dtype=np.float32), (num_customers, NUM_ITEMS))
    scores[:, random.random(NUM_ITEMS) < 0.2] = -np.inf
    counts = random.integers(1, 9, num_customers)
    items = np.concatenate([random.choice(NUM_ITEMS, count, replace=False) for count in counts])
    return ScoredChunk(scores, items, np.concatenate([[0], np.cumsum(counts)]))


def naive_ranks(scores: np.ndarray, relevant: np.ndarray) -> list[float]:
    order = sorted(range(len(scores)), key=lambda item: (-scores[item], item * 0x9E3779B97F4A7C15 % 2**64))
    return [math.inf if scores[item] == -math.inf else order.index(item) + 1 for item in relevant]


def naive_metrics(ranks: list[float], k: int) -> dict[str, float]:
    found = [rank for rank in ranks if rank <= k]
    ideal = sum(1 / math.log2(1 + place) for place in range(1, min(k, len(ranks)) + 1))
    return {
        f"hr@{k}": float(bool(found)),
        f"recall@{k}": len(found) / len(ranks),
        f"ndcg@{k}": sum(1 / math.log2(1 + rank) for rank in found) / ideal,
        "mrr": 1 / min(ranks),
    }


@pytest.mark.parametrize("seed", range(4))
def test_ranks_agree_with_sorting_the_catalogue(seed: int) -> None:
    chunk = random_chunk(seed=seed)
    expected = [
        rank for scores, (a, b) in zip(chunk.scores, pairwise(chunk.offsets), strict=True) for rank in naive_ranks(scores, chunk.items[a:b])
    ]
    np.testing.assert_array_equal(relevant_ranks(chunk, num_items=NUM_ITEMS), expected)


@pytest.mark.parametrize("k", [1, 5, 10, 20])
def test_metrics_agree_with_a_naive_loop(k: int) -> None:
    chunk = random_chunk(seed=9)
    metrics = ranking_metrics([chunk], num_items=NUM_ITEMS, cuts=(k,))
    for customer, scores in enumerate(chunk.scores):
        relevant = chunk.items[chunk.offsets[customer] : chunk.offsets[customer + 1]]
        for name, value in naive_metrics(naive_ranks(scores, relevant), k).items():
            assert metrics[name][customer] == pytest.approx(value, abs=1e-12), name


@pytest.mark.parametrize("size", [1, 7, 39])
def test_chunks_change_nothing(size: int) -> None:
    whole = random_chunk(seed=3)
    edges = [*range(0, 40, size), 40]
    parts = [
        ScoredChunk(whole.scores[a:b], whole.items[whole.offsets[a] : whole.offsets[b]], whole.offsets[a : b + 1] - whole.offsets[a])
        for a, b in pairwise(edges)
    ]
    expected, received = ranking_metrics([whole], num_items=NUM_ITEMS), ranking_metrics(parts, num_items=NUM_ITEMS)
    assert list(expected) == list(received)
    for name, values in expected.items():
        np.testing.assert_array_equal(received[name], values, err_msg=name)


def test_equal_scores_are_ordered_by_nothing_that_ids_tell() -> None:
    order = arbitrary_order(1000)
    assert sorted(order) == list(range(1000))
    assert abs(np.corrcoef(order, np.arange(1000))[0, 1]) < 0.1
    ranks = relevant_ranks(ScoredChunk(np.zeros((1, 1000), dtype=np.float32), np.arange(1000), np.array([0, 1000])), num_items=1000)
    assert ranks.tolist() == (order + 1).tolist()


def test_an_unknown_item_is_a_miss_that_counts() -> None:
    scores = np.array([[-np.inf, -np.inf, 1, 2, 3]], dtype=np.float32)
    metrics = ranking_metrics([ScoredChunk(scores, np.array([1, 1, 4]), np.array([0, 3]))], num_items=5)
    assert metrics["recall@5"].tolist() == pytest.approx([1 / 3])
    assert metrics["mrr"].tolist() == [1.0]
    assert metrics["ndcg@5"][0] < 1


def test_nothing_found_is_zero_everywhere() -> None:
    scores = np.array([[-np.inf, 0, 0]], dtype=np.float32)
    metrics = ranking_metrics([ScoredChunk(scores, np.array([0]), np.array([0, 1]))], num_items=3)
    assert set(means(metrics).values()) == {0.0}


def test_torch_and_numpy_scores_are_the_same() -> None:
    chunk = random_chunk(seed=5)
    received = ranking_metrics([chunk._replace(scores=torch.from_numpy(chunk.scores).requires_grad_())], num_items=NUM_ITEMS)
    for name, values in ranking_metrics([chunk], num_items=NUM_ITEMS).items():
        np.testing.assert_array_equal(received[name], values)


def test_the_metrics_are_the_ones_that_are_announced() -> None:
    assert sorted(ranking_metrics([random_chunk(seed=1)], num_items=NUM_ITEMS)) == sorted(metric_names())


def test_sampled_candidates_are_refused() -> None:
    sampled = ScoredChunk(np.zeros((1, 101), dtype=np.float32), np.array([0]), np.array([0, 1]))
    with pytest.raises(
        ConfigError, match=r"whole catalogue, \[customers, 5000\], received \[1, 101\]: metrics over sampled candidates mislead"
    ):
        ranking_metrics([sampled], num_items=5000)


def test_scores_of_a_diverged_model_are_refused() -> None:
    with pytest.raises(ConfigError, match="without NaN"):
        relevant_ranks(ScoredChunk(np.full((1, 3), np.nan), np.array([1]), np.array([0, 1])), num_items=3)


@pytest.mark.parametrize("chunks", [[], [ScoredChunk(np.zeros((1, 3)), np.zeros(0), np.array([0, 0]))]], ids=["nobody", "nothing relevant"])
def test_a_question_without_an_answer_is_refused(chunks: list[ScoredChunk]) -> None:
    with pytest.raises(ConfigError, match="relevant item"):
        ranking_metrics(chunks, num_items=3)
