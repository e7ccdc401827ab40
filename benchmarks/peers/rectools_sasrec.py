"""RecTools' SASRec, its dataset made and its model fitted as its tutorials do."""

import numpy as np
import pandas as pd
import torch
from _leave_one_out import Clock, Customers, K, Settings, asked, diary_of
from pytorch_lightning import Callback, Trainer, seed_everything
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel


class EpochClock(Clock, Callback):
    pass


def table(customers: Customers) -> pd.DataFrame:
    """Interactions, a row an event; its place in the line is its time."""
    rows = [
        (name, item, place) for name, items in zip(customers.names, customers.training, strict=True) for place, item in enumerate(items)
    ]
    events = pd.DataFrame(rows, columns=[Columns.User, Columns.Item, Columns.Datetime])
    return events.assign(**{Columns.Datetime: pd.to_datetime(events[Columns.Datetime], unit="s"), Columns.Weight: 1})


def train(settings: Settings, customers: Customers) -> None:
    """`fit`, with a trainer that tells the time."""
    seed_everything(settings.seed)

    def trainer() -> Trainer:
        return Trainer(
            max_epochs=settings.epochs,
            accelerator="cpu",
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[EpochClock(lambda seconds: diary.note(seconds))],
        )

    model = SASRecModel(
        n_blocks=settings.num_blocks,
        n_heads=settings.num_heads,
        n_factors=settings.dim,
        dropout_rate=settings.dropout,
        session_max_len=settings.max_length,
        loss="softmax" if settings.loss == "full" else "sampled_softmax",
        n_negatives=settings.num_negatives,
        lr=settings.learning_rate,
        batch_size=settings.batch_size,
        get_trainer_func=trainer,
    )

    @torch.no_grad()
    def recommend(histories: list[list[str]]) -> list[list[str]]:
        net, ids = model.lightning_model.torch_model.eval(), model.data_preparator.item_id_map
        number = {item: place for place, item in enumerate(ids.external_ids)}
        first = model.data_preparator.n_item_extra_tokens
        items, found = net.item_model.get_all_embeddings(), []
        for start in range(0, len(histories), 256):
            part = histories[start : start + 256]
            x = np.zeros((len(part), settings.max_length), dtype=np.int64)
            for row, history in enumerate(part):
                known = [number[item] for item in history if item in number][-settings.max_length :]
                x[row, settings.max_length - len(known) :] = known
            last = net.encode_sessions({"x": torch.from_numpy(x)}, items)[:, -1]
            best = (last @ items[first:].T).topk(K).indices + first
            found += [list(ids.external_ids[row]) for row in best.numpy()]
        return found

    diary = diary_of(settings, customers, recommend)
    model.fit(Dataset.construct(table(customers)))
    diary.close()


if __name__ == "__main__":
    path, settings = asked()
    train(settings, Customers.read(path))
