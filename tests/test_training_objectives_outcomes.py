"""When customers buy again, what they spend and who stays: labels are those of loops over the log, likelihoods those of the textbook."""

import copy
import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from helpers_sequences import (
    CAMPAIGN,
    PURCHASE,
    START,
    VIEW,
    assert_labels_lie_in_the_window,
    facts_of,
    log_of,
    one_each,
    questions_of,
    random_log,
    rows_of,
    small_model,
)
from scipy import stats

from training.errors import ConfigError
from training.models.model import SequenceModel
from training.objectives import hazard
from training.objectives.calibration import Calibration
from training.objectives.dormancy import Dormancy
from training.objectives.intent import Intent
from training.objectives.loyalty import Loyalty
from training.objectives.objective import Context, Objective
from training.objectives.presence import Presence
from training.objectives.purchases import FallingRate, most_likely
from training.objectives.value import Spending, Value, normal_quantile
from training.sequences.history import History
from training.sequences.questions import Questions
from training.sequences.split import DAY

NOW, UNTIL = START + 25 * DAY, START + 45 * DAY
LOG = random_log(8)
WIDE = {"dim": 8, "dropout": 0.0, "weight": 1.0}


def objectives(log: History, *, horizon_days: float = 28.0) -> dict[str, Objective]:
    facts = facts_of(log, START + 30 * DAY)
    return {
        "intent": Intent(events=["purchase"], horizon_days=horizon_days, facts=facts, **WIDE),
        "dormancy": Dormancy(events=["purchase"], horizon_days=horizon_days, bins=6, facts=facts, **WIDE),
        "value": Value(events=["purchase"], horizon_days=horizon_days, parts=4, interval=0.8, prior=1.0, rate_of=None, facts=facts, **WIDE),
        "loyalty": Loyalty(
            events=["purchase"],
            discount_events=["campaign"],
            discount_share=0.5,
            periods=3,
            within_days=horizon_days,
            facts=facts,
            **WIDE,
        ),
        "presence": Presence(events=["purchase", "view"], horizon_days=horizon_days, bins=6, facts=facts, **WIDE),
    }


def labels_of(log: History, now: int, until: int, *, horizon_days: float = 28.0) -> dict[str, dict[str, np.ndarray]]:
    asked = one_each(log, now)
    ends = np.full(log.num_customers, until)
    return {
        name: objective.labels(History.at(log, ends), asked[1], asked[0], ends)
        for name, objective in objectives(log, horizon_days=horizon_days).items()
    }


def purchases(log: History, customer: int, kinds: Sequence[int] = (PURCHASE,)) -> list[tuple[int, int]]:
    """(time, position of the event) of a customer's purchases, or of other kinds of event."""
    start = int(log.offsets[customer])
    return [(time, start + place) for place, (time, event, _) in enumerate(rows_of(log, customer)) if event in kinds]


def model_and_context(horizon_days: float = 28.0) -> tuple[SequenceModel, Context, dict[str, dict[str, torch.Tensor]]]:
    model = small_model(LOG)
    torch.manual_seed(0)
    model.objectives = torch.nn.ModuleDict(objectives(LOG, horizon_days=horizon_days))  # type: ignore[assignment]
    model.requires_grad_(False).eval()
    customers, now, ones = one_each(LOG, NOW)
    batch = questions_of(LOG, model).ask(customers, now, ones, np.full(LOG.num_customers, UNTIL))
    return model, model.represent(batch), batch.labels  # type: ignore[return-value]


# Labels


def test_what_goes_on_is_no_visit_to_come() -> None:
    minute = DAY // 1440
    log = log_of([[(START, VIEW, 2), (START + 20 * minute, VIEW, 2), (START + 40 * minute, PURCHASE, 2), (START + 71 * minute, VIEW, 2)]])
    found = labels_of(log, START + 10 * minute, START + DAY)["presence"]
    assert found["days"].tolist() == pytest.approx([61 * minute / DAY])
    assert not labels_of(log, START + 10 * minute, START + 70 * minute)["presence"]["came"].any()


