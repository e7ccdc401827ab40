"""From the outputs of one horizon follows what the model would have said of any other."""

import math
import re
from dataclasses import astuple

import numpy as np
import pytest
import torch
from helpers_sequences import START, facts_of, one_each, questions_of, random_log, small_model
from scipy import stats

from serving.client import Answer
from serving.errors import RequestError
from serving.spending import TOLD, Spend, normal_quantile
from training.objectives import value as in_training
from training.objectives.objective import Context
from training.objectives.value import Value
from training.sequences.split import DAY

LOG = random_log(12)
TOLERANCE = 1e-4  # float32 there, float64 here
DAYS = [1.0, 28.0, 90.0, 365.0, 3650.0]
ONE = {"value": 24.0, "value_purchases": 1.2, "value_evenness": 0.9, "value_amount_shape": 2.5, "value_rate_days": 100.0}
TERMS = {"value_horizon_days": 28.0, "value_interval": 0.8, "value_rate_fall": 0.6}


def value_and_context(*, fall: float, interval: float = 0.8) -> tuple[Value, Context]:
    """An objective that says something else of everybody; some buy for sure, some hardly."""
    torch.manual_seed(0)
    model = small_model(LOG)
    facts = facts_of(LOG, START + 30 * DAY)
    wide = {"dim": 8, "dropout": 0.0, "weight": 1.0}
    value = Value(events=["purchase"], horizon_days=28.0, parts=4, interval=interval, prior=1.0, rate_of=None, facts=facts, **wide)
    value.requires_grad_(False).eval()
    value.head.layers[-1].weight.normal_()
    value.falling.shared[0] = math.log(fall)
    value.rate.shift.fill_(2.0)
    value.evenness.shared.copy_(torch.tensor([-0.2, 0.1]))
    return value, model.requires_grad_(False).eval().represent(questions_of(LOG, model).ask(*one_each(LOG, START + 40 * DAY)))


def told_by(value: Value, context: Context) -> list[Answer]:
    """A client's answers, one a customer."""
    said = value.predict(context)
    return [Answer({name: values[row].item() for name, values in said.items()}, value.terms) for row in range(LOG.num_customers)]


@pytest.mark.parametrize("interval", [0.5, 0.95])
@pytest.mark.parametrize("fall", [0.05, 0.9999, 1.0, 1.0001, 3.0])
@pytest.mark.parametrize("days", DAYS)
def test_any_horizon_is_answered_as_the_model_would(days: float, fall: float, interval: float) -> None:
    value, context = value_and_context(fall=fall, interval=interval)
    spending = value._over(context, torch.full_like(context.representation[:, :1], days))
    expected = torch.stack([spending.mean, *spending.interval(interval), spending.zero, spending.number], 1).numpy()
    received = np.array([astuple(answer.value(days)) for answer in told_by(value, context)])
    np.testing.assert_allclose(received, expected, rtol=TOLERANCE, atol=1e-6)
    assert np.ptp(expected[:, 0]) > 0.1 * expected[:, 0].mean()


def test_at_its_own_horizon_it_says_what_the_outputs_say() -> None:
    bounds = []
    for answer in told_by(*value_and_context(fall=0.7)):
        said = [answer[name] for name in ("value", "value_low", "value_high", "value_zero_probability", "value_purchases")]
        assert astuple(answer.value(28)) == pytest.approx(said, rel=TOLERANCE)
        bounds.append(said[1])
    assert 0 < np.count_nonzero(bounds) < len(bounds)  # both those who may well buy nothing, and those who hardly can


def test_it_is_the_textbooks_negative_binomial_and_lognormal() -> None:
    """At the integral of the rate over 90 days, by quadrature; the variance by that of a sum of so many gamma-distributed amounts."""
    over = [np.trapezoid((100 / (100 + t)) ** 0.6, t) for t in (np.linspace(0, days, 100_001) for days in (28, 90))]
    number = stats.nbinom(0.9, 0.9 / (0.9 + 1.2 * over[1] / over[0]))
    mean, variance = 20 * number.mean(), number.mean() * 20**2 / 2.5 + number.var() * 20**2
    something = 1 - number.pmf(0)
    spread = math.log(something * (variance + mean**2) / mean**2)
    lognormal = stats.lognorm(math.sqrt(spread), scale=mean / something * math.exp(-spread / 2))
    high = lognormal.ppf((0.9 - number.pmf(0)) / something)
    assert astuple(Answer(ONE, TERMS).value(90)) == pytest.approx((mean, 0.0, high, number.pmf(0), number.mean()), rel=2e-3)


def test_the_longer_the_more_is_spent_and_the_rarer_is_nothing() -> None:
    told = [Answer(ONE, TERMS).value(days) for days in (1e-300, 1e-3, *DAYS, 1e6)]
    assert told[0] == Spend(pytest.approx(0, abs=1e-6), 0.0, 0.0, pytest.approx(1), pytest.approx(0, abs=1e-6))
    assert (np.diff([spend.expected for spend in told]) > 0).all()
    assert (np.diff([spend.zero_probability for spend in told]) < 0).all()


def test_quantiles_of_the_normal_distribution_are_those_of_training() -> None:
    shares = [1e-9, 1e-3, 0.1, 0.5, 0.8, 0.999]
    expected = in_training.normal_quantile(torch.tensor(shares, dtype=torch.float64))
    assert [normal_quantile(share) for share in shares] == pytest.approx(expected.tolist(), rel=1e-9)


@pytest.mark.parametrize("days", [0, -1, 1e7, math.inf, math.nan])
def test_what_is_no_horizon_is_refused(days: float) -> None:
    message = f"expected a number of days above 0, at most 1e+06, received {days:g}; ask about some of the future"
    with pytest.raises(RequestError, match=re.escape(message)):
        Answer(ONE, TERMS).value(days)


def test_a_model_that_does_not_tell_is_named() -> None:
    with pytest.raises(RequestError, match="expected a model that answers value, received one that answers loyalty"):
        Answer({"loyalty": 0.5}, {}).value(28)
    before = Answer({"value": 24.0, "value_zero_probability": 0.5}, {"value_horizon_days": 28.0})  # as exported by an earlier release
    with pytest.raises(RequestError, match=f"expected a model that answers {TOLD[1]}, received one that answers value, value_zero"):
        before.value(28)
