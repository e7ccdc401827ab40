"""The recipe for lines of `customer item item …`, from the file to the figures and to an artifact."""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers_training import composed

from training.errors import ConfigError
from training.export import export
from training.run import run

NUM_CUSTOMERS, NUM_ITEMS, CIRCLE = 120, 48, 12


def write_lines(path: Path) -> Path:
    """Everybody walks along a circle of items, the same way round."""
    generator = np.random.default_rng(0)
    lines = []
    for customer in range(NUM_CUSTOMERS):
        circle, start, length = generator.integers(NUM_ITEMS // CIRCLE), generator.integers(CIRCLE), generator.integers(4, 9)
        lines.append(f"c{customer} " + " ".join(f"i{circle * CIRCLE + (start + step) % CIRCLE}" for step in range(length)))
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lines")
    path = write_lines(folder / "log.txt")
    small = ["dim=16", "trainer.max_epochs=2", "trainer.enable_progress_bar=false", "seed=3"]
    where = [f"data.path={path}", f"store={folder / 'store'}", f"out={folder / 'run'}"]
    return run(composed("train", ["experiment=leave_one_out", *where, *small]))


def test_figures(finished: Path) -> None:
    summary = json.loads((finished / "summary.json").read_text())
    assert summary["seed"] == 3
    assert summary["seconds"]["train"] > 0
    assert summary["seconds"]["total"] > summary["seconds"]["preprocess"] + summary["seconds"]["train"]  # this run made its store
    for window in ("valid", "test"):
        assert 0.5 < summary[window]["ndcg@10"] <= summary[window]["hr@10"] <= 1  # the way round is easily seen
    assert summary["test"]["ndcg@10"] == summary["test"]["ranking"]["model"]["ndcg@10"]
    assert set(summary["test"]["ranking"]) == {"model", "popularity", "item_to_item"}
    assert summary["decided"]["ranking"] == {"repeat": False, "leave_out_seen": True}  # which the recipe leaves to the log
    assert "left out" in (finished / "report.html").read_text()


def test_exported_answers_agree(finished: Path) -> None:
    """Neighbours, and what is left out, are in the graph; export itself refuses one that answers otherwise than torch."""
    artifact = export(composed("export", [f"run={finished}"]))
    cases = json.loads((artifact / "golden.json").read_text())
    assert len(cases) > 20
    for case in cases:
        assert len(case["answer"]["item"]) == 10
        moments = zip(case["events"]["item"], case["events"]["timestamp"], strict=True)
        had = {item for item, moment in moments if moment <= case["now"]}
        assert not had & {*case["answer"]["item"]}


def test_a_path_is_wanted() -> None:
    with pytest.raises(ConfigError, match=r"data\.path"):
        run(composed("train", ["experiment=leave_one_out"]))
