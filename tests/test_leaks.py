"""Nothing that is said of a moment depends on what comes after it, and no label on what came before it or lies beyond its window.

The checks are in helpers_sequences. The second half of this page plants leaks of every kind that was thought of and sees each one caught:
a check that finds nothing wrong with them would find nothing wrong with anything.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers_sequences import (
    ENCODERS,
    EVENT_NAMES,
    FIELDS,
    FIRST_ADVERT,
    NUM_ITEMS,
    PURCHASE,
    START,
    Answers,
    answers_to,
    assert_blind_to_the_future,
    assert_labels_lie_in_the_window,
    facts_of,
    one_each,
    questions_of,
    random_log,
    small_model,
    with_another_future,
)
from torch import Tensor

from kernels import ragged
from training.baselines.buy_again import BuyAgain
from training.baselines.features import customer_features
from training.baselines.item_to_item import ItemToItem
from training.baselines.popularity import Popularity
from training.evaluation.comparison import ranking_question
from training.models import features, rows
from training.models.grouping import Grouping
from training.models.model import SequenceModel
from training.models.rhythm import Rhythm
from training.models.tokens import Tokens
from training.sequences.batch import Batch
from training.sequences.datamodule import TrainingBatches, WindowBatches
from training.sequences.future import Future
from training.sequences.history import History, customer_of_event
from training.sequences.moments import MomentAfterEachStep, MomentBeforeEachStep, UniformMoments
from training.sequences.questions import Questions
from training.sequences.split import DAY, Split, Window, at_target_times, leave_one_out, time_split

LOG = random_log(10, num_customers=16)
NUM_CUSTOMERS = LOG.num_customers
NOW = START + 30 * DAY - 1
EVERYBODY = np.full(NUM_CUSTOMERS, NOW)
STAGGERED = START + np.linspace(5, 55, NUM_CUSTOMERS).astype(np.int64) * DAY  # some fall on the time of a step
UNTIL = EVERYBODY + 12 * DAY
LATER = NOW + 40 * DAY
KINDS = {"candidates": (np.arange(NUM_ITEMS) > 1) & (np.arange(NUM_ITEMS) < FIRST_ADVERT), "target_events": np.array([PURCHASE])}
Asks = Callable[[History], Answers]


@pytest.fixture(scope="module")
def model() -> SequenceModel:
    torch.manual_seed(2)
    return small_model(LOG)


def at_the_end(model: SequenceModel, now: np.ndarray = EVERYBODY) -> Asks:
    """Each customer asked once: what lies after `now` should not even be in the batch."""
    return lambda log: answers_to(model, questions_of(log).ask(*one_each(log, now)))


def in_between(model: SequenceModel, now: np.ndarray = EVERYBODY) -> Asks:
    """Each customer asked again later: what lies after `now` is in the batch, and nothing may look at it."""
    moments = np.stack([now, np.full(NUM_CUSTOMERS, LATER)], 1).ravel()

    def answers_of(log: History) -> Answers:
        batch = questions_of(log).ask(np.arange(NUM_CUSTOMERS), moments, np.full(NUM_CUSTOMERS, 2))
        return {name: values[::2] for name, values in answers_to(model, batch).items()}

    return answers_of


@pytest.mark.parametrize("now", [EVERYBODY, STAGGERED], ids=["one cutoff", "a moment each"])
@pytest.mark.parametrize("asks", [at_the_end, in_between])
@pytest.mark.parametrize("knows_times", [True, False], ids=["times", "order alone"])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_the_model_is_blind_to_the_future(encoder: str, knows_times: bool, asks: Callable[..., Asks], now: np.ndarray) -> None:
    torch.manual_seed(2)
    assert_blind_to_the_future(asks(small_model(LOG, encoder=encoder, knows_times=knows_times), now), LOG, now)


def test_ranking_baselines_are_blind_to_the_future() -> None:
    def answers_of(log: History) -> Answers:
        question = ranking_question(log, Window(EVERYBODY, UNTIL, np.ones(NUM_CUSTOMERS, dtype=bool)), KINDS["target_events"])
        rankers = {
            "popularity": Popularity.fit(question.history, window_days=28, **KINDS),
            "buy_again": BuyAgain.fit(question.history, half_life_days=30, **KINDS),
            "item_to_item": ItemToItem.fit(question.history, context="customer", repeats=True, **KINDS),
        }
        return {name: finite(ranker.scores(question.history, np.arange(NUM_CUSTOMERS))) for name, ranker in rankers.items()}

    assert_blind_to_the_future(answers_of, LOG, EVERYBODY)


def test_the_catalogue_is_blind_to_the_future() -> None:
    def answers_of(log: History) -> Answers:
        facts = facts_of(log, NOW)
        return {"candidates": facts.candidates(["purchase"]).astype(float), "counts": facts.item_counts(["purchase"]).astype(float)}

    assert_blind_to_the_future(answers_of, LOG, EVERYBODY)


def finite(scores: np.ndarray) -> np.ndarray:
    return np.where(np.isneginf(scores), -1e6, scores)


def intent_features(log: History) -> Answers:
    names, values = customer_features(log, NOW, intent_events=np.array([PURCHASE]), event_names=EVENT_NAMES)
    return dict(zip(names, values.T, strict=True))


def test_features_of_the_intent_baselines_are_blind_to_the_future() -> None:
    assert_blind_to_the_future(intent_features, LOG, EVERYBODY)


BY_TIME = time_split(LOG, horizon_days=10, test_cutoff="2022-02-20", validation_cutoff="2022-02-08")
SPLITS = {
    "time": BY_TIME,
    "time, the targets' known": at_target_times(LOG, BY_TIME, np.array([PURCHASE])),
    "leave_one_out": leave_one_out(History.at(LOG, START + 50 * DAY)),  # so that something comes after its last step
}


MOMENTS = {"uniform": UniformMoments(4), "after each step": MomentAfterEachStep(), "before each step": MomentBeforeEachStep()}


@pytest.fixture(params=SPLITS.values(), ids=SPLITS.keys())
def split(request: pytest.FixtureRequest) -> Split:
    return request.param


@pytest.mark.parametrize("moments", MOMENTS.values(), ids=MOMENTS.keys())
@pytest.mark.parametrize("max_events", [1000, 4])
@pytest.mark.parametrize("refit", [False, True], ids=["", "refit"])
def test_training_sees_nothing_after_its_end(
    model: SequenceModel, split: Split, moments: UniformMoments, max_events: int, refit: bool
) -> None:
    """Moments, histories, labels, first weights: an epoch stays the same whatever happens after `train_until`, a refit's after the test."""
    if refit:
        split = replace(split, train_until=split.test.now)

    def answers_of(log: History) -> Answers:
        questions = questions_of(log, model, max_events=max_events)
        batches = TrainingBatches(questions, split, moments, customers_per_batch=4, seed=0, epoch=0, rank=0, num_ranks=1)
        answers: dict[str, np.ndarray | Tensor] = {"popularity": facts_of(log, split.train_until).item_counts(["purchase"])}
        for index in range(len(batches)):
            answers |= {f"{index} {name}": values for name, values in tensors(batches[index]).items()}
        return answers

    assert_blind_to_the_future(answers_of, LOG, split.train_until)


