"""What moved between two orders of a list."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from archiver.catalog.record.changes import find_moved

_lists = st.lists(st.sampled_from("abcdefgh"), unique=True)


@given(_lists, _lists)
def test_without_what_moved_the_order_is_the_same(before: list[str], after: list[str]) -> None:
    """Those that stayed stand in both lists in one order."""
    gone = find_moved(before, after)
    stayed = (set(before) & set(after)) - gone
    assert gone <= set(before) & set(after)
    assert [name for name in before if name in stayed] == [name for name in after if name in stayed]


@given(_lists, _lists)
def test_no_smaller_set_would_do(before: list[str], after: list[str]) -> None:
    """Of all sets whose removal makes the orders equal, none is smaller."""
    common = [name for name in after if name in before]
    least = next(
        size
        for size in range(len(common) + 1)
        for left in combinations(common, len(common) - size)
        if [name for name in before if name in left] == list(left)
    )
    assert len(find_moved(before, after)) == least


def test_additions_and_removals_move_nothing() -> None:
    """A new highlight in front shifts all positions and moves none; one put to the front moves alone."""
    assert find_moved("abc", "xabc") == frozenset()
    assert find_moved("abc", "ac") == frozenset()
    assert find_moved("abcd", "dabc") == {"d"}
