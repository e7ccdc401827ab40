"""An epoch asks every customer once, the same on any number of processes; a window asks everybody at its moment."""

from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
from helpers_sequences import FIELDS, PURCHASE, START, log_of, random_log

from training.errors import ConfigError
from training.sequences import datamodule
from training.sequences.batch import Batch
from training.sequences.datamodule import EpochLoader, SequenceData, TrainingBatches, WindowBatches, tokens_per_batch_of
from training.sequences.history import History
from training.sequences.moments import MomentAfterEachStep, UniformMoments
from training.sequences.questions import Questions
from training.sequences.split import DAY, Split, Window, leave_one_out, time_split

LOG = random_log(5, num_customers=40)
SPLIT = time_split(LOG, horizon_days=10)


class Recorded(Questions):
    """Questions that write down whom they were asked about, when, and until when: {customer: (moments, until)}."""

    def __init__(self, log: History = LOG, *, max_events: int = 1000) -> None:
        super().__init__(log, fields=FIELDS, max_events=max_events, objectives={})
        self.asked: list[tuple[int, tuple[int, ...], int]] = []

    def ask(self, customers: np.ndarray, now: np.ndarray, counts: np.ndarray, until: np.ndarray | None = None) -> Batch:
        assert until is not None
        moments = np.split(now, np.cumsum(counts)[:-1])
        self.asked += [(int(c), tuple(m.tolist()), int(u)) for c, m, u in zip(customers, moments, until, strict=True)]
        return super().ask(customers, now, counts, until)


def epoch(
    questions: Recorded, split: Split = SPLIT, *, seed: int = 0, epoch: int = 0, rank: int = 0, num_ranks: int = 1, cold_start: float = 0.1
) -> list[Batch]:
    batches = TrainingBatches(
        questions,
        split,
        UniformMoments(3, cold_start),
        customers_per_batch=8,
        seed=seed,
        epoch=epoch,
        rank=rank,
        num_ranks=num_ranks,
    )
    return [batches[index] for index in range(len(batches))]


def asked_in(**settings: int) -> list[tuple[int, tuple[int, ...], int]]:
    questions = Recorded()
    epoch(questions, **settings)
    return questions.asked


def test_every_customer_with_a_past_is_asked_once_an_epoch() -> None:
    for number in range(3):
        asked = [customer for customer, *_ in asked_in(epoch=number)]
        assert sorted(asked) == np.flatnonzero(History.at(LOG, SPLIT.train_until).num_events).tolist()


def test_no_moment_and_no_label_lies_beyond_training() -> None:
    for customer, moments, until in asked_in():
        assert until == SPLIT.train_until[customer]
        assert max(moments) <= until


def test_batches_hold_as_many_customers_as_asked_for() -> None:
    sizes = [len(batch.offsets) - 1 for batch in epoch(Recorded())]
    assert max(sizes) <= 8
    assert min(sizes) >= 7  # even groups: no batch of leftovers


