"""Which part of an archive is read today: pure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

from archiver.model.identity import Digest


def share_of(share: float, start: float) -> Callable[[Digest], bool]:
    """Choose a part of all digests: ``share`` of them (0 to 1), those that follow ``start`` (0 to 1) in the order of names.

    Digests are spread evenly, so the part is as large as it says.
    """
    return lambda digest: (int(digest[:13], 16) / 16**13 - start) % 1.0 < share


def start_of_day(share: float, day: date) -> float:
    """Where the part of that day begins: just where that of the day before ended, so that 1 / ``share`` days cover all."""
    return day.toordinal() * share % 1.0
