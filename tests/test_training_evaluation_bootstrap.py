"""Bootstrap intervals: they cover, they pair, they repeat."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from training.evaluation.bootstrap import auroc_difference, auroc_interval, mean_interval, mean_intervals


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    random = np.random.default_rng(0)
    intervals = [mean_interval(random.exponential(size=150), seed=trial, num_resamples=300) for trial in range(200)]
    covered = np.mean([interval.low <= 1.0 <= interval.high for interval in intervals])
    assert 0.88 <= covered <= 0.99


def test_width_is_that_of_the_normal_approximation() -> None:
    values = np.random.default_rng(1).normal(5, 2, 4000)
    interval = mean_interval(values, seed=0)
    assert interval.value == pytest.approx(values.mean())
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * 2 / np.sqrt(4000), rel=0.1)


def test_several_means_are_told_as_one_by_one() -> None:
    random = np.random.default_rng(6)
    values = {"ndcg": random.random(300), "hits": random.random(300) < 0.2}
    together = mean_intervals(values, seed=3)
    assert list(together) == list(values)
    for name, of in values.items():
        assert together[name] == pytest.approx(mean_interval(of, seed=3))
        resamples = [np.random.default_rng(trial).choice(of, len(of)).mean() for trial in range(2000)]
        assert together[name][1:] == pytest.approx(np.quantile(resamples, [0.025, 0.975]), abs=0.01)


def test_pairing_sees_what_two_intervals_apart_cannot() -> None:
    random = np.random.default_rng(2)
    baseline = random.random(500)
    model = baseline + 0.01 + random.normal(0, 0.01, 500)
    assert mean_interval(model, seed=0).low < mean_interval(baseline, seed=0).high
    assert not mean_interval(model - baseline, seed=0).includes_zero


def test_auroc_is_that_of_sklearn_with_ties() -> None:
    random = np.random.default_rng(3)
    scores = random.integers(0, 6, 500) / 6
    labels = random.random(500) < scores
    interval = auroc_interval(labels, scores, seed=0)
    assert interval.value == pytest.approx(roc_auc_score(labels, scores))
    assert interval.low < interval.value < interval.high


def test_auroc_difference_is_paired() -> None:
    random = np.random.default_rng(4)
    scores = random.random(800)
    labels = random.random(800) < scores
    same = auroc_difference(labels, scores, 2 * scores - 7, seed=0)
    assert same == (0.0, 0.0, 0.0)
    better = auroc_difference(labels, scores, random.random(800), seed=0)
    assert better.low > 0
    assert better.value == pytest.approx(auroc_interval(labels, scores, seed=0).value - 0.5, abs=0.06)


def test_a_seed_gives_the_same_interval_and_another_does_not() -> None:
    values = np.random.default_rng(5).random(50)
    assert mean_interval(values, seed=1) == mean_interval(values, seed=1)
    assert mean_interval(values, seed=1) != mean_interval(values, seed=2)


def test_labels_of_one_kind_have_no_auroc() -> None:
    interval = auroc_interval(np.ones(20, dtype=bool), np.arange(20), seed=0)
    assert np.isnan(interval).all()
    assert interval.includes_zero