def tensors(batch: Batch) -> dict[str, Tensor]:
    labels = {f"{objective} {name}": values for objective, of in batch.labels.items() for name, values in of.items()}
    return {**batch.fields, "offsets": batch.offsets, "now": batch.now, **labels}


@pytest.mark.parametrize("which", ["validation", "test"])
def test_labels_of_a_window_lie_in_the_window(model: SequenceModel, split: Split, which: str) -> None:
    """Rows after the horizon may change as they like, and so may what was bought before the cutoff."""
    window: Window = getattr(split, which)
    last = np.where(window.asked, window.until, LOG.columns["timestamp"].max())  # nothing is asked of the others

    def labels_of(log: History) -> Answers:
        batches = WindowBatches(questions_of(log, model), window, customers_per_batch=1)
        by_customer = dict(zip(batches.customers, batches, strict=True))
        items = ranking_question(log, window, np.array([PURCHASE]))
        answers: dict[str, np.ndarray | Tensor] = {"customers": items.customers, "items": items.items, "offsets": items.offsets}
        for customer, batch in sorted(by_customer.items()):
            answers |= {f"{customer} {name}": values for name, values in tensors(replace(batch, fields={})).items() if name != "offsets"}
        return answers

    assert_labels_lie_in_the_window(labels_of, LOG, window.now, np.maximum(last, window.now))


