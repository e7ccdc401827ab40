"""Settings against signatures: which names, which types, which limits; and what is said where one does not fit."""

import math
from typing import Literal

import pytest

from training.errors import ConfigError
from training.settings import Chance, Count, Names, Node, Positive, Share, Text, check_settings, check_target


class Encoder:
    def __init__(self, *, dim: Count, dropout: Share = 0.0, facts: object) -> None: ...


class Wide:
    def __init__(self, **settings: object) -> None: ...


def takes(
    count: Count = 1,
    share: Share = 0.0,
    chance: Chance = 0.0,
    above: Positive = 1.0,
    names: Names = ("a",),  # type: ignore[assignment]
    switch: bool = False,
    kind: Literal["time", "leave_one_out"] = "time",
    date: str | None = None,
    text: Text = "",
    node: Node | None = None,
    anything: object = None,
) -> None: ...


@pytest.mark.parametrize(
    "settings",
    [
        {"count": 1},
        {"share": 0, "chance": 1, "above": 1e-9},
        {"names": ["a", "b"], "switch": True},
        {"kind": "leave_one_out", "date": None, "text": 2024},
        {"node": {"any": 1}, "anything": {1, 2}},
        {"_target_": "somewhere", "date": "2017-12-04"},
    ],
    ids=str,
)
def test_what_fits_is_taken(settings: dict[str, object]) -> None:
    check_settings(settings, takes)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"count": 0}, "expected at.count to be a whole number from 1 on, received 0; correct it"),
        ({"count": 1.0}, "expected at.count to be a whole number from 1 on, received 1.0"),
        ({"count": True}, "expected at.count to be a whole number from 1 on, received True"),
        ({"count": None}, "expected at.count to be a whole number from 1 on, received None"),
        ({"share": 1}, "expected at.share to be a number from 0.0 to below 1.0, received 1"),
        ({"chance": 1.1}, "expected at.chance to be a number from 0.0 to 1.0, received 1.1"),
        ({"above": 0}, "expected at.above to be a number above 0.0, received 0"),
        ({"above": math.nan}, "expected at.above to be a number above 0.0, received nan"),
        ({"above": math.inf}, "expected at.above to be a number above 0.0, received inf"),
        ({"above": "x"}, "expected at.above to be a number above 0.0, received 'x'"),
        ({"names": "item"}, "expected at.names to be a list of names, written [a,b], of one or more, received 'item'"),
        ({"names": []}, "of one or more, received []"),
        ({"names": [1]}, "received [1]"),
        ({"switch": 1}, "expected at.switch to be true or false, received 1"),
        ({"kind": "random"}, "expected at.kind to be time or leave_one_out, received 'random'"),
        ({"date": 2017}, "expected at.date to be a text or null, received 2017"),
        ({"text": []}, "expected at.text to be a text, received []"),
        ({"node": 3}, "expected at.node to be settings of its own or null, received 3"),
        ({"cont": 3}, "expected a setting of at (above, anything, chance, count, date, kind, "),
        ({"cont": 3}, "received at.cont; did you mean count?"),
        ("time", "expected at to hold settings, at.NAME=..., received 'time'; correct it"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_named(settings: object, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_settings(settings, takes, where="at")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_given_can_not_be_set_and_what_is_missing_is_named() -> None:
    check_settings({"dim": 1}, Encoder, where="encoder", given={"facts"})
    with pytest.raises(ConfigError, match=r"expected a value for encoder.dim, received none; set encoder.dim=VALUE"):
        check_settings({"dropout": 0.1}, Encoder, where="encoder", given={"facts"})
    with pytest.raises(ConfigError, match=r"expected a setting of encoder \(dim, dropout\), received encoder.facts; leave it out"):
        check_settings({"dim": 1, "facts": 2}, Encoder, where="encoder", given={"facts"})


def test_names_that_are_none_of_ours_may_stand_where_that_is_said() -> None:
    check_settings({"dim": 1, "caveat": "x"}, Encoder, given={"facts"}, others=True)


def test_a_target_is_checked_with_those_inside_it() -> None:
    node = {"_target_": f"{__name__}.Encoder", "dim": 2}
    check_target(node, where="encoder", given={"facts"})
    with pytest.raises(ConfigError, match=r"expected encoder.dropout to be a number from 0.0 to below 1.0, received 'x'"):
        check_target({**node, "dropout": "x"}, where="encoder", given={"facts"})
    with pytest.raises(ConfigError, match=r"expected encoder.dim.dim to be a whole number"):
        check_target({"_target_": f"{__name__}.Wide", "dim": {**node, "dim": 0}}, where="encoder", given={"facts"})


@pytest.mark.parametrize("node", [{"dim": 1}, {"_target_": "nowhere.Encoder"}, {"_target_": 3}, "sasrec", None], ids=str)
def test_a_target_must_name_a_class(node: object) -> None:
    with pytest.raises(ConfigError, match=r"expected encoder._target_ to name a class, received"):
        check_target(node, where="encoder")
