"""The archive in numbers: what was paid, by day, account, endpoint and run; and its accounts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from archiver.catalog import Catalog, ledger, record
from archiver.catalog.query import account_state, content, totals
from archiver.errors import Reason
from archiver.hiker import endpoints
from archiver.model.api_calls import Cost, CostsBy, Limits, RunCost
from archiver.model.archived import Failure
from archiver.model.identity import Subject
from archiver.model.target import parse_target
from archiver.model.upstream import User
from tests.support.catalog_samples import LATER, NATGEO, call, highlight, tray
from tests.support.databases import NOW, SQLITE_EVERYDAY

TRAY, PAGE, NAMED = "/v1/user/highlights", "/v1/highlight/by/url", "/v1/user/highlights/by/username"


def paid(
    catalog: Catalog,
    run_id: int,
    subject: str,
    path: str = PAGE,
    units: int = 1,
    *,
    at: datetime = NOW,
    status: int | None = 200,
    settled: bool = True,
) -> None:
    """One attempt; not ``settled``: the process was killed before its answer."""
    row = catalog.write(ledger.reserve, run_id, call(units, subject, path), at, Limits())
    if settled:
        catalog.write(ledger.settle, row, status, units, at)


def read_costs(catalog: Catalog, by: CostsBy, since: datetime | None = None) -> tuple[Cost, ...]:
    """The costs, with the paths of the API."""
    return catalog.read(totals.costs, by, since, free_path=endpoints.BALANCE)


def read_run_costs(catalog: Catalog, since: datetime | None = None) -> tuple[RunCost, ...]:
    """The runs, with the path of the API's balance."""
    return catalog.read(totals.run_costs, since, free_path=endpoints.BALANCE)


def told(catalog: Catalog, by: CostsBy, since: datetime | None = None) -> list[tuple[str | None, int, int]]:
    """(key, units, calls) of each row."""
    return [(cost.key, cost.units, cost.calls) for cost in read_costs(catalog, by, since)]


def test_where_nothing_was_paid_there_is_nothing(catalog: Catalog) -> None:
    """No rows, in none of the ways."""
    assert [read_costs(catalog, by) for by in CostsBy] == [()] * 5
    assert read_run_costs(catalog) == ()


def test_days_and_months_are_those_of_utc(catalog: Catalog, run_id: int) -> None:
    """Half past midnight in Tokyo belongs to the day and month before; they come in their order."""
    tokyo = timezone(timedelta(hours=9))
    paid(catalog, run_id, "18", at=datetime(2026, 4, 2, 12, tzinfo=UTC))
    paid(catalog, run_id, "18", at=datetime(2026, 4, 1, 0, 30, tzinfo=tokyo))
    paid(catalog, run_id, "18", units=2, at=datetime(2026, 3, 31, 23, 59, 59, tzinfo=UTC))
    assert told(catalog, CostsBy.DAY) == [("2026-03-31", 3, 2), ("2026-04-02", 1, 1)]
    assert told(catalog, CostsBy.MONTH) == [("2026-03", 3, 2), ("2026-04", 1, 1)]


def test_since_a_moment(catalog: Catalog, run_id: int) -> None:
    """What was asked at that moment counts, what was before it does not."""
    for at in (NOW - timedelta(microseconds=1), NOW, LATER):
        paid(catalog, run_id, "18", at=at)
    for by in CostsBy:
        assert sum(units for _, units, _ in told(catalog, by, NOW)) == 2


@SQLITE_EVERYDAY
def test_every_subject_is_led_to_its_account(catalog: Catalog, run_id: int) -> None:
    """A user by its pk, a highlight by its owner, a name by who bears it; what belongs to nobody known is a
    row of its own.
    """
    catalog.write(record.record_tray, run_id, NATGEO.pk, tray("18", "19"), NOW)
    paid(catalog, run_id, NATGEO.pk, TRAY)
    paid(catalog, run_id, "natgeo", NAMED, 2)
    paid(catalog, run_id, "18")
    paid(catalog, run_id, "19")
    paid(catalog, run_id, "99", units=4)
    paid(catalog, run_id, "nobody.here", NAMED, 2)
    found = read_costs(catalog, CostsBy.ACCOUNT)
    assert found == (Cost(None, 6, 2, 0, 0), Cost("natgeo", 5, 4, 0, 0, NATGEO.pk))


@SQLITE_EVERYDAY
def test_a_name_is_led_to_what_the_entry_is_bound_to_else_to_its_last_bearer(
    catalog: Catalog, run_id: int
) -> None:
    """Also a name of digits alone, which might be somebody else's pk."""
    catalog.write(record.record_user, run_id, User("5", NATGEO.pk), NOW)
    catalog.write(record.record_user, run_id, NATGEO, NOW)
    catalog.write(record.record_user, run_id, User("6", "freed"), NOW)
    catalog.write(record.record_user, run_id, User("7", "freed"), LATER)
    paid(catalog, run_id, NATGEO.pk, NAMED, 2)
    paid(catalog, run_id, "freed", NAMED, 3)
    assert [(cost.user_pk, cost.units) for cost in read_costs(catalog, CostsBy.ACCOUNT)] == [
        ("7", 3),
        ("5", 2),
    ]
    catalog.write(record.bind_target, "freed", "6", NOW)
    assert [(cost.user_pk, cost.units) for cost in read_costs(catalog, CostsBy.ACCOUNT)] == [
        ("6", 3),
        ("5", 2),
    ]