LENGTHS = np.random.default_rng(1).permutation(np.geomspace(3, 200, 80).astype(int))
OF_ALL_LENGTHS = log_of([[(START + hour * DAY // 24, PURCHASE, 2) for hour in range(length)] for length in LENGTHS])


@pytest.mark.parametrize(
    "size", [{"customers_per_batch": 8}, {"customers_per_batch": 8, "tokens_per_batch": 400}], ids=["customers", "tokens"]
)
def test_customers_of_a_batch_have_histories_of_similar_length(size: dict[str, int]) -> None:
    """By the spread of lengths within batches, in powers of e, beside that of batches as large whose customers were drawn at random."""
    split, random = leave_one_out(OF_ALL_LENGTHS), np.random.default_rng(0)
    for number in range(3):
        batches = TrainingBatches(Recorded(OF_ALL_LENGTHS), split, UniformMoments(1), **size, seed=0, epoch=number, rank=0, num_ranks=1)
        ends = np.cumsum([len(group) for group in batches.groups])[:-1]
        at_random = np.split(random.permutation(batches.customers), ends)
        assert spread(batches, batches.groups) < 0.5 * spread(batches, at_random)


def spread(batches: TrainingBatches, groups: list[np.ndarray]) -> float:
    return float(np.mean([np.log(batches.num_events[group]).std() for group in groups if len(group) > 1]))


def in_tokens(tokens: int, *, max_events: int = 1000, epoch: int = 0) -> TrainingBatches:
    questions = Recorded(max_events=max_events)
    return TrainingBatches(
        questions, SPLIT, UniformMoments(3), customers_per_batch=1, tokens_per_batch=tokens, seed=0, epoch=epoch, rank=0, num_ranks=1
    )


@pytest.mark.parametrize("max_events", [1000, 6])
@pytest.mark.parametrize("tokens", [20, 50, 10_000])
def test_batches_hold_about_as_many_events_as_asked_for(tokens: int, max_events: int) -> None:
    batches = in_tokens(tokens, max_events=max_events)
    read = np.minimum(batches.num_events, max_events)
    sizes = [read[group].sum() for group in batches.groups]
    share = read.sum() / len(sizes)
    assert len(sizes) == -(-read.sum() // tokens)
    assert max(abs(size - share) for size in sizes) <= read.max()
    assert sorted(np.concatenate(batches.groups)) == batches.customers.tolist()


@pytest.mark.parametrize("max_events", [1000, 6])
def test_an_epoch_has_as_many_batches_as_asked_for_however_large_the_log(monkeypatch: pytest.MonkeyPatch, max_events: int) -> None:
    monkeypatch.setattr(datamodule, "FEWEST_TOKENS", 1)
    sizes = {"max_events": max_events, "batches_per_epoch": 7}
    assert len(in_tokens(tokens_per_batch_of(LOG, SPLIT.train_until, **sizes), max_events=max_events)) == 7


def test_small_logs_have_fewer_batches_instead_of_tiny_ones() -> None:
    assert tokens_per_batch_of(LOG, SPLIT.train_until, max_events=6, batches_per_epoch=10_000) == datamodule.FEWEST_TOKENS


def test_every_epoch_has_as_many_batches_of_events() -> None:
    assert len({len(in_tokens(30, epoch=number)) for number in range(5)}) == 1


def test_a_history_longer_than_a_batch_is_a_batch() -> None:
    assert {len(group) for group in in_tokens(1).groups} == {1}


@pytest.mark.parametrize("num_ranks", [2, 3])
def test_processes_share_out_the_very_questions_of_one(num_ranks: int) -> None:
    alone, shares = Recorded(), [Recorded() for _ in range(num_ranks)]
    whole = epoch(alone, epoch=2)
    parts = [epoch(share, epoch=2, rank=rank, num_ranks=num_ranks) for rank, share in enumerate(shares)]
    for index, batch in enumerate(whole):  # the same global batch at every step
        mine = sorted(moment for part in parts for moment in part[index].now.tolist())
        assert mine == sorted(batch.now.tolist())
    assert sorted(one for share in shares for one in share.asked) == sorted(alone.asked)


def test_the_same_seed_and_epoch_ask_the_same() -> None:
    assert asked_in(seed=3, epoch=1) == asked_in(seed=3, epoch=1)


@pytest.mark.parametrize("change", [{"epoch": 2}, {"seed": 4}], ids=str)
def test_another_seed_or_epoch_asks_at_other_moments_in_another_order(change: dict[str, int]) -> None:
    here, there = asked_in(**{"seed": 3, "epoch": 1}), asked_in(**{"seed": 3, "epoch": 1, **change})
    assert [customer for customer, *_ in here] != [customer for customer, *_ in there]
    moments = {customer: moments for customer, moments, _ in there}
    assert all(moments[customer] != mine for customer, mine, _ in here)


def test_more_processes_than_customers_in_a_batch_end_in_one_line() -> None:
    with pytest.raises(ConfigError, match=r"expected a customer for each of 9 processes .* received a batch of [78]; set") as error:
        epoch(Recorded(), num_ranks=9)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("max_events", [1, 5])
def test_batches_hold_as_many_events_as_allowed(max_events: int) -> None:
    shortened = 0
    for batch in epoch(Recorded(max_events=max_events)):
        for start, stop in zip(batch.offsets[:-1], batch.offsets[1:], strict=True):
            times = batch.fields["timestamp"][start:stop]
            assert len(times) <= max_events or (times == times[0]).all()
            shortened += len(times) > 0
    assert shortened > 20


def test_long_histories_are_asked_in_their_silences_too() -> None:
    """Twenty events in the first tenth of the time, then silence: most moments belong there, whatever fits into a batch."""
    busy = [(START + hour * DAY // 4, PURCHASE, 2) for hour in range(20)]
    log = log_of([busy, [(START + 50 * DAY, PURCHASE, 3)]] * 8)
    split = time_split(log, horizon_days=1, test_cutoff="2022-02-26", validation_cutoff="2022-02-25")
    silent = []
    for number in range(40):
        questions = Recorded(log, max_events=4)
        epoch(questions, split, epoch=number, cold_start=0.0)
        silent += [moment > busy[-1][0] for customer, moments, _ in questions.asked if customer % 2 == 0 for moment in moments]
    assert np.mean(silent) > 0.7


def test_a_long_history_is_never_asked_as_if_it_were_a_short_one() -> None:
    """A hundred events, of which a batch holds ten: a moment has at least five of them before it, unless life began there."""
    log = log_of([[(START + hour * DAY // 4, PURCHASE, 2) for hour in range(100)]] * 8)
    split = time_split(log, horizon_days=1, test_cutoff="2022-01-31", validation_cutoff="2022-01-30")
    for number in range(20):
        for batch in epoch(Recorded(log, max_events=10), split, epoch=number, cold_start=0.0):
            for customer, start in enumerate(batch.offsets[:-1]):
                times = batch.fields["timestamp"][start : batch.offsets[customer + 1]]
                moments = batch.now[batch.question_offsets[customer] : batch.question_offsets[customer + 1]]
                assert times[0] == START or (times <= moments.min()).sum() >= 5


def test_long_histories_start_cold_before_their_true_beginning() -> None:
    questions = Recorded(max_events=2)
    epoch(questions, cold_start=1.0)
    for customer, moments, _ in questions.asked:
        assert moments[0] == LOG.columns["timestamp"][LOG.offsets[customer]] - 1


def test_every_step_of_leave_one_out_training_is_a_question_once() -> None:
    split, questions = leave_one_out(LOG), Recorded()
    batches = TrainingBatches(questions, split, MomentAfterEachStep(), customers_per_batch=8, seed=0, epoch=0, rank=0, num_ranks=1)
    for index in range(len(batches)):
        batches[index]
    known = History.at(LOG, split.train_until)
    for customer, moments, _ in questions.asked:
        steps = known.columns["timestamp"][known.offsets[customer] : known.offsets[customer + 1]]
        assert list(moments) == np.unique(steps).tolist()


def test_a_window_asks_each_of_its_customers_once_at_its_moment() -> None:
    asked = np.arange(LOG.num_customers) % 3 == 0
    window = Window(START + np.arange(LOG.num_customers) * DAY, START + np.arange(50, 90) * DAY, asked)
    questions = Recorded()
    batches = WindowBatches(questions, window, customers_per_batch=5)
    found = list(batches)
    assert len(found) == len(batches) == 3
    assert [customer for customer, *_ in questions.asked] == batches.customers.tolist()
    assert sorted(batches.customers) == np.flatnonzero(asked).tolist()
    assert all(moments == (window.now[customer],) and until == window.until[customer] for customer, moments, until in questions.asked)


def test_an_epoch_goes_on_behind_the_last_batch_that_was_taken() -> None:
    whole = [batch.now.tolist() for batch in EpochLoader(epoch(Recorded()))]
    begun, goes_on = EpochLoader(epoch(Recorded())), EpochLoader(epoch(Recorded()))
    taken = [batch.now.tolist() for batch in islice(begun, 2)]
    goes_on.load_state_dict(begun.state_dict())
    assert taken + [batch.now.tolist() for batch in goes_on] == whole
    assert len(goes_on) == len(whole) > 3


def test_lightning_gets_its_own_share_of_its_own_epoch() -> None:
    data = SequenceData(LOG, SPLIT, Recorded(), UniformMoments(3), customers_per_batch=8, seed=7)
    data.trainer = SimpleNamespace(current_epoch=4, global_rank=1, world_size=2)  # type: ignore[assignment]
    expected = epoch(Recorded(), seed=7, epoch=4, rank=1, num_ranks=2)
    assert [batch.now.tolist() for batch in data.train_dataloader()] == [batch.now.tolist() for batch in expected]
    for loader, window in [(data.val_dataloader(), SPLIT.validation), (data.test_dataloader(), SPLIT.test)]:
        assert sum(len(batch.now) for batch in loader) == window.asked.sum()  # all of it in each process
