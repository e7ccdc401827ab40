"""RePlay's SasRec, its Parquet module and transforms put together as its examples do."""

import tempfile
from pathlib import Path

import lightning
import polars as pl
import torch
from _leave_one_out import Clock, Customers, K, Settings, asked, diary_of
from replay.data import FeatureHint, FeatureSource, FeatureType
from replay.data.nn import ParquetModule, TensorFeatureInfo, TensorFeatureSource, TensorSchema
from replay.nn.lightning import LightningModule
from replay.nn.lightning.optimizer import OptimizerFactory
from replay.nn.loss import CESampled
from replay.nn.sequential import SasRec
from replay.nn.transform import UniformNegativeSamplingTransform
from replay.nn.transform.template import make_default_sasrec_transforms

ITEM = "item_id"


class EpochClock(Clock, lightning.Callback):
    pass


def schema_of(num_items: int, settings: Settings) -> TensorSchema:
    item = TensorFeatureInfo(
        ITEM,
        FeatureType.CATEGORICAL,
        is_seq=True,
        feature_hint=FeatureHint.ITEM_ID,
        feature_sources=[TensorFeatureSource(FeatureSource.INTERACTIONS, ITEM)],
        cardinality=num_items,
        padding_value=num_items,
        embedding_dim=settings.dim,
    )
    return TensorSchema([item])


def model_of(schema: TensorSchema, settings: Settings) -> SasRec:
    model = SasRec.from_params(
        schema,
        embedding_dim=settings.dim,
        num_heads=settings.num_heads,
        num_blocks=settings.num_blocks,
        max_sequence_length=settings.max_length,
        dropout=settings.dropout,
        hidden_dim=4 * settings.dim,
    )
    if settings.loss == "sampled":
        model.loss = CESampled(ignore_index=schema[ITEM].padding_value)
        model.loss.logits_callback = model.get_logits
    return model


def train(settings: Settings, customers: Customers, folder: Path) -> None:
    """Lightning's `fit` over its Parquet module."""
    lightning.seed_everything(settings.seed)
    keys = sorted({item for items in customers.training for item in items})
    number = {key: place for place, key in enumerate(keys)}
    rows = [[number[item] for item in items] for items in customers.training if len(items) > 1]
    pl.DataFrame({ITEM: rows}).write_parquet(folder / "train.parquet")
    schema = schema_of(len(keys), settings)
    model, transforms = model_of(schema, settings), make_default_sasrec_transforms(schema)
    if settings.loss == "sampled":
        transforms["train"].append(UniformNegativeSamplingTransform(len(keys), settings.num_negatives))
    data = ParquetModule(
        batch_size=settings.batch_size,
        metadata={"train": {ITEM: {"shape": settings.max_length + 1, "padding": len(keys)}}},
        transforms={"train": transforms["train"]},
        train_path=str(folder / "train.parquet"),
    )

    @torch.no_grad()
    def recommend(histories: list[list[str]]) -> list[list[str]]:
        model.eval()
        found = []
        for start in range(0, len(histories), 256):
            part = histories[start : start + 256]
            x = torch.full((len(part), settings.max_length), len(keys))
            for row, history in enumerate(part):
                known = [number[item] for item in history if item in number][-settings.max_length :]
                x[row, settings.max_length - len(known) :] = torch.tensor(known)
            logits = model(feature_tensors={ITEM: x}, padding_mask=x < len(keys))["logits"]
            found += [[keys[place] for place in row] for row in logits.topk(K).indices.tolist()]
        return found

    diary = diary_of(settings, customers, recommend)
    trainer = lightning.Trainer(
        max_epochs=settings.epochs,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        callbacks=[EpochClock(lambda seconds: diary.note(seconds))],
    )
    trainer.fit(LightningModule(model, OptimizerFactory(learning_rate=settings.learning_rate)), data)
    diary.close()


if __name__ == "__main__":
    path, settings = asked()
    with tempfile.TemporaryDirectory() as folder:
        train(settings, Customers.read(path), Path(folder))
