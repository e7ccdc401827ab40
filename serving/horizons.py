"""A request may bring its own horizons: the same outputs then hold what the model says of so many days instead of its own.

    horizons = read_horizons({"value_horizon_days": 365}, contract)
    answer = at_horizons(horizons, answer, contract.terms)

A horizon is called as the contract's term that it takes the place of, and is a parameter of the request, not an input: requests that
ask for different ones still run as one batch.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving.contract import Contract
from serving.errors import RequestError
from serving.silence import silence_within
from serving.spending import MOST_DAYS, TOLD, spend_within

OPEN_HORIZONS = "open_horizons"  # what `config.pbtxt` calls the list of them
Terms = Mapping[str, Any]
_ABOUT = "horizon"  # what a parameter's name holds that is meant for the model; others are Triton's or the caller's own


@dataclass(frozen=True)
class _Horizon:
    """needs: the outputs that must be there; most: days at most; answer: of so many days, the outputs that change."""

    needs: tuple[str, ...]
    most: Callable[[Terms], float]
    answer: Callable[[float, Mapping[str, np.ndarray], Terms], dict[str, float]]


def _of_coming(chance: str, silence: str, told_days: str) -> _Horizon:
    """Of an event that comes or not: the output that is its chance, the one that is the chance of none, and of within which days."""

    def answer(days: float, told: Mapping[str, np.ndarray], terms: Terms) -> dict[str, float]:
        return {chance: 1 - silence_within(days, told[silence], terms[told_days])}

    return _Horizon((chance, silence), lambda terms: terms[told_days][-1], answer)


def _of_value(days: float, told: Mapping[str, np.ndarray], terms: Terms) -> dict[str, float]:
    spend = spend_within(days, {name: told[name].item() for name in TOLD}, terms)
    return {
        "value": spend.expected,
        "value_low": spend.low,
        "value_high": spend.high,
        "value_zero_probability": spend.zero_probability,
        "value_purchases": spend.purchases,
    }


_HORIZONS = {
    "return_horizon_days": _of_coming("return_probability", "silence_probability", "silence_days"),
    "visit_horizon_days": _of_coming("visit_probability", "absence_probability", "absence_days"),
    "value_horizon_days": _Horizon(TOLD, lambda _: MOST_DAYS, _of_value),
}


def open_horizons(contract: Contract) -> list[str]:
    """The horizons that a request to this model may bring: those whose answer follows from what the model tells."""
    told = {output.served_as for output in contract.outputs}
    return [name for name, horizon in _HORIZONS.items() if name in contract.terms and told.issuperset(horizon.needs)]


def read_horizons(parameters: Mapping[str, Any], contract: Contract) -> dict[str, float]:
    """Those among a request's parameters, in days; empty where it brings none. Raises RequestError for one that can't be answered."""
    horizons = {name: days for name, days in parameters.items() if _ABOUT in name}
    for name, days in horizons.items():
        _check(name, days, contract)
    return horizons


def at_horizons(horizons: Mapping[str, float], answer: Mapping[str, np.ndarray], terms: Terms) -> dict[str, np.ndarray]:
    """One customer's answer, {output: [K]}, with the outputs that the horizons concern replaced."""
    changed = {name: value for asked, days in horizons.items() for name, value in _HORIZONS[asked].answer(days, answer, terms).items()}
    return {name: np.full_like(values, changed[name]) if name in changed else values for name, values in answer.items()}


def _check(name: str, days: Any, contract: Contract) -> None:
    if name not in open_horizons(contract):
        known = ", ".join(open_horizons(contract)) or "no horizon at all"
        raise RequestError(f"expected {known} among the request's parameters, received {name}; leave it out or ask another model")
    most = _HORIZONS[name].most(contract.terms)
    if isinstance(days, bool) or not isinstance(days, int | float) or not 0 < days <= most:
        raise RequestError(f"expected in {name} a number of days above 0, at most {most:g}, received {days!r}; ask about so many")
