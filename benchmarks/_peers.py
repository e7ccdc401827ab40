"""Contestants of a benchmark: short scripts in benchmarks/peers, each run in a process and an environment of its own."""

import json
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from training.errors import ConfigError

ROOT, PEERS = Path(__file__).parents[1], Path(__file__).parent / "peers"
ENVIRONMENTS = ROOT / ".venv-peers"
console = Console(soft_wrap=True)


def run_peer(name: str, *arguments: str | Path, variables: Mapping[str, str] | None = None) -> tuple[dict[str, Any], float]:
    """What `peers/<name>.py arguments` prints as its last line, read as JSON, and the peak memory of its process in MB.

    Raises ConfigError where it can't be run.
    """
    variables = {**os.environ, "PYTHONPATH": "" if needs_its_own(name) else str(ROOT), **(variables or {})}
    with tempfile.TemporaryFile("w+") as chatter:  # what packages say of themselves and of others: shown where it explains a failure
        words = [environment(name), PEERS / f"{name}.py", *arguments]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=chatter, text=True, env=variables)
        assert process.stdout
        with process.stdout:
            printed = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            chatter.seek(0)
            sys.stderr.write(chatter.read())
            raise ConfigError(f"expected {name}.py to run, but it ended with {process.returncode}; leave it out with --only")
    return json.loads(printed.splitlines()[-1]), usage.ru_maxrss / 1024


def needs_its_own(name: str) -> bool:
    """Whether a contestant needs other packages than ours."""
    return _requirements(name).is_file()


def environment(name: str) -> Path:
    """The Python of a contestant, made on demand: ours for those that need nothing else."""
    if not needs_its_own(name):
        return Path(sys.executable)
    requirements, folder = _requirements(name), ENVIRONMENTS / name
    python, done = folder / "bin" / "python", folder / "requirements.txt"
    if not (done.is_file() and done.read_text() == requirements.read_text()):
        console.print(f"making an environment for {name} in {folder}")
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "-r", requirements], check=True)
        done.write_text(requirements.read_text())
    return python


def _requirements(name: str) -> Path:
    return PEERS / "requirements" / f"{name}.txt"
