"""Buy till you die: the parameters and forecasts published for CDNOW, the formulas against simulation and integrals, odd histories."""

import csv
from dataclasses import astuple
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import gammaln, hyp2f1
from sklearn.metrics import roc_auc_score

from training.baselines.btyd import BGNBD, ParetoNBD
from training.baselines.features import Steps
from training.baselines.gamma_gamma import GammaGamma
from training.baselines.transactions import Transactions
from training.errors import ConfigError
from training.evaluation.figures import value_figures
from training.sequences.split import DAY

CUTOFF = int(datetime(1997, 10, 1, tzinfo=UTC).timestamp()) * 1_000_000
HOLDOUT_DAYS = 273
PARETO, BG = ParetoNBD(r=0.6, alpha=70.0, s=0.6, beta=80.0), BGNBD(r=0.3, alpha=30.0, a=0.8, b=2.5)
HISTORIES = Transactions(
    customer=np.arange(6),
    repeats=np.array([0.0, 1, 3, 12, 400, 0]),
    last=np.array([0.0, 5, 200, 100, 270, 0]),
    age=np.array([250.0, 270, 200, 272, 272, 0]),
    spend=np.array([0.0, 20, 7, 35, 0, 0]),
)
WHICH = [pytest.param(BG, id="BG/NBD"), pytest.param(PARETO, id="Pareto/NBD")]


def cdnow_sample() -> Steps:
    """Purchases of the 2,357 customers of the published sample, which comes with the package beside the whole log."""
    package = find_spec("lifetimes")
    if package is None or package.origin is None:
        pytest.skip("CDNOW comes with lifetimes: pip install --no-deps lifetimes==0.11.3")
    with (Path(package.origin).parent / "datasets" / "CDNOW_sample.txt").open() as file:
        rows = [(int(row[0]), row[2], float(row[3]), float(row[-1])) for row in csv.reader(file, delimiter=" ", skipinitialspace=True)]
    keys, dates, items, spend = (np.array(column) for column in zip(*rows, strict=True))
    customer = np.unique(keys, return_inverse=True)[1]
    timestamp = np.array([int(datetime.strptime(date, "%Y%m%d").replace(tzinfo=UTC).timestamp()) for date in dates]) * 1_000_000
    order = np.lexsort((timestamp, customer))
    return Steps(int(customer.max()) + 1, customer[order], timestamp[order], items[order], spend[order])


@pytest.fixture(scope="module")
def cdnow() -> tuple[Transactions, np.ndarray]:
    """Until the end of September 1997, and the number of transactions in the 39 weeks after."""
    steps = cdnow_sample()
    known, whole = Transactions.of(steps, CUTOFF - 1), Transactions.of(steps, CUTOFF + HOLDOUT_DAYS * DAY - 1)
    return known, whole.repeats - known.repeats


def test_transactions_of_the_sample(cdnow: tuple[Transactions, np.ndarray]) -> None:
    known, followed = cdnow
    assert (len(known.customer), known.repeats.sum(), (known.repeats > 0).sum()) == (2357, 2457, 946)
    assert followed.sum() == 1882
    assert known.age.max() / 7 == pytest.approx(38.857, abs=1e-3)


@pytest.mark.parametrize(
    ("kind", "published"),
    [(BGNBD, (0.243, 4.414, 0.793, 2.426)), (ParetoNBD, (0.553, 10.58, 0.606, 11.67))],
    ids=["BG/NBD: Fader, Hardie, Lee 2005", "Pareto/NBD: Fader, Hardie, Lee 2005"],
)
def test_published_parameters(kind: type[BGNBD], published: tuple[float, ...], cdnow: tuple[Transactions, np.ndarray]) -> None:
    fitted = np.array(astuple(kind.fit(cdnow[0]))) / np.where(kind.in_days, 7, 1)
    np.testing.assert_allclose(fitted, published, rtol=2e-3)


def test_published_parameters_of_gamma_gamma(cdnow: tuple[Transactions, np.ndarray]) -> None:
    """Fader and Hardie 2013, on the 946 customers with a repeat transaction."""
    np.testing.assert_allclose(astuple(GammaGamma.fit(cdnow[0])), (6.25, 3.74, 15.44), rtol=2e-3)


