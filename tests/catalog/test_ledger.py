"""The account of what is paid: no limit is ever passed, nothing is under-reported."""

from __future__ import annotations

import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine

from archiver.catalog import Catalog, ledger, locate, record, tables
from archiver.catalog.query import holdings, totals
from archiver.catalog.record.stored_files import StoredFile
from archiver.errors import BudgetReached
from archiver.hiker import endpoints
from archiver.model.api_calls import Limits
from archiver.model.identity import Role
from archiver.model.upstream import TrayNumbers
from tests.support.catalog_samples import (
    FACTS,
    LATER,
    NATGEO,
    call,
    digest,
    file_of,
    rows,
    stored_answer,
    tray,
)
from tests.support.databases import NOW, SQLITE_EVERYDAY, PostgresServer


def units_spent(catalog: Catalog, run_id: int) -> int:
    """The units of a run so far."""
    return catalog.read(totals.run_cost, run_id, free_path=endpoints.BALANCE).units


@SQLITE_EVERYDAY
def test_a_reserve_counts_at_once_and_a_settle_corrects_it(catalog: Catalog, run_id: int) -> None:
    """A call that is never settled (the process died) keeps its nominal price."""
    first = catalog.write(ledger.reserve, run_id, call(units=2), NOW, Limits())
    catalog.write(ledger.reserve, run_id, call(units=3), NOW, Limits())
    assert units_spent(catalog, run_id) == 5
    assert rows(catalog, "SELECT status, units FROM api_calls ORDER BY id") == [(None, 2), (None, 3)]
    catalog.write(ledger.settle, first, 500, 0, LATER)
    assert units_spent(catalog, run_id) == 3
    assert rows(catalog, f"SELECT status, units FROM api_calls WHERE id = {first}") == [(500, 0)]


def _limits(name: str, units: int) -> Limits:
    limits = {
        "per_run": Limits(units),
        "per_day": Limits(None, units),
        "per_month": Limits(None, None, units),
    }
    return limits[name]


@pytest.mark.parametrize("limit", ["per_run", "per_day", "per_month"])
def test_a_limit_may_be_reached_and_not_passed(catalog: Catalog, run_id: int, limit: str) -> None:
    """The error names the limit of the configuration, what is spent and what the call costs; no row is
    written.
    """
    limits = _limits(limit, 5)
    catalog.write(ledger.reserve, run_id, call(units=3), NOW, limits)
    with pytest.raises(BudgetReached, match=rf"max_units_{limit} = 5 leaves 2 units, .* costs 3"):
        catalog.write(ledger.reserve, run_id, call(units=3), NOW, limits)
    catalog.write(ledger.reserve, run_id, call(units=2), NOW, limits)
    assert units_spent(catalog, run_id) == 5


def test_days_and_months_are_those_of_utc(catalog: Catalog, run_id: int) -> None:
    """Midnight in Tokyo, where it is April already, begins neither; midnight in UTC begins both."""
    tokyo = timezone(timedelta(hours=9))
    before = datetime(2026, 3, 31, 23, 30, tzinfo=tokyo)
    after = datetime(2026, 4, 1, 0, 30, tzinfo=tokyo)
    catalog.write(ledger.reserve, run_id, call(), before, Limits(per_day=1, per_month=1))
    for limits in (Limits(per_day=1), Limits(per_month=1)):
        with pytest.raises(BudgetReached):
            catalog.write(ledger.reserve, run_id, call(), after, limits)
    midnight = datetime(2026, 4, 1, tzinfo=UTC)
    catalog.write(ledger.reserve, run_id, call(), midnight, Limits(per_day=1, per_month=1))
    with pytest.raises(BudgetReached, match="per_month"):
        catalog.write(
            ledger.reserve, run_id, call(), midnight + timedelta(days=1), Limits(per_day=1, per_month=1)
        )


@SQLITE_EVERYDAY
def test_calls_that_a_wrong_clock_dated_in_the_future_count(catalog: Catalog, run_id: int) -> None:
    """The clock was ahead by days, then by a month, and is right again: the limits hold for all calls."""
    for days in (2, 40):
        catalog.write(ledger.reserve, run_id, call(units=2), NOW + timedelta(days=days), Limits())
    for limit in ("per_day", "per_month"):
        with pytest.raises(BudgetReached, match="= 4 is reached"):
            catalog.write(ledger.reserve, run_id, call(), NOW, _limits(limit, 4))
    catalog.write(ledger.reserve, run_id, call(), NOW, Limits(per_day=5, per_month=5))


@SQLITE_EVERYDAY
def test_the_status_shows_what_a_run_has_spent_before_it_ends(catalog: Catalog, run_id: int) -> None:
    """Also of a run that was killed, until the next run records that."""
    catalog.write(ledger.reserve, run_id, call(units=3), NOW, Limits())
    status = catalog.read(totals.status, NOW)
    assert (status.last_runs[0].units, status.units) == (3, 3)


