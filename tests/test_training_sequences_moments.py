"""When customers are asked in training: evenly over their time, and never because of what comes next."""

import numpy as np
import pytest
from helpers_sequences import START, random_log, rows_of

from training.sequences.history import History, take
from training.sequences.moments import MomentAfterEachStep, MomentBeforeEachStep, UniformMoments
from training.sequences.split import DAY

LOG = take(random_log(2), np.array([0, 1, 2, 4, 5, 6, 7]))  # everybody has an event
UNTIL = np.full(LOG.num_customers, START + 60 * DAY)
FIRST = LOG.columns["timestamp"][LOG.offsets[:-1]]


def generators(seed: int, num_customers: int = LOG.num_customers) -> list[np.random.Generator]:
    return [np.random.default_rng([seed, customer]) for customer in range(num_customers)]


def drawn(per_customer: int = 6, *, cold_start: float = 0.0, log: History = LOG, seed: int = 0) -> np.ndarray:
    """[customers, per_customer]."""
    moments, counts = UniformMoments(per_customer, cold_start).draw(log, FIRST, UNTIL, generators(seed))
    assert moments.dtype == np.int64
    assert counts.tolist() == [per_customer] * log.num_customers
    return moments.reshape(log.num_customers, per_customer)


def test_one_moment_in_each_equal_share_of_the_known_time() -> None:
    for seed in range(20):
        share = (drawn(seed=seed) - FIRST[:, None]) / (UNTIL - FIRST)[:, None]
        assert (np.floor(share * 6) == np.arange(6)).all()


def test_moments_are_uniform_within_their_share() -> None:
    place = np.stack([(drawn(seed=seed) - FIRST[:, None]) / (UNTIL - FIRST)[:, None] * 6 % 1 for seed in range(600)])
    counts = np.histogram(place, bins=10, range=(0, 1))[0]
    assert counts.min() > 0.9 * counts.mean()  # 2,520 in each bin: a tenth is more than five standard deviations
    assert counts.max() < 1.1 * counts.mean()


@pytest.mark.parametrize("cold_start", [0.0, 0.25, 1.0])
def test_the_first_moment_lies_before_the_first_event_as_often_as_asked(cold_start: float) -> None:
    moments = np.stack([drawn(cold_start=cold_start, seed=seed) for seed in range(150)])
    before = moments < FIRST[:, None]
    assert not before[:, :, 1:].any()
    assert (moments[before] == np.broadcast_to(FIRST[:, None] - 1, moments.shape)[before]).all()
    assert abs(before[:, :, 0].mean() - cold_start) < 0.06  # 1,050 draws: four standard deviations
    assert (np.diff(moments, axis=-1) >= 0).all()


def test_where_a_history_is_cut_the_cold_start_stays_before_its_true_beginning() -> None:
    born = FIRST - 100 * DAY
    moments, _ = UniformMoments(6, 1.0).draw(LOG, born, UNTIL, generators(0))
    assert (moments.reshape(-1, 6)[:, 0] == born - 1).all()
    assert (moments.reshape(-1, 6)[:, 1:] >= FIRST[:, None]).all()


def test_moments_do_not_know_what_happens_after_the_first_event() -> None:
    columns = {field: values[LOG.offsets[:-1]] for field, values in LOG.columns.items()}
    only_first = History(np.arange(LOG.num_customers + 1), columns)
    assert np.array_equal(drawn(cold_start=0.3, log=only_first), drawn(cold_start=0.3))


def test_a_customer_draws_alike_in_any_company() -> None:
    pair = np.array([4, 1])
    alone, _ = UniformMoments(6, 0.3).draw(take(LOG, pair), FIRST[pair], UNTIL[pair], [generators(0)[customer] for customer in pair])
    assert np.array_equal(alone.reshape(2, 6), drawn(cold_start=0.3)[pair])


def test_a_customer_whose_first_event_is_the_last_moment() -> None:
    moments, _ = UniformMoments(4, 0.0).draw(LOG, FIRST, FIRST, generators(0))
    assert np.array_equal(moments.reshape(-1, 4), np.repeat(FIRST[:, None], 4, axis=1))


def test_after_each_step() -> None:
    log = random_log(2)  # with a customer without events
    moments, counts = MomentAfterEachStep().draw(log, UNTIL, UNTIL, [])
    expected = [sorted({time for time, *_ in rows_of(log, customer)}) for customer in range(log.num_customers)]
    assert counts.tolist() == [len(times) for times in expected]
    assert moments.tolist() == [time for times in expected for time in times]
    before, as_many = MomentBeforeEachStep().draw(log, UNTIL, UNTIL, [])
    assert before.tolist() == [time - 1 for time in moments]
    assert as_many.tolist() == counts.tolist()
