"""What a model says of some customers at a moment, as columns of a table: every output of every objective by the name that callers know."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch

from training.build import Parts
from training.errors import ConfigError
from training.objectives.objective import Output
from training.sequences.history import Log
from training.sequences.questions import Questions


@dataclass(frozen=True)
class Answers:
    """values: {output: [n] or [n, K]}, ids as ids. embedding: float32 [n, D], the representation that all of them were read from."""

    values: dict[str, np.ndarray]
    embedding: np.ndarray


def ask(parts: Parts, log: Log, customers: np.ndarray, now: int) -> Answers:
    """Everything the model answers about customers of a log, by their positions [n], at one moment (µs)."""
    questions = Questions(log, fields=parts.questions.fields, max_events=parts.questions.max_events, objectives={})
    batch = questions.ask(customers, np.full(len(customers), now), np.ones(len(customers), dtype=np.int64))
    parts.model.eval()
    with torch.inference_mode():
        context = parts.model.represent(batch)
        values = {
            name: answer.numpy() for objective in parts.model.objectives.values() for name, answer in objective.predict(context).items()
        }
    return Answers(values, context.representation.numpy())


def columns_of(parts: Parts, said: Answers) -> dict[str, pa.Array]:
    """Columns of a table: numbers, lists of K numbers, keys for ids; the embedding last."""
    columns = {}
    for output in outputs_of(parts):
        values = said.values[output.name]
        if output.vocabulary:
            keys = pa.array(parts.store.vocabularies[output.vocabulary].keys, pa.string())
            columns[output.served_as] = _column(keys.take(pa.array(values.reshape(-1))), values.shape)
        else:
            columns[output.name] = _column(pa.array(values.reshape(-1)), values.shape)
    return {**columns, "embedding": _column(pa.array(said.embedding.reshape(-1)), said.embedding.shape)}


def checked_explained(parts: Parts, name: str | None) -> str:
    """The answer that reasons are for: the named one, or the first. Raises ConfigError where it is not one number a customer."""
    single = [output.name for output in outputs_of(parts) if not output.shape and not output.vocabulary]
    if not single or (name is not None and name not in single):
        raise ConfigError(
            f"expected explain to be an answer of one number a customer ({', '.join(single) or 'this run has none'}), "
            f"received {name}; {'choose one' if single else 'set reasons=0'}"
        )
    return name or single[0]


def outputs_of(parts: Parts) -> list[Output]:
    """What every objective answers, in the order of the model's objectives."""
    return [output for objective in parts.model.objectives.values() for output in objective.outputs]


def _column(flat: pa.Array, shape: tuple[int, ...]) -> pa.Array:
    return flat if len(shape) == 1 else pa.FixedSizeListArray.from_arrays(flat, shape[1])
