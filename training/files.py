"""Outputs appear whole: written aside, then renamed."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def write_text(path: Path, text: str) -> Path:
    """Write `text` to `path` in one step, as readers see it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".partial")
    aside.write_text(text, encoding="utf-8")
    os.replace(aside, path)
    return path


def write_json(path: Path, content: Mapping[str, Any] | list[Any]) -> Path:
    """Write JSON, readable by people; NaN is refused, since other readers do not take it."""
    return write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """A new folder beside `path` that takes its place at the end, or vanishes if something goes wrong."""
    aside, old = path.with_name(path.name + ".partial"), path.with_name(path.name + ".old")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir(parents=True)
        yield aside
        shutil.rmtree(old, ignore_errors=True)
        if path.exists():
            os.replace(path, old)
        os.replace(aside, path)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
