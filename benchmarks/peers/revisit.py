"""Revisit: all that `python -m training.preprocess` does but its page about the log: checks, quarantine, vocabularies, digests."""

import json
import sys
import time
from pathlib import Path

from hydra import compose, initialize_config_module

from training.preprocess import console, preprocess


def main(log: Path, out: Path) -> None:
    """Make the store."""
    console.quiet = True
    with initialize_config_module("conf", version_base="1.3"):
        config = compose("preprocess", overrides=["data=events", f"data.path={log}", f"out={out / 'store'}", "collection=false"])
    preprocess(config)


if __name__ == "__main__":
    started = time.perf_counter()
    main(Path(sys.argv[1]), Path(sys.argv[2]))
    print(json.dumps({"seconds": time.perf_counter() - started}))
