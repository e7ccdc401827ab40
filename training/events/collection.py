"""What a log collects and what it misses: `collection.json` of a store.

Events and filled fields by channel and month, customers by channel, silences, doubles and suspected bots.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from training.events.encode import Encoded
from training.events.reading import REPEAT
from training.events.tally import HOURS_OF_A_BOT, MOMENTS_IN_MANY_HOURS, MOMENTS_OF_A_BOT, Grid, Suspect, Tally, tally

FORMAT, VERSION = "revisit-collection", 1
EPOCH = date(1970, 1, 1)
# A channel that is as busy as ever falls silent where so many events were to be expected once in e^20 times: that is no chance.
EXPECTED_IN_A_GAP = 20
MAX_GAPS, MAX_SUSPECTS = 10, 20  # are named, all are counted


def collect(encoded: Encoded, *, reasons: Mapping[str, int], identity: Mapping[str, int] | None) -> dict[str, Any]:
    """The contents of collection.json; docs/design.md says what each of them means.

    reasons    rows that can't be used, by reason
    identity   how many linked keys are how many customers, if the log has links
    """
    grid, counts = tally(encoded)
    return {
        "format": FORMAT,
        "version": VERSION,
        "channels": grid.channels,
        **_by_month(grid, counts),
        "customers": _customers(counts.sets, grid.channels),
        "identity": dict(identity) if identity else None,
        "gaps": _gaps(grid, counts.events),
        "duplicates": {"quarantined": reasons.get(REPEAT, 0), "kept_alike": counts.doubles},
        "bots": _bots(counts.suspects, encoded.customers),
        "quarantined": dict(reasons),
    }


def _by_month(grid: Grid, counts: Tally) -> dict[str, Any]:
    """months; events [month][channel]; present {field: the same, of events that have it}."""
    days = [EPOCH + timedelta(days=grid.first_day + number) for number in range(grid.num_days)]
    months = [f"{day:%Y-%m}" for day in days]
    starts = [number for number, month in enumerate(months) if not number or month != months[number - 1]]
    events = np.add.reduceat(counts.events, starts)
    present = {name: events - np.add.reduceat(absent, starts) for name, absent in counts.missing.items()}
    return {
        "months": [months[start] for start in starts],
        "events": events.tolist(),
        "present": {name: some.tolist() for name, some in present.items()},
    }


def _customers(sets: Counter[int], channels: list[str]) -> dict[str, Any]:
    """How many there are, how many of them were seen in several channels, and so for each channel."""

    def of(seen: Mapping[int, int]) -> dict[str, int]:
        several = sum(count for bits, count in seen.items() if bits.bit_count() > 1)
        return {"customers": sum(seen.values()), "in_several_channels": several}

    by_channel = ({bits: count for bits, count in sets.items() if bits >> place & 1} for place in range(len(channels)))
    return {**of(sets), "channels": [of(seen) for seen in by_channel]}


def _gaps(grid: Grid, events: np.ndarray) -> dict[str, Any]:
    """Stretches of whole days without an event, in all channels together (channel null) and in each, the most surprising first."""
    found = [*_silences(None, events.sum(axis=1), grid)]
    if len(grid.channels) > 1:
        found += [gap for place, name in enumerate(grid.channels) for gap in _silences(name, events[:, place], grid)]
    found.sort(key=lambda gap: -gap["expected_events"])
    return {"expected_events_at_least": EXPECTED_IN_A_GAP, "found": len(found), "longest": found[:MAX_GAPS]}


def _silences(channel: str | None, events: np.ndarray, grid: Grid) -> Iterator[dict[str, Any]]:
    busy = np.flatnonzero(events)
    a_day = events.sum() / (busy[-1] - busy[0] + 1)
    for place in np.flatnonzero(np.diff(busy) > 1):
        first, end = int(busy[place]) + 1, int(busy[place + 1])
        if a_day * (end - first) >= EXPECTED_IN_A_GAP:
            span = {"first": _day(grid.first_day + first), "last": _day(grid.first_day + end - 1), "days": end - first}
            yield {"channel": channel, **span, "expected_events": round(a_day * (end - first))}


def _bots(suspects: list[Suspect], customers: pa.StringArray) -> dict[str, Any]:
    worst = sorted(suspects, key=lambda suspect: (-suspect.moments, suspect.position))[:MAX_SUSPECTS]
    named = [
        {
            "customer": customers[one.position].as_py(),
            "events": one.events,
            "day": _day(one.day),
            "moments": one.moments,
            "hours": one.hours,
        }
        for one in worst
    ]
    limits = {"moments_of_a_day": MOMENTS_OF_A_BOT, "or_hours_of_a_day": HOURS_OF_A_BOT, "with_moments": MOMENTS_IN_MANY_HOURS}
    return {"limits": limits, "customers": len(suspects), "events": sum(one.events for one in suspects), "worst": named}


def _day(number: int) -> str:
    return (EPOCH + timedelta(days=number)).isoformat()
