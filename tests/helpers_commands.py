"""Commands as a user types them, many in the time of one: what they import is imported once, and each runs in a fork of that process."""

import json
import os
import subprocess
import sys
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
    del sys.modules[module]  # as `python -m` finds it
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        return end.code or 0
    except BaseException:
        traceback.print_exc()
        return 1
    return 0

for line in sys.stdin:
    command = json.loads(line)
    files = [os.open(command[name], os.O_CREAT | os.O_WRONLY) for name in ("out", "err")]
    child = os.fork()
    if not child:
        os.dup2(files[0], 1)
        os.dup2(files[1], 2)
        code = run(command["module"], command["arguments"], command["folder"])
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    print(json.dumps({{"code": os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}}), flush=True)
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
        assert self.process.stdin
        assert self.process.stdout
        self.number += 1
        out, err = (self.folder / f"{self.number}.{name}" for name in ("out", "err"))
        command = {"module": module, "arguments": arguments, "folder": str(folder), "out": str(out), "err": str(err)}
        print(json.dumps(command), file=self.process.stdin, flush=True)
        code = json.loads(self.process.stdout.readline())["code"]
        return Outcome(code, out.read_text(), err.read_text())

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
