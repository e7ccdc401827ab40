"""What an artifact promises: read and check `contract.json` and the files that it names.

    contract = read_contract("runs/demo/artifact")

Everything that serves a model (Triton's model.py, the repository generator, the tests) learns its inputs, outputs, vocabularies
and limits here.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from serving.errors import ArtifactError

FORMAT = "revisit-artifact"
VERSION = 1
CONTRACT_FILE = "contract.json"
DTYPES = {"category": "int64", "time": "int64", "number": "float32"}
OUTPUT_DTYPES = ("int64", "float32")
# every contract has these; what else stands in it are terms
_ALWAYS = {
    "format", "version", "name", "created", "model", "checkpoint", "max_events", "tolerance", "inputs", "outputs", "vocabularies", "golden",
    "versions", "seconds",
}  # fmt: skip
TIME = "timestamp"
ITEM = "item"


@dataclass(frozen=True)
class Field:
    """One column of an event as a caller sends it.

    vocabulary: the name of a category field's vocabulary. minimum: the least that a number can be, if there is a least.
    """

    name: str
    kind: str
    unit: str
    required: bool
    vocabulary: str
    minimum: float = -math.inf


@dataclass(frozen=True)
class Output:
    """One output of the graph: `size` numbers a request. Where it has a vocabulary they are ids, of which callers receive the keys."""

    name: str
    dtype: str
    size: int
    unit: str
    vocabulary: str

    @property
    def served_as(self) -> str:
        """The name by which callers know it."""
        return self.name.removesuffix("_id") if self.vocabulary else self.name

    @property
    def is_bounded(self) -> bool:
        """Whether it is a probability or the logarithm of one: differences mean the same everywhere. An amount's grow with it."""
        return "probability" in self.unit


@dataclass(frozen=True)
class Contract:
    """A checked `contract.json`. Files are paths relative to `path`; `digests` holds the sha256 of each.

    terms: what a reader must know beside the outputs, such as `purchase_horizon_days` or, lists, `silence_days` and `purchase_categories`.
    """

    path: Path
    name: str
    created: str
    model: str
    max_events: int
    tolerance: float
    fields: tuple[Field, ...]
    outputs: tuple[Output, ...]
    vocabularies: Mapping[str, str]
    vocabulary_sizes: Mapping[str, int]
    golden: str
    digests: Mapping[str, str]
    versions: Mapping[str, str]
    terms: Mapping[str, float | list[float] | list[str]]

    @property
    def files(self) -> tuple[str, ...]:
        """Everything that belongs to the artifact, the contract itself first."""
        return (CONTRACT_FILE, *self.digests)


def read_contract(path: str | Path, *, verify: bool = True) -> Contract:
    """Read the artifact in folder `path`; `verify` also compares the sha256 of every file with the contract.

    Raises ArtifactError if it is missing, of another format or version, incomplete or changed.
    """
    path = Path(path)
    document = _read_document(path)
    try:
        contract = _contract(path, document)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, ArtifactError):
            raise
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise ArtifactError(f"expected a complete {path / CONTRACT_FILE}: {reason}; export the run again") from error
    _check_fields(contract)
    _check_files(contract, verify=verify)
    return contract


