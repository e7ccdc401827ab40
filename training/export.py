"""A finished run to an artifact: the graph, the contract, the vocabularies and recorded answers.

    python -m training.export run=runs/demo

The graph takes raw ids, times and numbers; everything that is computed from them lies inside it.
"""

import json
import logging
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from torch import Tensor, nn

from training.answers import outputs_of
from training.build import Parts, build
from training.checkpoints import as_trained, read_checkpoint
from training.cli import command
from training.configs import check_export_config
from training.errors import ArtifactError
from training.events.schema import NEVER_NEGATIVE
from training.files import check_replaceable, replacing_folder, sha256, write_json
from training.golden import golden_cases
from training.layout import BEST, CONTRACT, SUMMARY, answering
from training.models.model import SequenceModel
from training.objectives.objective import Output
from training.sequences.batch import Batch
from training.sequences.store import SequenceStore

FORMAT, VERSION = "revisit-artifact", 1
UNITS = {"category": "key of the vocabulary", "time": "microseconds since 1970-01-01T00:00:00Z", "number": "as in the log"}
REQUIRED = ("item", "event", "timestamp")

console = Console(soft_wrap=True)


def export(config: DictConfig) -> Path:
    """Write the artifact of a run, whole or not at all. Returns its folder; leaves it alone if it is of the same checkpoint already.

    Raises ConfigError, ArtifactError or StoreError for what a user can mend.
    """
    check_export_config(config)
    run, out = finished_run(config.run), Path(config.out)
    check_replaceable(out, known_by=CONTRACT, what="an artifact")
    checkpoint, digest = read_checkpoint(answering(run)), sha256(answering(run))
    store = _store(checkpoint, run)
    if not config.force and _checkpoint_of(out) == digest:
        _note_seconds(run, out)
        console.print(f"{out} is of this checkpoint already; force=true exports it anew")
        return out
    started = time.perf_counter()
    parts = _parts(checkpoint, store)
    with replacing_folder(out) as aside:
        (aside / "vocabulary").mkdir()
        for field, vocabulary in parts.store.vocabularies.items():
            vocabulary.write(aside / "vocabulary" / f"{field}.parquet")
        with console.status("Exporting the graph"):
            write_graph(parts, aside / "model.onnx")
        with console.status("Recording answers"):
            cases = golden_cases(parts, num_customers=config.golden_customers)
            write_json(aside / "golden.json", cases)
        about = contract(parts, aside, name=run.name, tolerance=config.tolerance, checkpoint=digest)
        write_json(aside / CONTRACT, {**about, "seconds": round(time.perf_counter() - started, 1)})
    _note_seconds(run, out)
    console.print(f"Artifact: [bold]{out}[/] with {len(cases)} recorded answers")
    return out


def load_run(run: Path) -> Parts:
    """A run's model with its best weights, and the store it was trained on, with the events of days that were added to it since.

    Raises ArtifactError where the checkpoint can't be read or is of another release, StoreError where the store is another by now.
    """
    checkpoint = read_checkpoint(answering(run))
    return _parts(checkpoint, _store(checkpoint, run))


def _store(checkpoint: dict[str, Any], run: Path) -> SequenceStore:
    return as_trained(checkpoint, SequenceStore.open(checkpoint["config"]["store"], verify=True), run=run)


def _parts(checkpoint: dict[str, Any], store: SequenceStore) -> Parts:
    settings = OmegaConf.create(checkpoint["config"])
    assert isinstance(settings, DictConfig)
    parts = build(settings, store, refit=bool(settings.get("refit")))
    try:
        parts.module.load_state_dict(checkpoint["state_dict"])
    except RuntimeError as error:
        raise ArtifactError(f"expected the weights of this release's model in {settings.out}, found others; train it anew") from error
    parts.model.eval()
    return parts


class Servable(nn.Module):
    """The model as the graph has it: positional tensors in, one question a customer."""

    def __init__(self, model: SequenceModel, fields: list[str]) -> None:
        super().__init__()
        self.model = model
        self.fields = fields

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        *fields, offsets, now = inputs
        one_each = torch.arange(now.shape[0] + 1, dtype=torch.int64)
        answers = self.model(Batch(dict(zip(self.fields, fields, strict=True)), offsets, now, one_each))
        return tuple(answers.values())


