"""An artifact that answers: encode the histories, run the graph once for all of them, turn ids into keys.

    predictor = Predictor(read_contract("runs/demo/artifact"))
    answers = predictor.answer([predictor.encoder.history(events, now)])

The Triton model and the proof of an artifact both answer through this class.
"""

import os
from collections.abc import Sequence

import numpy as np

# From 1.29 on ONNX Runtime reports to its maker what it loads, unless told not to before it is imported. Answering customers is
# nobody else's business.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime

from serving.contract import TIME, Contract
from serving.encode import Encoder, History
from serving.errors import ArtifactError

_ERRORS_ONLY = 3
_SOME_DAY = 1_577_836_800_000_000  # µs; any would do


# What callers know it by, to the answers to B histories: [B] or, where one holds K numbers or keys (bytes), [B, K].
Answers = dict[str, np.ndarray]


class Predictor:
    """One ONNX Runtime session over one artifact."""

    def __init__(self, contract: Contract, *, num_threads: int | None = None, cuda_device: int | None = None) -> None:
        """`num_threads` is None for all cores; `cuda_device` is used if this ONNX Runtime has CUDA (`device` tells), else the CPU is.

        Raises ArtifactError if the graph can't be read or hasn't the contract's inputs and outputs.
        """
        self.encoder = Encoder(contract)
        self._outputs = contract.outputs
        unknown = {field.name: [_SOME_DAY if field.name == TIME else ""] for field in contract.fields if field.required}
        self._somebody = self.encoder.history(unknown, _SOME_DAY)
        self._session = _session(contract, num_threads=num_threads or num_cores(), cuda_device=cuda_device)
        self.device = "cuda" if "CUDAExecutionProvider" in self._session.get_providers() else "cpu"
        expected = {field.name for field in contract.fields} | {"offsets", "now"}
        received = {entry.name for entry in self._session.get_inputs()}
        if expected != received:
            raise ArtifactError(f"expected a graph with inputs {sorted(expected)}, received {sorted(received)}; export the run again")
        answered = {entry.name for entry in self._session.get_outputs()}
        if missing := sorted({output.name for output in contract.outputs} - answered):
            raise ArtifactError(f"expected a graph that answers {', '.join(missing)}, received {sorted(answered)}; export the run again")

    def answer(self, histories: Sequence[History]) -> Answers:
        """Answer B >= 1 histories in one run of the graph.

        Some operators of ONNX Runtime fail on no event at all. Where nobody has any, somebody who has joins them and is not listened to:
        what stands beside a history changes nothing in its answer.
        """
        company = [] if any(len(history.columns[TIME]) for history in histories) else [self._somebody]
        arrays = self._session.run([output.name for output in self._outputs], self.encoder.batch([*histories, *company]))
        told = [array[: len(histories)] for array in arrays]
        return {output.served_as: self.encoder.decoded(output, array) for output, array in zip(self._outputs, told, strict=True)}


def num_cores() -> int:
    """Cores that this process may use; fewer than the machine has where a container or taskset limits them."""
    return len(os.sched_getaffinity(0))


def _session(contract: Contract, *, num_threads: int, cuda_device: int | None) -> onnxruntime.InferenceSession:
    onnxruntime.set_default_logger_severity(_ERRORS_ONLY)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.intra_op_num_threads = num_threads
    options.inter_op_num_threads = 1
    # Waiting threads must sleep: Triton's own threads need the cores between two batches.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Memory patterns are planned for one shape; here no two batches have the same.
    options.enable_mem_pattern = False
    try:
        return onnxruntime.InferenceSession(str(contract.path / contract.model), options, providers=_providers(cuda_device))
    except Exception as error:  # ONNX Runtime's errors have no common class of their own
        reason = " ".join(str(error).split())
        raise ArtifactError(
            f"expected a graph that ONNX Runtime {onnxruntime.__version__} can run, received {reason}; export it again"
        ) from error


def _providers(cuda_device: int | None) -> list[str | tuple[str, dict[str, str]]]:
    providers: list[str | tuple[str, dict[str, str]]] = ["CPUExecutionProvider"]
    if cuda_device is not None and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        # TF32 rounds to 10 bits of mantissa: the recorded answers would be missed by more than the contract's tolerance.
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": str(cuda_device), "use_tf32": "0"}))
    return providers
