"""How every training command starts: compose the config, run, and end a user's mistake in one line.

    if __name__ == "__main__":
        command(main, config_name="train")

Hydra prints many lines for a misspelt key and swallows the exception; here the exception comes out and is put into one line.
"""

import os
import sys
from collections.abc import Callable
from typing import Any

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from training.errors import RevisitError

USER_ERROR = 2


def command(main: Callable[[DictConfig], Any], *, config_name: str) -> None:
    """Compose `conf/<config_name>.yaml` with the command line's overrides, call `main`, exit 2 with one line on a user's mistake."""
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        hydra.main(version_base="1.3", config_path="pkg://conf", config_name=config_name)(main)()
    except (RevisitError, HydraException, OmegaConfBaseException) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        sys.exit(USER_ERROR)


def one_line(error: Exception) -> str:
    """The message of `error` and of what caused it, without line breaks."""
    parts = [error, error.__cause__] if isinstance(error, HydraException) else [error]
    words = " ".join(str(part) for part in parts if part is not None).split()
    hint = "" if isinstance(error, RevisitError) else " (see --help for the settings and their names)"
    return " ".join(words) + hint
