"""Batch to representation to answers: features, one encoder, any number of objectives."""

from collections.abc import Mapping
from typing import TypeVar

from torch import Tensor, nn

from training.models.encoder import Encoder
from training.models.features import Features
from training.objectives.objective import Context, Objective
from training.sequences.batch import Batch

Kind = TypeVar("Kind", bound=Objective)


class SequenceModel(nn.Module):
    """objectives: {name: objective}; each learns from, and answers with, the same representation."""

    objectives: Mapping[str, Objective]

    def __init__(self, features: Features, encoder: Encoder, objectives: dict[str, Objective]) -> None:
        super().__init__()
        self.features = features
        self.encoder = encoder
        self.objectives = nn.ModuleDict(objectives)  # type: ignore[assignment]

    def objective(self, kind: type[Kind]) -> Kind | None:
        """The objective of this kind, if the model has one."""
        return next((objective for objective in self.objectives.values() if isinstance(objective, kind)), None)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Every objective's answers, one row a question."""
        context = self.represent(batch)
        return {name: answer for objective in self.objectives.values() for name, answer in objective.predict(context).items()}

    def share_of_padding(self, context: Context) -> float:
        """Of the tokens that the encoder computed with."""
        questions = context.batch.question_offsets if self.features.knows_times else 0
        return self.encoder.share_of_padding(context.grouping.offsets + questions)

    def represent(self, batch: Batch) -> Context:
        """The representation of every question, with what objectives need beside it."""
        embedded = self.features(batch, with_rhythm=any(objective.reads_rhythm for objective in self.objectives.values()))
        representation = self.encoder(embedded.steps, embedded.questions)
        return Context(batch, embedded.grouping, embedded.rhythm, representation, self.features.items)
