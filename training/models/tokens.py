"""What encoders read: a vector a step or a question, and how many steps lie before each."""

from dataclasses import dataclass

import torch
from torch import Tensor

from kernels import ragged


@dataclass
class Tokens:
    """x [N, D], time µs [N], offsets [B + 1] by customer.

    latest: of questions that are nothing but their latest step, where it stands among the steps, int64 [Q]; behind them all
    where there is none.
    """

    x: Tensor
    time: Tensor
    offsets: Tensor
    latest: Tensor | None = None


def past_of_steps(steps: Tokens) -> Tensor:
    """How many steps a step sees beside itself: those before it. int64 [S]."""
    return ragged.place_in_row(steps.offsets, steps.x.shape[0])


def past_of_questions(steps: Tokens, questions: Tokens) -> Tensor:
    """How many steps a question sees: those at or before its moment. int64 [Q]."""
    if not torch.compiler.is_exporting():
        return _found_by_search(steps, questions)
    question, step = ragged.pair_up(questions.offsets, steps.offsets)
    is_past = (steps.time[step] <= questions.time[question]).to(torch.int64)
    return torch.zeros_like(questions.time).scatter_add(0, question, is_past)


def _found_by_search(steps: Tokens, questions: Tokens) -> Tensor:
    """The same by a search among all steps, each a number (customer, rank of its time): ONNX has no such operator, and asks every pair."""
    times = steps.time.sort().values
    owner_of_step = ragged.row_of_value(steps.offsets, len(times))
    owner = ragged.row_of_value(questions.offsets, len(questions.time))
    place = owner_of_step * (len(times) + 1) + torch.searchsorted(times, steps.time)
    sought = owner * (len(times) + 1) + torch.searchsorted(times, questions.time, right=True)
    return torch.searchsorted(place, sought) - steps.offsets[owner]
