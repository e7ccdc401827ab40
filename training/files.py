"""Outputs appear whole: written aside, then renamed. A place that can't be written to is a mistake of the user's."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from training.errors import ConfigError


def write_text(path: Path, text: str) -> Path:
    """Write `text` to `path` in one step, as readers see it."""
    with replacing_file(path) as aside:
        aside.write_text(text, encoding="utf-8")
    return path


def write_json(path: Path, content: Mapping[str, Any] | list[Any]) -> Path:
    """Write JSON, readable by people; NaN is refused, since other readers do not take it."""
    return write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


@contextmanager
def replacing_file(path: Path) -> Iterator[Path]:
    """A name beside `path`; the file written there takes its place at the end, or vanishes if something goes wrong.

    Raises ConfigError where it can't be written; so does `replacing_folder`.
    """
    aside = path.with_name(path.name + ".partial")
    with writing_to(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield aside
            os.replace(aside, path)
        finally:
            aside.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """A new folder beside `path` that takes its place at the end, or vanishes if something goes wrong."""
    aside, old = path.with_name(path.name + ".partial"), path.with_name(path.name + ".old")
    with writing_to(path):
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


@contextmanager
def writing_to(path: Path) -> Iterator[None]:
    """What the operating system refuses in here ends in one line that names the place."""
    try:
        yield
    except OSError as error:
        reason = f"{error.strerror or type(error).__name__} ({error.filename or path})"
        raise ConfigError(f"expected a place to write {path} to, received {reason}; choose another with out=FOLDER") from error


def check_replaceable(path: Path, *, known_by: str, what: str) -> None:
    """Raises ConfigError if something else than `what`, which holds a file `known_by`, lies at `path`: it isn't ours to remove."""
    with writing_to(path):
        free = not path.exists() or (path.is_dir() and not any(path.iterdir()))
        if not free and not (path / known_by).is_file():
            raise ConfigError(f"expected {what} or nothing in {path}, found other files; choose another place with out=FOLDER")


def sha256(path: Path) -> str:
    """The hexadecimal digest of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
