"""Accounts and their trays: a poorer answer takes nothing away, and what is no evidence of anything."""

from __future__ import annotations

from datetime import timedelta

import pytest

from archiver import retry
from archiver.catalog import Catalog, record
from archiver.catalog.query import account_state
from archiver.errors import Reason
from archiver.model.target import Target
from archiver.model.upstream import Highlight, RejectedEntry, Tray, TrayNumbers, User
from archiver.model.values import replace
from tests.support.catalog_samples import (
    FACTS,
    LATER,
    LATEST,
    NATGEO,
    change_rows,
    highlight,
    page,
    rows,
    tray,
)
from tests.support.databases import NOW, SQLITE_EVERYDAY
from tests.support.states import stored_account


@SQLITE_EVERYDAY
def test_the_first_look_at_an_account_is_no_change(catalog: Catalog, run_id: int) -> None:
    """It is stored whole, under its name."""
    catalog.write(record.record_user, run_id, NATGEO, NOW)
    found = rows(catalog, "SELECT pk, username, full_name, is_private, is_verified, avatar_name FROM users")
    assert [tuple(row[:3]) + tuple(map(bool, row[3:5])) + tuple(row[5:]) for row in found] == [
        (NATGEO.pk, "natgeo", "National Geographic", False, True, "natgeo.jpg")
    ]
    assert change_rows(catalog) == []


@SQLITE_EVERYDAY
def test_a_poorer_answer_overwrites_nothing(catalog: Catalog, run_id: int) -> None:
    """Null and '' are «not said»: what is known stays, and nothing has changed."""
    catalog.write(record.record_user, run_id, NATGEO, NOW)
    before = rows(catalog, "SELECT username, full_name, is_private, is_verified, avatar_name FROM users")
    catalog.write(record.record_user, run_id, User(NATGEO.pk, "", ""), LATER)
    after = rows(catalog, "SELECT username, full_name, is_private, is_verified, avatar_name FROM users")
    assert after == before
    assert change_rows(catalog) == []


@SQLITE_EVERYDAY
def test_what_was_not_known_is_learnt_and_not_changed(catalog: Catalog, run_id: int) -> None:
    """A richer answer fills in what a poorer one left out."""
    catalog.write(record.record_user, run_id, User(NATGEO.pk), NOW)
    catalog.write(record.record_user, run_id, NATGEO, LATER)
    held = stored_account(catalog, NATGEO.pk)
    assert (held.username, held.is_private) == ("natgeo", False)
    assert change_rows(catalog) == []


@pytest.mark.parametrize(
    ("field", "old", "new"),
    [
        ("username", "natgeo", "natgeo2"),
        ("full_name", "National Geographic", "NatGeo"),
        ("is_private", "false", "true"),
        ("is_verified", "true", "false"),
        ("avatar_name", "natgeo.jpg", "other.jpg"),
    ],
)
@SQLITE_EVERYDAY
def test_a_later_look_that_differs_is_a_change(
    catalog: Catalog, run_id: int, field: str, old: str, new: str
) -> None:
    """One row, with both values in words."""
    catalog.write(record.record_user, run_id, NATGEO, NOW)
    value = {"true": True, "false": False}.get(new, new)
    catalog.write(record.record_user, run_id, replace(NATGEO, **{field: value}), LATER)  # type: ignore[arg-type]
    assert change_rows(catalog) == [("user", NATGEO.pk, field, old, new)]


@SQLITE_EVERYDAY
def test_a_name_is_a_dated_fact(catalog: Catalog, run_id: int) -> None:
    """All names of an account stay, each with the time it was seen; only the current one leads to it, in any
    case.
    """
    catalog.write(record.record_user, run_id, NATGEO, NOW)
    catalog.write(record.record_user, run_id, replace(NATGEO, username="renamed"), LATER)
    catalog.write(record.record_user, run_id, replace(NATGEO, username="renamed"), LATEST)
    assert rows(catalog, "SELECT username FROM usernames ORDER BY first_seen_at") == [
        ("natgeo",),
        ("renamed",),
    ]
    ((same,),) = rows(catalog, "SELECT count(*) FROM usernames WHERE first_seen_at = last_seen_at")
    assert same == 1
    assert catalog.read(account_state.resolve, Target("", username="natgeo"), from_config=False) is None
    assert catalog.read(account_state.resolve, Target("", username="ReNamed"), from_config=False) == NATGEO.pk


@SQLITE_EVERYDAY
def test_a_freed_name_leads_to_whoever_was_seen_with_it_last(catalog: Catalog, run_id: int) -> None:
    """Two stored accounts may claim one name, until the first is seen again under its new one."""
    catalog.write(record.record_user, run_id, NATGEO, NOW)
    catalog.write(record.record_user, run_id, User("2", "natgeo"), LATER)
    assert catalog.read(account_state.resolve, Target("", username="natgeo"), from_config=False) == "2"


