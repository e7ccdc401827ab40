"""What every encoder promises: questions, each answered from the steps at or before its moment."""

import abc

from torch import Tensor, nn

from training.models.tokens import Tokens


class Encoder(nn.Module, abc.ABC):
    """Steps and questions in, one representation a question out.

    A question must not depend on steps after its moment, on other questions, or on other customers in the batch.
    """

    @abc.abstractmethod
    def forward(self, steps: Tokens, questions: Tokens) -> Tensor:
        """[Q, D]."""

    def share_of_padding(self, _offsets: Tensor) -> float:
        """Of all tokens that are computed with, the share that is padding; offsets int64 [B + 1], of rows of steps and questions."""
        return 0.0
