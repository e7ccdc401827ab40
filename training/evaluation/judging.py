"""The trained model asked once about every customer of a window: what each objective needs to be judged by."""

import numpy as np
import torch
from rich.progress import track
from torch.utils.data import DataLoader

from training.models.model import SequenceModel
from training.module import joined
from training.sequences.datamodule import WindowBatches
from training.sequences.questions import Questions
from training.sequences.split import Split, Window


def judge(
    model: SequenceModel, questions: Questions, window: Window, *, customers_per_batch: int
) -> tuple[np.ndarray, dict[str, dict[str, np.ndarray]]]:
    """The model's evidence: positions of the customers [n], in rising order, and {objective: {name: [n]}}."""
    batches = WindowBatches(questions, window, customers_per_batch=customers_per_batch)
    evidence: dict[str, list[dict[str, np.ndarray]]] = {name: [] for name in model.objectives}
    model.eval()
    with torch.inference_mode():
        for batch in track(DataLoader(batches, batch_size=None), description="Asking the model"):
            context = model.represent(batch)
            for name, objective in model.objectives.items():
                evidence[name].append(objective.judge(context, batch.labels[name]))
    order = np.argsort(batches.customers)
    whole = {name: joined(parts) for name, parts in evidence.items()}
    return batches.customers[order], {name: {key: values[order] for key, values in of.items()} for name, of in whole.items()}


def calibrate(model: SequenceModel, questions: Questions, split: Split, *, customers_per_batch: int) -> None:
    """Let every objective that the split can judge learn from the validation window to mean what it says."""
    batches = WindowBatches(questions, split.validation, customers_per_batch=customers_per_batch)
    model.eval()
    with torch.no_grad():
        asked = [(model.represent(batch), batch.labels) for batch in track(DataLoader(batches, batch_size=None), description="Calibrating")]
        for name, objective in model.objectives.items():
            if not objective.why_not_judged(split):
                objective.calibrate([(context, labels[name]) for context, labels in asked])
