from pathlib import Path

import pytest

from training.errors import ConfigError
from training.events.journal import Journal

TASK = {"memory": 4, "files": {"log.csv": [10, 20]}}


def made(journal: Journal, names: list[str]) -> list[str]:
    """The steps that were really made."""
    done = []
    for name in names:

        def make(folder: Path, name: str = name) -> None:
            (folder / "outcome").write_text(name)
            done.append(name)

        assert (journal.step(name, make) / "outcome").read_text() == name
    return done


def test_a_step_is_made_once(tmp_path: Path) -> None:
    assert made(Journal(tmp_path / "work", TASK), ["a", "b"]) == ["a", "b"]
    assert made(Journal(tmp_path / "work", TASK), ["a", "b", "c"]) == ["c"]


def test_a_step_that_was_cut_off_is_made_again(tmp_path: Path) -> None:
    def cut_off(folder: Path) -> None:
        (folder / "half").write_text("")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Journal(tmp_path / "work", TASK).step("a", cut_off)
    assert made(Journal(tmp_path / "work", TASK), ["a"]) == ["a"]
    assert sorted(path.name for path in (tmp_path / "work" / "a").iterdir()) == ["outcome"]


@pytest.mark.parametrize("other", [{**TASK, "memory": 5}, {**TASK, "files": {"log.csv": [10, 21]}}], ids=["setting", "file"])
def test_the_steps_of_another_task_are_thrown_away(tmp_path: Path, other: dict[str, object]) -> None:
    made(Journal(tmp_path / "work", TASK), ["a"])
    assert made(Journal(tmp_path / "work", other), ["a"]) == ["a"]


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    def full(folder: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(ConfigError, match="No space left on device"):
        Journal(tmp_path / "work", TASK).step("a", full)
