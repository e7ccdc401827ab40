"""What a model is found to be worth doesn't depend on how many customers it is asked about at once."""

from pathlib import Path

import numpy as np
import pytest

from training.evaluation.judging import judge
from training.export import load_run

Evidence = tuple[np.ndarray, dict[str, dict[str, np.ndarray]]]
EVERYBODY = 48


def judged(run: Path, customers_per_batch: int) -> Evidence:
    parts = load_run(run)
    return judge(parts.model, parts.questions, parts.split.test, customers_per_batch=customers_per_batch)


@pytest.fixture(scope="module", params=["small_run", "outcomes_run"])
def run(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def at_once(run: Path) -> Evidence:
    return judged(run, EVERYBODY)


@pytest.mark.parametrize("customers_per_batch", [1, 7])
def test_any_size_of_batch_finds_the_same(run: Path, at_once: Evidence, customers_per_batch: int) -> None:
    """Of rankings to the last bit. Chances and amounts round as their matrix products do, which differs with the shape of these."""
    customers, evidence = judged(run, customers_per_batch)
    expected_customers, expected = at_once
    assert len(customers) == EVERYBODY
    assert customers.tolist() == expected_customers.tolist()
    for objective, of in expected.items():
        tolerance = 0 if objective == "next_item" else 1e-5
        assert evidence[objective].keys() == of.keys()
        for name, values in of.items():
            np.testing.assert_allclose(evidence[objective][name], values, rtol=tolerance, atol=tolerance, err_msg=f"{objective} {name}")