def _read_document(path: Path) -> dict[str, Any]:
    file = path / CONTRACT_FILE
    try:
        document = json.loads(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise ArtifactError(f"expected an artifact in {path}, found no {CONTRACT_FILE}; export a run: python -m training.export") from None
    except (OSError, ValueError) as error:
        raise ArtifactError(f"expected JSON in {file}, received {error}; export the run again") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ArtifactError(f"expected format {FORMAT!r} in {file}, received another file; give an artifact's folder")
    if document.get("version") != VERSION:
        raise ArtifactError(
            f"expected version {VERSION} in {file}, received {document.get('version')!r}; "
            "export the run again with this release, or serve it with the release that exported it"
        )
    return document


def _contract(path: Path, document: dict[str, Any]) -> Contract:
    vocabularies = document["vocabularies"]
    named = [document["model"], *vocabularies.values(), document["golden"]]
    return Contract(
        path=path,
        name=str(document["name"]),
        created=str(document["created"]),
        model=document["model"]["file"],
        max_events=int(document["max_events"]),
        tolerance=float(document["tolerance"]),
        fields=tuple(_field(entry) for entry in document["inputs"]),
        outputs=tuple(_output(entry, document) for entry in document["outputs"]),
        vocabularies={name: entry["file"] for name, entry in vocabularies.items()},
        vocabulary_sizes={name: int(entry["size"]) for name, entry in vocabularies.items()},
        golden=document["golden"]["file"],
        digests={_inside(entry["file"]): entry["sha256"] for entry in named},
        versions=document["versions"],
        terms={name: _term(value) for name, value in document.items() if name not in _ALWAYS},
    )


def _field(entry: dict[str, Any]) -> Field:
    name, kind = entry["name"], entry["kind"]
    if DTYPES.get(kind) != entry["dtype"]:
        raise ArtifactError(
            f"expected input {name!r} to be one of {DTYPES}, received kind {kind!r} with dtype {entry['dtype']!r}; export the run again"
        )
    return Field(
        name=name,
        kind=kind,
        unit=entry.get("unit") or "",
        required=bool(entry["required"]),
        vocabulary=entry["vocabulary"] if kind == "category" else "",
        minimum=float(entry.get("minimum", -math.inf)),
    )


def _output(entry: dict[str, Any], document: dict[str, Any]) -> Output:
    name, dtype, vocabulary = entry["name"], entry["dtype"], entry.get("vocabulary") or ""
    wanted = ("int64",) if vocabulary else OUTPUT_DTYPES
    if dtype not in wanted:
        raise ArtifactError(f"expected output {name!r} to be {' or '.join(wanted)}, received {dtype!r}; export the run again")
    sizes = [int(document["top_k"] if size == "K" else size) for size in entry["shape"][1:]]
    return Output(name=name, dtype=dtype, size=math.prod(sizes), unit=entry.get("unit") or "", vocabulary=vocabulary)


def _term(value: Any) -> float | list[float] | list[str]:
    if isinstance(value, list) and value and all(isinstance(word, str) for word in value):
        return value
    return [float(number) for number in value] if isinstance(value, list) else float(value)


def _inside(file: str) -> str:
    """`file` if it lies inside the artifact: a contract must not make a server copy or read anything else."""
    if PurePosixPath(file).is_absolute() or ".." in PurePosixPath(file).parts:
        raise ArtifactError(f"expected files inside the artifact, received {file!r} in {CONTRACT_FILE}; export the run again")
    return file


def _check_fields(contract: Contract) -> None:
    times = [field.name for field in contract.fields if field.kind == "time"]
    if times != [TIME]:
        raise ArtifactError(
            f"expected exactly one time input {TIME!r} in {contract.path / CONTRACT_FILE}, received {times}; export the run again"
        )
    named = {field.vocabulary for field in contract.fields} | {output.vocabulary for output in contract.outputs}
    if missing := sorted(named - {""} - set(contract.vocabularies)):
        raise ArtifactError(f"expected a vocabulary for {', '.join(missing)} in {contract.path / CONTRACT_FILE}; export the run again")
    served = [output.served_as for output in contract.outputs]
    if not served or len(set(served)) < len(served):
        raise ArtifactError(
            f"expected one output or more, each of its own name, in {contract.path / CONTRACT_FILE}, received {served}; "
            "export the run again"
        )


def _check_files(contract: Contract, *, verify: bool) -> None:
    for name, digest in contract.digests.items():
        file = contract.path / name
        if not file.is_file():
            raise ArtifactError(f"expected {name} in the artifact {contract.path}, found no such file; export the run again")
        if verify and sha256(file) != digest:
            raise ArtifactError(f"expected {file} as it was exported, received a changed file (sha256 differs); export the run again")


def sha256(file: Path) -> str:
    """The hexadecimal digest of a file's bytes."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
