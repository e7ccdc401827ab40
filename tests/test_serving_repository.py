"""A Triton repository is written only for an artifact that repeats its recorded answers, and whole or not at all."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers_serving import golden_cases, write_contract, write_toy_artifact

from serving import repository as command_module
from serving.errors import ArtifactError, ParityError, RepositoryError, ServingError
from serving.golden import same_up_to_ties
from serving.repository import Batching, write_repository


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    return write_toy_artifact(tmp_path / "artifact")


def test_the_model_folder_holds_all_that_triton_needs(artifact: Path, tmp_path: Path) -> None:
    batching = Batching(max_size=32, max_queue_delay_us=700, num_instances=2, kind="cpu")
    model = write_repository(artifact, tmp_path / "repository", batching=batching)
    assert model == tmp_path / "repository" / "toy"
    config = (model / "config.pbtxt").read_text()
    for words in ("max_batch_size: 32", "max_queue_delay_microseconds: 700", "kind: KIND_CPU count: 2", 'name: "toy"'):
        assert words in config
    assert '"item" data_type: TYPE_STRING dims: [ -1 ] allow_ragged_batch: true }' in config
    assert '"price" data_type: TYPE_FP32 dims: [ -1 ] allow_ragged_batch: true optional: true }' in config
    assert json.loads((model / "parity.json").read_text())["ids_equal"] is True
    shutil.rmtree(artifact)
    # Beside model.py lies every module it imports: it runs where Revisit is not installed.
    program = f"""
import sys; sys.path = [{str(model / "1")!r}] + [path for path in sys.path if path != {str(Path.cwd())!r}]
import serving.golden, serving.contract, serving.predictor
assert serving.__file__.startswith({str(model)!r}), serving.__file__
contract = serving.contract.read_contract({str(model / "1" / "artifact")!r})
print(serving.golden.prove(serving.predictor.Predictor(contract), contract).cases)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (result.stdout.strip(), result.stderr) == ("4", "")


def test_parity_is_measured(artifact: Path, tmp_path: Path) -> None:
    cases = golden_cases()
    cases[2]["answer"]["item_score"][1] += 5e-5
    rewrite_golden(artifact, cases)
    parity = json.loads((write_repository(artifact, tmp_path / "repository") / "parity.json").read_text())
    assert parity["max_abs_score_difference"] == pytest.approx(5e-5, abs=2e-6)
    assert (parity["ids_equal"], parity["cases"]) == (True, 4)


def change_score(cases: list[dict]) -> None:
    cases[1]["answer"]["item_score"][0] += 2e-4


def change_purchase(cases: list[dict]) -> None:
    cases[0]["answer"]["purchase_probability"] += 2e-4


def change_item(cases: list[dict]) -> None:
    cases[3]["answer"]["item"][0] = "item of another model"


def swap_items(cases: list[dict]) -> None:
    items = cases[3]["answer"]["item"]
    items[0], items[1] = items[1], items[0]


def lose_score(cases: list[dict]) -> None:
    cases[1]["answer"]["item_score"][0] = float("nan")


def lose_place(cases: list[dict]) -> None:
    for answer in ("item", "item_score"):
        cases[1]["answer"][answer].pop()


@pytest.mark.parametrize("change", [change_score, change_purchase, change_item, swap_items, lose_score, lose_place])
def test_an_artifact_with_other_answers_is_refused_and_nothing_is_written(artifact: Path, tmp_path: Path, change) -> None:
    cases = golden_cases()
    change(cases)
    rewrite_golden(artifact, cases)
    with pytest.raises(ParityError, match="golden case"):
        write_repository(artifact, tmp_path / "out" / "repository")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("scores", "received", "same"),
    [
        ([-1, -2, -3], "abc", True),
        ([-1, -2, -3], "bac", False),
        ([-1, -1, -3], "bac", True),
        ([-1, -1 - 5e-7, -1 - 1e-6, -3], "cabd", True),
        ([-1, -1, -3], "bax", False),
        ([-1, -2, -2], "acb", True),
        ([-1, -2, -2], "acx", True),  # the tie goes on beyond the last place
        ([-1, -2, -3], "abx", False),
    ],
)
def test_only_ties_may_change_places(scores: list[float], received: str, same: bool) -> None:
    recorded = "abcd"[: len(scores)]
    assert same_up_to_ties([key.encode() for key in recorded], [key.encode() for key in received], np.array(scores)) is same


