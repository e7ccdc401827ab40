"""Batch to representation to answers: features, one encoder, any number of objectives."""

from torch import Tensor, nn

from training.models.encoder import Encoder
from training.models.features import Features
from training.objectives.objective import Context, Objective
from training.sequences.batch import Batch


class SequenceModel(nn.Module):
    """objectives: {name: objective}; each learns from, and answers with, the same representation."""

    def __init__(self, features: Features, encoder: Encoder, objectives: dict[str, Objective]) -> None:
        super().__init__()
        self.features = features
        self.encoder = encoder
        self.objectives: dict[str, Objective] = nn.ModuleDict(objectives)  # type: ignore[assignment]

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Every objective's answers, one row a question."""
        context = self.represent(batch)
        return {name: answer for objective in self.objectives.values() for name, answer in objective.predict(context).items()}

    def represent(self, batch: Batch) -> Context:
        """The representation of every question, with what objectives need beside it."""
        steps, questions, grouping = self.features(batch)
        return Context(batch, grouping, self.encoder(steps, questions), self.features.item_weight)
