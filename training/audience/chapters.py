"""The report's chapters on customers as a whole: who they are, how they change, whom the answers serve, what loyalty is."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from training.audience.loyalty_trap import loyalty_trap_chapter
from training.audience.migration import migration_chapter
from training.audience.refreshes import refreshes_chapter
from training.audience.scene import Scene
from training.audience.segments import learned_segments, segments_chapter
from training.audience.stability import stability_chapter
from training.audience.subgroups import subgroups_chapter
from training.audience.truth import truth_chapter
from training.build import Parts
from training.evaluation.compared import Comparison
from training.evaluation.panels import Chapter

NO_MOMENT = (
    "Not told of this run: it asks each customer at a moment of their own (split {kind}), so that there is no day to compare them on."
)


def audience_chapters(parts: Parts, compared: Mapping[str, Comparison], *, seed: int, customers_per_batch: int) -> list[Chapter]:
    """In the order of the report. Where a run lacks what a chapter needs, its opening says so.

    Reads the model's answers at the test moment and before it, and from the test window what the comparisons read there too.
    """
    if parts.split.kind != "time":
        return [Chapter("audience", "Your customers as a whole", NO_MOMENT.format(kind=parts.split.kind))]
    scene = Scene.of(parts, compared, seed=seed, customers_per_batch=customers_per_batch)
    found = learned_segments(scene)
    refreshes = refreshes_chapter(scene)
    truth = truth_chapter(scene, refreshes.figures)
    return [
        segments_chapter(scene, found),
        migration_chapter(scene, found),
        refreshes,
        subgroups_chapter(scene),
        loyalty_trap_chapter(scene),
        stability_chapter(scene),
        *([truth] if truth else []),
    ]


def in_summary(chapters: Sequence[Chapter]) -> dict[str, Any]:
    """{section: its figures, or why there are none}, as JSON takes it: numbers to four digits, null for none."""
    return {chapter.section: _plain(chapter.figures) if chapter.figures else {"why_not": chapter.opening} for chapter in chapters}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(of) for name, of in value.items()}
    if hasattr(value, "_asdict"):  # an interval
        return _plain(value._asdict())
    if isinstance(value, list):
        return [_plain(of) for of in value]
    if isinstance(value, float | np.floating):
        return round(float(value), 4) if np.isfinite(value) else None
    return value
