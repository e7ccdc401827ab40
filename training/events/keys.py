"""Texts to numbers, each text looked at once: rows are grouped by a hash of their text, and only the distinct texts are sorted.

A hash table of several hundred thousand texts misses the cache at nearly every row; sorting 64-bit integers runs through memory in order.
"""

import numpy as np
import polars as pl

SEEDS = (1, 2)
WORD = 8  # letters


def places_of(column: pl.Series) -> tuple[np.ndarray, pl.Series]:
    """The place of each row's text among the distinct texts, int32 [n], -1 where it is missing; and these, sorted by their bytes.

    Two hashes of 64 bits tell texts apart, of which at least 100 bits are compared: among a thousand million texts the odds that two
    are mistaken for one are one in 10^12.
    """
    if not column.null_count():
        return _places(column)
    given = column.is_not_null().arg_true().to_numpy()
    places = np.full(len(column), -1, dtype=np.int32)
    places[given], keys = _places(column.drop_nulls())
    return places, keys


def _places(column: pl.Series) -> tuple[np.ndarray, pl.Series]:
    groups, firsts = _groups(*(column.hash(seed=seed).to_numpy() for seed in SEEDS))
    by_row = np.argsort(firsts)  # texts are fetched in the order in which they lie
    texts = column.gather(firsts[by_row])
    by_text = order_of_texts(texts)
    place = np.empty(len(firsts), dtype=np.int32)
    place[by_row[by_text]] = np.arange(len(firsts), dtype=np.int32)
    return place[groups], texts.gather(by_text)


def order_of_texts(texts: pl.Series) -> np.ndarray:
    """The order of distinct texts by their bytes, int64 [n]. The first sixteen in which they differ, as two integers, decide nearly all."""
    if len(texts) < 2:
        return np.arange(len(texts))
    arrow = texts.rechunk().to_arrow()
    _, ends, letters = arrow.buffers()
    ends = np.frombuffer(ends, np.int64)[arrow.offset : arrow.offset + len(texts) + 1]
    num_shared = _num_shared(str(texts.min()).encode(), str(texts.max()).encode())  # by the least and the greatest, thus by all
    letters = np.append(np.frombuffer(letters, np.uint8), np.zeros(WORD, np.uint8))
    high = _word(letters, ends, num_shared)
    order = np.argsort(high)
    if len(tied := _alike(high[order])):
        low = _word(letters, ends, num_shared + WORD)
        some = order[tied]
        order[tied] = some = some[np.lexsort((low[some], high[some]))]
        tied = tied[_alike(high[some], low[some])]
        order[tied] = order[tied][texts.gather(order[tied]).arg_sort().to_numpy()]
    return order


def _alike(*sorted_words: np.ndarray) -> np.ndarray:
    """Which of some sorted words equal a neighbour in all."""
    same = np.logical_and.reduce([words[1:] == words[:-1] for words in sorted_words])
    return np.flatnonzero(np.append(same, False) | np.append(False, same))


def _num_shared(one: bytes, other: bytes) -> int:
    """With how many equal bytes two texts begin."""
    differs = (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return next(differs, min(len(one), len(other)))


def _word(letters: np.ndarray, ends: np.ndarray, skipped: int) -> np.ndarray:
    """The letters of each text from a place on, as many as a word holds, as one integer; a text that ends before goes on with zeros.

    letters   of all texts, with a word's length of others behind them
    """
    starts = np.minimum(ends[:-1] + skipped, ends[1:])
    num_letters = np.minimum(ends[1:] - starts, WORD).astype(np.uint64)
    every_start = np.ndarray(len(letters) - WORD + 1, dtype=">u8", buffer=letters, strides=1)
    beyond = np.uint64(8) * (np.uint64(WORD) - num_letters)
    # Shifted in two steps: a shift by all 64 bits is none.
    half = beyond >> np.uint64(1)
    return every_start[starts].astype(np.uint64) >> half >> (beyond - half) << half << (beyond - half)


def _groups(hashes: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number the groups of rows that are equal in both hashes: the number of each row, int32 [n], and a row of each group."""
    num_rows = len(hashes)
    bits = np.uint64(max(num_rows - 1, 1).bit_length())
    packed = hashes >> bits
    packed <<= bits
    packed |= np.arange(num_rows, dtype=np.uint64)
    packed.sort()
    rows = (packed & ((np.uint64(1) << bits) - np.uint64(1))).view(np.int64)
    packed >>= bits
    starts = np.flatnonzero(np.concatenate([[True], packed[1:] != packed[:-1]])[:num_rows])
    del packed
    groups = np.empty(num_rows, dtype=np.int32)
    groups[rows] = np.repeat(np.arange(len(starts), dtype=np.int32), np.diff(starts, append=num_rows))
    firsts = rows[starts]
    # The bits that made room for the row's number were not compared, nor the other hash: what differs there is a group of its own.
    strangers = np.flatnonzero(others[firsts][groups] != others)
    if len(strangers):
        more, more_firsts = _groups(others[strangers], hashes[strangers])
        groups[strangers], firsts = len(firsts) + more, np.append(firsts, strangers[more_firsts])
    return groups, firsts
