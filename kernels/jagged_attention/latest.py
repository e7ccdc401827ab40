"""What was made of a batch last time, for as long as it is asked for again: every block of a model asks twice, forth and back."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from torch import Tensor

Made = TypeVar("Made")


@dataclass(frozen=True)
class _Remembered(Generic[Made]):
    """What was made, and of what. As long as that is held, nothing else can stand where it stands in memory."""

    tensors: tuple[Tensor, ...]
    versions: tuple[int, ...]
    settings: tuple[object, ...]
    made: Made

    def is_of(self, tensors: tuple[Tensor, ...], settings: tuple[object, ...]) -> bool:
        """Never, where torch doesn't count what is changed in place."""
        if any(tensor.is_inference() for tensor in tensors):
            return False
        same = all(a.data_ptr() == b.data_ptr() and a.shape == b.shape for a, b in zip(self.tensors, tensors, strict=True))
        return same and self.versions == _versions(tensors) and self.settings == settings


class Latest(Generic[Made]):
    """make(*tensors, *settings), made anew where any of them is another than last time, or changed in place."""

    def __init__(self, make: Callable[..., Made]) -> None:
        self._make = make
        self._remembered: _Remembered[Made] | None = None

    def of(self, *tensors: Tensor, settings: tuple[object, ...] = ()) -> Made:
        remembered = self._remembered  # read once: another thread may put its own there
        if remembered is None or not remembered.is_of(tensors, settings):
            remembered = self._remembered = _Remembered(tensors, _versions(tensors), settings, self._make(*tensors, *settings))
        return remembered.made


def _versions(tensors: Iterable[Tensor]) -> tuple[int, ...]:
    return tuple(0 if tensor.is_inference() else tensor._version for tensor in tensors)
