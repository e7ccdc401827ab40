"""Settings against the signatures that they are for: no name that nobody takes, none missing, each value of its type and within its limits.

    def __init__(self, *, num_heads: Count, dropout: Share) -> None: ...

    check_settings({"num_heads": 0, "dropout": 0.1}, SASRec, where="encoder")
    # ConfigError: expected encoder.num_heads to be a whole number from 1 on, received 0; correct it

A setting's limits stand where its meaning does: in the signature of what takes it. Annotations of other types are not checked.
"""

import inspect
import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pkgutil import resolve_name
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from training.errors import ConfigError


@dataclass(frozen=True)
class Within:
    """Limits of a number, or of how many names a list holds: from `low` on and up to `high`; where they are open, without these."""

    low: float
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def holds(self, value: Any) -> bool:
        number = len(value) if isinstance(value, list) else value
        above = number > self.low if self.open_low else number >= self.low
        return above and (number < self.high if self.open_high else number <= self.high)

    def __str__(self) -> str:
        start = f"above {self.low}" if self.open_low else f"from {self.low}"
        if self.high == math.inf:
            return start if self.open_low else f"{start} on"
        return f"{start} to {'below ' if self.open_high else ''}{self.high}"


Count = Annotated[int, Within(1)]
Whole = Annotated[int, Within(0)]
Seed = Annotated[int, Within(0, 2**31 - 1)]  # what LightGBM still takes
Positive = Annotated[float, Within(0.0, open_low=True)]
NotNegative = Annotated[float, Within(0.0)]
Share = Annotated[float, Within(0.0, 1.0, open_high=True)]
Chance = Annotated[float, Within(0.0, 1.0)]
Names = Annotated[list[str], Within(1)]
Text = str | int | float  # name=2024 is a name too
Node = Mapping[str, Any]

HYDRAS = re.compile("_.*_")  # _target_ and its like are read by Hydra

WORDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    list[str]: "a list of names, written [a,b]",
    Node: "settings of its own",
    NoneType: "null",
}


def check_settings(node: Any, takes: Callable[..., Any], *, where: str = "", given: Collection[str] = (), others: bool = False) -> None:
    """Raises ConfigError for the first setting of `node` that `takes`, a function or class, would not take, naming it.

    where: the node's own dotted name. given: parameters that no setting can set. others: whether names that are not taken may stand there.
    """
    if not isinstance(node, Mapping):
        raise ConfigError(f"expected {where} to hold settings, {where}.NAME=..., received {node!r}; correct it")
    parameters = [entry for entry in inspect.signature(takes).parameters.values() if entry.name not in given]
    others = others or any(entry.kind is entry.VAR_KEYWORD for entry in parameters)
    named = {entry.name: entry for entry in parameters if entry.kind is not entry.VAR_KEYWORD}
    for name in node:
        if name not in named and not others and not HYDRAS.fullmatch(name):
            raise ConfigError(_unknown(name, list(named), where))
    types = get_type_hints(takes.__init__ if isinstance(takes, type) else takes, include_extras=True)  # type: ignore[misc]
    for name, entry in named.items():
        if name in node:
            check_value(node[name], types.get(name, Any), name=_dotted(where, name))
        elif entry.default is entry.empty:
            raise ConfigError(f"expected a value for {_dotted(where, name)}, received none; set {_dotted(where, name)}=VALUE")


def check_value(value: Any, kind: Any, *, name: str) -> None:
    """Raises ConfigError where a value is not of an annotated type or outside its limits."""
    if not _fits(value, kind):
        raise ConfigError(f"expected {name} to be {_words(kind)}, received {value!r}; correct it")


def check_target(node: Any, *, where: str, given: Collection[str] = ()) -> None:
    """`check_settings` of a mapping that names by `_target_` what takes it, and of those inside it."""
    name = node.get("_target_") if isinstance(node, Mapping) else None
    try:
        takes = resolve_name(str(name))
    except (ImportError, ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f"expected {where}._target_ to name a class, received {name!r}; correct it") from error
    check_settings(node, takes, where=where, given=given)
    for inner, value in node.items():
        if isinstance(value, Mapping) and "_target_" in value:
            check_target(value, where=_dotted(where, inner), given=given)


def _fits(value: Any, kind: Any) -> bool:
    if get_origin(kind) is Annotated:
        base, *limits = get_args(kind)
        return _fits(value, base) and all(limit.holds(value) for limit in limits if isinstance(limit, Within))
    if get_origin(kind) in (Union, UnionType):
        return any(_fits(value, one) for one in get_args(kind))
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if kind in (int, float):
        return isinstance(value, int | kind) and not isinstance(value, bool) and abs(value) < math.inf
    if kind == list[str]:
        return isinstance(value, list) and all(isinstance(entry, str) for entry in value)
    if kind == Node:
        return isinstance(value, Mapping)
    return kind not in WORDS or isinstance(value, kind)


def _words(kind: Any) -> str:
    if get_origin(kind) is Annotated:
        base, *limits = get_args(kind)
        return f"{_words(base)}{', of one or more' if base == list[str] else ''.join(f' {limit}' for limit in limits)}"
    if get_origin(kind) in (Union, UnionType):
        return "a text" if kind == Text else " or ".join(_words(one) for one in get_args(kind))
    if get_origin(kind) is Literal:
        return " or ".join(map(str, get_args(kind)))
    return WORDS[kind]


def _unknown(name: str, known: list[str], where: str) -> str:
    near = get_close_matches(name, known, n=1)
    words = f"expected a setting {f'of {where} ' if where else ''}({', '.join(sorted(known))}), received {_dotted(where, name)}"
    return f"{words}; {f'did you mean {near[0]}?' if near else 'leave it out'}"


def _dotted(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name
