"""A recurrent network over a customer's steps (GRU4Rec: Hidasi et al., "Session-based Recommendations with Recurrent Neural Networks",
ICLR 2016).

A question is one step more, which reads the state that its customer's past has left, and which no later step remembers. In training, rows
of different lengths advance together without padding, the longest ones to the end; the exported graph holds ONNX's own GRU.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from kernels import ragged
from training.errors import ConfigError
from training.models.dropout import Dropout
from training.models.encoder import Encoder
from training.models.tokens import Tokens, past_of_questions
from training.settings import Count, Share

OPSET = 18  # the GRU of ONNX has not changed since 14


class GRU4Rec(Encoder):
    """dim: width of a token and of the state; num_blocks: layers; dropout: of what each layer passes on."""

    def __init__(self, *, dim: Count, num_blocks: Count, dropout: Share) -> None:
        super().__init__()
        if not num_blocks:
            raise ConfigError("expected encoder.num_blocks to be 1 or more, received 0; correct it")
        self.layers = nn.ModuleList(nn.GRU(dim, dim) for _ in range(num_blocks))
        self.dropout = Dropout(dropout)
        self.answer = nn.GRUCell(dim, dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, steps: Tokens, questions: Tokens) -> Tensor:
        states = steps.x
        for layer in self.layers:
            states = self.dropout(states_of(layer, states, steps.offsets))  # type: ignore[arg-type]
        return self.norm(self.answer(questions.x, _state_at(questions, steps, states)))


def states_of(layer: nn.GRU, x_TD: Tensor, offsets: Tensor) -> Tensor:
    """The state after each token of each row, zeros before the first: [T, D]."""
    if torch.compiler.is_exporting():
        return _states_in_onnx(layer, x_TD, offsets)
    if not len(x_TD):
        return x_TD
    place, row = ragged.place_in_row(offsets, len(x_TD)), ragged.row_of_value(offsets, len(x_TD))
    by_length = offsets.diff().argsort(descending=True, stable=True)
    rank = torch.empty_like(by_length).index_copy(0, by_length, torch.arange(len(by_length), device=x_TD.device))
    order = (place * len(by_length) + rank[row]).argsort()  # every row's first token, every row's second, ...
    states, _ = layer(PackedSequence(x_TD[order], place.bincount().cpu()))
    return torch.empty_like(states.data).index_copy(0, order, states.data)


def _states_in_onnx(layer: nn.GRU, x_TD: Tensor, offsets: Tensor) -> Tensor:
    """The same as one operator of ONNX, whose gates come in another order, on padded rows: padding stands behind what is read."""

    def updates_first(weight: Tensor) -> Tensor:
        reset, update, new = weight.chunk(3)
        return torch.cat([update, reset, new])

    x_LBD = ragged.pad(x_TD, offsets, ragged.longest(offsets)).transpose(0, 1)
    of_input, of_state, bias_input, bias_state = (updates_first(weight) for weight in layer.all_weights[0])
    states_LNBD = torch.onnx.ops.symbolic(
        "GRU",
        [x_LBD, of_input[None], of_state[None], torch.cat([bias_input, bias_state])[None]],
        {"hidden_size": layer.hidden_size, "linear_before_reset": 1},
        dtype=x_LBD.dtype,
        shape=[x_LBD.shape[0], 1, x_LBD.shape[1], layer.hidden_size],
        version=OPSET,
    )
    return ragged.unpad(states_LNBD[:, 0].transpose(0, 1), offsets, x_TD.shape[0])


def _state_at(questions: Tokens, steps: Tokens, states: Tensor) -> Tensor:
    """The state after the last step at or before each question's moment: [Q, D], zeros where there is none."""
    seen = past_of_questions(steps, questions)
    first = steps.offsets[ragged.row_of_value(questions.offsets, questions.x.shape[0])]
    with_none = torch.cat([states.new_zeros(1, states.shape[1]), states])
    return with_none[torch.where(seen > 0, first + seen, torch.zeros_like(seen))]
