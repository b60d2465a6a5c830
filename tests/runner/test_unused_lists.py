"""A run uses the lists that ``plan --list`` has just paid for: once, and for an hour."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event

from archiver.catalog import Catalog, ledger
from archiver.catalog.query import holdings
from archiver.model.api_calls import Limits
from tests.support.api_faults import account_pk
from tests.support.archive_harness import ArchiveHarness
from tests.support.catalog_samples import FACTS, call, stored_answer
from tests.support.databases import NOW, PostgresServer
from tests.support.standin.faulty_standin import FaultyStandIn, paid_calls
from tests.support.standin.world_edits import EditableWorld

pytestmark = pytest.mark.world(accounts=2, highlights=2, items=1)

NAMES = ("account0000", "account0001")
V1, V2 = "/v1/user/highlights", "/v2/user/highlights"
LAST_ANSWER = 'select segment, "offset" from answers order by id desc limit 1'


def planned(harness: ArchiveHarness) -> int:
    """The price of the next run, by a plan without calls."""
    return sum(plan.units for plan in harness.plan(*NAMES))


def use_once(harness: ArchiveHarness) -> None:
    """List two new accounts and run three times: the first run uses the lists, the others list again."""
    assert harness.night(*NAMES, lists=True).units == 4
    assert planned(harness) == 4
    first = harness.night(*NAMES)
    assert (first.exit_code, first.units, first.highlights_listed, first.highlights_fetched) == (0, 4, 4, 4)
    assert {call.path for call in paid_calls(harness.upstream.requests)} == {"/v1/highlight/by/url"}
    assert harness.one("select count(*) from files where role in ('cover', 'avatar')") == 6
    assert harness.one("select count(*) from highlights where completed_at is null") == 0
    for _ in range(2):
        assert (planned(harness), harness.night(*NAMES).units) == (2, 2)


def test_fault_e6_a_run_uses_the_lists_of_a_plan_once(harness: ArchiveHarness) -> None:
    """Lists and highlights are paid for once; covers and avatars come from the stored lists too."""
    use_once(harness)
    assert harness.one("select count(*) from targets") == 2


def test_fault_e6_lists_are_used_if_a_run_keeps_none(harness: ArchiveHarness) -> None:
    """``keep_answers = "fetched"`` deletes lists after a run, but not those that the next run is to use."""
    harness.environ["ARCHIVER_ARCHIVE_KEEP_ANSWERS"] = "fetched"
    use_once(harness)


@pytest.mark.whole
def test_fault_e6_lists_are_used_on_postgresql_too(
    tmp_path: Path, postgres: PostgresServer, postgres_template: str
) -> None:
    """The same queries find them there."""
    with (
        postgres.database(postgres_template) as url,
        FaultyStandIn(EditableWorld.generate(2, 2, 1)) as upstream,
    ):
        use_once(ArchiveHarness(tmp_path / "archive", upstream, url))


def test_fault_e6_a_list_is_found_by_the_account(catalog: Catalog, run_id: int) -> None:
    """A run looks for a list of each account: it must not read all calls of the plan each time."""
    catalog.write(_list_many_accounts, run_id)
    assert "ix_api_calls_subject_path" in catalog.read(_how_lists_are_found)


def _list_many_accounts(connection: Connection, run_id: int) -> None:
    for number in range(500):
        call_id = ledger.reserve(connection, run_id, call(subject=str(number), path=V1), NOW, Limits())
        answer = stored_answer(segment=f"2026/03/{number}-a.warc.gz")
        ledger.settle(connection, call_id, 200, 1, NOW, answer, FACTS)
    connection.exec_driver_sql("ANALYZE")


def _how_lists_are_found(connection: Connection) -> str:
    asked: list[tuple[str, Any]] = []

    def note(_: Connection, __: object, statement: str, parameters: Any, *___: object) -> None:
        asked.append((statement, parameters))

    with connection.engine.connect() as other:
        event.listen(other, "before_cursor_execute", note)
        times = {"listed_at": NOW, "since": NOW, "until": NOW}
        holdings.unused_list(other, ["1", "natgeo"], [V1, V2], [1], **times)
    how = "EXPLAIN QUERY PLAN"
    if connection.dialect.name == "postgresql":
        # Without this, a table without rows is read as a whole.
        connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        how = "EXPLAIN"
    statement, parameters = asked[-1]
    return str(connection.exec_driver_sql(f"{how} {statement}", parameters).all())


@pytest.mark.parametrize("minutes", [59, 61, -10])
def test_fault_e6_a_list_is_used_for_an_hour(harness: ArchiveHarness, minutes: int) -> None:
    """An older one is out of date, and so is one from the future, which a wrong clock has dated."""
    harness.night(*NAMES)
    harness.sleep(days=1)
    harness.night(*NAMES, lists=True)
    harness.sleep(minutes=minutes)
    price = 0 if minutes == 59 else 2
    assert (planned(harness), harness.night(*NAMES).units) == (price, price)


def test_fault_e6_who_asks_for_a_new_list_gets_one(harness: ArchiveHarness) -> None:
    """``--full`` does, and so does ``backup NAME`` or ``run NAME``, after which the run lists as well."""
    harness.night(*NAMES, lists=True)
    assert harness.night(NAMES[0], insist=True).units == 1 + 2
    assert (planned(harness), harness.night(*NAMES).units) == (1 + 2, 1 + 2)
    harness.night(*NAMES, lists=True)
    assert harness.night(*NAMES, full=True).units == 2 + 4


def test_fault_e6_a_run_of_other_accounts_uses_no_list(harness: ArchiveHarness) -> None:
    """The list of an account is there until a run visits that account."""
    harness.night(*NAMES)
    harness.night(*NAMES, lists=True)
    assert harness.night(NAMES[1]).units == 0
    assert (planned(harness), harness.night(*NAMES).units) == (1, 1)


def test_fault_e6_a_list_without_its_answer_is_paid_for_again(harness: ArchiveHarness) -> None:
    """Its segment is gone."""
    harness.night(*NAMES)
    harness.night(*NAMES, lists=True)
    ((segment, _),) = harness.rows(LAST_ANSWER)
    (harness.root / "answers" / str(segment)).unlink()
    assert (planned(harness), harness.night(*NAMES).units) == (2, 2)


def test_fault_e6_what_the_list_shows_is_fetched_and_the_next_list_is_new(harness: ArchiveHarness) -> None:
    """What changed before the plan is fetched by the run, and what changed after it by the next run."""
    harness.night(*NAMES)
    world = harness.upstream.world
    early, late = world.accounts[0].highlights
    world.add_item(early.pk)
    harness.night(*NAMES, lists=True)
    world.add_item(late.pk)
    assert (planned(harness), harness.night(*NAMES).units) == (1, 1)
    assert harness.one("select count(*) from highlight_items where highlight_pk = ?", late.pk) == 1
    assert harness.night(*NAMES).units == 2 + 1
    assert harness.one("select count(*) from highlight_items where highlight_pk = ?", late.pk) == 2


@pytest.mark.world(accounts=2, highlights=3, items=1)
def test_fault_e6_a_list_that_is_used_confirms_no_loss(harness: ArchiveHarness) -> None:
    """Two of three highlights are missing: the list that showed it first is no second look, even if used."""
    world = harness.upstream.world
    world.add_highlight("account0001", "the longest tray", 1)
    harness.night(*NAMES)
    for one in list(world.accounts[0].highlights)[:2]:
        world.remove_highlight(one.pk)
    harness.night(*NAMES, lists=True)
    harness.night(*NAMES)
    assert harness.one("select count(*) from highlights where gone_at is not null") == 0
    harness.night(*NAMES)
    assert harness.one("select count(*) from highlights where gone_at is not null") == 2


@pytest.mark.world(accounts=1, highlights=5, items=1)
def test_fault_e6_a_list_of_several_pages_is_used(harness: ArchiveHarness) -> None:
    """As a whole, and not if its last page is lost."""
    pk = account_pk(0)
    world = harness.upstream.world
    world.v1_page = world.v2_page = 2
    harness.night(pk)
    assert harness.night(pk, full=True).exit_code == 0
    assert harness.one("select tray_endpoint from users") == V2
    for is_lost in (False, True):
        world.add_item(world.accounts[0].highlights[4].pk)
        assert harness.night(pk, lists=True).units == 3
        if is_lost:
            ((segment, offset),) = harness.rows(LAST_ANSWER)
            path = harness.root / "answers" / str(segment)
            path.write_bytes(path.read_bytes()[: int(str(offset))])
        price = 1 + (3 if is_lost else 0)
        assert sum(plan.units for plan in harness.plan(pk)) == price
        summary = harness.night(pk)
        assert (summary.units, summary.highlights_listed, summary.highlights_fetched) == (price, 5, 1)


def test_fault_e6_a_highlight_of_the_last_hour_was_not_hidden(harness: ArchiveHarness) -> None:
    """A run that uses a list is dated later than the list: what was made in between has appeared."""
    harness.environ["ARCHIVER_SYNC_SWEEP_DAYS"] = "1"
    harness.night(*NAMES)
    harness.night(*NAMES, lists=True)
    harness.sleep(minutes=5)
    now = int(harness.now.timestamp())
    made = harness.upstream.world.add_highlight(account_pk(0), "made in between", 1, created_at=now)
    harness.sleep(minutes=5)
    harness.night(*NAMES)
    harness.sleep(days=1)
    harness.night(*NAMES)
    assert harness.rows("select subject_pk, new from changes where field = 'presence'") == [
        (made.pk, "appeared")
    ]
    assert harness.one("select count(*) from users where tray_endpoint <> ?", V1) == 0
