"""Where a Polars plan runs: on the CPU by Polars itself or on the GPU by cuDF. Chosen once, logged, never changed silently."""

import logging
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

import polars as pl

from training.errors import ConfigError, DeviceError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Engine:
    """Runs plans."""

    name: Literal["cpu", "gpu"]

    def collect(self, plan: pl.LazyFrame) -> pl.DataFrame:
        """Run a plan. On the GPU a plan that cuDF doesn't support raises: nothing falls back to the CPU."""
        return plan.collect(engine=pl.GPUEngine(raise_on_fail=True) if self.name == "gpu" else "streaming")


def choose_engine(name: str) -> Engine:
    """The engine `cpu` or `gpu`. Raises DeviceError where a GPU is asked for and absent, ConfigError for another name."""
    if name not in ("cpu", "gpu"):
        raise ConfigError(f"engine.name: expected cpu or gpu, found {name!r}")
    engine = Engine("gpu" if name == "gpu" else "cpu")
    if engine.name == "gpu":
        _require_cudf(engine)
    log.info("engine %s", engine.name)
    return engine


def _require_cudf(engine: Engine) -> None:
    remedy = "or use engine=cpu"
    if find_spec("cudf_polars") is None:
        install = "pip install -e '.[gpu]'"
        raise DeviceError(f"engine=gpu: cuDF is not installed; run `{install}` in the checkout on a machine with an NVIDIA GPU, {remedy}")
    try:
        engine.collect(pl.LazyFrame({"one": [1]}))
    except Exception as error:  # cuDF, RMM and the CUDA driver each raise their own
        why = " ".join(str(error).split())[:200]
        raise DeviceError(f"engine=gpu: cuDF finds no NVIDIA GPU that it can use ({why}); check `nvidia-smi`, {remedy}") from error
