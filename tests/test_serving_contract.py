"""An artifact is read whole or refused in one line."""

import json
from pathlib import Path

import pytest
from helpers_serving import FIELDS, MAX_EVENTS, OUTPUTS, TOP_K, write_toy_artifact

from serving.contract import read_contract
from serving.errors import ArtifactError


def test_a_contract_is_read_with_its_types(tmp_path: Path) -> None:
    contract = read_contract(write_toy_artifact(tmp_path / "artifact"))
    assert (contract.name, contract.max_events, contract.tolerance) == ("toy", MAX_EVENTS, 1e-4)
    assert [(field.name, field.kind, field.required) for field in contract.fields] == [
        (entry["name"], entry["kind"], entry["required"]) for entry in FIELDS
    ]
    assert contract.terms == {"top_k": TOP_K, "purchase_horizon_days": 7}
    assert [(output.served_as, output.size) for output in contract.outputs] == [
        ("item", TOP_K),
        ("item_score", TOP_K),
        ("purchase_probability", 1),
    ]
    assert set(contract.files) == {"contract.json", "model.onnx", "golden.json", "vocabulary/item.parquet", "vocabulary/event.parquet"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": "something else"}, "expected format 'revisit-artifact'"),
        ({"version": 2}, "expected version 1 in .*, received 2; export the run again with this release"),
        ({"inputs": [*FIELDS, {"name": "now", "kind": "time", "dtype": "int64", "required": True}]}, "exactly one time input 'timestamp'"),
        ({"inputs": [{**FIELDS[0], "dtype": "int32"}]}, "received kind 'category' with dtype 'int32'"),
        ({"inputs": [*FIELDS, {**FIELDS[0], "name": "brand", "vocabulary": "brand"}]}, "expected a vocabulary for brand"),
        ({"outputs": []}, "expected one output or more, each of its own name"),
        ({"outputs": [*OUTPUTS, {**OUTPUTS[0], "name": "item"}]}, r"received \['item', 'item_score', 'purchase_probability', 'item'\]"),
        ({"outputs": [{**OUTPUTS[0], "vocabulary": "colour"}]}, "expected a vocabulary for colour"),
        ({"outputs": [{**OUTPUTS[0], "dtype": "float32"}]}, "expected output 'item_id' to be int64, received 'float32'"),
        ({"outputs": [{**OUTPUTS[2], "dtype": "bool"}]}, "expected output 'purchase_probability' to be int64 or float32, received 'bool'"),
        ({"purchase_horizon_days": "soon"}, "could not convert string to float"),
        ({"golden": {"file": "../golden.json", "sha256": ""}}, "expected files inside the artifact, received '../golden.json'"),
        ({"golden": {"file": "/etc/passwd", "sha256": ""}}, "expected files inside the artifact, received '/etc/passwd'"),
        ({"max_events": "many"}, "invalid literal"),
        ({"vocabularies": []}, "expected a complete"),
    ],
)
def test_a_wrong_contract_is_refused(tmp_path: Path, change: dict, words: str) -> None:
    with pytest.raises(ArtifactError, match=words) as caught:
        read_contract(write_toy_artifact(tmp_path / "artifact", **change))
    assert "\n" not in str(caught.value)


def test_a_missing_entry_is_named(tmp_path: Path) -> None:
    artifact = write_toy_artifact(tmp_path / "artifact")
    document = json.loads((artifact / "contract.json").read_text())
    del document["max_events"]
    (artifact / "contract.json").write_text(json.dumps(document))
    with pytest.raises(ArtifactError, match="'max_events' is missing"):
        read_contract(artifact)


def test_a_folder_without_a_contract_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"found no contract.json; export a run"):
        read_contract(tmp_path)


def test_a_file_instead_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match=r"expected an artifact in .*file, found no contract.json"):
        read_contract(tmp_path / "file")


def test_a_truncated_contract_is_refused(tmp_path: Path) -> None:
    artifact = write_toy_artifact(tmp_path / "artifact")
    (artifact / "contract.json").write_text((artifact / "contract.json").read_text()[:100])
    with pytest.raises(ArtifactError, match="expected JSON"):
        read_contract(artifact)


@pytest.mark.parametrize("file", ["model.onnx", "golden.json", "vocabulary/item.parquet"])
def test_a_missing_or_changed_file_is_named(tmp_path: Path, file: str) -> None:
    artifact = write_toy_artifact(tmp_path / "artifact")
    with (artifact / file).open("ab") as stream:
        stream.write(b" ")
    with pytest.raises(ArtifactError, match=rf"{file} as it was exported, received a changed file"):
        read_contract(artifact)
    assert read_contract(artifact, verify=False).name == "toy"
    (artifact / file).unlink()
    with pytest.raises(ArtifactError, match=f"expected {file} in the artifact"):
        read_contract(artifact, verify=False)
