"""What a choice from a catalogue is learned from: a sample of what was not chosen, and losses that know it is one."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.errors import ConfigError

Loss = Literal["full", "sampled", "gbce"]
Draws = Literal["uniform", "popularity", "in_batch"]


class Negatives(nn.Module):
    """Draws items with replacement, the same for every question of a batch, and says how likely each draw was.

    uniform: any candidate as likely; popularity: by how often it was taken in training; in_batch: what the batch's other questions took,
    which costs no look-up and is about the same as popularity. candidates bool [V], counts [V].
    """

    ids: Tensor
    cumulative: Tensor
    log_q: Tensor

    def __init__(self, draws: Draws, num_negatives: int, *, candidates: Tensor, counts: Tensor) -> None:
        super().__init__()
        self.draws, self.num_negatives = draws, num_negatives
        taken = counts.to(torch.float64) * candidates
        even = candidates.to(torch.float64)
        share = even / even.sum() if draws == "uniform" else taken / taken.sum()
        ids = candidates.nonzero()[:, 0]
        self.register_buffer("ids", ids, persistent=False)
        self.register_buffer("cumulative", share[ids].cumsum(0), persistent=False)
        self.register_buffer("log_q", share.clamp(min=1e-30).log().float(), persistent=False)

    def forward(self, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Ids int64 [K] and the logarithm of the chance that a draw gives each, [K]. Costs what K costs, however large the catalogue."""
        drawn = targets if self.draws == "in_batch" else self._drawn(targets.device)
        return drawn, self.log_q[drawn]

    def _drawn(self, device: torch.device) -> Tensor:
        number = torch.rand(self.num_negatives, dtype=torch.float64, device=device)
        place = torch.searchsorted(self.cumulative, number, right=True)
        return self.ids[place.clamp(max=len(self.ids) - 1)]


def gbce(of_target: Tensor, of_negatives: Tensor, hits: Tensor, *, power: float) -> Tensor:
    """Binary cross-entropy whose positive part is σ(logit) to a power: [N].

    of_target [N] and of_negatives [N, K]: logits; hits bool [N, K]: negatives that are the target itself, and don't count. Negatives that
    are a sample make what is relevant look surer than it is; the power of `power_of` undoes that (gBCE: Petrov and Macdonald, "gSASRec:
    Reducing Overconfidence in Sequential Recommendation Trained with Negative Sampling", RecSys 2023).
    """
    against = F.softplus(of_negatives).masked_fill(hits, 0.0).sum(1)
    return (power * F.softplus(-of_target) + against) / (of_negatives.shape[1] + 1)


def power_of(num_negatives: int, num_items: int, *, calibration: float) -> float:
    """gBCE's power: 1 without calibration, which is plain binary cross-entropy; with all of it, the share of the items that is drawn."""
    share = min(1.0, num_negatives / max(1, num_items - 1))
    return share * (calibration * (1 - 1 / share) + 1 / share)


def smoothed(losses: Tensor, normaliser: Tensor, mean_logit: Tensor, *, smoothing: float) -> Tensor:
    """Losses [N] of which a share is asked of the whole catalogue, every item of it as much; that part reads logits of exploring alone.

    normaliser, mean_logit: [N], of the same question over the catalogue (Szegedy et al., CVPR 2016).
    """
    return (1 - smoothing) * losses + smoothing * (normaliser - mean_logit)


def check_loss(loss: Loss, draws: Draws, *, repeat: bool, label_smoothing: float, leave_out_seen: bool) -> None:
    """Raises ConfigError for settings of next_item that don't go together."""
    where = "objectives.next_item"
    if loss == "gbce" and (repeat or draws != "uniform"):
        raise ConfigError(
            f"expected {where}.repeat=false and {where}.negatives=uniform for loss=gbce, which is no softmax, received "
            f"repeat={str(repeat).lower()} and negatives={draws}; correct them, or choose loss=sampled"
        )
    if label_smoothing and loss != "full":
        raise ConfigError(
            f"expected {where}.label_smoothing=0 for loss={loss}, received {label_smoothing}; correct it, or choose loss=full"
        )
    if leave_out_seen and repeat:
        raise ConfigError(
            f"expected {where}.repeat=false where what was had is left out, received repeat=true and leave_out_seen=true; correct either"
        )
