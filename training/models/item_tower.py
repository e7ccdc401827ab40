"""What is said of an item as a vector, so that an item is somebody on its first day: category, brand, price, the words of its name.

A number becomes one of some buckets of about as many items each. A text becomes itself and its words, each hashed into a table (Weinberger
et al., "Feature Hashing for Large Scale Multitask Learning", ICML 2009): no vocabulary, so that tomorrow's words have a place too.
"""

import re
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

NUM_HASHES = 4096
NUM_PRICES = 16  # buckets of a number
MOST_WORDS = 8
WORD = re.compile(r"\w+")


class ItemTower(nn.Module):
    """attributes: {field: a text an item id, "" where nothing is said}. Of each field the mean of its codes' vectors, all fields summed."""

    def __init__(self, attributes: Mapping[str, Sequence[str]], dim: int) -> None:
        super().__init__()
        self.fields = list(attributes)
        for field, texts in attributes.items():
            self.register_buffer(f"codes_{field}", torch.from_numpy(codes_of(texts)), persistent=False)
        self.tables = nn.ModuleDict({field: nn.Embedding(1 + NUM_HASHES, dim) for field in attributes})

    def forward(self, ids: Tensor | None = None) -> Tensor:
        """Of some items, [...] to [..., D], or of all, [num_items, D]."""
        return torch.stack([self._of(field, ids) for field in self.fields]).sum(0)

    def _of(self, field: str, ids: Tensor | None) -> Tensor:
        codes: Tensor = getattr(self, f"codes_{field}")
        codes = codes if ids is None else codes[ids]
        said = (codes > 0).to(torch.float32)[..., None]
        return (self.tables[field](codes) * said).sum(-2) / said.sum(-2).clamp(min=1)


def codes_of(texts: Sequence[str]) -> np.ndarray:
    """Codes from 1 on of each text, as many columns as the longest needs, 0 behind: int32 [texts, S]."""
    distinct = dict.fromkeys(texts)
    numbers = [_number(text) for text in distinct if text]
    if numbers and None not in numbers:
        return _buckets(texts)
    hashed = {text: _hashes(text) for text in distinct}
    codes = np.zeros((len(texts), max(map(len, hashed.values()), default=1) or 1), dtype=np.int32)
    for row, text in enumerate(texts):
        codes[row, : len(hashed[text])] = hashed[text]
    return codes


def _hashes(text: str) -> list[int]:
    words = [text.lower(), *WORD.findall(text.lower())[:MOST_WORDS]] if text else []
    return [1 + zlib.crc32(word.encode()) % NUM_HASHES for word in dict.fromkeys(words)]


def _buckets(texts: Sequence[str]) -> np.ndarray:
    values = np.array([float(text) if text else np.nan for text in texts])
    edges = np.unique(np.nanquantile(values, np.arange(1, NUM_PRICES) / NUM_PRICES))
    return np.where(np.isnan(values), 0, 1 + np.searchsorted(edges, values, side="right")).astype(np.int32)[:, None]


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if np.isfinite(number) else None
