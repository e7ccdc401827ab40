"""Write the raw log of a retailer that doesn't exist, and the truth about its customers beside it.

python -m training.simulate
python -m training.simulate size=ten_million out=outputs/large
"""

import json
import time
from dataclasses import asdict
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from training.cli import command
from training.errors import ConfigError
from training.files import replacing_folder, write_json
from training.simulator.log import write_log
from training.simulator.retailer import NOTE
from training.simulator.settings import Settings, settings_from_config

console = Console(soft_wrap=True)


def simulate(config: DictConfig) -> Path:
    """Write the log that `conf/simulate.yaml` describes and return its folder; nothing is done if it is there with the same settings.

    Raises ConfigError for settings that make no sense and for a folder that holds something else; then nothing is written.
    """
    settings, out, started = settings_from_config(config), Path(config.out), time.perf_counter()
    check_replaceable(out)
    if not config.force and is_written(out, settings):
        console.print(f"{out}: already written with these settings (force=true writes it again)")
        return out
    with replacing_folder(out) as folder, _progress() as progress:
        task = progress.add_task("", total=settings.end - settings.begin, events=0)
        rows = write_log(
            folder, settings, on_slice=lambda end, events: progress.update(task, completed=end - settings.begin, events=events)
        )
        seconds = time.perf_counter() - started
        write_json(folder / NOTE, {"settings": asdict(settings), "rows": rows, "seconds": round(seconds, 2)})
    total = sum(rows.values())
    console.print(f"{total:,} events in {seconds:.1f} s ({total / seconds:,.0f} a second): {', '.join(rows)} lie in {out}")
    return out


def check_replaceable(out: Path) -> None:
    """Raise ConfigError if something else than a simulated log lies there: it isn't ours to remove."""
    if out.exists() and not (out / NOTE).is_file() and not (out.is_dir() and not any(out.iterdir())):
        raise ConfigError(f"{out}: expected a simulated log or nothing, found other files; choose another place with out=FOLDER")


def is_written(out: Path, settings: Settings) -> bool:
    """Whether a log of these settings lies there. It is renamed into place when it is whole, so it is whole if it is there."""
    note = out / NOTE
    return note.is_file() and json.loads(note.read_text())["settings"] == asdict(settings)


def _progress() -> Progress:
    columns = (TextColumn("writing the log"), BarColumn(), TextColumn("{task.fields[events]:,} events"), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True)


def main(config: DictConfig) -> None:
    """Compose, write the log, say where it lies."""
    simulate(config)


if __name__ == "__main__":
    command(main, config_name="simulate")