def test_an_account_that_had_a_name_in_two_spellings_had_it_once(catalog: Catalog, run_id: int) -> None:
    """The accounts of a name come in the order in which they had it, each once."""
    for pk, name, at in (("1", "natgeo", NOW), ("2", "natgeo", LATER), ("1", "NatGeo", LATEST)):
        catalog.write(record.record_user, run_id, User(pk, name), at)
    assert catalog.read(account_state.former_pks, "NATGEO") == ("1", "2")


def test_an_entry_stays_bound_to_the_account_that_it_meant_first(catalog: Catalog) -> None:
    """Whoever takes the name later."""
    assert catalog.read(account_state.resolve, Target("", username="natgeo"), from_config=True) is None
    catalog.write(record.bind_target, "natgeo", NATGEO.pk, NOW)
    catalog.write(record.bind_target, "natgeo", "2", LATER)
    assert catalog.read(account_state.resolve, Target("", username="natgeo"), from_config=True) == NATGEO.pk


@SQLITE_EVERYDAY
def test_the_same_verdict_again_waits_longer(catalog: Catalog, run_id: int) -> None:
    """1, 3, 7 days; another verdict begins anew; none clears it."""
    catalog.write(record.record_user, run_id, NATGEO, NOW)

    def due(reason: Reason | None, days: int) -> timedelta | None:
        now = NOW + timedelta(days=days)
        catalog.write(record.record_verdict, run_id, NATGEO.pk, reason, now)
        held = stored_account(catalog, NATGEO.pk)
        assert held.verdict == reason
        return held.verdict_due_at - now if held.verdict_due_at is not None else None

    expected = [retry.next_check(checks, NOW) - NOW for checks in (1, 2, 3)]
    assert [due(Reason.PRIVATE, day) for day in range(3)] == expected
    assert due(Reason.EMPTY, 3) == expected[0]
    assert due(None, 4) is None
    assert due(Reason.EMPTY, 5) == expected[0]


def test_a_gone_account_is_dated_and_may_return(catalog: Catalog, run_id: int) -> None:
    """It goes once, however often that is confirmed, and seeing it again is its return."""
    catalog.write(record.record_user, run_id, NATGEO, NOW)
    catalog.write(record.record_verdict, run_id, NATGEO.pk, Reason.GONE, LATER)
    catalog.write(record.record_verdict, run_id, NATGEO.pk, Reason.GONE, LATEST)
    held = stored_account(catalog, NATGEO.pk)
    assert held.gone_at == LATER
    catalog.write(
        record.record_tray, run_id, NATGEO.pk, tray(user=None), LATEST
    )  # an empty tray shows nobody
    assert [row[2:] for row in change_rows(catalog)] == [("presence", None, "gone")]
    catalog.write(record.record_user, run_id, NATGEO, LATEST)
    held = stored_account(catalog, NATGEO.pk)
    assert held.gone_at is None
    assert [row[2:] for row in change_rows(catalog)] == [
        ("presence", None, "gone"),
        ("presence", None, "returned"),
    ]


@SQLITE_EVERYDAY
def test_a_private_account_is_told_to_be_private_by_its_verdict_alone(catalog: Catalog, run_id: int) -> None:
    """As one change, however often that is confirmed; one that was gone has returned, and being public again
    is a change too.
    """
    catalog.write(record.record_user, run_id, NATGEO, NOW)
    catalog.write(record.record_verdict, run_id, NATGEO.pk, Reason.GONE, NOW)
    catalog.write(record.record_verdict, run_id, NATGEO.pk, Reason.PRIVATE, LATER)
    catalog.write(record.record_verdict, run_id, NATGEO.pk, Reason.PRIVATE, LATEST)
    held = stored_account(catalog, NATGEO.pk)
    assert (held.is_private, held.gone_at) == (True, None)
    catalog.write(record.record_user, run_id, NATGEO, LATEST)
    assert [row[2:] for row in change_rows(catalog)] == [
        ("presence", None, "gone"),
        ("is_private", "false", "true"),
        ("presence", None, "returned"),
        ("is_private", "true", "false"),
    ]


@SQLITE_EVERYDAY
def test_a_verdict_on_a_stranger_is_kept(catalog: Catalog, run_id: int) -> None:
    """An account that was private at its first look gets its row, so that it is not asked for every night."""
    catalog.write(record.record_verdict, run_id, "5", Reason.GONE, NOW)
    held = stored_account(catalog, "5")
    assert (held.verdict, held.gone_at) == (Reason.GONE, NOW)
    catalog.write(record.record_verdict, run_id, "6", Reason.PRIVATE, NOW)
    assert rows(catalog, "SELECT pk, is_private FROM users WHERE is_private IS NOT NULL") == [("6", True)]
    assert change_rows(catalog) == []


