"""One place chooses the path: by device, by wish, always the reference while exporting; and it says so once."""

import logging

import pytest
import torch

from kernels import dispatch

CPU = torch.zeros(1, dtype=torch.float64)  # of a type that no compiled path treats, which not every machine has
META = torch.zeros(1, device="meta")


@pytest.fixture(autouse=True)
def nothing_said() -> None:
    dispatch._say.cache_clear()


@pytest.mark.parametrize(("operator", "path"), [("jagged_attention", "blocked"), ("ragged", "blocked"), ("gap_bias", "blocked")])
def test_the_cpu_takes_the_tuned_path(operator: str, path: str) -> None:
    assert dispatch.choose(operator, CPU) == path


@pytest.mark.parametrize("path", ["reference", "blocked", "fused"])
def test_a_wish_is_granted_inside_and_forgotten_outside(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    usual = dispatch.choose("jagged_attention", CPU)
    with dispatch.using(path):
        assert dispatch.choose("jagged_attention", CPU) == path
    assert dispatch.choose("jagged_attention", CPU) == usual


def test_a_path_that_does_not_exist_is_refused() -> None:
    with (
        pytest.raises(ValueError, match="expected one of reference, blocked, compiled, fused; received 'fastest'"),
        dispatch.using("fastest"),
    ):
        pass


def test_a_path_that_the_operator_has_not_is_refused() -> None:
    with dispatch.using("blocked"), pytest.raises(ValueError, match="sessions has no blocked path here: it has reference, fused"):
        dispatch.choose("sessions", CPU)


def test_the_fused_path_needs_a_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with dispatch.using("fused"), pytest.raises(ValueError, match="needs CUDA tensors, received a CPU tensor; move it, or choose"):
        dispatch.choose("hstu_attention", CPU)


@pytest.mark.gpu
def test_a_card_takes_the_fused_path() -> None:
    assert dispatch.choose("jagged_attention", CPU.cuda()) == "fused"


def test_the_choice_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="kernels.dispatch"):
        for _ in range(3):
            dispatch.choose("hstu_attention", CPU)
    assert [record.getMessage() for record in caplog.records] == ["hstu_attention on cpu: blocked path"]
