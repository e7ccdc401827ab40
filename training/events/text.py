"""A text file as both engines can read it: unpacked, in UTF-8, its last quote closed. A file that is so already is read where it lies.

Copies go to a temporary folder (TMPDIR says where) that is deleted when the process ends.
"""

import atexit
import codecs
import gzip
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from training.errors import DataError

PACKED = (".gz", ".zip")
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
CHUNK = 1 << 23  # bytes


@dataclass(frozen=True)
class Text:
    """path        the file to read
    is_broken   bytes of the original are no UTF-8: `path` has U+FFFD in their place
    is_open     the original ends inside quotes: `path` closes them
    unfinished  what stands behind the last line break; empty where the file ends in one, or where that break lies inside quotes
    """

    path: Path
    is_broken: bool
    is_open: bool
    unfinished: str


def read_text(path: Path) -> Text:
    """Look through a text file once and mend what would make the whole of it unreadable.

    Raises DataError where the file is in UTF-16, or packed and damaged or packed together with others.
    """
    status = path.stat()
    return _read(path, status.st_size, status.st_mtime_ns)


def is_packed(path: Path) -> bool:
    """Whether the file's name says that it is compressed."""
    return path.suffix.lower() in PACKED


@cache
def _read(path: Path, size: int, changed: int) -> Text:
    plain = _unpacked(path) if is_packed(path) else path
    is_broken, num_quotes, unfinished = _inspect(plain)
    crosses_a_break = unfinished.count('"') % 2 == 1
    # A quote that the last line opens and nothing closes: the file was cut inside that cell. One opened before could be any mistake.
    is_open = crosses_a_break and num_quotes % 2 == 1
    if is_broken or is_open:
        plain = _mended(plain, '"' if is_open else "")
    return Text(plain, is_broken, is_open, "" if crosses_a_break else unfinished)


def _inspect(path: Path) -> tuple[bool, int, str]:
    """Whether bytes are broken, how many quotes there are, what stands behind the last line break."""
    decoder, is_broken, num_quotes, rest = codecs.getincrementaldecoder("utf-8")(), False, 0, b""
    with path.open("rb") as stream:
        if stream.read(2) in UTF_16:
            raise DataError(f"{path}: expected a text in UTF-8, found UTF-16; convert it, for example with `iconv -f UTF-16 -t UTF-8`")
        stream.seek(0)
        while chunk := stream.read(CHUNK):
            num_quotes += chunk.count(b'"')
            rest = chunk[end:] if (end := chunk.rfind(b"\n") + 1) else rest + chunk
            is_broken = is_broken or not _decodes(decoder, chunk)
    return is_broken or not _decodes(decoder, b"", final=True), num_quotes, rest.decode(errors="replace")


def _decodes(decoder: codecs.IncrementalDecoder, chunk: bytes, *, final: bool = False) -> bool:
    try:
        decoder.decode(chunk, final)
    except UnicodeDecodeError:
        decoder.reset()
        return False
    return True


def _unpacked(path: Path) -> Path:
    copy = free_name(path)
    try:
        with _open_packed(path) as packed, copy.open("wb") as plain:
            shutil.copyfileobj(packed, plain, CHUNK)
    except (EOFError, gzip.BadGzipFile, zlib.error, zipfile.BadZipFile) as error:
        copy.unlink(missing_ok=True)
        raise DataError(f"{path}: expected a whole {path.suffix} file, but {str(error) or 'it ends early'}; fetch it again") from error
    return copy


@contextmanager
def _open_packed(path: Path) -> Iterator[IO[bytes] | gzip.GzipFile]:
    if path.suffix.lower() == ".gz":
        with gzip.open(path) as stream:
            yield stream
        return
    with zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        if len(members) != 1:
            raise DataError(f"{path}: expected one file in it, found {len(members)}; unpack it and set data.path to the folder")
        with archive.open(members[0]) as stream:
            yield stream


def _mended(path: Path, end: str) -> Path:
    copy = free_name(path)
    with path.open(encoding="utf-8", errors="replace", newline="") as broken, copy.open("w", encoding="utf-8", newline="") as whole:
        shutil.copyfileobj(broken, whole, CHUNK)
        whole.write(end)
    return copy


def free_name(path: Path) -> Path:
    """A name like the file's in the folder for copies."""
    folder = _folder()
    return folder / f"{len(list(folder.iterdir()))}-{path.name}"


@cache
def _folder() -> Path:
    folder = TemporaryDirectory(prefix="revisit-")
    atexit.register(folder.cleanup)
    return Path(folder.name)