@pytest.mark.parametrize("until", [UNTIL, NOW + 5 * DAY], ids=["all known", "censored"])
@pytest.mark.parametrize(("name", "kinds"), [("dormancy", [PURCHASE]), ("presence", [PURCHASE, VIEW])])
def test_days_to_the_next_purchase_or_visit_are_those_of_a_loop(name: str, kinds: list[int], until: int) -> None:
    found = labels_of(LOG, NOW, until, horizon_days=18)[name]
    for customer in range(LOG.num_customers):
        end = min(until, NOW + 18 * DAY)
        times = sorted(time for time, _ in purchases(LOG, customer, kinds))
        again = [time for last, time in itertools.pairwise([-DAY, *times]) if name == "dormancy" or time - last > DAY // 48]
        after = [time for time in again if NOW < time <= end]
        assert found["came"][customer] == bool(after)
        assert found["days"][customer] == pytest.approx((min(after, default=end) - NOW) / DAY)
        assert found["asked"][customer] == any(time <= NOW for time, _, _ in rows_of(LOG, customer))
    assert 0 < found["came"].sum() < LOG.num_customers


def test_purchases_and_spend_are_those_of_a_loop_over_each_part_of_what_is_known() -> None:
    """A basket of several lines is one purchase; what costs nothing is none."""
    found = labels_of(LOG, NOW, UNTIL)["value"]
    amount = np.nan_to_num(LOG.columns["price"]) * np.nan_to_num(LOG.columns["quantity"], nan=1.0)
    for customer in range(LOG.num_customers):
        start = NOW
        for part, end in enumerate(NOW + (UNTIL - NOW) * np.arange(1, 5) // 4):
            baskets = {time for time, place in purchases(LOG, customer) if start < time <= end and amount[place] > 0}
            assert found["purchases"][customer, part] == len(baskets)
            assert found["days"][customer, part] == pytest.approx((end - NOW) / DAY, rel=1e-5)
            start = end
        spent = sum(amount[place] for time, place in purchases(LOG, customer) if NOW < time <= UNTIL)
        assert found["spend"][customer] == pytest.approx(spent, rel=1e-5)
    assert (found["purchases"] > 0).any()
    assert (
        found["purchases"].sum(1) < [len([1 for time, _ in purchases(LOG, c) if NOW < time <= UNTIL]) for c in range(len(LOG.offsets) - 1)]
    ).any()


def test_loyal_is_who_buys_in_every_period_and_not_only_on_discount() -> None:
    """Periods of ten days: a steady one, a frequent buyer who then leaves, one who comes for discounts, one seen too late."""

    def buys(*days: int, discounts: tuple[int, ...] = ()) -> list[tuple[int, int, int]]:
        return [(START - DAY, PURCHASE, 2), *((START + day * DAY + DAY // 2, PURCHASE, 2) for day in days)] + [
            (START + day * DAY, CAMPAIGN, 14) for day in discounts
        ]

    log = log_of([buys(5, 15, 25), buys(1, 2, 3, 4, 5, 6, 7), buys(5, 15, 25, discounts=(15,)), buys(5, 15, 16, 25, discounts=(15,))])
    found = labels_of(log, START, START + 30 * DAY, horizon_days=30)["loyalty"]
    assert found["stayed"].tolist() == [3, 1, 1, 3]
    assert found["known"].tolist() == [3, 3, 3, 3]
    cut = labels_of(log, START, START + 29 * DAY, horizon_days=30)["loyalty"]
    assert cut["stayed"].tolist() == [2, 1, 1, 2]
    assert cut["known"].tolist() == [2, 2, 2, 2]


@pytest.mark.parametrize("days_before", [0, 3, 10])
def test_labels_lie_in_the_window(days_before: int) -> None:
    now = np.full(LOG.num_customers, NOW - days_before * DAY)

    def answers_of(log: History) -> dict[str, np.ndarray]:
        questions = Questions(log, fields=["item", "event", "timestamp"], max_events=1000, objectives=objectives(LOG))
        labels = questions.ask(*one_each(log, now), np.full(LOG.num_customers, UNTIL)).labels
        return {f"{name} {key}": values.numpy() for name, of in labels.items() for key, values in of.items()}

    assert_labels_lie_in_the_window(answers_of, without_discounts(LOG), now, np.full(LOG.num_customers, UNTIL))


def without_discounts(log: History) -> History:
    """A discount on the day of the moment, before it, marks the rest of that day: a label may know of it."""
    return log.where(log.columns["event"] != CAMPAIGN)


# Hazards


def test_a_hazard_gives_the_density_and_the_survival_of_the_textbook() -> None:
    edges = hazard.bin_edges(90.0, 3)  # 0, 10, 40, 90
    log_hazard = torch.tensor([[0.02, 0.05, 0.01]]).log()
    for days in (4.0, 10.0, 25.0, 90.0):
        summed = 0.02 * min(days, 10) + 0.05 * min(max(days - 10, 0), 30) + 0.01 * max(days - 40, 0)
        at = torch.tensor([days])
        assert hazard.survival(log_hazard, at, edges).item() == pytest.approx(math.exp(-summed), rel=1e-5)
        silent = hazard.negative_log_likelihood(log_hazard, at, torch.tensor([False]), edges)
        assert silent.item() == pytest.approx(summed, rel=1e-5)
        rate = 0.02 if days <= 10 else 0.05 if days <= 40 else 0.01
        came = hazard.negative_log_likelihood(log_hazard, at, torch.tensor([True]), edges)
        assert came.item() == pytest.approx(summed - math.log(rate), rel=1e-5)


def test_means_and_medians_are_those_of_the_curve() -> None:
    edges = hazard.bin_edges(60.0, 5)
    log_hazard = torch.log(torch.tensor([[0.1, 0.05, 0.08, 0.02, 0.03], [1e-4] * 5, [0.5] * 5]))
    days = torch.linspace(0, 60, 60_001)
    for row, known in itertools.product(range(2), (60, 20)):  # the whole horizon, and a part of it that ends within a bin
        curve = hazard.survival(log_hazard[row].expand(len(days), 5), days, edges)
        mean = hazard.mean_days(log_hazard, torch.full((3,), float(known)), edges)[row].item()
        assert mean == pytest.approx(torch.trapezoid(curve[days <= known], days[days <= known]).item(), rel=1e-3)
    median = hazard.median_days(log_hazard, edges, longest=3650)
    at = hazard.survival(log_hazard[[0, 2]], median[[0, 2]], edges)
    torch.testing.assert_close(at, torch.full((2,), 0.5))
    assert median[1].item() == 3650


def test_who_is_watched_for_a_while_counts_for_that_while() -> None:
    """Half of them are watched for a few days only: taken as having stayed away, they would halve the rate."""
    random = np.random.default_rng(0)
    came, watched = random.exponential(20, 4000), np.where(random.random(4000) < 0.5, 3, 60)
    days, seen = torch.tensor(np.minimum(came, watched)).float(), torch.tensor(came <= watched)
    edges, level = hazard.bin_edges(60.0, 4), Calibration()
    level.fit(lambda x: hazard.negative_log_likelihood(x, days, seen, edges).mean(), torch.zeros(4000, 4))
    assert level.shift.exp().item() == pytest.approx(1 / 20, rel=0.05)


# Answers


def test_what_is_said_of_silence_agrees_with_itself() -> None:
    model, context, _ = model_and_context()
    said = model.objectives["dormancy"].predict(context)
    silence = said["silence_probability"]
    assert (silence.diff() <= 0).all()
    torch.testing.assert_close(said["return_probability"], 1 - silence[:, -1])
    seen = model.objectives["presence"].predict(context)
    assert (seen["absence_probability"].diff() <= 0).all()
    torch.testing.assert_close(seen["visit_probability"], 1 - seen["absence_probability"][:, -1])
    loyal = model.objectives["loyalty"].predict(context)["loyalty"]
    assert (loyal.diff() <= 0).all()


def test_slipping_away_is_silence_for_as_long_as_the_customers_own_gap() -> None:
    """Two with the same hazard: of who comes weekly, a week of silence is asked; of who came once, the horizon."""
    log = log_of([[(START + day * DAY, PURCHASE, 2) for day in (0, 7, 14, 21)], [(START + 21 * DAY, PURCHASE, 2)]])
    model = small_model(LOG)
    dormancy = objectives(LOG)["dormancy"].requires_grad_(False).eval()
    assert isinstance(dormancy, Dormancy)
    dormancy.head.layers[-1].weight.zero_()
    said = dormancy.predict(model.represent(questions_of(log).ask(*one_each(log, START + 22 * DAY))))
    rate = 1 / 28
    torch.testing.assert_close(said["slipping_away"], torch.tensor([math.exp(-7 * rate), math.exp(-28 * rate)]), rtol=1e-3, atol=1e-3)


SPENDING = Spending(torch.tensor([[0.5, 0.7]]), torch.tensor([0.9]), torch.tensor([20.0]), torch.tensor([2.5]))


def test_a_spend_is_that_of_purchases_drawn_one_by_one() -> None:
    random = np.random.default_rng(0)
    number = random.poisson(random.gamma(0.9, 1.2 / 0.9, 400_000))
    drawn = np.where(number > 0, random.gamma(2.5 * np.maximum(number, 1), 20.0 / 2.5), 0.0)
    assert SPENDING.zero.item() == pytest.approx((number == 0).mean(), abs=3e-3)
    assert SPENDING.mean.item() == pytest.approx(drawn.mean(), rel=0.01)
    for share in (0.2, 0.8, 0.9):  # a lognormal distribution stands for the sum
        low, high = (bound.item() for bound in SPENDING.interval(share))
        assert ((low <= drawn) & (drawn <= high)).mean() == pytest.approx((1 + share) / 2, abs=0.03)


@pytest.mark.parametrize("purchases", [(0, 0), (1, 0), (0, 3), (7, 2)], ids=str)
def test_the_likelihood_of_a_spend_is_that_of_its_integral(purchases: tuple[int, int]) -> None:
    """Over the customer's own rate, which is gamma-distributed: Poisson numbers in each stretch; then the gamma density of the sum."""
    rates = np.linspace(1e-6, 60, 600_001)
    chances = stats.gamma.pdf(rates, 0.9, scale=1 / 0.9)
    for number, expected in zip(purchases, (0.5, 0.7), strict=True):
        chances = chances * stats.poisson.pmf(number, expected * rates)
    spend = 17.0 * sum(purchases)
    textbook = -math.log(np.trapezoid(chances, rates))
    constant = sum(math.lgamma(number + 1) for number in purchases)  # that of the numbers, and 1 / spend of the amount
    if spend:
        textbook += math.log(1 / spend) - stats.gamma.logpdf(spend, 2.5 * sum(purchases), scale=20.0 / 2.5)
    found = SPENDING.negative_log_likelihood(torch.tensor([purchases]).float(), torch.tensor([spend]))
    assert found.item() == pytest.approx(textbook - constant, abs=2e-3)


def test_the_likelihood_has_the_gradients_of_small_steps() -> None:
    numbers = [
        torch.tensor(values, dtype=torch.float64, requires_grad=True)
        for values in ([[0.5, 0.7], [0.1, 2.0]], [0.9, 3.0], [20.0, 9.0], [2.5, 0.6])
    ]
    purchases, spend = torch.tensor([[0.0, 0.0], [1.0, 4.0]], dtype=torch.float64), torch.tensor([0.0, 51.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda *of: Spending(*of).negative_log_likelihood(purchases, spend), numbers)


def test_before_training_value_says_what_the_most_likely_pareto_nbd_says() -> None:
    _, context, _ = model_and_context()
    value = objectives(LOG)["value"].requires_grad_(False).eval()
    assert isinstance(value, Value)
    found = most_likely(facts_of(LOG, START + 30 * DAY), np.array([PURCHASE]))
    rate = FallingRate(found)
    expected = rate.log_rate(context.rhythm).exp() * rate.days_that_count(context.rhythm, torch.tensor([[28.0]]))[:, 0]
    torch.testing.assert_close(value.predict(context)["value_purchases"], expected, rtol=1e-4, atol=1e-9)


def test_the_prior_holds_a_corrected_rate_to_what_the_table_says() -> None:
    _, context, labels = model_and_context()
    value = objectives(LOG)["value"].requires_grad_(False).eval()
    assert isinstance(value, Value)
    value.head.layers[-1].weight.normal_()
    held, count = value.loss(context, labels["value"])
    value.prior = 0.0
    free, _ = value.loss(context, labels["value"])
    correction = value.head(context)[labels["value"]["asked"], 0]
    assert len(correction) == count
    torch.testing.assert_close(held - free, (correction**2).sum() / 2, rtol=1e-3, atol=1e-3)


def value_that_hears(horizon_days: float = 28.0) -> tuple[Value, Dormancy, Context, dict[str, dict[str, torch.Tensor]]]:
    """A value whose rate is that of the hazard beside it, before it has learned anything."""
    model, context, labels = model_and_context(horizon_days)
    value, dormancy = (model.objectives[name] for name in ("value", "dormancy"))
    assert isinstance(value, Value)
    assert isinstance(dormancy, Dormancy)
    dormancy.head.layers[-1].bias.uniform_(-6.0, -3.0)
    value.hears = "dormancy"
    value.listen(dormancy)
    return value, dormancy, context, labels


@pytest.mark.parametrize(("level", "bend"), [(0.0, 0.0), (0.2, -0.4)])
def test_who_hears_a_hazard_expects_as_many_as_it_sums_to(level: float, bend: float) -> None:
    value, dormancy, context, _ = value_that_hears()
    assert value.heard is not None
    value.heard.shared.data.copy_(torch.tensor([level, bend]))
    summed = [
        sum(math.exp(rate) * width for rate, width in zip(rates, dormancy.edges.diff().tolist(), strict=True))
        for rates in dormancy.log_hazard(context).tolist()
    ]
    expected = torch.tensor([math.exp(level) * of * (1 + of) ** bend for of in summed])
    torch.testing.assert_close(value.predict(context)["value_purchases"], expected, rtol=1e-4, atol=1e-6)


def test_the_hazard_learns_nothing_from_who_hears_it_and_is_saved_once() -> None:
    value, dormancy, context, labels = value_that_hears()
    for part in (value, dormancy):
        part.requires_grad_()
    loss, _ = value.loss(context, labels["value"])
    loss.backward()
    assert all(parameter.grad is None for parameter in dormancy.parameters())
    assert value.heard is not None
    assert value.heard.shared.grad is not None
    assert value.heard.shared.grad.ne(0).all()
    assert [name for name in value.state_dict() if "heard" in name] == ["heard.shared"]


def test_what_is_heard_is_what_training_left_not_what_calibration_made_of_it() -> None:
    """In whatever order they are calibrated."""
    value, dormancy, context, labels = value_that_hears(horizon_days=20.0)
    said = value.predict(context)["value"]
    dormancy.calibrate([(context, labels["dormancy"])])
    assert not torch.equal(dormancy.log_hazard(context), dormancy.uncalibrated(context))
    torch.testing.assert_close(value.predict(context)["value"], said)


def test_a_copy_of_the_model_hears_its_own_hazard() -> None:
    model, context, _ = model_and_context()
    value = model.objectives["value"]
    value.hears = "dormancy"
    value.listen(model.objectives["dormancy"])
    other = copy.deepcopy(model)
    before = [one.objectives["value"].predict(context)["value"] for one in (model, other)]
    torch.testing.assert_close(before[0], before[1])
    other.objectives["dormancy"].head.layers[-1].bias.add_(1.0)
    after = [one.objectives["value"].predict(context)["value"] for one in (model, other)]
    torch.testing.assert_close(after[0], before[0])
    assert (after[1] > before[1]).all()


@pytest.mark.parametrize(
    ("heard", "horizon_days", "complaint"),
    [
        ("presence", 28.0, "received presence"),
        ("loyalty", 28.0, "received loyalty"),
        ("dormancy", 14.0, "reach as far as value's, 28, received 14"),
    ],
)
def test_value_hears_none_who_cannot_tell_how_often(heard: str, horizon_days: float, complaint: str) -> None:
    value = objectives(LOG)["value"]
    value.hears = heard
    with pytest.raises(ConfigError, match=complaint):
        value.listen(objectives(LOG, horizon_days=horizon_days)[heard])


def test_what_tells_who_buys_nothing_tells_how_many_are_expected() -> None:
    """Else the network could learn who comes back without a word about what they will spend."""
    _, context, _ = model_and_context()
    value = objectives(LOG)["value"].eval()
    assert isinstance(value, Value)
    value.predict(context)["value_zero_probability"].sum().backward()
    by_zero = value.head.layers[-1].weight.grad
    value.zero_grad()
    value.predict(context)["value_purchases"].sum().backward()
    by_number = value.head.layers[-1].weight.grad
    assert isinstance(by_zero, torch.Tensor)
    assert isinstance(by_number, torch.Tensor)
    torch.testing.assert_close(by_zero.any(1), torch.tensor([True, False, False]))
    torch.testing.assert_close(by_number.any(1), by_zero.any(1))


def test_quantiles_of_the_normal_distribution() -> None:
    shares = torch.tensor([0.001, 0.1, 0.5, 0.8, 0.999])
    torch.testing.assert_close(normal_quantile(shares), torch.special.ndtri(shares), rtol=0, atol=1e-3)


def test_the_longer_the_horizon_the_rarer_is_nothing_and_the_less_each_day_adds() -> None:
    _, context, _ = model_and_context()
    value = objectives(LOG)["value"].requires_grad_(False).eval()
    assert isinstance(value, Value)
    said = [value._over(context, torch.full_like(context.representation[:, :1], days)) for days in (7.0, 14.0, 21.0)]
    assert (said[0].zero > said[1].zero).all()
    assert (said[1].zero > said[2].zero).all()
    assert (said[1].mean - said[0].mean > said[2].mean - said[1].mean).all()


# Calibration


@pytest.mark.parametrize("name", ["intent", "dormancy", "presence", "value", "loyalty"])
def test_calibration_lowers_the_loss_and_can_be_learned_twice(name: str) -> None:
    model, context, labels = model_and_context(horizon_days=20.0)
    objective = model.objectives[name]
    loss, count = objective.loss(context, labels[name])
    objective.calibrate([(context, labels[name])])
    learned = {key: buffer.clone() for key, buffer in objective.named_buffers()}
    said, (lower, _) = objective.judge(context, labels[name]), objective.loss(context, labels[name])
    objective.calibrate([(context, labels[name])])
    torch.testing.assert_close(dict(objective.named_buffers()), learned, rtol=1e-3, atol=1e-3)
    if name == "value":
        assert np.nansum(said["expected"]) == pytest.approx(np.nansum(said["spend"]), rel=1e-4)
    else:
        assert (lower / count).item() < (loss / count).item()
    assert all(scale > 0 for key, scale in learned.items() if key.endswith("scale"))


def test_a_calibration_finds_scale_and_shift() -> None:
    random = torch.Generator().manual_seed(0)
    x = torch.randn(20_000, generator=random)
    came = (torch.rand(20_000, generator=random) < torch.sigmoid(0.5 * x - 1)).float()
    calibration = Calibration()
    calibration.fit(lambda logit: torch.nn.functional.binary_cross_entropy_with_logits(logit, came), x)
    assert calibration.scale.item() == pytest.approx(0.5, abs=0.06)
    assert calibration.shift.item() == pytest.approx(-1, abs=0.06)
