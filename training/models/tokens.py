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
    question, step = ragged.pair_up(questions.offsets, steps.offsets)
    is_past = (steps.time[step] <= questions.time[question]).to(torch.int64)
    return torch.zeros_like(questions.time).scatter_add(0, question, is_past)
