"""Rates that fall: fitted as the Pareto/NBD, they expect what it does; what is read of the rhythm is what it says."""

import numpy as np
import pytest
import torch
from helpers_sequences import PURCHASE, START, facts_of, log_of, one_each, questions_of, random_log, small_model
from scipy.integrate import quad

from training.baselines.btyd import ParetoNBD
from training.baselines.transactions import Transactions
from training.models.rhythm import FAR_DAYS, NUM_PURCHASES, OWN_GAP, RHYTHM_SIZE, SINCE_FIRST, SINCE_PURCHASE, YEAR_PURCHASES, YEAR_SPEND
from training.objectives.amounts import QUICKER, UsualAmount
from training.objectives.purchases import FallingRate, most_likely
from training.sequences.split import DAY


def rhythm_of(*, known: float, silent: float, purchases: int) -> torch.Tensor:
    rhythm = torch.zeros(1, RHYTHM_SIZE)
    rhythm[0, SINCE_FIRST], rhythm[0, SINCE_PURCHASE] = np.log1p(known), np.log1p(24 * silent)
    rhythm[0, NUM_PURCHASES] = np.log1p(purchases)
    rhythm[0, OWN_GAP] = np.log1p(max(known - silent, 0.0) / max(purchases - 1, 1))
    return rhythm


@pytest.mark.parametrize("s", [0.2, 0.9999, 1.0, 1.0001, 2.5])
def test_the_days_that_count_are_the_integral(s: float) -> None:
    rate = FallingRate(ParetoNBD(r=1.0, alpha=1.0, s=s, beta=40.0))
    days = torch.tensor([[1.0, 30.0, 365.0]])
    counted = rate.days_that_count(rhythm_of(known=100, silent=3, purchases=2), days)[0]
    for number, found in zip(days[0].tolist(), counted.tolist(), strict=True):
        assert found == pytest.approx(quad(lambda t: (140 / (140 + t)) ** s, 0, number)[0], rel=1e-4)


@pytest.mark.parametrize("model", [ParetoNBD(0.55, 74.0, 0.6, 80.0), ParetoNBD(2.0, 9.0, 1.7, 400.0)], ids=["slow", "quick"])
@pytest.mark.parametrize(("known", "silent", "purchases"), [(100, 20, 2), (200, 10, 6), (300, 150, 9), (40, 40, 1), (50, 0, 5)], ids=str)
def test_it_expects_what_the_pareto_nbd_expects(model: ParetoNBD, known: float, silent: float, purchases: int) -> None:
    rate, rhythm = FallingRate(model), rhythm_of(known=known, silent=silent, purchases=purchases)
    expected = rate.log_rate(rhythm).exp() * rate.days_that_count(rhythm, torch.tensor([[180.0]]))[:, 0]
    of = Transactions(np.zeros(1), *(np.array([float(x)]) for x in (purchases - 1, known - silent, known, 1.0)))
    assert expected.item() == pytest.approx(model.purchases(of, days=180).item(), rel=1e-3)


def test_whoever_never_bought_is_known_since_their_first_step() -> None:
    rate = FallingRate(ParetoNBD(0.55, 74.0, 0.6, 80.0))
    never, once = (rhythm_of(known=30, silent=silent, purchases=number) for silent, number in ((FAR_DAYS, 0), (30, 1)))
    torch.testing.assert_close(rate.log_rate(never), rate.log_rate(once))
    torch.testing.assert_close(rate.rate_days(never), torch.tensor([80.0 + 30]))


def test_it_starts_at_the_most_likely_of_what_training_saw() -> None:
    """Baskets in the middle of a day; what comes after the training window changes nothing."""
    random, until = np.random.default_rng(0), START + 60 * DAY
    times = [START + np.sort(random.integers(0, 80 * DAY, random.integers(1, 9))) for _ in range(40)]
    log = log_of([[(int(time), PURCHASE, 2) for time in of] for of in times])
    seen = [of[of <= until] for of in times if (of <= until).any()]
    told = [(len(of) - 1.0, (of[-1] - of[0]) / DAY, (until - of[0]) / DAY) for of in seen]
    expected = ParetoNBD.fit(Transactions(np.arange(len(seen)), *np.array(told).T, np.zeros(len(seen))))
    found = most_likely(facts_of(log, until), np.array([PURCHASE]))
    assert found == expected


def test_where_nobody_bought_twice_the_rate_is_still_a_number() -> None:
    log = log_of([[(START, PURCHASE, 2)], [(START + DAY, PURCHASE, 3)]])
    for until in (START - 1, START + 20 * DAY):
        rate = FallingRate(most_likely(facts_of(log, until), np.array([PURCHASE])))
        assert rate.log_rate(rhythm_of(known=9, silent=9, purchases=1)).isfinite().all()


def test_the_rhythm_says_how_long_how_often_and_how_recently() -> None:
    log = log_of([[(START + day * DAY, PURCHASE, 2) for day in (0, 7, 9, 21)]])
    log.columns["price"][:], log.columns["quantity"][:] = 2.5, 2.0
    context = small_model(random_log(8)).represent(questions_of(log).ask(*one_each(log, START + 24 * DAY)))
    read = context.rhythm[0, [SINCE_FIRST, SINCE_PURCHASE, NUM_PURCHASES, YEAR_PURCHASES, YEAR_SPEND]].expm1()
    torch.testing.assert_close(read, torch.tensor([24.0, 3 * 24.0, 4.0, 4.0, 20.0]), rtol=1e-4, atol=1e-4)


def test_amounts_lie_between_the_customers_own_and_everybodys() -> None:
    """After two purchases in the last year the own mean counts twice, everybody's as often as the weight says."""
    usual = UsualAmount(mean=20.0)
    with torch.no_grad():
        usual.shared[0] = np.log(3.0) / QUICKER
    rhythm = torch.zeros(2, RHYTHM_SIZE)
    rhythm[1, YEAR_SPEND], rhythm[1, YEAR_PURCHASES] = np.log1p(110.0), np.log1p(2)
    torch.testing.assert_close(usual.log_amount(rhythm).exp(), torch.tensor([20.0, (3 * 20 + 110) / 5]))
