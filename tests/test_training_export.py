"""A finished run to an artifact: what is in it, and that it is there whole or not at all."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from helpers_training import composed

from serving.contract import read_contract
from training import export as exporting
from training.errors import ArtifactError, ConfigError, StoreError
from training.export import export
from training.sequences.store import SequenceStore

EDGE_CASES = {
    "no history",
    "one event",
    "unknown item",
    "unknown event",
    "every optional field missing",
    "equal timestamps",
    "future timestamp",
    "everything in the future",
    "longest history",
    "longest history, out of order",
}


@pytest.fixture
def run(small_run: Path, tmp_path: Path) -> Path:
    """The small run, to be changed."""
    return shutil.copytree(small_run, tmp_path / "small")


@pytest.fixture
def quick(small_artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes the graph from the artifact that is there already."""
    monkeypatch.setattr(exporting, "write_graph", lambda _parts, path: shutil.copy(small_artifact / "model.onnx", path))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): sha256(path) for path in folder.rglob("*") if path.is_file()}


def exported(run: Path, *overrides: str) -> Path:
    return export(composed("export", [f"run={run}", *overrides]))


# What an artifact holds


def test_an_artifact_holds_what_the_design_says(small_artifact: Path, small_run: Path) -> None:
    fields = ("item", "event")
    vocabularies = {f"vocabulary/{field}.parquet" for field in fields}
    assert set(contents(small_artifact)) == {"model.onnx", "contract.json", "golden.json", *vocabularies}
    contract = json.loads((small_artifact / "contract.json").read_text())
    assert (contract["format"], contract["version"], contract["name"]) == ("revisit-artifact", 1, "small")
    assert (contract["max_events"], contract["top_k"], contract["tolerance"], contract["purchase_horizon_days"]) == (60, 20, 1e-4, 7)
    inputs = {entry["name"]: (entry["kind"], entry["dtype"], entry["required"], entry.get("vocabulary")) for entry in contract["inputs"]}
    assert inputs == {
        "item": ("category", "int64", True, "item"),
        "event": ("category", "int64", True, "event"),
        "timestamp": ("time", "int64", True, None),
        "price": ("number", "float32", False, None),
        "quantity": ("number", "float32", False, None),
    }
    assert all(entry["unit"] for entry in contract["inputs"] + contract["outputs"])
    assert contract["checkpoint"]["sha256"] == sha256(small_run / "checkpoints" / "best.ckpt")
    assert {"torch", "onnx"} <= contract["versions"].keys()
    for entry in [contract["model"], contract["golden"], *contract["vocabularies"].values()]:
        assert entry["sha256"] == sha256(small_artifact / entry["file"])
    read_contract(small_artifact, verify=True)


def test_the_vocabularies_are_the_store_s(small_artifact: Path, small_store: Path) -> None:
    assert contents(small_artifact / "vocabulary") == contents(small_store / "vocabulary")
    sizes = {name: entry["size"] for name, entry in json.loads((small_artifact / "contract.json").read_text())["vocabularies"].items()}
    assert sizes == {name: vocabulary.size for name, vocabulary in SequenceStore.open(small_store).vocabularies.items()}


