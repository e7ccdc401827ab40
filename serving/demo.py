"""The last step of `make demo`: serve the run's model with Triton, ask it about a customer, show the answer to people.

    python -m serving.demo --run runs/demo

Prints the customer's last purchases, ten recommendations by name and the purchase probability beside the baselines'; adds
`server`, `parity` and `seconds.serve` to the run's summary.json.
"""

import argparse
import json
import os
import statistics
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq

from serving.cli import command
from serving.client import PROTOCOLS, Answer, Client
from serving.contract import ITEM, read_contract
from serving.errors import DemoError
from serving.server import TritonServer

if TYPE_CHECKING:
    from rich.console import Console

NUM_WARM_UP = 5
NUM_TIMED = 50
NUM_SHOWN = 10
WHO = {"model": "the model, in torch", "rfm": "RFM", "boosted_trees": "boosted trees"}


@dataclass(frozen=True)
class Served:
    """What Triton said about one customer over each protocol, how fast (median, milliseconds), and how long all of it took."""

    answers: Mapping[str, Answer]
    milliseconds: Mapping[str, float]
    name: str
    version: str
    model: str
    seconds: float

    @property
    def protocols_agree(self) -> bool:
        """Whether HTTP and gRPC gave the same bits."""
        http, grpc = self.answers["http"].values, self.answers["grpc"].values
        return http.keys() == grpc.keys() and all(np.array_equal(http[name], grpc[name]) for name in http)


def demonstrate(run: Path, *, environment: Path | None = None) -> Served:
    """Serve `run`'s repository, ask about its first showcased customer, print the answer, add what was measured to summary.json.

    Raises DemoError if the run is not complete, and whatever starting the server and asking it may raise.
    """
    from rich.console import Console

    customer, summary = _read_showcase(run), _read_json(run / "summary.json")
    console = Console()
    with console.status("Starting Triton and asking it"):
        served = serve_and_ask(run / "repository", customer, environment=environment)
    _write_json(run / "summary.json", merged(summary, served, _read_json(run / "repository" / served.model / "parity.json")))
    show(console, run, customer, served)
    return served


def serve_and_ask(repository: Path, customer: Mapping[str, Any], *, environment: Path | None = None) -> Served:
    """Start Triton on free ports, ask about the customer over HTTP and gRPC, stop it."""
    began = time.perf_counter()
    answers, milliseconds = {}, {}
    with TritonServer(repository, http_port=0, grpc_port=0, metrics_port=0, environment=environment) as server:
        for protocol, url in zip(PROTOCOLS, (server.http_url, server.grpc_url), strict=True):
            with Client(url, protocol=protocol) as client:
                answers[protocol], milliseconds[protocol] = ask_and_time(client, customer)
                model = client.model
        seconds = time.perf_counter() - began
    return Served(answers, milliseconds, server.name, server.version, model, seconds)


def ask_and_time(client: Client, customer: Mapping[str, Any]) -> tuple[Answer, float]:
    """The answer, and the median time of asking for it in milliseconds."""
    times = []
    for _ in range(NUM_WARM_UP + NUM_TIMED):
        began = time.perf_counter()
        answer = client.ask(customer["events"], customer["now"], top_k=NUM_SHOWN)
        times.append(time.perf_counter() - began)
    return answer, 1000 * statistics.median(times[NUM_WARM_UP:])


def merged(summary: Mapping[str, Any], served: Served, parity: Mapping[str, Any]) -> dict[str, Any]:
    """The summary with what serving adds to it."""
    milliseconds = {f"{protocol}_ms": round(value, 3) for protocol, value in served.milliseconds.items()}
    return {
        **summary,
        "parity": {name: parity[name] for name in ("max_abs_score_difference", "ids_equal")},
        "server": {"name": served.name, "version": served.version, **milliseconds},
        "seconds": {**summary.get("seconds", {}), "serve": round(served.seconds, 3)},
    }


