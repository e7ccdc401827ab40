import numpy as np
import pytest

from training.events.order import order_of, repeats

random = np.random.default_rng(0)
DAY = 86_400_000_000


@pytest.mark.parametrize("num_rows", [0, 1, 2, 5_000])
@pytest.mark.parametrize("step", [1, DAY, 10**15], ids=["microseconds", "days", "wider than what fits beside a row's number"])
def test_rows_are_sorted_by_customer_time_and_as_they_lie(num_rows: int, step: int) -> None:
    customer, time = random.integers(0, 50, num_rows), random.integers(-9, 9, num_rows) * step
    np.testing.assert_array_equal(order_of(customer, time), np.lexsort((np.arange(num_rows), time, customer)))


def test_rows_that_lie_in_the_order_of_time_are_only_grouped() -> None:
    customer = random.integers(0, 50, 5_000)
    np.testing.assert_array_equal(order_of(customer, np.sort(random.integers(0, 99, 5_000))), np.argsort(customer, kind="stable"))


def slowly(starts: np.ndarray, time: np.ndarray, columns: list[np.ndarray]) -> list[int]:
    customer, seen, again = np.searchsorted(starts, np.arange(len(time)), side="right"), set(), []
    for row in range(len(time)):
        values = (customer[row], time[row], *(str(column[row] + 0) for column in columns))
        again += [row] if values in seen else []
        seen.add(values)
    return again


@pytest.mark.parametrize("num_items", [2, 1_000], ids=["many repeats", "few"])
def test_repeats_equal_an_earlier_row_in_every_field(num_items: int) -> None:
    starts = np.array([0, 7, 400])
    time = np.concatenate([np.sort(random.integers(0, 9, size)) for size in (7, 393, 600)])
    columns = [random.integers(0, num_items, 1_000).astype(np.int32), random.choice(np.float32([np.nan, 0.0, -0.0, 1.5]), 1_000)]
    expected = slowly(starts, time, columns)
    assert expected
    assert repeats(starts, time, columns).tolist() == expected


def test_the_same_row_of_another_customer_is_no_repeat() -> None:
    same = np.zeros(4, dtype=np.int64)
    assert repeats(np.array([0, 2]), same, [same]).tolist() == [1, 3]
    assert repeats(np.array([0, 1, 2, 3]), same, [same]).tolist() == []
    assert repeats(np.array([], dtype=np.int64), same[:0], [same[:0]]).tolist() == []
