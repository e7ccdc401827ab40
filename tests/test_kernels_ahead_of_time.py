"""Every kernel that may be launched on a card compiles for it, without spills, within its budget; and a broken budget is found."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kernels.ahead_of_time import Compiled, Usage, violations

ROOT = Path(__file__).parents[1]
BUDGET = {"op/forward/sm_80": {"registers": 96, "shared": 16384, "stack": 0, "tensor_core": 8}}


@pytest.mark.timeout(600)
def test_every_kernel_is_within_its_budget() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-m", "kernels.ahead_of_time"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


def test_what_fits_is_accepted() -> None:
    assert violations([Compiled("op/forward/sm_80", Usage(96, 16384, 0, 1), wants_tensor_cores=True)], BUDGET) == []


@pytest.mark.parametrize(
    ("usage", "complaint"),
    [
        (Usage(97, 16384, 0, 8), "at most 96 registers; received 97"),
        (Usage(96, 16400, 0, 8), "at most 16384 shared; received 16400"),
        (Usage(96, 16384, 8, 8), "expected no spills; received 8 bytes"),
        (Usage(96, 16384, 0, 0), "expected tensor-core instructions"),
    ],
    ids=["registers", "shared memory", "spills", "no tensor cores"],
)
def test_what_takes_too_much_is_found(usage: Usage, complaint: str) -> None:
    (found,) = violations([Compiled("op/forward/sm_80", usage, wants_tensor_cores=True)], BUDGET)
    assert complaint in found


def test_a_kernel_without_a_budget_is_found() -> None:
    (found,) = violations([Compiled("op/new/sm_90", Usage(1, 0, 0, 0), wants_tensor_cores=False)], BUDGET)
    assert "has no budget" in found
