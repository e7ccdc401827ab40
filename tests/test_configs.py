"""Every config composes with every option of every group it offers, and what it names by `_target_` can be made from it."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hydra import compose, initialize_config_module
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf

from training.configs import check_export_config, check_score_config, check_train_config
from training.models.facts import Facts
from training.sequences.history import History

CONF = Path(__file__).parents[1] / "conf"
CHECKS = {"train": check_train_config, "export": check_export_config, "score": check_score_config}
EVENTS = ("view", "search", "cart", "favourite", "purchase", "return", "campaign", "coupon", "rating", "interaction")


def groups(command: str) -> dict[str, str | None]:
    """The groups of conf/ that a command's config offers, with the option it takes by itself ("???" if the user must choose)."""
    defaults = yaml.safe_load((CONF / f"{command}.yaml").read_text()).get("defaults", [])
    offered = {str(group).split()[-1]: option for entry in defaults if isinstance(entry, dict) for group, option in entry.items()}
    return {group: option for group, option in offered.items() if (CONF / group).is_dir()}


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def choices() -> Iterator[tuple[str, list[str]]]:
    """Each command, with each option of each of its groups in turn; a command that asks the user for a log has the first one else."""
    for command in sorted(path.stem for path in CONF.glob("*.yaml")):
        asked = groups(command).get("data", "") in (None, "???")
        chosen = {"data": options("data")[0]} if asked else {}
        variants = [chosen, *({**chosen, group: option} for group in groups(command) for option in options(group))]
        unlike = dict.fromkeys(tuple(f"{group}={option}" for group, option in variant.items()) for variant in variants)
        yield from ((command, list(overrides)) for overrides in unlike)


SAID_BESIDE = {"objective=presence": ["visit_events=[purchase]"]}  # what an option asks its user for


def composed(command: str, overrides: list[str]) -> DictConfig:
    beside = [said for option in overrides for said in SAID_BESIDE.get(option, [])]
    with initialize_config_module("conf", version_base="1.3"):
        config = compose(command, overrides=[*overrides, *beside])
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


def facts() -> Facts:
    """Of one customer's log in which every event name occurs once, each with an item of its own."""
    ids = np.arange(2, 2 + len(EVENTS))
    log = History(np.array([0, len(ids)]), {"item": ids, "event": ids, "timestamp": ids})
    return Facts({"item": 2 + len(ids), "event": 2 + len(ids)}, dict(zip(EVENTS, ids.tolist(), strict=True)), log, ids[-1:])


def made(node: dict[str, Any]) -> Any:
    """What a mapping names, with the knowledge of a log where it asks for that. A GPU's trainer can only be compared with its signature."""
    signature = inspect.signature(get_object(node["_target_"]))
    if node.get("accelerator") in ("gpu", "cuda") and not torch.cuda.is_available():
        return signature.bind(**{key: value for key, value in node.items() if not key.startswith("_")})
    known = {"facts": facts()} if "facts" in signature.parameters else {}
    return instantiate(node, _partial_=True)(**known)


def test_there_is_something_to_compose() -> None:
    assert {"preprocess", "train", "export", "score"} <= {command for command, _ in choices()}


def test_every_group_belongs_to_a_command() -> None:
    folders = {path.name for path in CONF.iterdir() if any(path.glob("*.yaml"))}
    assert folders == {group for path in CONF.glob("*.yaml") for group in groups(path.stem)}


@pytest.mark.parametrize(("command", "overrides"), list(choices()), ids=lambda value: value if isinstance(value, str) else ",".join(value))
def test_a_config_composes_and_makes_what_it_names(command: str, overrides: list[str]) -> None:
    config = composed(command, overrides)
    CHECKS.get(command, lambda _config: None)(config)
    for node in named(OmegaConf.to_container(config, resolve=True)):
        assert made(node) is not None


HEADER = {  # what a frozen experiment begins with, so that a reader knows what came of it, when and on what
    "date": r"20\d\d-\d\d-\d\d$",
    "hardware": r".*\bcores?\b",
    "result": r"\S",
    "command": r"python -m training\.\w+ ",
}


@pytest.mark.parametrize("path", sorted((CONF / "experiment").glob("*.yaml")), ids=lambda path: path.stem)
def test_an_experiment_begins_with_date_hardware_result_and_command(path: Path) -> None:
    header = path.read_text().partition("\ndefaults:")[0]
    for entry, words in HEADER.items():
        assert len(re.findall(rf"^# {entry} +{words}", header, re.MULTILINE)) == 1, entry
    (result,) = re.findall(r"^# result +(.*?)^# command", header, re.MULTILINE | re.DOTALL)
    assert re.search(r"0\.\d{3}", result)
    assert f"training.run experiment={path.stem}" in header
