"""Thirty nights with edits and four workers, which are killed, stopped, and cut off from the database and the
store.
"""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from archiver.archive.creation import create_for_run
from archiver.catalog.dialects import WORKER
from archiver.runner.tally import Summary
from tests.support import leak_detector
from tests.support.cluster import (
    LEASE,
    ClusterHarness,
    WorkerProcesses,
    finish_after_kills,
    wait_until,
    worker_processes,
)
from tests.support.databases import OwnServer
from tests.support.nights.expected_facts import differences
from tests.support.nights.thirty_nights import ThirtyNights
from tests.support.rebuilt_archive import require_equal_after_rebuild
from tests.support.s3_server import BUCKET, S3Server, refuse
from tests.support.standin.faulty_standin import FaultyStandIn, paid_calls
from tests.support.standin.world_edits import EditableWorld

WORKERS = 4
CALLS_AT_ONCE = 16
"""The most calls that one worker has under way: eight accounts, and eight highlights."""
WATCH = """
CREATE TABLE watched_writes (user_pk text, writer text, holder text);
CREATE FUNCTION watch_writes() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO watched_writes SELECT NEW.user_pk, current_setting('application_name'),
        (SELECT v.worker_id FROM visits v JOIN shared_runs s USING (run_id) WHERE v.user_pk = NEW.user_pk);
    RETURN NULL;
END $$;
CREATE TRIGGER watch_writes AFTER INSERT OR UPDATE ON highlights FOR EACH ROW EXECUTE FUNCTION watch_writes()
"""


class Troubles:
    """The troubles of a month, one in most nights, in an order drawn from a seed. ``done``: those so far.

    ``count_calls`` returns how many calls the API has answered in this night.
    """

    def __init__(
        self,
        seed: int,
        workers: WorkerProcesses,
        server: S3Server,
        restart: Callable[[], None],
        count_calls: Callable[[], int],
    ) -> None:
        self.done: list[str] = []
        self._random = random.Random(seed)
        self._workers, self._server, self._restart = workers, server, restart
        self._count_calls = count_calls
        self._has_been_away = False

    def begin(self) -> threading.Thread:
        """Begin the trouble of a night: it comes after one of its first calls."""
        kinds = (
            self.leave_them,
            self.kill_a_worker,
            self.stop_a_worker,
            self.restart_the_database,
            self.take_the_store_away,
        )
        kind, calls = self._random.choice(kinds), self._random.randint(1, 12)

        def trouble() -> None:
            wait_until(lambda: self._count_calls() >= calls)
            kind()
            self.done.append(kind.__name__)

        thread = threading.Thread(target=trouble)
        thread.start()
        return thread

    def leave_them(self) -> None:
        """Let the workers work."""

    def kill_a_worker(self) -> None:
        """Kill one, and start another."""
        worker = self._random.choice(self._workers.running)
        worker.kill()
        self._workers.running.remove(worker)
        self._workers.start()

    def stop_a_worker(self) -> None:
        """Stop one for longer than its lease, and let it go on."""
        worker = self._random.choice(self._workers.running)
        worker.send(signal.SIGSTOP)
        time.sleep(LEASE * 1.5)
        worker.send(signal.SIGCONT)

    def restart_the_database(self) -> None:
        """Restart the server."""
        self._restart()

    def take_the_store_away(self) -> None:
        """Let the store answer nothing but errors for three seconds, and once for a minute."""
        self._server.act = refuse(503, "SlowDown")
        time.sleep(3 if self._has_been_away else 60)
        self._has_been_away = True
        self._server.act = None


class TroubledHarness(ClusterHarness):
    """An archive with troubled nights. ``paid_again``: highlights paid for twice in a night, by trouble."""

    troubles: Troubles
    paid_again: Counter[str]

    def night(self, *targets: object, **options: object) -> Summary:
        """One run over these targets, with its trouble."""
        self.upstream.requests.reset()
        trouble = self.troubles.begin()
        summary = super().night(*targets, **options)  # type: ignore[arg-type]
        trouble.join()
        pages = Counter(
            (call.path, call.query)
            for call in paid_calls(self.upstream.requests)
            if call.path == "/v1/highlight/by/url" and call.units
        )
        self.paid_again[self.troubles.done[-1]] += sum(count - 1 for count in pages.values())
        print(f"night {summary.run_id}: {self.troubles.done[-1]}: {summary.exit_code} {summary.message}")
        return summary


@pytest.fixture
def postgresql() -> Iterator[OwnServer]:
    """A PostgreSQL server that the test may restart."""
    with OwnServer() as server:
        yield server
        leak_detector.reset()


@pytest.mark.whole
@pytest.mark.parametrize("seed", [1, 2])
def test_a_month_of_troubles(seed: int, tmp_path: Path, postgresql: OwnServer, server: S3Server) -> None:
    """In the end the archive is the world upstream with its history, and the ledger the bill; no account was
    written by a worker that did not hold it; what was paid for twice was under way at a kill.
    """
    with FaultyStandIn(EditableWorld.generate(12, 5, 4)) as upstream:
        harness = TroubledHarness(
            tmp_path / "archive", upstream, postgresql.url, objects=server.objects / "pre"
        )
        harness.storage = f"s3://{BUCKET}/pre"
        harness.paid_again = Counter()
        with worker_processes(harness, tmp_path / "machines", WORKERS) as workers:
            harness.troubles = Troubles(
                seed, workers, server, postgresql.restart, lambda: len(paid_calls(upstream.requests))
            )
            lived = ThirtyNights(harness, seed, sweep_days=5, a_night=5)
            create_for_run(harness.config)
            with psycopg.connect(postgresql.url.replace("+psycopg", "")) as connection:
                connection.execute(WATCH)
            for wrong in lived.nights():
                pytest.fail(f"seed {seed}, {harness.troubles.done}: {wrong}")
        kinds = Counter(harness.troubles.done)
        print(f"seed {seed}: {kinds}; paid again {harness.paid_again}")
        assert len(kinds) == 5
        assert lived.changes() == lived.rows()
        assert differences(harness, lived.accounts) == []
        billed = 1_000_000 - upstream.balance
        settled = harness.one("select sum(units) from api_calls where finished_at is not null")
        assert int(str(settled)) <= billed <= int(str(harness.one("select sum(units) from api_calls")))
        assert harness.paid_again["leave_them"] == harness.paid_again["take_the_store_away"] == 0
        for kind in ("kill_a_worker", "stop_a_worker"):
            assert harness.paid_again[kind] <= kinds[kind] * CALLS_AT_ONCE
        assert harness.paid_again["restart_the_database"] <= (
            kinds["restart_the_database"] * CALLS_AT_ONCE * WORKERS
        )
        written = harness.rows("select user_pk, writer, holder from watched_writes")
        assert written
        assert [row for row in written if row[1] != f"{WORKER}{row[2]}"] == []
        with psycopg.connect(postgresql.url.replace("+psycopg", "")) as connection:
            connection.execute("DROP FUNCTION watch_writes CASCADE")
            connection.execute("DROP TABLE watched_writes")
        finish_after_kills(harness)
        assert not harness.verify().is_damaged
        require_equal_after_rebuild(harness)
