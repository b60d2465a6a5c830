"""When a list that lacks something is evidence, and when it is in doubt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.catalog.query.account_state import AccountState
from archiver.errors import Reason
from archiver.model.upstream import Highlight, RejectedEntry, Tray, User
from archiver.runner.absence import (
    Doubt,
    Listing,
    believed_gone,
    doubt_about,
    highlights_gone,
    missing_in_one_answer,
)
from tests.support.states import DAY, NOW, YESTERDAY, account, highlight, unresolved

PKS = st.integers(1, 2**64).map(str)
USER = User("787132", "natgeo")


def tray(*pks: str, user: User | None = USER, rejected: int = 0) -> Tray:
    """Return a tray of these highlights, some of its entries unreadable."""
    return Tray(
        user,
        tuple(Highlight(pk, USER) for pk in pks),
        (RejectedEntry("", "?", rejected),) if rejected else (),
    )


@given(st.sets(PKS, max_size=12), st.sets(PKS, max_size=12))
def test_mass_removal_is_believed_only_the_second_time(present: set[str], seen: set[str]) -> None:
    """Losing more than half is remembered, and believed when the next list says the same; less at once."""
    absent = present - seen
    gone, mark = believed_gone(present, seen, None)
    if len(absent) * 2 > len(present):
        assert gone == ()
        assert mark is not None
        assert believed_gone(present, seen, mark) == (tuple(sorted(absent)), None)
        assert believed_gone(present, seen, "something else") == ((), mark)
    else:
        assert (set(gone), mark) == (absent, None)


@pytest.mark.parametrize(
    ("listing", "before", "pk", "expected"),
    [
        (Listing(tray("1")), account(), "787132", None),
        (Listing(tray()), account(), "787132", Doubt.EMPTY),
        (Listing(tray()), account(verdict=Reason.EMPTY), "787132", None),
        (Listing(tray()), unresolved(), None, Doubt.EMPTY),
        (Listing(tray("1"), is_whole=True), account(tray_length=3), "787132", Doubt.HALVED),
        (Listing(tray("1")), account(tray_length=2), "787132", None),
        (Listing(tray("1"), is_cut=True), account(tray_length=3), "787132", None),
        (Listing(tray("1")), account(tray_length=3, shrunk_to="half"), "787132", None),
        (Listing(tray("1", rejected=2)), account(tray_length=3), "787132", None),
        (Listing(tray("1")), unresolved(), None, None),
        (Listing(tray("1", user=User("787132"))), unresolved(), None, Doubt.NAMELESS),
        (Listing(tray("1", user=User("787132"))), unresolved(), "787132", None),
    ],
)
def test_a_tray_that_a_private_account_may_show_is_in_doubt(
    listing: Listing, before: AccountState, pk: str | None, expected: Doubt | None
) -> None:
    """Empty unless it was before, halved unless that waits for this one or it is cut; nameless if asked by
    name.
    """
    assert doubt_about(listing, before, pk) is expected


def test_a_tray_is_evidence_if_it_was_not_cut() -> None:
    """Read to its last page, or shorter than the longest first page; never with unreadable entries."""
    state = account(highlight(pk="1"), highlight(pk="2"), highlight(pk="3", gone_at=NOW))
    assert highlights_gone(Listing(tray("1")), state, None, 2) == (("2",), None)
    assert highlights_gone(Listing(tray("1")), state, None, 1) == ((), None)
    assert highlights_gone(Listing(tray("1"), is_whole=True), state, None, 1) == (("2",), None)
    assert highlights_gone(Listing(tray("1"), is_cut=True), state, None, 2) == ((), None)
    assert highlights_gone(Listing(tray("1", rejected=1), is_whole=True), state, None, 9) == ((), None)


def test_pages_show_what_the_tray_in_one_answer_should_have_shown() -> None:
    """What is new since the last tray, what is back, and what that tray listed is not among it."""
    state = account(
        highlight(pk="1"),
        highlight(pk="2", listed_at=NOW - 9 * DAY),
        highlight(pk="3", listed_at=NOW - 9 * DAY, gone_at=YESTERDAY),
    )
    old, new = Highlight("4", USER, created_at=NOW - 2 * DAY), Highlight("5", USER, created_at=NOW)
    whole = Listing(Tray(USER, (*tray("1", "2", "3").highlights, old, new)), is_whole=True)
    assert missing_in_one_answer(whole, state) == {"2", "4"}
    assert missing_in_one_answer(Listing(whole.tray), state) == frozenset()
    assert missing_in_one_answer(whole, account(needs_pages=True)) == frozenset()
