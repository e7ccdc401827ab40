"""Commands as a user types them, many in the time of one: what they import is imported once, and each runs in a fork of that process."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
MODULES = ("training.preprocess", "training.run", "training.export", "training.score")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "COLUMNS": "200"}

FORKS = f"""
import importlib, json, os, runpy, sys, traceback

for name in {MODULES}:
    importlib.import_module(name)

def run(module, arguments, folder):
    os.chdir(folder)
    sys.argv = [module, *arguments]
    sys.modules.pop(module, None)  # as `python -m` finds it
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        return end.code or 0
    except BaseException:
        traceback.print_exc()
        return 1
    return 0

def start(command):
    files = [os.open(command[name], os.O_CREAT | os.O_WRONLY) for name in ("out", "err")]
    child = os.fork()
    if child:
        return child
    os.dup2(files[0], 1)
    os.dup2(files[1], 2)
    os.environ.update(command["variables"])
    code = run(command["module"], command["arguments"], command["folder"])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)

for line in sys.stdin:
    children = [start(command) for command in json.loads(line)]
    print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]), flush=True)
"""


@dataclass(frozen=True)
class Outcome:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str


class Commands:
    """A process that has imported everything and forks for every command."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.number = 0
        self.process = subprocess.Popen(
            [sys.executable, "-c", FORKS], env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, module: str, *arguments: str, folder: Path) -> Outcome:
        """`python -m module arguments` in `folder`."""
        return self._run_each(module, arguments, folder, [{}])[0]

    def run_by_ranks(self, module: str, *arguments: str, folder: Path, num_ranks: int) -> list[Outcome]:
        """The same command once a rank, each told the variables by which Lightning tells a process of its rank."""
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(found.getsockname()[1]), "NODE_RANK": "0"}
        ranks = [{**meeting, "LOCAL_RANK": str(rank), "WORLD_SIZE": str(num_ranks)} for rank in range(num_ranks)]
        return self._run_each(module, arguments, folder, ranks)

    def _run_each(self, module: str, arguments: Sequence[str], folder: Path, variables: list[dict[str, str]]) -> list[Outcome]:
        assert self.process.stdin
        assert self.process.stdout
        said = [tuple(self.folder / f"{self.number + place}.{name}" for name in ("out", "err")) for place in range(len(variables))]
        self.number += len(variables)
        command = {"module": module, "arguments": arguments, "folder": str(folder)}
        started = [{**command, "variables": of, "out": str(out), "err": str(err)} for of, (out, err) in zip(variables, said, strict=True)]
        print(json.dumps(started), file=self.process.stdin, flush=True)
        codes = json.loads(self.process.stdout.readline())
        return [Outcome(code, out.read_text(), err.read_text()) for code, (out, err) in zip(codes, said, strict=True)]

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def run_at_once(commands: list[tuple[str, ...]], *, folder: Path) -> list[Outcome]:
    """Each command in a Python of its own, all at the same time."""
    started = [
        subprocess.Popen(
            [sys.executable, "-m", *words], cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for words in commands
    ]
    ended = [process.communicate() for process in started]
    return [Outcome(process.returncode, *said) for process, said in zip(started, ended, strict=True)]
