"""What is read, value by value, and ended by whoever reads or by the end of the archive."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import suppress
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class Reading(Generic[T]):
    """An iterator over what is read. ``close``, or the end of a ``with`` block, ends it before its last value."""

    def __init__(self, values: Generator[T, None, None]) -> None:
        self._values = values
        self._cut = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        if self._cut:
            raise ValueError("the archive is closed")
        return next(self._values)

    def close(self) -> None:
        """Read no further, and give the connection back."""
        self._values.close()

    def cut(self) -> None:
        """As the archive ends: whoever asks for more is told."""
        self._cut = True
        with suppress(
            ValueError
        ):  # another thread is within it just now: it gives the connection back when nobody refers to it
            self._values.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
