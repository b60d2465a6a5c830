"""What ``archiver accounts`` and completion read, and the end of a binding."""

from __future__ import annotations

import pytest

from archiver.catalog import Catalog, record
from archiver.catalog.query import account_state, content, totals
from archiver.errors import Reason
from archiver.model.archived import Failure
from archiver.model.identity import Subject
from archiver.model.target import parse_target
from archiver.model.upstream import User
from tests.support.catalog_samples import NATGEO, highlight, tray
from tests.support.databases import NOW


@pytest.fixture
def listed(catalog: Catalog, run_id: int) -> Catalog:
    """An archive with the tray of natgeo, a private account and a name that nobody has."""
    highlights = (
        highlight("18", title="100% $(x)"),
        highlight("19", title="100 m"),
        highlight("20", title=""),
    )
    catalog.write(record.record_tray, run_id, NATGEO.pk, tray(*highlights), NOW)
    catalog.write(record.record_user, run_id, User("5", username="Hidden_1"), NOW)
    catalog.write(record.verdict, run_id, "5", Reason.PRIVATE, NOW)
    failure = Failure(Subject.TARGET, "nobody", None, Reason.NOT_FOUND, "404")
    catalog.write(record.record_failure, failure, NOW)
    catalog.write(record.bind_target, "natgeo", NATGEO.pk, NOW)
    return catalog


def test_accounts_and_failures(listed: Catalog) -> None:
    """Each account has its state, its last look and its sums; each open failure of a name its reason."""
    found = {account.pk: account for account in listed.read(totals.account_totals)}
    assert (found["5"].is_private, found["5"].is_gone, found["5"].looked_at) == (True, False, NOW)
    natgeo = found[NATGEO.pk]
    assert (natgeo.is_private, natgeo.looked_at, natgeo.highlights, natgeo.bytes) == (False, NOW, 3, 0)
    ((key, failure),) = listed.read(totals.failed_targets).items()
    assert (key, failure.reason, failure.at) == ((Subject.TARGET, "nobody"), Reason.NOT_FOUND, NOW)
    single = listed.read(totals.single_highlight, "18")
    assert single is not None
    assert (single.user_pk, single.looked_at, single.is_gone) == (NATGEO.pk, NOW, False)
    assert listed.read(totals.single_highlight, "404") is None


def test_a_binding_ends(listed: Catalog) -> None:
    """The bindings of an account, by its pk or by the name, are found and ended; others stay."""
    listed.write(record.bind_target, "other", "5", NOW)
    assert listed.read(account_state.bound_names, NATGEO.pk, None) == ("natgeo",)
    assert listed.read(account_state.bound_names, None, "natgeo") == ("natgeo",)
    listed.write(record.end_bindings, ("natgeo",))
    assert listed.read(account_state.bound_names, NATGEO.pk, "natgeo") == ()
    assert listed.read(account_state.resolve, parse_target("other"), from_config=True) == "5"


def test_failures_of_targets_that_are_not_listed_end(listed: Catalog) -> None:
    """Those of other names and of highlights without a row are resolved; a highlight in a tray stays due."""
    for pk in ("18", "404", "405"):
        failure = Failure(Subject.HIGHLIGHT, pk, None, Reason.NOT_FOUND, "404")
        listed.write(record.record_failure, failure, NOW)
    listed.write(record.drop_targets, ["natgeo", "405"], NOW)
    still_open = {pk for _, pk in listed.read(totals.failed_targets)}
    assert still_open == {"18", "405"}


def test_names_by_their_beginning(listed: Catalog) -> None:
    """A prefix is text, not a pattern; case counts in titles only."""
    assert listed.read(content.titles, "100%") == ("100% $(x)",)
    assert listed.read(content.titles, "1_") == ()
    assert len(listed.read(content.titles, "")) == 3
    assert listed.read(content.usernames, "hid") == ("Hidden_1",)
    assert listed.read(content.usernames, "h%") == ()
