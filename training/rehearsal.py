"""One small batch through all that training will ask of a model, before anything is written: what fails here leaves nothing behind."""

import torch
from torch import Tensor

from training.build import Parts
from training.objectives.objective import Output

NUM_CUSTOMERS = 2


def rehearse(parts: Parts, *, num_ranks: int) -> None:
    """Learn from, judge and answer a few customers, changing nothing; num_ranks: the processes that share each batch.

    Raises what would otherwise end training later; ConfigError where batches are too small for so many processes.
    """
    batches = parts.data.training_batches(epoch=0, rank=0, num_ranks=num_ranks)
    batch = batches.of(batches.customers[:NUM_CUSTOMERS])
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        for training in (False, True):  # a model is left as it is built: ready to learn
            parts.model.train(training)
            context = parts.model.represent(batch)
            for name, objective in parts.model.objectives.items():
                objective.loss(context, batch.labels[name])
                objective.judge(context, batch.labels[name])
                _check_answers(objective.predict(context), objective.outputs, num_questions=len(batch.now))


def _check_answers(answers: dict[str, Tensor], declared: list[Output], *, num_questions: int) -> None:
    """What an objective answers must be what it declares: the contract is made of that."""
    assert list(answers) == [output.name for output in declared], (list(answers), declared)
    for output in declared:
        answer = answers[output.name]
        assert (tuple(answer.shape), str(answer.dtype)) == ((num_questions, *output.shape), f"torch.{output.dtype}"), (answer, output)
