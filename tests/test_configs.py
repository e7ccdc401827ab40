"""Every config composes with every option of every group it offers, and what it names by `_target_` can be made from it."""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_module
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf

CONF = Path(__file__).parents[1] / "conf"


def groups(command: str) -> list[str]:
    """The groups that a command's config offers, as its defaults list names them."""
    defaults = yaml.safe_load((CONF / f"{command}.yaml").read_text()).get("defaults", [])
    return [str(next(iter(entry))).split()[-1] for entry in defaults if isinstance(entry, dict)]


def choices() -> Iterator[tuple[str, str]]:
    """Each command's config as it stands (override ""), then with each option of each of its groups."""
    for path in sorted(CONF.glob("*.yaml")):
        yield path.stem, ""
        for group in groups(path.stem):
            yield from ((path.stem, f"{group}={option.stem}") for option in sorted((CONF / group).glob("*.yaml")))


def composed(command: str, override: str) -> DictConfig:
    with initialize_config_module("conf", version_base="1.3"):
        config = compose(command, overrides=[override] if override else [])
    for key in OmegaConf.missing_keys(config):
        OmegaConf.update(config, key, "given-by-the-user")
    return config


def named(node: Any) -> Iterator[dict[str, Any]]:
    """Each mapping with a `_target_`, the innermost first."""
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for child in children:
        yield from named(child)
    if isinstance(node, dict) and "_target_" in node:
        yield node


def test_there_is_something_to_compose() -> None:
    assert {"preprocess", "train", "export"} <= {command for command, _ in choices()}


def test_every_group_belongs_to_a_command() -> None:
    folders = {path.name for path in CONF.iterdir() if any(path.glob("*.yaml"))}
    assert folders == {group for path in CONF.glob("*.yaml") for group in groups(path.stem)}


@pytest.mark.parametrize(("command", "override"), list(choices()))
def test_a_config_composes_and_makes_what_it_names(command: str, override: str) -> None:
    config = OmegaConf.to_container(composed(command, override), resolve=True)
    for node in named(config):
        target = get_object(node["_target_"])
        settings = {key: value for key, value in node.items() if not key.startswith("_")}
        if node.get("_partial_"):
            inspect.signature(target).bind_partial(**settings)
        else:
            inspect.signature(target).bind(**settings)
        instantiate(node)