def test_golden_answers_must_be_there_and_be_valid(artifact: Path, tmp_path: Path) -> None:
    rewrite_golden(artifact, [])
    with pytest.raises(ArtifactError, match="received none"):
        write_repository(artifact, tmp_path / "repository")
    rewrite_golden(artifact, [{**golden_cases()[0], "now": None}])
    with pytest.raises(ArtifactError, match=r"expected golden\.json to hold valid requests"):
        write_repository(artifact, tmp_path / "repository")


def test_a_graph_that_does_not_fit_the_contract_is_refused(artifact: Path, tmp_path: Path) -> None:
    graph = onnx.load(artifact / "model.onnx")
    for entry in graph.graph.input:
        entry.name = entry.name.replace("now", "then")
    for node in graph.graph.node:
        node.input[:] = [name.replace("now", "then") if name == "now" else name for name in node.input]
    onnx.save(graph, artifact / "model.onnx")
    write_contract(artifact)
    with pytest.raises(ArtifactError, match=r"expected a graph with inputs .*'now'"):
        write_repository(artifact, tmp_path / "repository")


def test_a_file_that_is_no_graph_is_refused(artifact: Path, tmp_path: Path) -> None:
    (artifact / "model.onnx").write_bytes(b"no graph")
    write_contract(artifact)
    with pytest.raises(ArtifactError, match="expected a graph that ONNX Runtime"):
        write_repository(artifact, tmp_path / "repository")


def test_a_model_is_replaced_and_its_neighbours_stay(artifact: Path, tmp_path: Path) -> None:
    first = write_repository(artifact, tmp_path / "repository", name="first")
    second = write_repository(artifact, tmp_path / "repository", name="second")
    (first / "stale").touch()
    write_repository(artifact, tmp_path / "repository", name="first", batching=Batching(max_size=3))
    assert "max_batch_size: 3" in (first / "config.pbtxt").read_text()
    assert not (first / "stale").exists()
    assert (second / "config.pbtxt").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["artifact", "repository"]


def test_a_model_survives_a_failed_replacement(artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = write_repository(artifact, tmp_path / "repository")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(command_module.shutil, "copyfile", full)
    with pytest.raises(RepositoryError, match="No space left on device"):
        write_repository(artifact, tmp_path / "repository", batching=Batching(max_size=3))
    assert "max_batch_size: 64" in (model / "config.pbtxt").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["artifact", "repository"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "a/b"}, "expected a model name of letters"),
        ({"name": "..", "batching": Batching()}, "expected a model name of letters"),
    ],
)
def test_a_name_that_triton_cannot_use_is_refused(artifact: Path, tmp_path: Path, options: dict, words: str) -> None:
    with pytest.raises(RepositoryError, match=words):
        write_repository(artifact, tmp_path / "repository", **options)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"max_size": 0}, "expected max_size to be 1 or more, received 0"),
        ({"max_queue_delay_us": -1}, "max_queue_delay_us"),
        ({"num_instances": 0}, "num_instances"),
        ({"kind": "gpus"}, "expected kind to be one of auto, cpu, received 'gpus'"),
    ],
)
def test_batching_that_makes_no_sense_is_refused(settings: dict, words: str) -> None:
    with pytest.raises(ServingError, match=words):
        Batching(**settings)


def test_the_command_says_where_it_wrote(artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command_module.main(["--artifact", str(artifact), "--out", str(tmp_path / "repository"), "--name", "mine"])
    assert f"{tmp_path / 'repository' / 'mine'}: 4 recorded answers repeated" in capsys.readouterr().out


def test_a_mistake_ends_the_command_in_one_line(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "serving.repository", "--artifact", tmp_path, "--out", tmp_path / "repository"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert result.stderr == f"error: expected an artifact in {tmp_path}, found no contract.json; export a run: python -m training.export\n"
    assert list(tmp_path.iterdir()) == []


def rewrite_golden(artifact: Path, cases: list[dict]) -> None:
    (artifact / "golden.json").write_text(json.dumps(cases))
    write_contract(artifact)
