"""Where a Polars plan runs: on the CPU by Polars itself or on the GPU by cuDF. Chosen once, said once, never changed silently."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

import polars as pl

from training.errors import ConfigError, DeviceError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Engine:
    """Runs plans: `engine.collect([plan, ...])` gives one table each and shares what the plans have in common."""

    name: Literal["cpu", "gpu"]

    def collect(self, plans: Sequence[pl.LazyFrame]) -> list[pl.DataFrame]:
        """Run the plans together. On the GPU a plan that cuDF doesn't support raises: nothing falls back to the CPU."""
        return pl.collect_all(plans, engine=pl.GPUEngine(raise_on_fail=True) if self.name == "gpu" else "in-memory")


def choose_engine(name: str) -> Engine:
    """The engine with that name. Raises DeviceError where a GPU is asked for and absent, ConfigError for another name."""
    if name not in ("cpu", "gpu"):
        raise ConfigError(f"engine: expected cpu or gpu, found {name!r}")
    engine = Engine("gpu" if name == "gpu" else "cpu")
    if engine.name == "gpu":
        _require_cudf(engine)
    log.info("engine %s", engine.name)
    return engine


def _require_cudf(engine: Engine) -> None:
    if find_spec("cudf_polars") is None:
        raise DeviceError("engine=gpu: cuDF is not installed; run `pip install 'revisit[gpu]'` on a machine with an NVIDIA GPU, or use engine=cpu")
    try:
        engine.collect([pl.LazyFrame({"one": [1]})])
    except Exception as error:  # cuDF, RMM and the CUDA driver each raise their own
        raise DeviceError(f"engine=gpu: cuDF finds no usable NVIDIA GPU ({error}); check `nvidia-smi`, or use engine=cpu") from error
