"""pytorch-lifestream's preprocessor in pandas, as its demonstrations use it."""

import json
import sys
import time
from pathlib import Path

import pandas as pd
from ptls.preprocessing import PandasDataPreprocessor


def main(log: Path, out: Path) -> None:
    """Encode and group by customer, write a row of sequences each."""
    preprocessor = PandasDataPreprocessor(
        col_id="customer",
        col_event_time="timestamp",
        event_time_transformation="dt_to_timestamp",
        cols_category=["event", "item", "channel"],
        cols_numerical=["price"],
        return_records=False,
    )
    preprocessor.fit_transform(pd.read_parquet(log)).to_pickle(out / "sequences.pickle")


if __name__ == "__main__":
    started = time.perf_counter()
    main(Path(sys.argv[1]), Path(sys.argv[2]))
    print(json.dumps({"seconds": time.perf_counter() - started}))