def show(console: "Console", run: Path, customer: Mapping[str, Any], served: Served) -> None:
    """Print everything for people."""
    answer = served.answers["http"]
    now = _date(customer["now"])
    console.print(f"\n[bold]Customer {customer['customer']}[/], asked about at the end of {now}")
    console.print(_purchases_table(customer))
    console.print(_recommendations_table(customer, answer, _item_names(run)))
    console.print(_probability_table(customer, answer))
    console.print(_server_table(served))
    verdict = "the same answer to the last bit" if served.protocols_agree else "[red]different answers[/]"
    console.print(f"HTTP and gRPC gave {verdict}.")
    console.print(f"Report: [bold]{run / 'report.html'}[/]  Figures: [bold]{run / 'summary.json'}[/]", soft_wrap=True)


def _purchases_table(customer: Mapping[str, Any]) -> Any:
    events = [event for event in customer["last_events"] if event["event"] == "purchase"] or customer["last_events"]
    table = _table("Last purchases", "day", "product")
    for event in events[-NUM_SHOWN:]:
        table.add_row(_date(event["timestamp"]), event["name"])
    return table


def _recommendations_table(customer: Mapping[str, Any], answer: Answer, names: Mapping[str, str]) -> Any:
    bought = _times_bought(customer["events"])
    table = _table("What Triton recommends", "", "product", "probability", "bought before")
    for place, (item, probability) in enumerate(zip(answer.items, answer.probabilities, strict=True), start=1):
        times = bought[item]
        table.add_row(str(place), names.get(item) or item, f"{probability:.1%}", _in_words(times))
    return table


def _probability_table(customer: Mapping[str, Any], answer: Answer) -> Any:
    table = _table(f"Will they buy within {customer['horizon_days']:g} days?", "by", "probability")
    table.add_row("the model, served by Triton", f"{answer.purchase_probability:.1%}")
    for name, probability in customer["purchase_probability"].items():
        table.add_row(WHO.get(name, name), f"{probability:.1%}")
    return table


def _server_table(served: Served) -> Any:
    table = _table(f"Server: {served.name} {served.version}, model {served.model}", "protocol", f"median of {NUM_TIMED} requests")
    for protocol, value in served.milliseconds.items():
        table.add_row(protocol, f"{value:.1f} ms")
    return table


def _table(title: str, *columns: str) -> Any:
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold")
    for column in columns:
        table.add_column(column)
    return table


def _times_bought(events: Mapping[str, Any]) -> Counter[str]:
    return Counter(item for item, event in zip(events["item"], events["event"], strict=True) if event == "purchase")


def _in_words(times: int) -> str:
    return {0: "never", 1: "once"}.get(times, f"{times} times")


def _item_names(run: Path) -> dict[str, str]:
    """Item keys to the names that people know; empty where the log has none."""
    contract = read_contract(run / "artifact", verify=False)
    file = pq.ParquetFile(contract.path / contract.vocabularies[ITEM])
    if "name" not in file.schema_arrow.names:
        return {}
    table = file.read(columns=["key", "name"])
    return dict(zip(table["key"].to_pylist(), table["name"].to_pylist(), strict=True))


def _read_showcase(run: Path) -> dict[str, Any]:
    customers = _read_json(run / "showcase.json")["customers"]
    if not customers:
        raise DemoError(f"expected a customer in {run / 'showcase.json'}, found none; train with showcase=1 or more")
    return customers[0]


def _read_json(file: Path) -> dict[str, Any]:
    try:
        return json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise DemoError(f"expected {file}, received: {error}; run 'make demo', which writes it first") from error


def _write_json(file: Path, document: Mapping[str, Any]) -> None:
    aside = file.with_name(f"{file.name}.partial")
    aside.write_text(json.dumps(document, indent=2) + "\n")
    os.replace(aside, file)


def _date(microseconds: int) -> str:
    return datetime.fromtimestamp(microseconds / 1e6, UTC).date().isoformat()


def main(arguments: list[str] | None = None) -> None:
    """Read the flags, serve, ask, show."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.demo", description="Serve a run's model with Triton, ask it about a customer, show the answer."
    )
    parser.add_argument("--run", required=True, type=Path, help="a run with artifact/ and repository/, for example runs/demo")
    parser.add_argument("--environment", type=Path, help="a virtual environment with nvidia-pytriton (default: .venv-server)")
    options = parser.parse_args(arguments)
    demonstrate(options.run, environment=options.environment)


if __name__ == "__main__":
    command(main)
