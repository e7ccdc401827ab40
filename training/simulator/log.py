"""A simulated log on disk: the files of the retailer's systems, its tables of items and links, and the truth."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from training.simulator.identities import Sightings
from training.simulator.parquet import ParquetFile
from training.simulator.retailer import make_retailer
from training.simulator.settings import Settings
from training.simulator.simulation import simulate
from training.simulator.source_file import SourceFile
from training.simulator.sources import LAYOUTS, make_texts


def write_log(folder: Path, settings: Settings, *, on_slice: Callable[[int, int], None] = lambda _time, _events: None) -> dict[str, int]:
    """Write the log into a folder that is empty; {file: rows} of the log's own files.

    `on_slice` is told up to when (µs) the log has come, and how many events it has so far.
    Raises ConfigError where so few events can't be met.
    """
    retailer = make_retailer(settings)
    truth = folder / "truth"
    truth.mkdir()
    texts = make_texts(retailer.catalogue, settings)
    files = [SourceFile(folder, source, texts, settings, number=number) for number, source in enumerate(LAYOUTS[settings.layout])]
    sightings, benefits = Sightings(), ParquetFile(truth / "benefits.parquet")
    num_events = 0
    for part in simulate(retailer):
        for file in files:
            file.append(part.events)
        for events in part.happened if settings.layout == "sources" else []:
            sightings.add(events, until=settings.end)
        if part.drawn:
            benefits.append(part.drawn.truth(settings, retailer.customers, retailer.seasons))
        num_events += len(part.events)
        on_slice(part.end, num_events)
    for file in files:
        file.close()
    benefits.close()
    pq.write_table(pa.table(retailer.catalogue.names()), folder / "items.parquet")
    pq.write_table(pa.table(retailer.customers.truth()), truth / "customers.parquet", use_dictionary=["kind"])
    pq.write_table(pa.concat_tables([part for file in files for part in file.spoilt]), truth / "dirt.parquet")
    if settings.layout == "sources":
        pq.write_table(sightings.links(), folder / "links.parquet")
        pq.write_table(sightings.truth(retailer.identities.has_account), truth / "identities.parquet")
    return {file.name: file.num_written for file in files}
