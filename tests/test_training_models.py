"""From a batch to representations: calendars, steps and rhythms against plain Python; nobody's answer depends on who else is asked."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from helpers_sequences import (
    ENCODERS,
    FIELDS,
    PURCHASE,
    START,
    VIEW,
    answers_to,
    assert_same,
    facts_of,
    log_of,
    one_each,
    questions_of,
    random_log,
    rows_of,
    shuffled_within_steps,
    small_model,
)
from torch import Tensor

from kernels import dispatch, native, ragged
from kernels.jagged_attention import tiles
from training.errors import ConfigError
from training.models import clock, rhythm
from training.models.features import Features, group
from training.models.hstu import HSTU
from training.models.model import SequenceModel
from training.models.sasrec import SASRec
from training.models.tokens import Tokens
from training.sequences.batch import Batch
from training.sequences.history import History, take
from training.sequences.split import DAY

LOG = random_log(6)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOW = START + 40 * DAY


def some_moments() -> list[int]:
    random = np.random.default_rng(0)
    anywhere = random.integers(-80 * 365 * DAY, 130 * 365 * DAY, 300)
    midnights = random.integers(-30_000, 50_000, 100) * DAY
    return [*anywhere.tolist(), *midnights.tolist(), *(midnights - 1).tolist(), *(midnights + 1).tolist(), 0, -1, 1]


def test_calendar_is_that_of_datetime() -> None:
    moments = some_moments()
    said = clock.calendar(torch.tensor(moments)).double()
    assert said.shape == (len(moments), clock.CALENDAR_SIZE)
    for moment, row in zip(moments, said, strict=True):
        time = EPOCH + timedelta(microseconds=moment)
        weekday = [float(day == time.weekday()) for day in range(7)]
        day = (time - time.replace(hour=0, minute=0, second=0, microsecond=0)) / timedelta(days=1)
        distances = [abs((day - quarter / 4 + 0.5) % 1 - 0.5) for quarter in range(4)]
        np.testing.assert_allclose(row, weekday + [max(0.0, 1 - 4 * distance) for distance in distances], atol=1e-6, err_msg=str(time))


def test_days() -> None:
    spans = torch.tensor([0, 1, 3_600_000_000, DAY - 1, DAY, 2**31 * 1000, 100 * 365 * DAY, -1, -50 * DAY])
    np.testing.assert_allclose(clock.days(spans), np.maximum(spans.numpy() / DAY, 0), rtol=1e-6)
    np.testing.assert_allclose(clock.log_days(torch.tensor([0, DAY, -DAY])), [0, 1, 0], atol=1e-6)


def batch_of(log: History, now: int = NOW) -> Batch:
    return questions_of(log).ask(*one_each(log, now))


@pytest.mark.parametrize("log", [LOG, random_log(7), log_of([[], []]), log_of([[(5, VIEW, 2)]] * 3)], ids=["many", "more", "none", "one"])
def test_group_makes_a_step_of_each_time(log: History) -> None:
    batch = batch_of(log)
    grouping = group(batch)
    rows = [(customer, row[0]) for customer in range(log.num_customers) for row in rows_of(log, customer) if row[0] <= NOW]
    steps = sorted(set(rows))
    assert grouping.owner.tolist() == [customer for customer, _ in rows]
    assert grouping.step.tolist() == [steps.index(row) for row in rows]
    assert grouping.time.tolist() == [time for _, time in steps]
    counts = np.bincount([customer for customer, _ in steps], minlength=log.num_customers)
    assert grouping.offsets.diff().tolist() == counts.tolist()
    gaps = [-1] * len(steps)
    for place, (before, step) in enumerate(pairwise(steps), start=1):
        gaps[place] = step[1] - before[1] if step[0] == before[0] else -1
    assert grouping.gap.tolist() == gaps


def test_a_missing_number_is_not_zero() -> None:
    log = random_log(6)
    model, batch = small_model(log), batch_of(log)
    answers = [answers_to(model, replace(batch, fields={**batch.fields, "price": price})) for price in prices(batch)]
    unlike = [(answer["representation"] - answers[0]["representation"]).abs().amax() for answer in answers[1:]]
    assert min(unlike) > 1e-3


def prices(batch: Batch) -> list[Tensor]:
    price = batch.fields["price"]
    return [torch.full_like(price, torch.nan), torch.zeros_like(price), torch.ones_like(price)]


def test_a_step_is_the_mean_of_its_events() -> None:
    features = small_model(LOG).features
    torch.nn.init.zeros_(features.from_step.weight)  # which is told how many events there are
    batch = batch_of(log_of([[(START, PURCHASE, 2), (START, VIEW, 3)]]))
    single = {name: values.split(1) for name, values in batch.fields.items()}
    alone = [
        replace(batch, fields={name: values[place] for name, values in single.items()}, offsets=torch.tensor([0, 1])) for place in (0, 1)
    ]
    both, first, second = (features(each).steps.x for each in (batch, *alone))
    assert (first - second).abs().amax() > 0.1
    torch.testing.assert_close(both, (first + second) / 2)


def test_a_log_without_numbers() -> None:
    features = Features(categories=["item", "event"], numbers=[], rhythm_events=["purchase"], dim=4, dropout=0.0, facts=facts_of(LOG, NOW))
    batch = batch_of(LOG)
    embedded = features(replace(batch, fields={field: batch.fields[field] for field in FIELDS[:3]}))
    assert embedded.steps.x.isfinite().all()
    assert embedded.questions.x.shape == (LOG.num_customers, 4)


@pytest.mark.parametrize("knows_items", [False, True])
def test_a_model_that_knows_no_items_reads_what_was_done_and_not_with_which(knows_items: bool) -> None:
    facts = replace(facts_of(LOG, NOW), knows_items=knows_items)
    features = Features(categories=["item", "event"], numbers=["price"], rhythm_events=["purchase"], dim=4, dropout=0.0, facts=facts)
    others = History(LOG.offsets, {**LOG.columns, "item": LOG.columns["item"][::-1].copy()})
    ours, theirs = (features(batch_of(log)).steps.x for log in (LOG, others))
    assert torch.equal(ours, theirs) is not knows_items
    assert (features.items is None) is not knows_items


def test_rhythm_by_hand() -> None:
    """Two purchases and a view; asked three days after the last purchase."""
    days = [(0, PURCHASE), (0, PURCHASE), (10, PURCHASE), (12, VIEW)]
    log = log_of([[], [(START + day * DAY, event, 2) for day, event in days]])
    log.columns["price"][:], log.columns["quantity"][:] = [2.0, np.nan, 5.0, 100.0], [3.0, 4.0, np.nan, 1.0]  # a gift has no price
    said = said_of_rhythm(log, START + 13 * DAY)[1].numpy()
    within = [sum(age < window for age in (13, 3)) for window in rhythm.WINDOW_DAYS]
    items = [2 * (window > 13) + (window > 3) for window in rhythm.WINDOW_DAYS]
    spent = [6 * (window > 13) + 5 * (window > 3) for window in rhythm.WINDOW_DAYS]
    np.testing.assert_allclose(np.expm1(said[: 3 * len(rhythm.WINDOW_DAYS)]), within + items + spent, atol=1e-4)
    said, calendar = said[: -clock.CALENDAR_SIZE], said[-clock.CALENDAR_SIZE :]
    np.testing.assert_allclose(calendar, clock.calendar(torch.tensor(START + 13 * DAY)))
    weekdays = np.bincount([(EPOCH + timedelta(microseconds=START + day * DAY)).weekday() for day in (0, 10)], minlength=7)
    np.testing.assert_allclose(said[-15:-8], weekdays / 2, atol=1e-6)
    # hours since the last step and purchase; days since the first step, mean and variance of the gaps between steps, mean gap between
    # purchases, silence in such gaps; purchases
    regularity = [1 * 24, 3 * 24, 13, 6, 16, 10, 3 / 10.5, 2]
    np.testing.assert_allclose(np.expm1(said[-8:]), regularity, rtol=1e-4)


def test_an_event_at_the_moment_is_past(model: SequenceModel) -> None:
    """One microsecond makes a purchase known to whoever reads it: attention, rhythm, repeats."""
    log = log_of([[(START, PURCHASE, 2)]])
    answers = [asked_at(model, log, START + microseconds) for microseconds in (-1, 0, 1)]
    for name, values in answers[1].items():
        assert (values - answers[0][name]).nan_to_num().abs().amax() > 1e-3, name
    assert_same(answers[1], answers[2], tolerance=1e-4)


def asked_at(model: SequenceModel, log: History, now: int) -> dict[str, Tensor]:
    """Asked at `now` and ten days later, so that the log is in the batch anyway; the earlier answers."""
    batch = questions_of(log).ask(np.array([0]), np.array([now, now + 10 * DAY]), np.array([2]))
    return {name: values[:1] for name, values in answers_to(model, batch).items()}


def test_rhythm_of_a_stranger_is_finite_and_like_that_of_any_other_stranger() -> None:
    said = said_of_rhythm(LOG, START - DAY)
    assert said.isfinite().all()
    assert said.equal(said[:1].expand_as(said))


def said_of_rhythm(log: History, now: int) -> Tensor:
    batch = batch_of(log, now)
    said = rhythm.Rhythm(events=["purchase"], facts=facts_of(log, now, counted=[], visited=[]))(batch, group(batch))
    assert said.shape == (log.num_customers, rhythm.RHYTHM_SIZE)
    return said


@pytest.fixture(scope="module", params=ENCODERS)
def encoder(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=[True, False], ids=["times", "order alone"])
def knows_times(request: pytest.FixtureRequest) -> bool:
    """Where a log tells the order alone, questions are their latest step and rows hold nothing but steps: another path to every answer."""
    return bool(request.param)


@pytest.fixture(scope="module")
def model(encoder: str, knows_times: bool) -> SequenceModel:
    torch.manual_seed(1)
    return small_model(LOG, encoder=encoder, knows_times=knows_times)


def asked_about(model: SequenceModel, customers: list[int], log: History = LOG) -> dict[str, Tensor]:
    now = np.full(len(customers), NOW)
    return answers_to(model, questions_of(log).ask(np.array(customers), now, np.ones(len(customers), dtype=np.int64)))


def rows(answers: dict[str, Tensor], places: list[int] | slice) -> dict[str, Tensor]:
    return {name: values[places] for name, values in answers.items()}


def test_the_order_of_a_batch_changes_no_answer(model: SequenceModel) -> None:
    order = np.random.default_rng(0).permutation(LOG.num_customers).tolist()
    assert_same(asked_about(model, order), rows(asked_about(model, list(range(LOG.num_customers))), order))


def test_neighbours_and_their_lengths_change_no_answer(model: SequenceModel) -> None:
    together = asked_about(model, list(range(LOG.num_customers)))
    for customer in range(LOG.num_customers):
        assert_same(asked_about(model, [customer]), rows(together, [customer]), what=f"customer {customer}")


def test_several_questions_at_once_are_answered_as_if_asked_alone(model: SequenceModel) -> None:
    customers, counts = np.array([0, 1, 3, 5]), np.array([3, 1, 2, 4])
    now = START + np.array([10, 55, 30, 20, 0, 40, 50, 5, 50, 33]) * DAY  # in no order, one twice
    together = answers_to(model, questions_of(LOG).ask(customers, now, counts))
    for place, (customer, moment) in enumerate(zip(np.repeat(customers, counts), now, strict=True)):
        alone = answers_to(model, questions_of(LOG).ask(np.array([customer]), np.array([moment]), np.array([1])))
        assert_same(rows(together, [place]), alone, what=f"question {place}")


def test_the_order_within_a_step_changes_no_answer(model: SequenceModel) -> None:
    other = shuffled_within_steps(LOG)
    assert other.columns["item"].tolist() != LOG.columns["item"].tolist()
    everybody = list(range(LOG.num_customers))
    assert_same(asked_about(model, everybody, other), asked_about(model, everybody))


def test_the_order_of_steps_does_change_answers(model: SequenceModel) -> None:
    """The tests above would hold for a model that reads nothing."""
    log = log_of([[(START + day * DAY, PURCHASE, 2 + day) for day in range(4)]])
    other = History(log.offsets, {**log.columns, "item": log.columns["item"][::-1].copy()})
    unlike = asked_about(model, [0], log)["representation"] - asked_about(model, [0], other)["representation"]
    assert unlike.abs().amax() > 1e-3


HISTORIES = {
    "nobody has a history": [[], [], []],
    "one event": [[(START, PURCHASE, 2)]],
    "one event among empty histories": [[], [(START, VIEW, 2)], []],
    "one large basket": [[(START, PURCHASE, item) for item in range(2, 12)]],
    "unknown and missing item and event": [[(START, 1, 1), (START + DAY, 0, 0)]],
    "an event at the very moment": [[(NOW, PURCHASE, 2)]],
}


@pytest.mark.parametrize("customers", HISTORIES.values(), ids=HISTORIES.keys())
def test_awkward_histories_have_finite_answers(model: SequenceModel, customers: list[list[tuple[int, int, int]]]) -> None:
    log = log_of(customers)
    answers = asked_about(model, list(range(log.num_customers)), log)
    assert answers.pop("item_score").isfinite().any(-1).all()
    assert all(values.isfinite().all() for values in answers.values())


def test_a_customer_without_a_question_is_left_out(model: SequenceModel) -> None:
    now, everybody = np.array([NOW, NOW]), np.arange(3)
    some = answers_to(model, questions_of(LOG).ask(everybody, now, np.array([1, 0, 1])))
    assert_same(some, asked_about(model, [0, 2]))


def test_padding_is_never_read(model: SequenceModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exported graph pads; the path that trains has the same answers without."""
    batch = batch_of(LOG)
    with torch.inference_mode():
        embedded = model.features(batch)
        expected = model.encoder(embedded.steps, embedded.questions)
        monkeypatch.setattr(ragged, "pad", partial(ragged.pad, fill=1000.0))
        with dispatch.using("reference"):
            assert_same({"x": model.encoder(embedded.steps, embedded.questions)}, {"x": expected})


