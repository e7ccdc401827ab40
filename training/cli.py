"""How every training command starts: compose the config, run, and end a user's mistake in one line.

    if __name__ == "__main__":
        command(main, config_name="train")

Hydra prints many lines for a misspelt setting, and one of its own before an exception of ours; here a mistake is one line that says what
is possible.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from importlib.resources import files
from typing import Any, NoReturn

import hydra
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from training.errors import RevisitError

USER_ERROR = 2
SEE_HELP = "--help lists what there is"


def command(main: Callable[[DictConfig], Any], *, config_name: str) -> None:
    """Compose `conf/<config_name>.yaml` with the command line's overrides, call `main`, exit 2 with one line on a user's mistake."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # lets a mistake in composing come out as an exception

    composed: list[DictConfig] = []

    def task(config: DictConfig) -> Any:
        composed.append(config)
        with mistakes_in_one_line():  # an exception that reached Hydra from here would be announced in a line of its own
            return main(config)  # what a sweeper is told

    try:
        with mistakes_in_one_line():
            hydra.main(version_base="1.3", config_path="pkg://conf", config_name=config_name)(task)()
    except ValueError as error:
        if composed:
            raise
        _end(error)  # Hydra's own, for encoder=null and its like


@contextmanager
def mistakes_in_one_line() -> Iterator[None]:
    """End the process with one line and exit code 2 where the user made a mistake; other exceptions keep their stack trace."""
    try:
        yield
    except (RevisitError, HydraException, OmegaConfBaseException) as error:
        _end(error)


def one_line(error: Exception) -> str:
    """What was expected, what came and what to do, without line breaks."""
    if isinstance(error, RevisitError):
        return _joined(error)
    if isinstance(error.__cause__, RevisitError):  # raised by what Hydra was to make
        return _joined(error.__cause__)
    if isinstance(error, MissingConfigException) and "/" in (error.missing_cfg_file or ""):
        return _unknown_choice(error)
    if isinstance(error.__cause__, ConfigAttributeError | ConfigKeyError):
        return _unknown_setting(error.__cause__)
    return f"{_joined(*filter(None, [error, error.__cause__]))}; {SEE_HELP}"


def _end(error: Exception) -> NoReturn:
    print(f"error: {one_line(error)}", file=sys.stderr)
    sys.exit(USER_ERROR)


def _unknown_choice(error: MissingConfigException) -> str:
    """data=nosuchlog: what can be chosen."""
    group, _, name = str(error.missing_cfg_file).rpartition("/")
    known = error.options or _choices(group)
    return f"expected {group}={'|'.join(known)}, received {group}={name}; {_nearest(name, known).strip() or 'choose one'}"


def _unknown_setting(error: ConfigAttributeError | ConfigKeyError) -> str:
    """trainer.max_epoch=3: what the settings beside it are called."""
    path = str(error.full_key)
    above, _, name = path.rpartition(".")
    if path in _groups():
        return f"expected {path}={'|'.join(_choices(path))} before settings of {path} can be changed, received none; choose one"
    parent = error.parent_node
    known = [str(key) for key in parent if key not in ("_target_", "hydra")] if isinstance(parent, DictConfig) else []
    known = sorted({*known, *([] if above else _groups())})
    return f"expected a setting {f'of {above} ' if above else ''}({', '.join(known)}), received {path}; {_nearest(name, known)}{SEE_HELP}"


def _nearest(name: str, known: Sequence[str]) -> str:
    near = get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}? " if near else ""


def _groups() -> list[str]:
    """The folders of conf/."""
    return sorted(entry.name for entry in files("conf").iterdir() if entry.is_dir() and _choices(entry.name))


def _choices(group: str) -> list[str]:
    """The options of a group: the files of its folder in conf/."""
    names = [entry.name for entry in files("conf").joinpath(group).iterdir()]
    return sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml"))


def _joined(*parts: object) -> str:
    return " ".join(" ".join(map(str, parts)).split())