@pytest.fixture
def listed(catalog: Catalog, run_id: int) -> int:
    """An account whose tray of 1, 2, 3 was seen once; the run that did."""
    catalog.write(record.record_tray, run_id, NATGEO.pk, tray("1", "2", "3"), NOW)
    return run_id


def _edit(**values: object) -> Highlight:
    return replace(highlight("2"), **values)  # type: ignore[arg-type]


def _pks(catalog: Catalog) -> list[str]:
    return [held.pk for held in stored_account(catalog, NATGEO.pk).highlights]


@SQLITE_EVERYDAY
def test_the_first_tray_is_no_change(catalog: Catalog, listed: int) -> None:
    """Its account and all of its highlights are stored, in its order."""
    held = stored_account(catalog, NATGEO.pk).highlights
    assert [(h.pk, h.title, h.numbers, h.fetched_numbers) for h in held] == [
        (pk, "Gift Guide", FACTS, TrayNumbers()) for pk in ("1", "2", "3")
    ]
    account = stored_account(catalog, NATGEO.pk)
    assert (account.username, account.listed_at, account.tray_length) == ("natgeo", NOW, 3)
    assert change_rows(catalog) == []


@SQLITE_EVERYDAY
def test_a_tray_that_says_the_same_changes_nothing(catalog: Catalog, listed: int) -> None:
    """Only the times at which things were seen move on."""
    shown = (
        "SELECT pk, title, position, media_count, is_pinned, cover_name, first_seen_at "
        "FROM highlights ORDER BY pk"
    )
    before = rows(catalog, shown)
    catalog.write(record.record_tray, listed, NATGEO.pk, tray("1", "2", "3"), LATER)
    assert rows(catalog, shown) == before
    assert len(rows(catalog, "SELECT 1 FROM highlights WHERE last_seen_at > first_seen_at")) == 3
    assert change_rows(catalog) == []


@pytest.mark.parametrize(
    ("later", "change"),
    [
        pytest.param(["9", "1", "2", "3"], ("9", "presence", None, "appeared"), id="appears"),
        pytest.param(["3", "1", "2"], ("3", "position", "2", "0"), id="moved"),
        pytest.param(["1", _edit(title="BOTW"), "3"], ("2", "title", "Gift Guide", "BOTW"), id="title"),
        pytest.param(["1", _edit(cover_name="b"), "3"], ("2", "cover_name", "2.jpg", "b"), id="cover"),
        pytest.param(["1", _edit(is_pinned=True), "3"], ("2", "is_pinned", "false", "true"), id="pin"),
    ],
)
@SQLITE_EVERYDAY
def test_what_a_later_tray_shows_otherwise_is_a_change(
    catalog: Catalog, listed: int, later: list[str | Highlight], change: tuple[str, str, str | None, str]
) -> None:
    """One row, with both values. That all positions shift behind a new highlight is no change of order."""
    catalog.write(record.record_tray, listed, NATGEO.pk, tray(*later), LATER)
    assert _pks(catalog) == [entry if isinstance(entry, str) else entry.pk for entry in later]
    assert change_rows(catalog) == [("highlight", *change)]


@SQLITE_EVERYDAY
def test_absence_alone_is_no_evidence(catalog: Catalog, listed: int) -> None:
    """A tray may be cut: what it lacks stays as it was unless the caller says it is gone; and it has no place
    in the order of that tray, so its return moves nothing.
    """
    catalog.write(record.record_tray, listed, NATGEO.pk, tray("2", "3"), LATER)
    assert [held.gone_at for held in stored_account(catalog, NATGEO.pk).highlights] == [None] * 3
    catalog.write(record.record_tray, listed, NATGEO.pk, tray("2", "3", "1"), LATEST)
    assert change_rows(catalog) == []


@SQLITE_EVERYDAY
def test_a_poorer_tray_overwrites_nothing(catalog: Catalog, listed: int) -> None:
    """What it leaves out stays known."""
    shown = "SELECT title, created_at, latest_reel_media, media_count, is_pinned, cover_name FROM highlights"
    before = rows(catalog, shown)
    poor = [
        replace(highlight(pk, ""), created_at=None, numbers=TrayNumbers(), is_pinned=None, cover_name=None)
        for pk in "123"
    ]
    catalog.write(record.record_tray, listed, NATGEO.pk, tray(*poor), LATER)
    assert rows(catalog, shown) == before
    assert change_rows(catalog) == []


