"""Rates that fall: the integral is the integral, the expectation that of the Pareto/NBD, what is read of the rhythm what it says."""

import numpy as np
import pytest
import torch
from helpers_sequences import PURCHASE, START, log_of, one_each, questions_of, random_log, small_model
from scipy.integrate import quad

from training.baselines.btyd import BGNBD, ParetoNBD
from training.baselines.transactions import Transactions
from training.models.rhythm import NUM_PURCHASES, RHYTHM_SIZE, SINCE_FIRST, SINCE_PURCHASE, YEAR_PURCHASES, YEAR_SPEND
from training.objectives.amounts import UsualAmount
from training.objectives.purchases import QUICKER, FallingRate
from training.sequences.split import DAY


def rhythm_of(*, known: float, silent: float, purchases: int) -> torch.Tensor:
    rhythm = torch.zeros(1, RHYTHM_SIZE)
    rhythm[0, SINCE_FIRST], rhythm[0, SINCE_PURCHASE] = np.log1p(known), np.log1p(24 * silent)
    rhythm[0, NUM_PURCHASES] = np.log1p(purchases)
    return rhythm


def falling(**numbers: float) -> FallingRate:
    """By s, beta, r, alpha, a and b."""
    rate = FallingRate(watched_days=100)
    with torch.no_grad():
        rate.shared.copy_(torch.tensor([np.log(numbers[name]) / QUICKER for name in ("s", "beta", "r", "alpha", "a", "b")]))
    return rate.requires_grad_(False)


@pytest.mark.parametrize("s", [0.2, 0.9999, 1.0, 1.0001, 2.5])
def test_the_days_that_count_are_the_integral(s: float) -> None:
    rate = falling(s=s, beta=40, r=1, alpha=1, a=1, b=1)
    days = torch.tensor([[1.0, 30.0, 365.0]])
    counted = rate.days_that_count(rhythm_of(known=100, silent=3, purchases=2), days)[0]
    for number, found in zip(days[0].tolist(), counted.tolist(), strict=True):
        assert found == pytest.approx(quad(lambda t: (140 / (140 + t)) ** s, 0, number)[0], rel=1e-4)


@pytest.mark.parametrize(("known", "silent", "purchases"), [(100, 20, 2), (200, 10, 6), (300, 150, 9)], ids=str)
def test_it_expects_what_buy_till_you_die_models_expect(known: float, silent: float, purchases: int) -> None:
    """While there, a customer of the Pareto/NBD; whether still there, one of the BG/NBD."""
    rate = falling(s=0.6, beta=80, r=0.55, alpha=74, a=0.8, b=2.4)
    rhythm = rhythm_of(known=known, silent=silent, purchases=purchases)
    expected = rate.log_rate(rhythm).exp() * rate.days_that_count(rhythm, torch.tensor([[180.0]]))[:, 0]
    of = Transactions(np.zeros(1), *(np.array([float(x)]) for x in (purchases - 1, known - silent, known, 1.0)))
    pareto, bg = ParetoNBD(r=0.55, alpha=74.0, s=0.6, beta=80.0), BGNBD(r=0.55, alpha=74.0, a=0.8, b=2.4 + 1)
    while_there = pareto.purchases(of, days=180) / pareto.alive(of)
    assert expected.item() == pytest.approx((while_there * bg.alive(of)).item(), rel=1e-3)


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
