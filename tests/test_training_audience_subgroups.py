"""Customers by what the log says of them: which fields part them, and those of whom nothing is said."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from helpers_audience import bargain_store, scene_of

from training.audience.scene import Scene
from training.audience.subgroups import groups_of
from training.sequences.vocabulary import Vocabulary

NUM_CUSTOMERS = 48


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return scene_of(bargain_store(tmp_path_factory.mktemp("bargains")))


def sizes(scene: Scene, monkeypatch: pytest.MonkeyPatch, **fields: Sequence[str]) -> dict[str, dict[str, int]]:
    """How many customers each group by a field holds, where it has these values, one a customer; their first event alone says it."""
    columns = dict(scene.log.columns)
    for field, values in fields.items():
        keys = ["", "", *sorted(set(values) - {""})]
        monkeypatch.setitem(scene.parts.store.vocabularies, field, Vocabulary(keys, np.zeros(len(keys), dtype=np.int64)))
        columns[field] = np.zeros(len(columns["event"]), dtype=np.int32)
        columns[field][scene.log.offsets[:-1]] = [keys.index(value) if value else 0 for value in values]
    found = groups_of(replace(scene, log=replace(scene.log, columns=columns)))
    return {what: {name: int(members.sum()) for name, members in of.items()} for what, of in found.items() if what in fields}


def test_who_says_nothing_is_a_group_by_itself_however_many_they_are(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    ages = ["45-54"] * 5 + ["25-34"] * 3 + [""] * 40
    assert sizes(scene, monkeypatch, age=ages) == {"age": {"45-54": 5, "25-34": 3, "not said": 40}}


def test_the_six_largest_are_told_and_the_others_together(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    regions = [*"aaaabbbccdef", "g", "h", "other", *[""] * 33]
    told = {"a": 4, "b": 3, "c": 2, "d": 1, "e": 1, "f": 1, "other": 3, "not said": 33}
    assert sizes(scene, monkeypatch, region=regions) == {"region": told}


def test_by_one_of_many_shops_nobody_is_told_apart(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    shops = [f"shop {number}" for number in range(13)]
    assert sizes(scene, monkeypatch, channel=shops + [""] * 35) == {}  # that most say nothing doesn't make six of thirteen shops many
    assert len(sizes(scene, monkeypatch, channel=shops[:12] + [""] * 36)["channel"]) == 6 + 2


def test_a_field_of_which_nobody_says_anything_tells_nothing(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sizes(scene, monkeypatch, age=[""] * NUM_CUSTOMERS, gender=["f"] * NUM_CUSTOMERS) == {}


def test_two_fields_that_part_customers_alike_are_one(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    countries = ["France"] * 8 + ["Spain"] * 40
    assert list(sizes(scene, monkeypatch, region=countries, channel=countries)) == ["region"]
    assert list(sizes(scene, monkeypatch, region=countries, channel=countries[::-1])) == ["region", "channel"]
