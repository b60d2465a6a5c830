"""The one writer: order, commits shared by facts that wait together, and failures that stay with their
fact.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection, event, text

from archiver.catalog import Catalog, locate, record
from archiver.catalog.writer import Writer
from archiver.errors import DatabaseError, DiskFull
from tests.support.catalog_samples import rows
from tests.support.databases import NOW, SQLITE_EVERYDAY, empty_database


@pytest.fixture
def desk(database: str | Path) -> Iterator[Writer]:
    """A desk over a new archive, whose engine a test may listen to."""
    writer = locate(database).create_writer()
    with closing(Writer(writer, locate(database))) as desk:
        yield desk
    writer.dispose()


def _begin_run(connection: Connection, command: str) -> int:
    return record.start_run(connection, command, NOW)


def _commands(desk: Writer) -> list[str]:
    return desk.write(
        lambda connection: list(connection.scalars(text("SELECT command FROM runs ORDER BY id")))
    )


def _held_up(
    desk: Writer, facts: list[Callable[[Connection], object]], last: frozenset[int] = frozenset()
) -> list[BaseException | object]:
    """Give the facts while the desk is busy, so that they wait together; returns how each ended.

    ``last``: the places of those that are to be written last.
    """
    busy, go_on = threading.Event(), threading.Event()
    ends: list[BaseException | object] = [None] * len(facts)

    def hold(_: Connection) -> None:
        busy.set()
        go_on.wait(10)

    def give(index: int) -> None:
        try:
            ends[index] = (desk.write_last if index in last else desk.write)(facts[index])
        except BaseException as error:
            ends[index] = error

    threads = [threading.Thread(target=desk.write, args=(hold,))]
    threads[0].start()
    busy.wait(10)
    for index in range(len(facts)):
        threads.append(threading.Thread(target=give, args=(index,)))
        threads[-1].start()
        while desk._queue.qsize() <= index:
            pass
    go_on.set()
    for thread in threads:
        thread.join(10)
    return ends


@SQLITE_EVERYDAY
def test_facts_that_wait_together_are_committed_together(desk: Writer) -> None:
    """Thirty facts that queue up behind a slow one need one commit, not thirty, and keep their order."""
    commits: list[object] = []
    event.listen(desk._engine, "commit", commits.append)
    ends = _held_up(desk, [lambda connection, n=n: _begin_run(connection, f"{n}") for n in range(30)])  # type: ignore[misc]
    assert len(commits) == 2
    assert sorted(int(str(end)) for end in ends) == list(range(1, 31))
    assert _commands(desk) == [str(n) for n in range(30)]


@SQLITE_EVERYDAY
def test_late_facts_come_after_the_others_of_their_transaction(desk: Writer) -> None:
    """Other workers wait for their rows until the commit, so it follows soon."""
    commits: list[object] = []
    event.listen(desk._engine, "commit", commits.append)
    _held_up(
        desk,
        [lambda connection, n=n: _begin_run(connection, f"{n}") for n in range(6)],  # type: ignore[misc]
        last=frozenset({0, 3}),
    )
    assert len(commits) == 2
    assert _commands(desk) == ["1", "2", "4", "5", "0", "3"]


def test_a_fact_that_fails_fails_alone(desk: Writer) -> None:
    """Those beside it are stored; what it had written itself is not; each caller is told its own end."""

    def fails(connection: Connection) -> None:
        _begin_run(connection, "never")
        raise LookupError("a bug in one fact")

    def refers_to_nothing(connection: Connection) -> None:
        connection.execute(text("INSERT INTO usernames VALUES ('1', 'nobody', '2026-01-01', '2026-01-01')"))

    ends = _held_up(
        desk, [lambda c: _begin_run(c, "before"), fails, refers_to_nothing, lambda c: _begin_run(c, "after")]
    )
    assert isinstance(ends[1], LookupError)
    assert isinstance(ends[2], DatabaseError)
    assert not isinstance(ends[0], BaseException)
    assert _commands(desk) == ["before", "after"]


def _derive_rows(connection: Connection) -> None:
    """What follows from runs: a target for each; none can be had of one that is called «worthless»."""
    connection.execute(text("DELETE FROM targets"))
    connection.execute(text("INSERT INTO targets SELECT command, '1', started_at FROM runs"))
    if connection.scalar(text("SELECT count(*) FROM runs WHERE command = 'worthless'")):
        raise RuntimeError("nothing follows")


def test_what_follows_from_facts_is_committed_with_them(database: str | Path) -> None:
    """Once a transaction, after all of its facts, also after one that failed alone; where nothing follows
    nobody's fact is stored.
    """
    writer = locate(database).create_writer()

    def fail(connection: Connection) -> None:
        _begin_run(connection, "undone")
        raise RuntimeError("this one fails")

    with closing(Writer(writer, locate(database), derive_rows=_derive_rows)) as desk:
        _held_up(
            desk, [lambda connection: _begin_run(connection, "one"), fail, lambda c: _begin_run(c, "two")]
        )
        followed = text("SELECT text FROM targets ORDER BY text")
        assert desk.write(lambda connection: list(connection.scalars(followed))) == ["one", "two"]
        ends = _held_up(desk, [lambda c: _begin_run(c, "three"), lambda c: _begin_run(c, "worthless")])
        assert [str(end) for end in ends] == ["nothing follows"] * 2
        assert _commands(desk) == ["one", "two"]
    writer.dispose()


@SQLITE_EVERYDAY
def test_a_commit_that_fails_fails_all_its_callers(desk: Writer) -> None:
    """Nobody is told of success who was not stored for certain; the desk goes on."""

    commits = 0

    def refuse(_: object) -> None:
        nonlocal commits
        commits += 1
        if commits > 1:  # the first is that of the fact which holds the desk up
            raise OSError(5, "Input/output error")

    event.listen(desk._engine, "commit", refuse)
    ends = _held_up(desk, [lambda c: _begin_run(c, "one"), lambda c: _begin_run(c, "two")])
    assert [type(end) for end in ends] == [DatabaseError, DatabaseError]
    event.remove(desk._engine, "commit", refuse)
    desk.write(_begin_run, "three")
    assert _commands(desk) == ["three"]


def test_nobody_is_told_of_success_if_the_transaction_is_lost(tmp_path: Path, sqlite_template: Path) -> None:
    """SQLite itself may roll back everything (a full disk, an I/O error): then what stands beside the culprit
    fails too.
    """

    def lose(connection: Connection) -> None:
        connection.exec_driver_sql("ROLLBACK")  # what SQLite does then
        raise LookupError("the culprit")

    path = tmp_path / "archive.db"
    path.write_bytes(sqlite_template.read_bytes())
    writer = locate(path).create_writer()
    with closing(Writer(writer, locate(path))) as desk:
        ends = _held_up(desk, [lambda c: _begin_run(c, "before"), lose, lambda c: _begin_run(c, "after")])
        assert [type(end) for end in ends] == [LookupError] * 3
        assert _commands(desk) == []
    writer.dispose()


def test_a_full_disk_is_told_as_one(tmp_path: Path, sqlite_template: Path) -> None:
    """SQLite's SQLITE_FULL, which ends the whole transaction, reaches the caller as DiskFull; the desk goes
    on when there is room.
    """
    path = tmp_path / "archive.db"
    path.write_bytes(sqlite_template.read_bytes())

    def limit(connection: Connection, pages: int) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    with Catalog.open(path, write=True) as catalog:
        catalog.write(limit, 1)  # SQLite rounds it up to the pages in use
        with pytest.raises(DiskFull, match="full"):
            catalog.write(_begin_run, "x" * 100_000)
        catalog.write(limit, 1_000_000)
        catalog.write(_begin_run, "there is room again")
        assert rows(catalog, "SELECT command FROM runs") == [("there is room again",)]


def test_a_lost_connection_is_an_error_of_its_callers_only(postgres_archive: str) -> None:
    """When the server ends the connection the fact is told of; the next one gets a new connection."""
    empty_database(postgres_archive)
    with Catalog.open(postgres_archive, write=True) as catalog:
        with pytest.raises(DatabaseError):
            catalog.write(
                lambda connection: connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
            )
        assert catalog.write(_begin_run, "run") == 1


@SQLITE_EVERYDAY
def test_a_fact_that_was_given_cannot_be_taken_back(desk: Writer) -> None:
    """Who does not wait for it still gets it stored."""
    future = desk.submit(_begin_run, "run")
    assert not future.cancel()
    assert future.result(10) == 1


@SQLITE_EVERYDAY
def test_closing_commits_what_waits(desk: Writer) -> None:
    """A fact given before the end is stored; one given after is refused instead of waiting for ever."""
    ends = _held_up(desk, [lambda c: _begin_run(c, "last")])
    desk.close()
    assert ends == [1]
    with pytest.raises(DatabaseError, match="closed"):
        desk.write(_begin_run, "too late")
    desk.close()