@SQLITE_EVERYDAY
def test_the_limit_of_a_run_is_its_own(catalog: Catalog, run_id: int) -> None:
    """What another run spent counts for the day, not for this run."""
    catalog.write(ledger.reserve, run_id, call(units=5), NOW, Limits())
    other = catalog.write(record.start_run, "run", NOW)
    catalog.write(ledger.reserve, other, call(units=5), NOW, Limits(per_run=5))
    with pytest.raises(BudgetReached, match="per_day"):
        catalog.write(ledger.reserve, other, call(), NOW, Limits(per_day=10))


def _spend(reserve: object, times: int, done: list[int]) -> None:
    assert callable(reserve)
    for _ in range(times):
        try:
            done.append(reserve())
        except BudgetReached:
            return


@SQLITE_EVERYDAY
def test_eight_threads_never_pass_a_limit(catalog: Catalog, run_id: int) -> None:
    """However their reserves mix, exactly as much is reserved as the limit allows."""
    done: list[int] = []

    def reserve() -> int:
        return catalog.write(ledger.reserve, run_id, call(units=2), NOW, Limits(per_run=61))

    threads = [threading.Thread(target=_spend, args=(reserve, 20, done)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 30
    assert units_spent(catalog, run_id) == 60


@pytest.mark.parametrize(
    ("limits", "have_own_runs", "have_own_days"),
    [
        (Limits(per_run=61), False, True),
        (Limits(per_day=61), True, False),
        (Limits(per_month=61), True, True),
    ],
)
def test_eight_connections_never_pass_a_limit(
    catalog: Catalog, database: str | Path, limits: Limits, have_own_runs: bool, have_own_days: bool
) -> None:
    """The same without the desk between them: nobody misses what another has not committed yet, though each
    counts for a run of its own, or for another day of the month.
    """
    runs = [catalog.write(record.start_run, "run", NOW) for _ in range(8)]
    done: list[int] = []

    def work(number: int) -> None:
        writer = locate(database).create_writer()
        run_id = runs[number if have_own_runs else 0]
        now = NOW - timedelta(days=number if have_own_days else 0)

        def reserve() -> int:
            with writer.begin() as connection:
                return ledger.reserve(connection, run_id, call(units=2), now, limits)

        _spend(reserve, 20, done)
        writer.dispose()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 30
    assert sum(units_spent(catalog, run_id) for run_id in runs) == 60


@SQLITE_EVERYDAY
def test_an_answer_is_found_again_by_its_highlight(catalog: Catalog, run_id: int) -> None:
    """The last good answer about a highlight, with the numbers of the tray at that time; a bad one does not
    hide it.
    """
    older = catalog.write(ledger.reserve, run_id, call(subject="18"), NOW, Limits())
    catalog.write(ledger.settle, older, 200, 1, NOW, stored_answer("older"), FACTS)
    good = catalog.write(ledger.reserve, run_id, call(subject="18"), NOW, Limits())
    answer_id = catalog.write(ledger.settle, good, 200, 1, LATER, stored_answer("good"), FACTS)
    bad = catalog.write(ledger.reserve, run_id, call(subject="18"), NOW, Limits())
    catalog.write(ledger.settle, bad, 404, 1, LATER, stored_answer("bad"), TrayNumbers())
    listed = catalog.write(
        ledger.reserve, run_id, call(subject="18", path="/v1/user/highlights"), NOW, Limits()
    )
    catalog.write(ledger.settle, listed, 200, 1, LATER, stored_answer("tray"))
    paid = catalog.read(holdings.paid_highlight, "18", "/v1/highlight/by/url")
    assert paid is not None
    assert (paid.answer_id, paid.location, paid.numbers, paid.finished_at) == (
        answer_id,
        stored_answer("good"),
        FACTS,
        LATER,
    )
    assert catalog.read(holdings.paid_highlight, "19", "/v1/highlight/by/url") is None


@SQLITE_EVERYDAY
def test_settling_again_changes_nothing(catalog: Catalog, run_id: int) -> None:
    """A settle whose commit was reported as failed may have been made: made again it is the same answer."""
    call_id = catalog.write(ledger.reserve, run_id, call(), NOW, Limits())
    first = catalog.write(ledger.settle, call_id, 200, 1, LATER, stored_answer(), FACTS)
    assert catalog.write(ledger.settle, call_id, 200, 1, LATER, stored_answer(), FACTS) == first
    assert rows(catalog, "SELECT count(*) FROM answers") == [(1,)]


def test_dropped_trays_are_forgotten_and_their_ids_never_used_again(catalog: Catalog, run_id: int) -> None:
    """What came from a dropped answer names none; a later answer gets an id of its own."""
    answers = []
    for segment in ("kept", "dropped"):
        call_id = catalog.write(ledger.reserve, run_id, call(), NOW, Limits())
        answers.append(catalog.write(ledger.settle, call_id, 200, 1, LATER, stored_answer(segment, segment)))
    catalog.write(record.record_tray, run_id, NATGEO.pk, tray("1"), NOW)
    for answer, content in zip(answers, ("first", "second"), strict=True):
        catalog.write(
            record.record_files, [StoredFile(file_of("1", Role.COVER, content), answer, NOW)], run_id=run_id
        )
    catalog.write(record.drop_trays, "dropped")
    assert rows(catalog, "SELECT answer_id FROM files ORDER BY id") == [(answers[0],), (None,)]
    assert rows(catalog, "SELECT id, sha256 FROM answers") == [(answers[0], digest("kept"))]
    call_id = catalog.write(ledger.reserve, run_id, call(), NOW, Limits())
    again = catalog.write(ledger.settle, call_id, 200, 1, LATER, stored_answer("new", "new"))
    assert again not in answers


@pytest.fixture(scope="module")
def writers(
    tmp_path_factory: pytest.TempPathFactory,
    sqlite_template: Path,
    postgres: PostgresServer,
    postgres_template: str,
) -> Iterator[tuple[Engine, Engine]]:
    """Writers to an archive on SQLite, and to one on PostgreSQL."""
    path = Path(shutil.copy(sqlite_template, tmp_path_factory.mktemp("totals") / "archive.db"))
    with postgres.database(postgres_template) as url:
        both = locate(path).create_writer(), locate(url).create_writer()
        yield both
        for writer in both:
            writer.dispose()


_STEP = st.tuples(
    st.sampled_from(["reserve", "reserve", "settle", "remove", "move"]),
    st.integers(0, 4),  # which call or run
    st.integers(0, 2),  # units
    st.integers(0, 1500).map(lambda hours: NOW - timedelta(hours=hours)),
)


@given(st.lists(_STEP, max_size=12))
@settings(deadline=None)
def test_the_totals_are_the_sums_of_the_calls(
    writers: tuple[Engine, Engine], steps: list[tuple[str, int, int, datetime]]
) -> None:
    """Whatever is reserved, settled or left, and whatever is removed or altered by hand."""
    for writer in writers:
        with writer.connect() as connection, connection.begin() as transaction:
            runs = [record.start_run(connection, "run", NOW) for _ in range(2)]
            made: list[int] = []
            for kind, number, units, at in steps:
                if kind == "reserve":
                    spending = call(units=units)
                    made.append(ledger.reserve(connection, runs[number % 2], spending, at, Limits()))
                elif made:
                    _alter(connection, kind, made[number % len(made)], runs[number % 2], units, at)
                assert _totals(connection) == _sums(connection)
            transaction.rollback()


def _alter(connection: Connection, kind: str, made: int, run_id: int, units: int, at: datetime) -> None:
    calls = tables.api_calls
    if kind == "settle":
        ledger.settle(connection, made, None, units, at)
    elif kind == "remove":
        connection.execute(calls.delete().where(calls.c.id == made))
    else:
        connection.execute(calls.update().where(calls.c.id == made).values(run_id=run_id, started_at=at))


def _totals(connection: Connection) -> dict[str, int]:
    return {row.period: row.units for row in connection.execute(tables.budget_totals.select())}


def _sums(connection: Connection) -> dict[str, int]:
    found: Counter[str] = Counter()
    for row in connection.execute(tables.api_calls.select()):
        for period in (f"{row.started_at:%Y-%m}", f"{row.started_at:%Y-%m-%d}", f"run {row.run_id}"):
            found[period] += row.units
    return {period: units for period, units in found.items() if units}


@SQLITE_EVERYDAY
def test_a_run_that_was_killed_is_called_so_by_the_next(catalog: Catalog, run_id: int) -> None:
    """Its units are what its calls cost; a run that ended well keeps its own end."""
    catalog.write(ledger.reserve, run_id, call(units=3), NOW, Limits())
    second = catalog.write(record.start_run, "backup", LATER)
    catalog.write(ledger.reserve, second, call(units=2), LATER, Limits())
    catalog.write(record.finish_run, second, LATER, "ok", 0)
    catalog.write(record.start_run, "run", LATER)
    found = rows(catalog, "SELECT outcome, exit_code, units, finished_at IS NULL FROM runs ORDER BY id")
    assert [tuple(row[:3]) for row in found] == [("killed", None, 3), ("ok", 0, 2), (None, None, 0)]
    assert [bool(row[3]) for row in found] == [True, False, True]
