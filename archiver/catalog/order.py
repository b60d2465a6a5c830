"""What moved when a list was put in another order. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence


def moved(before: Sequence[str], after: Sequence[str]) -> frozenset[str]:
    """The smallest set of names to move so that those common to both lists stand in ``after`` as they did in ``before``.

    Names that only one list has count for nothing. Each list holds a name at most once.
    """
    rank = {name: position for position, name in enumerate(before)}
    common = [name for name in after if name in rank]
    stayed = _longest_rising([rank[name] for name in common])
    return frozenset(name for position, name in enumerate(common) if position not in stayed)


def _longest_rising(ranks: Sequence[int]) -> set[int]:
    """The positions of one longest rising subsequence, by patience sorting."""
    tops: list[int] = []  # the lowest rank that ends a rising run of each length, and the position it has
    at: list[int] = []
    before: list[int] = []
    for position, rank in enumerate(ranks):
        length = bisect_left(tops, rank)
        tops[length : length + 1] = [rank]
        at[length : length + 1] = [position]
        before.append(at[length - 1] if length else -1)
    kept: set[int] = set()
    position = at[-1] if at else -1
    while position >= 0:
        kept.add(position)
        position = before[position]
    return kept