def labels_at(model: SequenceModel, now: np.ndarray) -> Asks:
    def labels_of(log: History) -> Answers:
        customers, moments, counts = one_each(log, now)
        labels = questions_of(log, model).ask(customers, moments, counts, UNTIL).labels
        return {f"{objective} {name}": values for objective, of in labels.items() for name, values in of.items()}

    return labels_of


@pytest.mark.parametrize("days_before", [0, 3, 10])
def test_labels_of_any_moment_lie_in_its_window(model: SequenceModel, days_before: int) -> None:
    now = EVERYBODY - days_before * DAY
    assert_labels_lie_in_the_window(labels_at(model, now), LOG, now, UNTIL)


def test_no_step_is_predicted_from_the_rest_of_it(model: SequenceModel) -> None:
    """Asked at the time of each customer's last step but one, the labels are untouched by what is in that step."""
    now = leave_one_out(LOG).test.now
    assert_labels_lie_in_the_window(labels_at(model, now), LOG, now, np.maximum(UNTIL, now))


# Leaks, planted. Each is a way in which a feature, an encoder, a batch, a baseline or a label has gone wrong somewhere before.


def reading_ahead(model: SequenceModel, monkeypatch: pytest.MonkeyPatch) -> Asks:
    """A column made before training from the whole log: at each event, the days until the customer's next purchase."""

    def answers_of(log: History) -> Answers:
        time, owner = log.columns["timestamp"], customer_of_event(log.offsets)
        until = np.full(len(time), time.max() + DAY)
        future = Future.after(log, kinds=np.array([PURCHASE]), now=time, owner=owner, until=until)
        days = np.where(future.found, (np.minimum(future.time_of_first(), until) - time) / DAY, 99).astype(np.float32)
        return at_the_end(model)(History(log.offsets, {**log.columns, "price": days}))

    return answers_of


def rhythm_of_next_week(model: SequenceModel, monkeypatch: pytest.MonkeyPatch) -> Asks:
    """Windows that end a week too late."""
    of_the_moment = Rhythm.forward

    def of_next_week(self: Rhythm, batch: Batch, grouping: Grouping) -> Tensor:
        return of_the_moment(self, replace(batch, now=batch.now + 7 * DAY), grouping)

    monkeypatch.setattr(Rhythm, "forward", of_next_week)
    return in_between(model)


def attention_both_ways(model: SequenceModel, monkeypatch: pytest.MonkeyPatch) -> Asks:
    """An encoder without a causal mask."""

    def everything(steps: Tokens) -> Tensor:
        return steps.offsets.diff()[ragged.row_of_value(steps.offsets, len(steps.x))]

    monkeypatch.setattr(rows, "past_of_steps", everything)
    return in_between(model)


def a_step_sees_the_next(model: SequenceModel, monkeypatch: pytest.MonkeyPatch) -> Asks:
    """A causal mask off by one."""
    causal = rows.past_of_steps
    monkeypatch.setattr(rows, "past_of_steps", lambda steps: causal(steps) + 2)
    return in_between(model)


def a_question_is_the_next_step(model: SequenceModel, monkeypatch: pytest.MonkeyPatch) -> Asks:
    """Where the order alone is known, and a question is the latest step before it: off by one, it is the answer."""
    before = features.past_of_questions
    monkeypatch.setattr(features, "past_of_questions", lambda steps, questions: before(steps, questions) + 1)
    return in_between(small_model(LOG, knows_times=False))


