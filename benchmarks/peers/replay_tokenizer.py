"""RePlay's tokenizer of sequences over a Polars dataset, as its examples use it."""

import json
import sys
import time
from pathlib import Path

import polars as pl
from replay.data import Dataset, FeatureHint, FeatureInfo, FeatureSchema, FeatureSource, FeatureType
from replay.data.nn import SequenceTokenizer, TensorFeatureInfo, TensorFeatureSource, TensorSchema


def main(log: Path, out: Path) -> None:
    """Encode and group by customer, write a row of sequences each."""
    schema = FeatureSchema(
        [
            FeatureInfo("customer", FeatureType.CATEGORICAL, FeatureHint.QUERY_ID),
            FeatureInfo("item", FeatureType.CATEGORICAL, FeatureHint.ITEM_ID),
            FeatureInfo("timestamp", FeatureType.NUMERICAL, FeatureHint.TIMESTAMP),
            *(FeatureInfo(name, FeatureType.CATEGORICAL, feature_source=FeatureSource.INTERACTIONS) for name in ("event", "channel")),
            FeatureInfo("price", FeatureType.NUMERICAL, feature_source=FeatureSource.INTERACTIONS),
        ]
    )
    hints = {"item": FeatureHint.ITEM_ID, "timestamp": FeatureHint.TIMESTAMP}
    tensors = TensorSchema(
        [
            TensorFeatureInfo(
                name,
                FeatureType.NUMERICAL if name in ("timestamp", "price") else FeatureType.CATEGORICAL,
                is_seq=True,
                feature_sources=[TensorFeatureSource(FeatureSource.INTERACTIONS, name)],
                feature_hint=hints.get(name),
            )
            for name in ("item", "timestamp", "event", "channel", "price")
        ]
    )
    events = pl.read_parquet(log).with_columns(pl.col("timestamp").dt.epoch("us"))
    sequences = SequenceTokenizer(tensors).fit_transform(Dataset(schema, events))
    sequences._sequences.to_parquet(out / "sequences.parquet")


if __name__ == "__main__":
    started = time.perf_counter()
    main(Path(sys.argv[1]), Path(sys.argv[2]))
    print(json.dumps({"seconds": time.perf_counter() - started}))
