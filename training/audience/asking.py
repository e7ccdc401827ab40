"""What the model says of some customers at several moments: each history is read once, each moment is one more question about it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from rich.progress import track

from training.build import Parts
from training.objectives.objective import Objective
from training.sequences.questions import Questions

QUESTIONS_AT_ONCE = 2048  # bounds the memory, not the result


@dataclass(frozen=True)
class Told:
    """values: {output: [n, T] or [n, T, K]}; embedding [n, T, D]; float32, NaN where a customer had not been seen yet."""

    values: Mapping[str, np.ndarray]
    embedding: np.ndarray


def ask_over_time(parts: Parts, customers: np.ndarray, moments: np.ndarray, *, customers_per_batch: int) -> Told:
    """Of customers by their positions in the store [n], at moments that all share (µs [T], rising).

    A history is cut to what the model reads before the last moment. Rankings of the catalogue are not asked for.
    """
    questions = Questions(parts.store, fields=parts.questions.fields, max_events=parts.questions.max_events, objectives={})
    objectives = [of for of in parts.model.objectives.values() if _tells_of_customers(of) and not of.why_not_judged(parts.split)]
    size = max(1, min(customers_per_batch, QUESTIONS_AT_ONCE // len(moments)))
    by_length = np.argsort(np.diff(parts.store.offsets)[customers], kind="stable")
    asked = []
    parts.model.eval()
    with torch.inference_mode():
        for start in track(range(0, len(customers), size), description=f"Asking the model of {len(moments)} moments"):
            group = customers[by_length[start : start + size]]
            context = parts.model.represent(questions.ask(group, np.tile(moments, len(group)), np.full(len(group), len(moments))))
            answers = {name: values for of in objectives for name, values in of.predict(context).items()}
            asked.append({"embedding": context.representation, **answers})
    back = np.argsort(by_length)
    whole = {name: torch.cat([part[name] for part in asked]).float().numpy() for name in asked[0]}
    unseen = _first_seen(parts, customers)[:, None] > moments
    shaped = {name: values.reshape(len(customers), len(moments), *values.shape[1:])[back] for name, values in whole.items()}
    for values in shaped.values():
        values[unseen] = np.nan
    return Told({name: values for name, values in shaped.items() if name != "embedding"}, shaped["embedding"])


def _tells_of_customers(objective: Objective) -> bool:
    return not any(output.vocabulary for output in objective.outputs)


def _first_seen(parts: Parts, customers: np.ndarray) -> np.ndarray:
    return parts.store.columns["timestamp"][parts.store.offsets[:-1][customers]]