@SQLITE_EVERYDAY
def test_new_numbers_are_facts_and_no_changes(catalog: Catalog, listed: int) -> None:
    """They decide on fetching; what came of them is told by the items."""
    catalog.write(
        record.record_tray,
        listed,
        NATGEO.pk,
        tray("1", highlight("2", numbers=TrayNumbers(9, 3)), "3"),
        LATER,
    )
    assert stored_account(catalog, NATGEO.pk).highlights[1].numbers == TrayNumbers(9, 3)
    assert change_rows(catalog) == []


@SQLITE_EVERYDAY
def test_what_is_gone_is_dated_once_and_may_return(catalog: Catalog, listed: int) -> None:
    """One row when it goes and one when it is back."""
    for time in (LATER, LATEST):
        catalog.write(record.record_tray, listed, NATGEO.pk, tray("1", "3"), time, gone=("2",))
    gone = {held.pk: held.gone_at for held in stored_account(catalog, NATGEO.pk).highlights}
    assert gone == {"1": None, "2": LATER, "3": None}
    catalog.write(record.record_tray, listed, NATGEO.pk, tray("1", "2", "3"), LATEST)
    assert change_rows(catalog) == [
        ("highlight", "2", "presence", None, "gone"),
        ("highlight", "2", "presence", None, "returned"),
    ]
    assert stored_account(catalog, NATGEO.pk).highlights[1].gone_at is None


def test_a_shrunken_tray_waits_for_a_second_one(catalog: Catalog, listed: int) -> None:
    """Its fingerprint is kept until a tray comes without one."""
    catalog.write(record.record_tray, listed, NATGEO.pk, tray("1"), LATER, shrunk_to="print")
    held = stored_account(catalog, NATGEO.pk)
    assert (held.shrunk_to, held.tray_length) == ("print", 1)
    catalog.write(record.record_tray, listed, NATGEO.pk, tray("1", "2", "3"), LATEST)
    held = stored_account(catalog, NATGEO.pk)
    assert held.shrunk_to is None


def test_the_longest_v1_tray_of_any_account_is_known(catalog: Catalog, run_id: int) -> None:
    """Unreadable entries count, a v2 tray does not, and a later shorter one does not lower it."""
    assert catalog.read(account_state.longest_tray) == 0
    catalog.write(record.record_tray, run_id, NATGEO.pk, tray("1", "2", "3"), NOW)
    assert catalog.read(account_state.longest_tray) == 3
    long = Tray(User("2", "other"), (), (RejectedEntry("7", "?"),) * 5)
    catalog.write(record.record_tray, run_id, "2", long, NOW, is_whole=True)
    assert catalog.read(account_state.longest_tray) == 3
    catalog.write(record.record_tray, run_id, "2", long, NOW)
    catalog.write(record.record_tray, run_id, "2", tray(user=None), LATER)
    assert catalog.read(account_state.longest_tray) == 5


@SQLITE_EVERYDAY
def test_a_highlight_known_before_the_first_tray_does_not_appear(catalog: Catalog, run_id: int) -> None:
    """One that was asked for by its own URL is known; the tray that lists it only gives it its place."""
    catalog.write(record.record_page, run_id, None, page("2", "20"), FACTS, NOW)
    catalog.write(record.record_tray, run_id, NATGEO.pk, tray("1", "2"), LATER)
    assert _pks(catalog) == ["1", "2"]
    assert change_rows(catalog) == []


@SQLITE_EVERYDAY
def test_a_highlight_belongs_to_the_account_that_lists_it(catalog: Catalog, listed: int) -> None:
    """Stored under another account before, it is this one's from then on, and its place among the other's is
    no place here.
    """
    other = User("2", "other")
    catalog.write(record.record_tray, listed, other.pk, tray("9", user=other), NOW)
    catalog.write(record.record_tray, listed, other.pk, tray("3", "9", user=other), LATER)
    assert [held.pk for held in stored_account(catalog, other.pk).highlights] == ["3", "9"]
    assert _pks(catalog) == ["1", "2"]
    assert change_rows(catalog) == [("highlight", "3", "user_pk", NATGEO.pk, "2")]


@SQLITE_EVERYDAY
def test_a_pk_that_is_listed_twice_counts_once(catalog: Catalog, run_id: int) -> None:
    """The first entry of a pk wins."""
    catalog.write(record.record_tray, run_id, NATGEO.pk, tray("1", highlight("1", "again"), "2"), NOW)
    assert [(h.pk, h.title) for h in stored_account(catalog, NATGEO.pk).highlights] == [
        ("1", "Gift Guide"),
        ("2", "Gift Guide"),
    ]
