"""What is open until it is closed, or until the end of a ``with`` block."""

from __future__ import annotations

from typing import Self


class Closeable:
    """Base of the classes whose ``close`` the end of a ``with`` block calls."""

    def close(self) -> None:
        """Give back what is held."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
