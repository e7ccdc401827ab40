"""`make` from a shell: help explains every command, and a Python that is too old ends in one line, with nothing made."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
COMMANDS = ["help", "setup", "demo", "test", "lint", "bench", "gpu", "clean"]

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make on PATH")


def make(*arguments: str, at: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    return subprocess.run(["make", *arguments], cwd=at, env=environment, capture_output=True, text=True, check=False)


def test_plain_make_explains_every_command() -> None:
    done = make()
    assert done.returncode == 0
    assert re.findall(r"^  (\w+) +\S.*", done.stdout, re.MULTILINE) == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_can_be_planned(command: str) -> None:
    assert make("--dry-run", command).returncode == 0


def test_a_python_that_is_too_old_ends_in_one_line(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "requirements-server.txt"):
        shutil.copy(ROOT / name, tmp_path)
    old = tmp_path / "old-python"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.18\nexit 1\n')
    old.chmod(0o755)

    done = make("setup", f"PYTHON={old}", at=tmp_path)

    assert done.returncode != 0
    assert "expected Python 3.11 or 3.12, found Python 3.9.18; install one" in done.stderr.splitlines()[0]
    assert not (tmp_path / ".venv").exists()


def test_a_second_setup_has_nothing_to_do(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "requirements-server.txt"):
        shutil.copy(ROOT / name, tmp_path)
    for environment in (".venv", ".venv-server"):
        (tmp_path / environment).mkdir()
        (tmp_path / environment / ".ready").touch()

    assert "Nothing to be done" in make("setup", at=tmp_path).stdout
    os.utime(tmp_path / "constraints.txt", (4e9, 4e9))
    assert "--constraint constraints.txt" in make("--dry-run", "setup", at=tmp_path).stdout
