"""What a data scientist writes in pandas: clean, number the keys by how often they occur, sort, write."""

import json
import sys
import time
from pathlib import Path

import pandas as pd


def main(log: Path, out: Path) -> None:
    """Clean, encode, sort, write the events and the vocabularies."""
    events = pd.read_parquet(log)
    events = events.dropna(subset=["customer", "timestamp", "event", "item"])
    events = events[events["price"].isna() | (events["price"] >= 0)].drop_duplicates()
    for name in ("event", "item", "channel"):
        keys = events[name].value_counts().index
        events[name] = events[name].map({key: number for number, key in enumerate(keys, 2)}).fillna(0).astype("int32")
        keys.to_frame(index=False).to_parquet(out / f"{name}.parquet")
    events = events.sort_values(["customer", "timestamp"], kind="stable")
    events.to_parquet(out / "events.parquet", index=False)


if __name__ == "__main__":
    started = time.perf_counter()
    main(Path(sys.argv[1]), Path(sys.argv[2]))
    print(json.dumps({"seconds": time.perf_counter() - started}))
