"""pytorch-lifestream's preprocessor in pandas, as its demonstrations use it."""

import importlib.util
import json
import sys
import time
from pathlib import Path

import pandas as pd

# The package's preprocessors for Dask import a module that version 0.7.0 was published without: they are passed over.
spec = importlib.util.find_spec("ptls.preprocessing")
assert spec
sys.modules["ptls.preprocessing"] = importlib.util.module_from_spec(spec)
from ptls.preprocessing.pandas.pandas_preprocessor import PandasDataPreprocessor  # noqa: E402


def main(log: Path, out: Path) -> None:
    """Encode and group by customer, write a row of sequences each."""
    preprocessor = PandasDataPreprocessor(
        col_id="customer",
        col_event_time="timestamp",
        event_time_transformation="none",
        cols_category=["event", "item", "channel"],
        cols_numerical=["price"],
        return_records=False,
    )
    events = pd.read_parquet(log)
    events["timestamp"] = events["timestamp"].astype("int64") // 1_000_000
    preprocessor.fit_transform(events).to_pickle(out / "sequences.pickle")


if __name__ == "__main__":
    started = time.perf_counter()
    main(Path(sys.argv[1]), Path(sys.argv[2]))
    print(json.dumps({"seconds": time.perf_counter() - started}))
