"""Which files are new to a store, and what its store.json says once it has them."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from training.errors import ConfigError
from training.events.parts import fits
from training.events.sources import SourceFile
from training.sequences.store import SequenceStore

Digests = Sequence[dict[str, Any]]  # path, bytes, sha256 of each file


def open_for_more(path: Path, data: dict[str, Any]) -> SequenceStore:
    """The store to which files are to be added.

    Raises StoreError where there is none, ConfigError where it was made with other settings.
    """
    store = SequenceStore.open(path, verify=True)
    if {**store.meta["data"], "path": ""} != {**data, "path": ""}:
        raise ConfigError(
            f"append=PATH: expected the settings of data with which {path} was made, found others; make the store again instead"
        )
    return store


def new_files(store: SequenceStore, files: list[SourceFile], digests: Digests, *, memory: int) -> list[SourceFile]:
    """The files whose content the store doesn't have.

    Raises ConfigError for a name by which the store has another content, and where the files are too large to be read at one time.
    """
    has = {source["path"]: source["sha256"] for source in store.meta["sources"]}
    found = {source["path"]: source["sha256"] for source in digests}
    new = [file for file in files if found[file.name] not in has.values()]
    if taken := [file.name for file in new if file.name in has]:
        raise ConfigError(f"append=PATH: expected files that are new to {store.path}, found another {', '.join(taken)}; rename it")
    if not fits(new, memory):
        raise ConfigError("append=PATH: expected files that fit into memory=GIB at one time; raise it, or add them one by one")
    return new


def grown(store: SequenceStore, files: list[SourceFile], digests: Digests) -> dict[str, Any]:
    """`sources` and `appended` of store.json: what the store was before, so that a model of then knows its ids again.

    digests   of the files that were added and of the log's side tables
    """
    renewed = {source["path"] for source in digests}
    kept = [source for source in store.meta["sources"] if source["path"] not in renewed]
    sizes = {name: vocabulary.size for name, vocabulary in store.vocabularies.items()}
    added = {"store": store.digest, "sizes": sizes, "files": [file.name for file in files]}
    return {"sources": [*kept, *digests], "appended": [*store.meta.get("appended", []), added]}


def check_all_there(meta: dict[str, Any], names: Collection[str], path: Path) -> None:
    """Raise ConfigError where the store at `path` was given files that making it again would lose."""
    added = [name for more in meta.get("appended", []) for name in more["files"]]
    if lost := [name for name in added if name not in names]:
        raise ConfigError(
            f"expected the files that were added to {path} among the log's, but {', '.join(lost)} is not there; "
            "put it there, or make the store without it by force=true"
        )
