"""An iterator over an archive, which ends when the archive is closed."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import suppress
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class Reading(Generic[T]):
    """An iterator over values of an archive. ``close``, or the end of a ``with`` block, ends it early."""

    def __init__(self, values: Generator[T, None, None]) -> None:
        self._values = values
        self._is_cut = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        if self._is_cut:
            raise ValueError("the archive is closed")
        return next(self._values)

    def close(self) -> None:
        """Stop reading and return the connection."""
        self._values.close()

    def cut(self) -> None:
        """End the iterator because the archive is closed: reading on raises ValueError."""
        self._is_cut = True
        # ValueError: another thread is reading. The connection is returned when the generator is freed.
        with suppress(ValueError):
            self._values.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