TOO_FEW = [(encoder, "num_blocks", 0) for encoder in ENCODERS]
ODD_HEADS = [(encoder, "num_heads", 3) for encoder in ENCODERS if encoder != "gru4rec"]  # which has none


@pytest.mark.parametrize(("encoder", "setting", "value"), TOO_FEW + ODD_HEADS)
def test_sizes_that_do_not_fit_are_refused(encoder: str, setting: str, value: int) -> None:
    with pytest.raises(ConfigError, match=f"expected .*encoder.{setting}"):
        ENCODERS[encoder](**{"dim": 8, "num_blocks": 2, "num_heads": 2, "dropout": 0.0, setting: value})


@pytest.mark.parametrize(("num_positions", "used"), [(5, [1, 1, 1, 0, 0]), (3, [1, 1, 1]), (2, [1, 1])])
def test_learned_positions_count_from_the_oldest_step_and_the_last_is_shared(num_positions: int, used: list[int]) -> None:
    """Two steps stand at places 0 and 1, a question behind them at 2, whatever the other customer has."""
    encoder = SASRec(dim=8, num_blocks=1, num_heads=2, dropout=0.0, num_positions=num_positions)
    steps = Tokens(torch.randn(3, 8), torch.tensor([4, 2, 3]), torch.tensor([0, 1, 3]))
    questions = Tokens(torch.randn(1, 8), torch.tensor([5]), torch.tensor([0, 0, 1]))
    encoder(steps, questions)[0, 0].backward()
    assert encoder.stack.positions.grad.any(-1).int().tolist() == used


