"""Accounts: a poorer answer takes nothing away, a later one leaves its traces."""

from __future__ import annotations

from datetime import timedelta

import pytest

from archiver import retry
from archiver.catalog import Catalog, record
from archiver.catalog.query import account_state
from archiver.errors import Reason
from archiver.model.target import Target
from archiver.model.upstream import User
from archiver.model.values import replace
from tests.support.catalog_samples import LATER, LATEST, NATGEO, change_rows, rows, tray
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
        catalog.write(record.verdict, run_id, NATGEO.pk, reason, now)
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
    catalog.write(record.verdict, run_id, NATGEO.pk, Reason.GONE, LATER)
    catalog.write(record.verdict, run_id, NATGEO.pk, Reason.GONE, LATEST)
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
    catalog.write(record.verdict, run_id, NATGEO.pk, Reason.GONE, NOW)
    catalog.write(record.verdict, run_id, NATGEO.pk, Reason.PRIVATE, LATER)
    catalog.write(record.verdict, run_id, NATGEO.pk, Reason.PRIVATE, LATEST)
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
    catalog.write(record.verdict, run_id, "5", Reason.GONE, NOW)
    held = stored_account(catalog, "5")
    assert (held.verdict, held.gone_at) == (Reason.GONE, NOW)
    catalog.write(record.verdict, run_id, "6", Reason.PRIVATE, NOW)
    assert rows(catalog, "SELECT pk, is_private FROM users WHERE is_private IS NOT NULL") == [("6", True)]
    assert change_rows(catalog) == []