def moment_a_day_late(model: SequenceModel, monkeypatch: pytest.MonkeyPatch) -> Asks:
    """The day of the cutoff counted to the past."""
    return at_the_end(model, EVERYBODY + DAY)


def length_of_the_whole_history(model: SequenceModel, monkeypatch: pytest.MonkeyPatch) -> Asks:
    """A number that looks harmless: how many events a customer has."""
    return lambda log: at_the_end(model)(History(log.offsets, {**log.columns, "price": 1 + num_events_of_owner(log)}))


def num_events_of_owner(log: History) -> np.ndarray:
    return log.num_events[customer_of_event(log.offsets)].astype(np.float32)


def popularity_of_all_times(model: SequenceModel, monkeypatch: pytest.MonkeyPatch) -> Asks:
    """A baseline fitted on the test."""
    return lambda log: {"popularity": finite(Popularity.fit(log, window_days=None, **KINDS).scores(History.at(log, NOW), np.arange(3)))}


LEAKS = [
    reading_ahead,
    rhythm_of_next_week,
    attention_both_ways,
    a_step_sees_the_next,
    a_question_is_the_next_step,
    moment_a_day_late,
    length_of_the_whole_history,
    popularity_of_all_times,
]


@pytest.mark.parametrize("leak", LEAKS)
def test_a_planted_look_at_the_future_is_caught(leak: Callable[..., Asks], model: SequenceModel, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AssertionError, match=r"differs: (later rows|rows added)"):
        assert_blind_to_the_future(leak(model, monkeypatch), LOG, EVERYBODY)


class Wrong:
    """An objective that reads its labels wrongly: `at` says from which moment on, `known` what is looked at."""

    def __init__(self, model: SequenceModel, at: Callable[..., np.ndarray]) -> None:
        self.objectives, self.at = model.objectives, at

    def labels(self, known: History, now: np.ndarray, owner: np.ndarray, until: np.ndarray) -> dict[str, np.ndarray]:
        return self.objectives["next_item"].labels(known, self.at(known, now, owner), owner, until)


def a_step_too_early(known: History, now: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """The label shifted one step into the past: the step before the moment in the place of the one after it."""
    time, whose = known.columns["timestamp"], customer_of_event(known.offsets)
    before = [time[(whose == customer) & (time <= moment)].max(initial=0) for customer, moment in zip(owner, now, strict=True)]
    return np.array(before) - 1


def the_very_step(known: History, now: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """The rest of the basket in the place of the next one: "at or after" for "after"."""
    return now - 1


@pytest.mark.parametrize("at", [a_step_too_early, the_very_step])
def test_a_label_from_the_past_is_caught(at: Callable[..., np.ndarray], model: SequenceModel) -> None:
    now = leave_one_out(LOG).test.now

    def labels_of(log: History) -> Answers:
        asked = Questions(log, fields=FIELDS, max_events=1000, objectives={"wrong": Wrong(model, at)})
        return asked.ask(*one_each(log, now), np.maximum(UNTIL, now)).labels["wrong"]

    with pytest.raises(AssertionError, match="differs: earlier rows"):
        assert_labels_lie_in_the_window(labels_of, LOG, now, np.maximum(UNTIL, now))


@pytest.mark.parametrize("days_beyond", [1, 30])
def test_a_label_from_beyond_the_window_is_caught(days_beyond: int, model: SequenceModel) -> None:
    def labels_of(log: History) -> Answers:
        return questions_of(log, model).ask(*one_each(log, NOW), UNTIL + days_beyond * DAY).labels["next_item"]

    with pytest.raises(AssertionError, match=r"differs: (later rows|rows added)"):
        assert_labels_lie_in_the_window(labels_of, LOG, EVERYBODY, UNTIL)


def test_the_checks_refuse_a_log_on_which_they_could_not_fail() -> None:
    with pytest.raises(AssertionError, match="without a future"):
        list(with_another_future(History.at(LOG, NOW), EVERYBODY))
