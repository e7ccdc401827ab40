"""A moving average of the weights, which is what is judged and kept (Polyak and Juditsky, SIAM J. Control and Optimization 1992)."""

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import WeightAveraging
from torch.optim.swa_utils import AveragedModel

from training.settings import Share

WARM_UP = 3  # after n steps an average is of the last n / 3 or so, however many it is to be of in the end: early weights are no good


class MovingAverage(WeightAveraging):
    """Lightning's callback; of each average `decay` stays at a step."""

    def __init__(self, decay: Share) -> None:
        super().__init__()
        self.decay = decay

    def setup(self, _trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            self._average_model = AverageOfParameters(pl_module, self.decay)


class AverageOfParameters(AveragedModel):
    """Of parameters alone, all at once. Buffers are facts: torch would copy them at every step, tables of neighbours for example."""

    def __init__(self, model: LightningModule, decay: float) -> None:
        super().__init__(model, device=model.device)
        self.decay = decay

    @torch.no_grad()
    def update_parameters(self, model: torch.nn.Module) -> None:
        number = int(self.n_averaged)
        stays = min(self.decay, number / (number + WARM_UP))
        torch._foreach_lerp_(list(self.module.parameters()), list(model.parameters()), 1 - stays)
        self.n_averaged += 1