def write_graph(parts: Parts, path: Path) -> None:
    """Export to ONNX, every size dynamic: events, customers."""
    fields, example = parts.questions.fields, _example(parts)
    servable = Servable(parts.model, fields).eval()
    inputs = (*example.fields.values(), example.offsets, example.now)
    dynamic = {"inputs": tuple({0: torch.export.Dim.DYNAMIC} for _ in inputs)}
    with without_chatter():
        program = torch.onnx.export(
            servable,
            inputs,
            dynamo=True,
            dynamic_shapes=dynamic,
            input_names=[*fields, "offsets", "now"],
            output_names=[output.name for output in outputs_of(parts)],
            verbose=False,
        )
    assert program is not None
    program.save(path)


@contextmanager
def without_chatter() -> Iterator[None]:
    """torch's exporter tells of its own internals and of packages that nobody needs: nothing that a user could change."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnx_ir", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*treespec, LeafSpec.*", FutureWarning)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def contract(parts: Parts, folder: Path, *, name: str, tolerance: float, checkpoint: str) -> dict[str, Any]:
    """contract.json: what goes in, what comes out, in which units, and the digest of every file."""
    vocabularies = {
        field: {"file": f"vocabulary/{field}.parquet", "sha256": sha256(folder / f"vocabulary/{field}.parquet"), "size": vocabulary.size}
        for field, vocabulary in parts.store.vocabularies.items()
    }
    terms = {name: value for objective in parts.model.objectives.values() for name, value in objective.terms.items()}
    return {
        "format": FORMAT,
        "version": VERSION,
        "name": name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": {"file": "model.onnx", "sha256": sha256(folder / "model.onnx")},
        "checkpoint": {"sha256": checkpoint},
        "max_events": parts.questions.max_events,
        "tolerance": tolerance,
        **terms,
        "inputs": [_input(parts, field) for field in parts.questions.fields],
        "outputs": [_output(output) for output in outputs_of(parts)],
        "vocabularies": vocabularies,
        "golden": {"file": "golden.json", "sha256": sha256(folder / "golden.json")},
        "versions": {package: version(package) for package in ("torch", "onnx", "onnxscript", "numpy")},
    }


def _input(parts: Parts, field: str) -> dict[str, Any]:
    kind = parts.store.fields[field]["kind"]
    dtype = {"category": "int64", "time": "int64", "number": "float32"}[kind]
    entry = {"name": field, "kind": kind, "dtype": dtype, "unit": UNITS[kind], "required": field in REQUIRED}
    return entry | ({"vocabulary": field} if kind == "category" else {}) | ({"minimum": 0.0} if field in NEVER_NEGATIVE else {})


def _output(output: Output) -> dict[str, Any]:
    entry = {"name": output.name, "dtype": output.dtype, "shape": ["batch", *output.shape], "unit": output.unit}
    return entry | ({"vocabulary": output.vocabulary} if output.vocabulary else {})


def _example(parts: Parts) -> Batch:
    """Three customers of different lengths, from which the exporter learns the shapes."""
    log = parts.store
    lengths = log.offsets[1:] - log.offsets[:-1]
    customers = torch.from_numpy(lengths.argsort(kind="stable"))[[len(lengths) // 4, len(lengths) // 2, 3 * len(lengths) // 4]].numpy()
    return parts.questions.ask(customers, parts.split.test.until[customers], (lengths[customers] * 0 + 1))


def finished_run(named: str | None) -> Path:
    """The folder of a finished run. Raises ArtifactError where it is not named, or not finished."""
    if not named:
        raise ArtifactError("expected run=FOLDER, received none; for example run=runs/demo")
    run = Path(named)
    if not (run / SUMMARY).exists() or not (run / BEST).exists():
        raise ArtifactError(f"expected a finished run in {run}, found none; train it with python -m training.run")
    return run


def _note_seconds(run: Path, out: Path) -> None:
    """Let the run's summary repeat how long the export took; the artifact itself knows it, so that it can't be lost in between."""
    summary, seconds = _read_json(run / SUMMARY), _read_json(out / CONTRACT).get("seconds")
    if summary["seconds"].get("export") != seconds:
        write_json(run / SUMMARY, {**summary, "seconds": {**summary["seconds"], "export": seconds}})


def _checkpoint_of(out: Path) -> str | None:
    """The digest of the checkpoint that an artifact was made of, if there is one."""
    try:
        return _read_json(out / CONTRACT)["checkpoint"]["sha256"]
    except (FileNotFoundError, NotADirectoryError, KeyError, json.JSONDecodeError):
        return None


def _read_json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def main(config: DictConfig) -> None:
    export(config)


if __name__ == "__main__":
    command(main, config_name="export")
