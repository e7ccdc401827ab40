"""Long work in steps, each of whose outcomes is whole or absent: whoever is killed goes on where the last whole step ended."""

import json
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from training.files import write_json, writing_to

CONTENTS = "journal.json"
Make = Callable[[Path], None]


class Journal:
    """A folder of finished steps that belong to one task.

    task   what the steps are made of and how, as plain data: the steps of another task that lie there are thrown away
    """

    def __init__(self, folder: Path, task: dict[str, Any]) -> None:
        self.folder = folder
        task = json.loads(json.dumps(task))
        contents = folder / CONTENTS
        if not (contents.is_file() and json.loads(contents.read_text()) == task):
            shutil.rmtree(folder, ignore_errors=True)
            write_json(contents, task)
        for unfinished in folder.glob("*.partial"):
            shutil.rmtree(unfinished, ignore_errors=True)

    def step(self, name: str, make: Make) -> Path:
        """The folder with the outcome of a step; `make` fills it unless that was done before. It is renamed into place when it is whole.

        Several processes may make the same step: the first that finishes counts.
        Raises ConfigError where it can't be written.
        """
        done, aside = self.folder / name, self.folder / f"{name}.{uuid.uuid4().hex}.partial"
        if not done.is_dir():
            with writing_to(aside):
                aside.mkdir()
                make(aside)
                _put(aside, done)
        return done


def _put(aside: Path, done: Path) -> None:
    try:
        aside.rename(done)
    except OSError:
        if not done.is_dir():
            raise
        shutil.rmtree(aside)