@SQLITE_EVERYDAY
def test_by_endpoint_the_dearest_first(catalog: Catalog, run_id: int) -> None:
    """The look at the balance is free and no call."""
    paid(catalog, run_id, "1", TRAY)
    paid(catalog, run_id, "18", units=5)
    paid(catalog, run_id, "", "/sys/balance", 0)
    assert told(catalog, CostsBy.ENDPOINT) == [(PAGE, 5, 1), (TRAY, 1, 1)]


@SQLITE_EVERYDAY
def test_by_run_in_their_order(catalog: Catalog, run_id: int) -> None:
    """Each with its own."""
    second = catalog.write(record.start_run, "backup", LATER)
    paid(catalog, second, "18", units=3)
    paid(catalog, run_id, "18")
    assert told(catalog, CostsBy.RUN) == [(str(run_id), 1, 1), (str(second), 3, 1)]


@SQLITE_EVERYDAY
def test_what_nobody_knows_the_answer_of_is_counted_and_told(catalog: Catalog, run_id: int) -> None:
    """A call that a kill cut off, and one that was lost on its way; one that was never sent cost nothing."""
    paid(catalog, run_id, "18")
    paid(catalog, run_id, "18", units=2, settled=False)
    paid(catalog, run_id, "18", units=3, status=None)
    paid(catalog, run_id, "18", units=0, status=None)
    assert read_costs(catalog, CostsBy.ENDPOINT) == (Cost(PAGE, 6, 4, 2, 5),)


def test_a_run_is_held_against_the_balance(catalog: Catalog, run_id: int) -> None:
    """Fall and mismatch where both were told, nothing where one is missing; a run that asked nobody is not in
    it.
    """
    catalog.write(record.record_balance_before, run_id, 100)
    catalog.write(record.record_balance_after, run_id, 93)
    paid(catalog, run_id, "18", units=5)
    second = catalog.write(record.start_run, "run", LATER)
    catalog.write(record.record_balance_before, second, 93)
    catalog.write(record.start_run, "reread", LATER)
    found = read_run_costs(catalog)
    assert [(run.run_id, run.units, run.balance_before, run.balance_after) for run in found] == [
        (run_id, 5, 100, 93),
        (second, 0, 93, None),
    ]
    assert [(run.balance_drop, run.mismatch) for run in found] == [(7, 2), (None, None)]
    assert [run.run_id for run in read_run_costs(catalog, LATER)] == [second]


@pytest.mark.parametrize(("after", "mismatch"), [(96, -3), (95, 0), (93, 0), (92, 1)])
def test_calls_in_flight_when_the_balance_came_may_be_in_it(
    catalog: Catalog, run_id: int, after: int, mismatch: int
) -> None:
    """Seven units, two of them begun before the first balance was stated: its fall may be five to seven."""
    balance = catalog.write(ledger.reserve, run_id, endpoints.balance_call(), NOW, Limits())
    paid(catalog, run_id, "18", units=2, at=NOW + timedelta(seconds=1))
    catalog.write(ledger.settle, balance, 200, 0, NOW + timedelta(seconds=2))
    catalog.write(record.record_balance_before, run_id, 100)
    paid(catalog, run_id, "18", units=5, at=NOW + timedelta(seconds=3))
    paid(catalog, run_id, "", endpoints.BALANCE, units=0, at=NOW + timedelta(seconds=4))
    catalog.write(record.record_balance_after, run_id, after)
    assert [run.mismatch for run in read_run_costs(catalog)] == [mismatch]


def test_the_spending_of_ended_runs(catalog: Catalog, run_id: int) -> None:
    """``run`` alone, and only what came to its end: a killed one, a backup and one before that moment are not
    in it.
    """
    paid(catalog, run_id, "18", units=5)
    catalog.write(record.finish_run, run_id, NOW, "ok", 0)
    for command, at in (("backup", NOW), ("run", NOW - timedelta(days=1))):
        other = catalog.write(record.start_run, command, at)
        catalog.write(record.finish_run, other, at, "ok", 0)
    catalog.write(record.start_run, "run", LATER)
    assert catalog.read(totals.spending, NOW) == ((NOW, 5),)


def test_the_calls_whose_subject_is_a_name_are_known_by_their_path() -> None:
    """The catalog knows no paths: only that those of these calls end so, and those of no other."""
    paths = {path for path in vars(endpoints).values() if isinstance(path, str) and path.startswith("/v")}
    assert {path for path in paths if path.endswith("/username")} == endpoints.BY_NAME
    assert "'%/username'" in totals.CALL_IS_BY_NAME


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
    catalog.write(record.record_verdict, run_id, "5", Reason.PRIVATE, NOW)
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