def test_hstu_needs_a_length_to_divide_by() -> None:
    with pytest.raises(ConfigError, match=r"expected encoder\.usual_length to be above 0, received 0"):
        HSTU(dim=8, num_blocks=1, num_heads=2, dropout=0.0, usual_length=0)


def training_loss(model: SequenceModel, batch: Batch) -> Tensor:
    context = model.represent(batch)
    losses = [objective.loss(context, batch.labels[name]) for name, objective in model.objectives.items()]
    return torch.stack([summed / count for summed, count in losses]).sum()


def training_batch(model: SequenceModel) -> Batch:
    customers, counts = np.array([0, 1, 2, 4, 5, 6]), np.full(6, 3)
    now = START + np.tile([5, 20, 33], 6) * DAY
    return questions_of(LOG, model).ask(customers, now, counts, np.full(6, START + 50 * DAY))


def test_gradients_reach_every_parameter(encoder: str, knows_times: bool) -> None:
    model = small_model(LOG, dropout=0.1, encoder=encoder, knows_times=knows_times).train()
    training_loss(model, training_batch(model)).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        is_read = knows_times or not name.endswith("gaps.times")  # places alone bias attention where the order alone is known
        assert (parameter.grad.abs().amax() > 0) == is_read, name


def test_the_share_of_padding_is_that_of_the_tiles(encoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four rows of 100 tokens, one of 90 beside them, one of 30 by itself: ten of 530 places are padded, where attention pads at all."""
    monkeypatch.setattr(tiles, "SPARE", 0)
    offsets = ragged.offsets_of_lengths(torch.tensor([100, 30, 100, 0, 90, 100, 100]))
    model = small_model(LOG, encoder=encoder)
    with dispatch.using("blocked"):
        share = model.encoder.share_of_padding(offsets)
    assert share == (0 if encoder == "gru4rec" else pytest.approx(10 / 530))
    if native.suits("jagged_attention", torch.float32):
        assert model.encoder.share_of_padding(offsets) == (share if encoder == "hstu" else 0)


@pytest.mark.parametrize("repeat", [True, False])
def test_training_learns_a_batch_by_heart(repeat: bool, encoder: str) -> None:
    model = small_model(LOG, dim=16, repeat=repeat, encoder=encoder).train()
    batch, optimizer = training_batch(model), torch.optim.Adam(model.parameters(), lr=0.02)
    first = training_loss(model, batch).item()
    for _ in range(40):
        optimizer.zero_grad()
        loss = training_loss(model, batch)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.6 * first


def test_every_tensor_of_a_training_step_is_made_where_the_batch_lies(encoder: str, knows_times: bool) -> None:
    """On a GPU, a tensor made without a device would lie on the CPU. Here the batch lies on the CPU and such a tensor would be on "meta",
    where sizes that depend on data can still be read, which they can't while the model itself is on "meta"."""
    model = small_model(LOG, dropout=0.1, encoder=encoder, knows_times=knows_times).train()
    batch = training_batch(model)
    assert learns_where_it_is(model, batch)
    model.features.rhythm.forward = careless(model.features.rhythm.forward)  # type: ignore[method-assign]
    assert not learns_where_it_is(model, batch)


def learns_where_it_is(model: SequenceModel, batch: Batch) -> bool:
    try:
        with torch.device("meta"):
            loss = training_loss(model, batch)
            loss.backward()
            answers = model(batch)
    except (RuntimeError, NotImplementedError):
        return False
    return all(tensor.device.type == "cpu" for tensor in (loss, *answers.values()))


def careless(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The same, with a constant made on whatever device is the default one."""
    return lambda *inputs: forward(*inputs) + torch.zeros(1)


def test_take_of_a_batch_is_what_the_model_reads() -> None:
    """A history handed over by itself and the same history inside of a log are one question."""
    model = small_model(LOG)
    alone = History.at(take(LOG, np.array([2])), NOW)
    assert_same(asked_about(model, [0], alone), asked_about(model, [2]))