@pytest.mark.parametrize(
    ("kind", "mae", "bias", "r", "auroc"),
    [(ParetoNBD, 0.755, -0.115, 0.630, 0.779), (BGNBD, 0.785, -0.121, 0.626, 0.773)],
    ids=["Pareto/NBD", "BG/NBD"],
)
def test_published_forecasts(
    kind: type[BGNBD], mae: float, bias: float, r: float, auroc: float, cdnow: tuple[Transactions, np.ndarray]
) -> None:
    known, followed = cdnow
    expected = kind.fit(known).purchases(known, days=HOLDOUT_DAYS)
    figures = value_figures(followed, expected)
    assert figures["mae"] == pytest.approx(mae, abs=6e-4)
    assert figures["aggregate_error"] == pytest.approx(bias, abs=6e-4)
    assert figures["r"] == pytest.approx(r, abs=6e-4)
    assert roc_auc_score(followed > 0, expected) == pytest.approx(auroc, abs=6e-4)


def simulated(model: BGNBD | ParetoNBD, *, num_customers: int, days: float, seed: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Times of the purchases after the first one, which is at 0, within `days`; who is still there at their end."""
    random = np.random.default_rng(seed)
    rate, times, alive = random.gamma(model.r, 1 / model.alpha, num_customers), [], []
    for one in range(num_customers):
        come = np.cumsum(random.exponential(1 / max(rate[one], 1e-12), 5 + int(3 * rate[one] * days)))
        if isinstance(model, ParetoNBD):
            leaves = random.exponential(1 / max(random.gamma(model.s, 1 / model.beta), 1e-12))
        else:
            gone = np.flatnonzero(random.random(len(come)) < random.beta(model.a, model.b))
            leaves = come[gone[0]] if len(gone) else np.inf
        times.append(come[(come <= leaves) & (come <= days)])
        alive.append(leaves > days)
    return times, np.array(alive)


@pytest.mark.parametrize("model", WHICH)
def test_simulated_customers(model: BGNBD | ParetoNBD) -> None:
    """The parameters are found again, and what is said of the future is right on average, also of those who have been silent."""
    known, horizon = 300.0, 200.0
    times, _ = simulated(model, num_customers=8000, days=known + horizon, seed=3)
    past = [one[one <= known] for one in times]
    repeats, last = np.array([len(one) for one in past], dtype=float), np.array([one[-1] if len(one) else 0.0 for one in past])
    of = Transactions(np.arange(len(times)), repeats, last, np.full(len(times), known), np.zeros(len(times)))
    np.testing.assert_allclose(np.log(astuple(type(model).fit(of))), np.log(astuple(model)), atol=0.35)
    later = [one[one > known] - known for one in times]
    number, first = np.array([len(one) for one in later]), np.array([one[0] if len(one) else horizon for one in later])
    said = model.purchases(of, days=horizon), model.returns(of, days=horizon), model.days_to_next(of, days=horizon)
    for group in (repeats == 0, (repeats > 0) & (last < 150), (repeats > 0) & (last >= 150)):
        for expected, happened in zip(said, (number, number > 0, first), strict=True):
            error = happened[group].std() / np.sqrt(group.sum())
            assert expected[group].mean() == pytest.approx(happened[group].mean(), abs=4 * error)


@pytest.mark.parametrize("model", [PARETO, ParetoNBD(r=0.6, alpha=90.0, s=0.4, beta=20.0)], ids=["alpha < beta", "alpha > beta"])
def test_pareto_likelihood_is_that_of_the_hypergeometric_form(model: ParetoNBD) -> None:
    """Fader and Hardie 2005, A Note on Deriving the Pareto/NBD Model and Related Expressions."""
    r, alpha, s, beta = astuple(model)
    few = Transactions(*(part[:4] for part in astuple(HISTORIES)))
    x, power = few.repeats, r + s + few.repeats

    def term(until: np.ndarray) -> np.ndarray:
        other, longer = (r + x, beta + until) if beta > alpha else (s + 1, alpha + until)
        return hyp2f1(power, other, power + 1, abs(beta - alpha) / longer) / longer**power

    left = s / power * (term(few.last) - term(few.age))
    stayed = (alpha + few.age) ** -(r + x) * (beta + few.age) ** -s
    expected = gammaln(r + x) - gammaln(r) + r * np.log(alpha) + s * np.log(beta) + np.log(stayed + left)
    np.testing.assert_allclose(model.log_likelihood(few), expected, rtol=1e-6)
    np.testing.assert_allclose(model.alive(few), stayed / (stayed + left), rtol=1e-5)  # 32 nodes see so much


@pytest.mark.parametrize("one", range(6))
def test_return_is_the_integral_over_the_day_of_the_next_purchase(one: int) -> None:
    r, alpha, s, beta = astuple(PARETO)
    history = Transactions(*(part[one : one + 1] for part in astuple(HISTORIES)))
    shape, scale, gone = r + history.repeats[0], alpha + history.age[0], beta + history.age[0]

    def density(t: float) -> float:
        return shape / scale * (scale / (scale + t)) ** (shape + 1) * (gone / (gone + t)) ** s

    alive = PARETO.alive(history)[0]
    chance, waiting = quad(density, 0, 180, limit=200)[0], quad(lambda t: (180 - t) * density(t), 0, 180, limit=200)[0]
    assert PARETO.returns(history, days=180.0)[0] == pytest.approx(alive * chance, rel=1e-5)
    assert PARETO.days_to_next(history, days=180.0)[0] == pytest.approx(180 - alive * waiting, abs=1e-3)  # a minute and a half


@pytest.mark.parametrize("model", WHICH)
def test_every_history_gets_a_number(model: BGNBD | ParetoNBD) -> None:
    """Four hundred purchases, a purchase on the last day, a customer of today."""
    returns, alive = model.returns(HISTORIES, days=90.0), model.alive(HISTORIES)
    assert np.isfinite(model.log_likelihood(HISTORIES)).all()
    assert ((returns >= 0) & (returns <= alive + 1e-12) & (alive <= 1)).all()
    assert (model.purchases(HISTORIES, days=90.0) >= returns - 1e-9).all()
    assert ((model.days_to_next(HISTORIES, days=90.0) > 0) & (model.days_to_next(HISTORIES, days=90.0) <= 90)).all()


def test_gamma_gamma_finds_its_parameters_again() -> None:
    random, truth = np.random.default_rng(5), GammaGamma(p=6.0, q=4.0, gamma=15.0)
    number = random.integers(1, 9, 6000).astype(float)
    spend = random.gamma(truth.p * number) / number / random.gamma(truth.q, 1 / truth.gamma, 6000)
    of = Transactions(np.arange(6000), number, number, number, spend)
    fitted = GammaGamma.fit(of)
    np.testing.assert_allclose(np.log(astuple(fitted)), np.log(astuple(truth)), atol=0.2)
    assert fitted.spend(of).mean() == pytest.approx(spend.mean(), rel=0.02)
    assert np.std(fitted.spend(of)) < np.std(spend)
    nobody = Transactions(np.arange(1), np.zeros(1), np.zeros(1), np.ones(1), np.zeros(1))
    assert truth.spend(nobody)[0] == pytest.approx(truth.p * truth.gamma / (truth.q - 1))


def test_purchases_of_a_day_are_one_transaction() -> None:
    hours = np.array([9, 17, 24 * 3 + 1, 24 * 3 + 2, 24 * 10, 5, 24 * 2]) * DAY // 24
    steps = Steps(4, np.array([0, 0, 0, 0, 0, 2, 3]), hours, np.ones(7), np.array([10.0, 5, 20, 4, 100, 7, 8]))
    known = Transactions.of(steps, 7 * DAY - 1)
    assert known.customer.tolist() == [0, 2, 3]
    assert known.repeats.tolist() == [1, 0, 0]
    assert known.last.tolist() == [3, 0, 0]
    assert known.age.tolist() == [6, 6, 4]
    assert known.spend.tolist() == [24, 0, 0]


@pytest.mark.parametrize("kind", [BGNBD, ParetoNBD, GammaGamma])
def test_customers_who_never_came_again_are_refused(kind: type[BGNBD]) -> None:
    with pytest.raises(ConfigError, match="leave out"):
        kind.fit(Transactions(np.arange(3), np.zeros(3), np.zeros(3), np.ones(3), np.zeros(3)))
