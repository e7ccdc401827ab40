"""The page of what a log collects, `collection.html`: one file that opens from disk, pictures inside. Its sentences are also printed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from training import pages


def sentences(collection: Mapping[str, Any]) -> list[str]:
    """What stands out, in a few lines; `collection` as of `collect`."""
    gaps, bots, doubles = collection["gaps"], collection["bots"], collection["duplicates"]
    return [
        *_channels(collection),
        *_fields(collection),
        *_identity(collection["identity"]),
        *([f"{_gap(gaps['longest'][0])}; silences like this: {gaps['found']:,}"] if gaps["found"] else []),
        *([f"{doubles['kept_alike']:,} events differ from another one in details only"] if doubles["kept_alike"] else []),
        *([f"{bots['customers']:,} customers with {bots['events']:,} events act as bots do"] if bots["customers"] else []),
    ]


def render_collection(collection: Mapping[str, Any], *, name: str) -> str:
    """The page as HTML. `name` is the log's."""
    template = pages.environment(Path(__file__).parent).get_template("collection.html.jinja")
    return template.render(
        collection=collection,
        name=name,
        sentences=sentences(collection),
        pictures=_pictures(collection),
        shares=_shares(collection),
        seen_in=_seen_in(collection),
        totals=np.sum(collection["events"], axis=0).tolist(),
        label=channel_label,
    )


def channel_label(name: str | None) -> str:
    """What people call a channel; None is all of them."""
    return "all channels" if name is None else name or "(no channel)"


def _channels(collection: Mapping[str, Any]) -> list[str]:
    customers, names = collection["customers"], collection["channels"]
    if len(names) < 2:
        return []
    share = customers["in_several_channels"] / customers["customers"]
    return [f"{share:.1%} of customers were seen in more than one of {len(names)} channels"]


def _fields(collection: Mapping[str, Any]) -> list[str]:
    total = np.sum(collection["events"])
    shares = {name: np.sum(present) / total for name, present in collection["present"].items()}
    rare = sorted((share, name) for name, share in shares.items() if share < 1)
    return [f"not every event has {', '.join(f'{name} ({share:.0%})' for share, name in rare)}"] if rare else []


def _identity(identity: Mapping[str, int] | None) -> list[str]:
    if not identity:
        return []
    apart = f"; {identity['kept_apart']:,} stay apart, their groups are too large" if identity["kept_apart"] else ""
    return [f"{identity['keys']:,} linked keys are {identity['customers']:,} customers{apart}"]


def _gap(gap: Mapping[str, Any]) -> str:
    when = f"on {gap['first']}" if gap["days"] == 1 else f"from {gap['first']} to {gap['last']}"
    return f"no event {when} in {channel_label(gap['channel'])}, where {gap['expected_events']:,} were to be expected"


def _shares(collection: Mapping[str, Any]) -> dict[str, list[float | None]]:
    """{field: the share of each channel's events that have it}; None where a channel has no events."""
    totals = np.sum(collection["events"], axis=0)
    return {
        name: [float(count / total) if total else None for count, total in zip(np.sum(present, axis=0), totals, strict=True)]
        for name, present in collection["present"].items()
    }


def _seen_in(collection: Mapping[str, Any]) -> list[tuple[str | None, Mapping[str, int]]]:
    """The customers of all channels together, then of each."""
    customers, channels = collection["customers"], collection["channels"]
    return [(None, customers), *(zip(channels, customers["channels"], strict=True) if len(channels) > 1 else ())]


def _pictures(collection: Mapping[str, Any]) -> list[Any]:
    """For each channel its events and the fields they have, by month."""
    from training.events.collection_plots import events_by_month, fields_by_month  # matplotlib takes a second to import

    months, drawn = collection["months"], []
    for place, name in enumerate(collection["channels"]):
        events = np.array(collection["events"])[:, place]
        present = {field: np.array(counts)[:, place] for field, counts in collection["present"].items() if field != "channel"}
        label = channel_label(name) if len(collection["channels"]) > 1 else channel_label(None)
        drawn.append((label, events_by_month(months, events, label), fields_by_month(months, events, present, label)))
    return drawn
