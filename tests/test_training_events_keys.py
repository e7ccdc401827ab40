import numpy as np
import polars as pl
import pytest

from training.events import keys
from training.events.keys import places_of


@pytest.mark.parametrize(
    "texts",
    [[], ["a"], [None], ["b", None, "a", "b"], ["é", "Z", "a", "", "😀", "a"], [f"key {i * 7919 % 331}" for i in range(5_000)]],
    ids=["none", "one", "missing", "few", "order of bytes", "many"],
)
def test_places_are_those_among_the_sorted_texts(texts: list[str | None]) -> None:
    places, known = places_of(pl.Series(texts, dtype=pl.String))
    assert known.to_list() == sorted({text for text in texts if text is not None})
    assert [known[int(place)] if place >= 0 else None for place in places] == texts
    assert places.dtype == np.int32


@pytest.mark.parametrize("kept", [0, 1, 3], ids=lambda bits: f"{2**bits} hashes")
def test_texts_of_one_hash_are_told_apart_by_the_other(kept: int) -> None:
    texts = np.arange(1_000) * 7 % 61
    few = (texts % 2**kept).astype(np.uint64) << np.uint64(60)
    groups, firsts = keys._groups(few, pl.Series(texts).hash().to_numpy())
    assert len(firsts) == 61
    assert (texts[firsts][groups] == texts).all()
