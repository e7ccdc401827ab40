"""Does this model still give the answers that torch gave when it was exported?

    parity = prove(predictor, contract)

`golden.json` holds raw events and torch's answers. Numbers must agree within the contract's tolerance, place by place: probabilities and
their logarithms as they are, amounts above one in proportion, since that is how rounding grows. Keys must be the same ones; where they are
ranked (`item` by `item_score`) two may stand in each other's place only where the recorded scores of neighbours differ by 1e-6 or less:
there float noise decides the order, and either order is right.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from serving.contract import Contract, Output
from serving.errors import ArtifactError, ParityError, RequestError
from serving.predictor import Answers, Predictor

TIE = 1e-6


@dataclass(frozen=True)
class Parity:
    """How far a model is from its recorded answers. `ids_equal` is strict: it is false also where only a tie was broken the other way."""

    max_abs_score_difference: float
    ids_equal: bool
    cases: int

    def as_dict(self) -> dict[str, Any]:
        """As `parity.json` holds it."""
        return asdict(self)


def prove(predictor: Predictor, contract: Contract) -> Parity:
    """Ask every recorded question, all in one batch and each alone, and compare.

    Raises ParityError if an answer differs by more than is allowed.
    """
    cases = _read_cases(contract)
    try:
        histories = [predictor.encoder.history(case["events"], case["now"]) for case in cases]
    except RequestError as error:
        raise ArtifactError(f"expected {contract.golden} to hold valid requests, received: {error}") from error
    together = predictor.answer(histories)
    compared = [_compare(contract, case, together, row) for row, case in enumerate(cases)]
    compared += [_compare(contract, case, predictor.answer([history]), 0) for case, history in zip(cases, histories, strict=True)]
    return Parity(max(difference for difference, _ in compared), all(equal for _, equal in compared), len(cases))


def _read_cases(contract: Contract) -> list[dict[str, Any]]:
    cases = json.loads((contract.path / contract.golden).read_bytes())
    if not cases:
        raise ArtifactError(f"expected recorded answers in {contract.path / contract.golden}, received none; export the run again")
    return cases


def _compare(contract: Contract, case: Mapping[str, Any], answers: Answers, row: int) -> tuple[float, bool]:
    """The largest difference of a number, and whether all keys are equal. Raises ParityError if either can't be accepted."""
    recorded, difference, equal = case["answer"], 0.0, True
    for output in contract.outputs:
        expected, received = _flat(recorded[output.served_as]), np.atleast_1d(answers[output.served_as][row]).tolist()
        if len(expected) != len(received):
            raise ParityError(
                f"expected {len(expected)} values of {output.served_as} in golden case {case['name']!r}, received {len(received)}; "
                "export the run again"
            )
        if not output.vocabulary:
            difference = max(difference, _accepted_difference(contract, case, output, expected, received))
        else:
            keys, scores = [key.encode() for key in expected], recorded.get(f"{output.served_as}_score")
            if keys != received and (scores is None or not same_up_to_ties(keys, received, np.array(scores))):
                raise ParityError(
                    f"expected the recorded {output.served_as} of golden case {case['name']!r}, received others; export the run again"
                )
            equal &= keys == received
    return difference, equal


def _accepted_difference(contract: Contract, case: Mapping[str, Any], output: Output, recorded: list, received: list) -> float:
    in_proportion = output.dtype == "float32" and not output.is_bounded
    difference = _largest_difference(np.array(recorded, np.float64), np.array(received, np.float64), in_proportion=in_proportion)
    if not difference <= contract.tolerance:
        raise ParityError(
            f"expected the recorded {output.served_as} of golden case {case['name']!r} within {contract.tolerance:g}, "
            f"received a difference of {difference:g}; export the run again"
        )
    return difference


def _flat(answer: Any) -> list[Any]:
    return np.array(answer, dtype=object).reshape(-1).tolist()


def _largest_difference(recorded: np.ndarray, received: np.ndarray, *, in_proportion: bool) -> float:
    """Equal infinities differ by nothing; a NaN on one side makes the difference NaN, which no tolerance accepts."""
    differing = recorded != received
    size = np.maximum(np.abs(recorded[differing]), 1.0) if in_proportion else 1.0
    return float(np.max(np.abs(recorded[differing] - received[differing]) / size, initial=0.0))


def same_up_to_ties(recorded: list[bytes], received: list[bytes], scores: np.ndarray) -> bool:
    """Whether two rankings hold the same items within each run of neighbouring scores that tie.

    scores: [K], falling, of `recorded`. A tie that reaches the last place may continue beyond it, so there any items are accepted.
    """
    ends = [*np.flatnonzero(np.diff(scores) < -TIE) + 1, len(scores)]
    start = 0
    for end in map(int, ends):
        cut_off = end == len(scores) and end - start > 1
        if not cut_off and set(recorded[start:end]) != set(received[start:end]):
            return False
        start = end
    return True
