"""What Triton's Python backend runs: `<model>/1/model.py` of a generated repository.

All requests that Triton's batcher hands over together, whatever their lengths, become one ragged batch and one run of the graph. A
request that can't be understood is refused alone. Beside this file lie `artifact/` and the few `serving` modules it needs.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from serving.contract import Contract, read_contract  # noqa: E402
from serving.encode import History  # noqa: E402
from serving.errors import RequestError  # noqa: E402
from serving.golden import prove  # noqa: E402
from serving.horizons import at_horizons, read_horizons  # noqa: E402
from serving.predictor import Answers, Predictor, num_cores  # noqa: E402


class TritonPythonModel:
    """One instance: one ONNX Runtime session."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the artifact and ask the recorded questions again: ONNX Runtime must give the same answers here, on this hardware."""
        self._contract = read_contract(HERE / "artifact")
        num_instances = sum(group["count"] for group in json.loads(args["model_config"])["instance_group"])
        self._predictor = Predictor(
            self._contract,
            num_threads=max(1, num_cores() // num_instances),
            cuda_device=int(args["model_instance_device_id"]) if args["model_instance_kind"] == "GPU" else None,
        )
        parity = prove(self._predictor, self._contract)
        pb_utils.Logger.log_info(
            f"{self._contract.name}: {self._predictor.device}, {parity.cases} recorded answers repeated, "
            f"largest score difference {parity.max_abs_score_difference:.2g}"
        )

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer the batch; the responses stand in the order of the requests."""
        responses: list[Any] = [None] * len(requests)
        asked: dict[int, tuple[History, dict[str, float]]] = {}
        for position, request in enumerate(requests):
            try:
                horizons = read_horizons(parameters_of(request), self._contract)
                asked[position] = self._predictor.encoder.history(*read_request(request, self._contract)), horizons
            except RequestError as error:
                responses[position] = pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG))
        if asked:
            answers = self._predictor.answer([history for history, _ in asked.values()])
            for row, (position, (_, horizons)) in enumerate(asked.items()):
                responses[position] = response(at_horizons(horizons, answer_of(answers, row), self._contract.terms))
        return responses


def parameters_of(request: Any) -> dict[str, Any]:
    """What the request carries beside its inputs."""
    try:
        return json.loads(request.parameters())
    except ValueError as error:  # one of bytes that are no UTF-8, which Triton's HTTP endpoint lets pass
        raise RequestError(f"expected the request's parameters as UTF-8, received others ({error}); send text") from error


def read_request(request: Any, contract: Contract) -> tuple[dict[str, np.ndarray], Any]:
    """The fields that the request carries, each [N], and `now`."""
    tensors = {field.name: pb_utils.get_input_tensor_by_name(request, field.name) for field in contract.fields}
    events = {name: _one_row(name, tensor.as_numpy()) for name, tensor in tensors.items() if tensor is not None}
    now = _one_row("now", pb_utils.get_input_tensor_by_name(request, "now").as_numpy())
    return events, now[0]


def answer_of(answers: Answers, row: int) -> Answers:
    """One caller's share of the answers: [K] each."""
    return {name: values[row : row + 1].reshape(-1) for name, values in answers.items()}


def response(answer: Answers) -> Any:
    """The answer as Triton takes it: [1, K] each."""
    return pb_utils.InferenceResponse([pb_utils.Tensor(name, values[None]) for name, values in answer.items()])


def _one_row(name: str, array: np.ndarray) -> np.ndarray:
    """A request is one customer: [1, N] without its first dimension."""
    if array.shape[0] != 1:
        raise RequestError(
            f"expected shape [1, N] in {name}, received {list(array.shape)}; send one request a customer, Triton batches them"
        )
    return array[0]
