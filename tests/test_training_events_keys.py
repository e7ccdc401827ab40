import numpy as np
import polars as pl
import pytest

from training.events import keys
from training.events.keys import order_of_texts, places_of


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


@pytest.mark.parametrize(
    "texts",
    [
        ["", "a"],
        ["a", "a\0", "a\0b", "", "ab"],
        ["shared-2", "shared-10", "shared-", "shared-1", "shared"],
        [f"the same start and sixteen more letters {i * 7919 % 331}" for i in range(331)],
        [chr(32 + i * 7919 % 60_000) * (1 + i % 19) for i in range(3_000) if not 0xD7C0 < 32 + i * 7919 % 60_000 < 0xE000],
    ],
    ids=["empty", "zeros", "one is the start of all", "alike for long", "any letters"],
)
def test_texts_are_ordered_by_their_bytes(texts: list[str]) -> None:
    texts = list(dict.fromkeys(texts))
    for some in (pl.Series(texts), pl.Series(["before", *texts, "behind"])[1:-1]):
        assert [texts[i] for i in order_of_texts(some)] == sorted(texts, key=str.encode)