def test_the_graph_holds_only_what_onnx_itself_defines(small_artifact: Path) -> None:
    model = onnx.load(small_artifact / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert [entry.domain for entry in model.opset_import] == [""]
    assert list(model.functions) == []
    assert {node.domain for node in nodes(model.graph)} == {""}


def nodes(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Those of a graph and of the graphs inside its nodes."""
    inner = [attribute.g for node in graph.node for attribute in node.attribute if attribute.HasField("g")]
    return [*graph.node, *(node for one in inner for node in nodes(one))]


def test_every_size_in_the_graph_is_free(small_artifact: Path) -> None:
    graph = onnx.load(small_artifact / "model.onnx").graph
    shapes = {entry.name: [dim.dim_param or dim.dim_value for dim in entry.type.tensor_type.shape.dim] for entry in graph.input}
    assert list(shapes) == ["item", "event", "timestamp", "price", "quantity", "offsets", "now"]
    assert all(len(shape) == 1 and isinstance(shape[0], str) for shape in shapes.values())
    outputs = {entry.name: [dim.dim_param or dim.dim_value for dim in entry.type.tensor_type.shape.dim] for entry in graph.output}
    assert list(outputs) == ["item_id", "item_score", "purchase_probability"]
    assert outputs["item_id"][1] == outputs["item_score"][1] == 20
    assert all(isinstance(shape[0], str) for shape in outputs.values())


def test_recorded_answers_cover_customers_and_every_edge_case(small_artifact: Path) -> None:
    cases = json.loads((small_artifact / "golden.json").read_text())
    names = [case["name"] for case in cases]
    assert len(set(names)) == len(names) == 24 + len(EDGE_CASES)
    assert {name for name in names if not name.startswith("customer ")} == EDGE_CASES
    for case in cases:
        scores = np.array(case["answer"]["item_score"])
        assert len(set(case["answer"]["item"])) == 20
        assert np.isfinite(scores).all()
        assert (np.diff(scores) <= 0).all()
        assert np.exp(scores).sum() <= 1 + 1e-5
        assert 0 <= case["answer"]["purchase_probability"] <= 1
        assert list(case["events"]) == ["item", "event", "timestamp", "price", "quantity"]
    longest = next(case for case in cases if case["name"] == "longest history")
    assert len(longest["events"]["item"]) > 60


def test_the_summary_learns_how_long_it_took(small_artifact: Path, small_run: Path) -> None:
    seconds = json.loads((small_run / "summary.json").read_text())["seconds"]
    assert seconds["export"] > 0
    assert seconds["train"] > 0


# Once, again, not at all


@pytest.mark.usefixtures("quick")
def test_an_artifact_that_is_up_to_date_is_left_alone(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = exported(run)
    made = (out / "contract.json").stat().st_ino
    assert (exported(run) / "contract.json").stat().st_ino == made
    assert "is of this checkpoint already" in capsys.readouterr().out
    assert (exported(run, "force=true") / "contract.json").stat().st_ino != made


@pytest.mark.usefixtures("quick")
def test_an_artifact_of_another_checkpoint_is_replaced(run: Path) -> None:
    out = exported(run)
    content = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    torch.save({**content, "epoch": 7}, run / "checkpoints" / "best.ckpt")
    before = (out / "contract.json").read_text()
    assert (exported(run) / "contract.json").read_text() != before
    assert {path.name for path in run.iterdir() if path.name.startswith("artifact")} == {"artifact"}


@pytest.mark.parametrize(("reason", "error"), [(KeyboardInterrupt, KeyboardInterrupt), (OSError, ConfigError), (TypeError, TypeError)])
def test_an_interrupted_export_leaves_no_artifact(
    run: Path, monkeypatch: pytest.MonkeyPatch, reason: type[BaseException], error: type[BaseException]
) -> None:
    before = contents(run)

    def interrupt(_parts: object, path: Path) -> None:
        path.write_text("half a graph")
        raise reason

    monkeypatch.setattr(exporting, "write_graph", interrupt)
    with pytest.raises(error):
        exported(run)
    assert contents(run) == before
    assert not list(run.glob("artifact*"))


@pytest.mark.usefixtures("quick")
def test_an_interrupted_export_keeps_the_artifact_that_was_there(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(exported(run))

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(exporting, "golden_cases", interrupt)
    with pytest.raises(KeyboardInterrupt):
        exported(run, "force=true")
    assert contents(run / "artifact") == before
    assert [path.name for path in run.glob("artifact*")] == ["artifact"]


def cut_short(run: Path) -> None:
    path = run / "checkpoints" / "best.ckpt"
    path.write_bytes(path.read_bytes()[:-2_000])


def other_store(run: Path) -> None:
    content = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    torch.save({**content, "store": "0" * 64}, run / "checkpoints" / "best.ckpt")


def other_release(run: Path) -> None:
    content = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    content["state_dict"].popitem()
    torch.save(content, run / "checkpoints" / "best.ckpt")


@pytest.mark.usefixtures("quick")
def test_how_long_it_took_is_known_though_the_end_was_cut(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    seconds = json.loads((run / "summary.json").read_text())["seconds"]
    with monkeypatch.context() as patch:
        patch.setattr(exporting, "_note_seconds", interrupt)
        with pytest.raises(KeyboardInterrupt):
            exported(run)
    took = json.loads((exported(run) / "contract.json").read_text())["seconds"]
    assert took > 0
    assert json.loads((run / "summary.json").read_text())["seconds"] == {**seconds, "export": took}


REFUSED = {
    "not finished": (
        lambda run: (run / "summary.json").unlink(),
        ArtifactError,
        "expected a finished run in .*small, found none; train it",
    ),
    "no checkpoint": (lambda run: (run / "checkpoints" / "best.ckpt").unlink(), ArtifactError, "expected a finished run in .*small, found"),
    "damaged": (cut_short, ArtifactError, r"expected a checkpoint in .*best\.ckpt, found a damaged file; train the run anew"),
    "other store": (other_store, StoreError, "expected .* as it was when .*small was trained, found another log in it; choose another"),
    "other release": (other_release, ArtifactError, "expected the weights of this release's model in .*small, found others; train it anew"),
    "other files": (
        lambda run: (run / "artifact").mkdir() or (run / "artifact" / "cat.jpg").write_text("miaow"),
        ConfigError,
        "found other files",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_exported_is_refused_in_one_line(run: Path, case: str) -> None:
    spoil, error, message = REFUSED[case]
    spoil(run)
    before = contents(run)
    with pytest.raises(error, match=message) as caught:
        exported(run)
    assert "\n" not in str(caught.value)
    assert contents(run) == before


def test_a_run_must_be_named() -> None:
    with pytest.raises(ArtifactError, match="expected run=FOLDER, received none; for example run=runs/demo"):
        export(composed("export", []))
