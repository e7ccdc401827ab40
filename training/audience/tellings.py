"""What is true of the simulated retailer's customers at a moment: who they are, and what was to be expected of them then.

Chances and expected amounts are means over many tellings of the same future (training.simulator.futures), each asked what the run's own
objectives ask of the log: the truth is of the very thing that was foretold.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.progress import track

from training.audience.scene import Scene
from training.objectives.dormancy import Dormancy
from training.objectives.loyalty import Loyalty
from training.objectives.objective import Objective
from training.objectives.presence import Presence
from training.objectives.value import Value
from training.sequences.history import History, offsets_of
from training.simulator.events import NAMES, Events
from training.simulator.futures import futures
from training.simulator.keys import customer_keys
from training.simulator.retailer import Retailer, retailer_of

NUM_TELLINGS = 200
LOYAL = "loyal"  # the kind that replenishes and hardly looks at prices
UNKNOWN = -1

ANSWERS: Mapping[str, tuple[type[Objective], Callable[[Mapping[str, np.ndarray]], np.ndarray]]] = {
    "presence": (Presence, lambda labels: labels["came"]),
    "returns": (Dormancy, lambda labels: labels["came"]),
    "value": (Value, lambda labels: labels["spend"]),
    "loyalty": (Loyalty, lambda labels: labels["stayed"] == labels["known"]),
}


@dataclass(frozen=True)
class Tellings:
    """number: of each of the scene's customers in the retailer's own count [n], UNKNOWN for who is none of its customers."""

    scene: Scene
    retailer: Retailer
    number: np.ndarray

    @classmethod
    def beside_the_log(cls, scene: Scene) -> "Tellings | None":
        """Of the log from which the store was made; None where no simulated log lies there any more."""
        path = Path(str(scene.parts.store.meta["data"]["path"])).expanduser()
        retailer = retailer_of(path if path.is_dir() else path.parent)
        if retailer is None:
            return None
        numbers = {key: number for number, key in enumerate(customer_keys(np.arange(len(retailer.customers))).to_pylist())}
        known_as = (scene.parts.store.customers[position] for position in scene.drawn.tolist())
        return cls(scene, retailer, np.array([numbers.get(key, UNKNOWN) for key in known_as], dtype=np.int64))

    @property
    def known(self) -> np.ndarray:
        """bool [n]."""
        return self.number != UNKNOWN

    def truths(self) -> dict[str, np.ndarray]:
        """At the test moment, each [n]: `alive` and `kind` (0 or 1), and what `ANSWERS` names of the run's objectives."""
        customers, scene = self.retailer.customers, self.scene
        alive = customers.churned[self.number] > scene.now
        is_loyal = np.array([name == LOYAL for name in customers.kind_names])[customers.kind[self.number]]
        truths = {"alive": alive.astype(np.float64), "kind": (alive & is_loyal).astype(np.float64)}
        asked = {name: (scene.parts.model.objective(kind), read) for name, (kind, read) in ANSWERS.items()}
        judged = {name: (objective, read) for name, (objective, read) in asked.items() if objective is not None}
        sums = {name: np.zeros(len(self.number)) for name in judged}
        moments = [np.full(len(self.number), moment) for moment in (scene.now, scene.until)]
        for log in track(self._told(scene.now, scene.until, NUM_TELLINGS), description="Telling the future again", total=NUM_TELLINGS):
            for name, (objective, read) in judged.items():
                sums[name] += read(objective.labels(log, moments[0], np.arange(len(self.number)), moments[1]))
        return truths | {name: total / NUM_TELLINGS for name, total in sums.items()}

    def chances(self, now: int, until: int, *, times: int) -> np.ndarray:
        """Of a purchase in (now, until] µs, as of that moment: float64 [n]."""
        logs = track(self._told(now, until, times), description="Telling the next days again", total=times)
        bought = [log.where(np.isin(log.columns["event"], self.scene.purchases)).num_events > 0 for log in logs]
        return np.mean(bought, axis=0)

    def _told(self, now: int, until: int, times: int) -> Iterator[History]:
        """Each telling as a log of the scene's customers, with the store's ids and no items."""
        place = np.full(len(self.retailer.customers), UNKNOWN)
        place[self.number[self.known]] = np.flatnonzero(self.known)
        ids = self.scene.parts.store.vocabularies["event"].encode(NAMES)
        for events in futures(self.retailer, now=now, until=until, times=times, seed=self.scene.seed):
            yield self._as_log(events, place, ids)

    def _as_log(self, events: Events, place: np.ndarray, ids: np.ndarray) -> History:
        events = events.take(np.flatnonzero(place[events.customer] != UNKNOWN))
        owner = place[events.customer]
        order = np.lexsort((events.time, owner))
        told = events.take(order)
        columns = {"event": ids[told.event], "timestamp": told.time, "item": np.zeros(len(told), dtype=np.int32)}
        columns |= {name: getattr(told, name).astype(np.float32) for name in ("price", "quantity") if name in self.scene.log.columns}
        return History(offsets_of(np.bincount(owner, minlength=len(self.number))), columns)
