"""J8: an older copy of the database that was put back is named by whatever reads it."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from archiver.archive import serving
from archiver.archive.archive import Archive
from archiver.archive.creation import create_archive
from archiver.archive.rebuild_archive import plan_rebuild
from archiver.archive.session import open_for_reading
from archiver.errors import JournalDiffers
from archiver.work import Work
from tests.support.archive_copies import ArchiveCopies
from tests.support.archive_harness import ArchiveHarness
from tests.support.cluster import wait_until
from tests.support.command_line import InProcessUser
from tests.support.databases import PostgresServer
from tests.support.rebuilt_archive import all_rows, lose_database, rebuild
from tests.support.s3_server import BUCKET, QUICK, S3Server
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld
from tests.support.table_dumps import execute
from tests.support.web_server import served

NAME = "account0000"
_READERS: tuple[tuple[str, ...], ...] = (
    ("status",),
    ("accounts",),
    ("show", NAME),
    ("search", NAME),
    ("changes",),
    ("gaps",),
    ("costs",),
    ("plan", NAME),
)
_OTHER_READERS: tuple[tuple[str, ...], ...] = (
    ("query", "SELECT pk FROM users"),
    ("metrics",),
    ("export", "jsonl", "-q", "tables"),
    ("db", "backup", "-o", "copy.db"),
    ("db", "current"),
    ("db", "upgrade", "--dry-run"),
)
_REMOVERS: tuple[tuple[str, ...], ...] = (
    ("export", "folder", "--prune", "out"),
    ("export", "bagit", "out"),
    ("forget", "nobody", "--yes"),
)
"""What would remove files that the older copy lacks, or say that an account is not there."""
_WORDS = "is an older copy: it lacks the last entries of the journal"


@pytest.fixture
def harness(tmp_path: Path, archive_copies: ArchiveCopies) -> Iterator[ArchiveHarness]:
    """An archive after two nights; ``older.db`` beside it is its database after the first."""

    def make(workshop: Path) -> Path:
        with FaultyStandIn(EditableWorld.generate(1, 1, 1)) as first:
            made = ArchiveHarness(workshop / "both" / "archive", first)
            assert made.night(NAME).exit_code == 0
            shutil.copy(made.root / "archive.db", workshop / "both" / "older.db")
            first.world.accounts[0].highlights[0].title = "Edited"
            assert made.night(NAME).exit_code == 0
        return workshop / "both"

    archive_copies.copy("an archive and an older copy", make, tmp_path / "both")
    with FaultyStandIn(EditableWorld.generate(1, 1, 1)) as upstream:
        yield ArchiveHarness(tmp_path / "both" / "archive", upstream)


def put_back(harness: ArchiveHarness) -> None:
    """Put the older copy in the place of the database."""
    lose_database(harness)
    shutil.copy(harness.root.parent / "older.db", harness.root / "archive.db")


def is_behind(harness: ArchiveHarness) -> bool:
    """Return what a Python program is told."""
    with Archive(harness.config) as archive:
        return archive.is_behind


def test_fault_j8_every_command_that_reads_names_an_older_copy(
    harness: ArchiveHarness, tmp_path: Path
) -> None:
    """In one line on stderr, with the command that mends it, and in the head of ``--json``; only then. What
    would remove files by its rows refuses it."""
    user = InProcessUser(tmp_path, harness.upstream, {"ARCHIVER_ARCHIVE": str(harness.root)})
    before = {words: user.run(*words, "--json") for words in _READERS}
    assert all(result.code == 0 and "behind" not in result.object for result in before.values())
    assert all(_WORDS not in result.err for result in before.values())
    put_back(harness)
    for words in _READERS:
        result = user.run(*words, "--json")
        assert (result.code, result.err.count(_WORDS), result.err.count("archiver db rebuild")) == (0, 1, 1)
        assert list(result.object)[:3] == ["exit_code", "outcome", "behind"]
        assert result.object["behind"] is True
    for words in _OTHER_READERS:
        result = user.run(*words)
        assert (result.code, result.err.count(_WORDS)) == (0, 1), words
    for words in _REMOVERS:
        refused = user.run(*words)
        assert (refused.code, _WORDS in refused.err) == (9, True), words
    checked = user.run("verify", "--json")
    assert (checked.code, checked.err.count(_WORDS), checked.object["behind"]) == (12, 1, True)
    assert user.run("forget", "nobody", "--dry-run").err.count(_WORDS) == 1
    missing = user.run("show", "nobody", "--json")
    assert (missing.code, missing.object["behind"]) == (2, True)
    assert user.run("db", "rebuild").code == 0
    after = user.run("status", "--json")
    assert "behind" not in after.object
    assert _WORDS not in after.err


def test_fault_j8_a_rebuild_says_that_a_snapshot_replaced_all_rows(
    harness: ArchiveHarness, tmp_path: Path
) -> None:
    """An older copy from before the newest snapshot keeps no row of its own."""
    user = InProcessUser(tmp_path, harness.upstream, {"ARCHIVER_ARCHIVE": str(harness.root)})
    assert user.run("db", "snapshot").code == 0
    put_back(harness)
    for args, verb in ((("--dry-run",), "would be"), ((), "were")):
        err = user.run("db", "rebuild", *args).err
        assert (
            f"all rows of the older database {verb} replaced by those of the journal's newest snapshot, "
            "with 0 entries after it\n"
        ) in err


@pytest.mark.parametrize("database", ["sqlite", pytest.param("postgresql", marks=pytest.mark.whole)])
def test_fault_j8_a_copy_from_before_the_first_line_of_the_journal_is_an_older_one(
    tmp_path: Path, database: str, request: pytest.FixtureRequest
) -> None:
    """As ``db backup`` makes it between ``init`` and the first run. It is brought up to date."""
    server: PostgresServer | None = request.getfixturevalue("postgres") if database == "postgresql" else None
    with ExitStack() as stack:
        upstream = stack.enter_context(FaultyStandIn(EditableWorld.generate(1, 1, 1)))
        url = None if server is None else stack.enter_context(server.database())
        harness = older = ArchiveHarness(tmp_path / "archive", upstream, url)
        create_archive(harness.config)
        assert not is_behind(harness)
        if server is not None and url is not None:
            copy = stack.enter_context(server.database(make_url(url).database or ""))
            older = replace(harness, database=copy)
        else:
            shutil.copy(harness.root / "archive.db", tmp_path / "older.db")
        assert harness.night(NAME).exit_code == 0
        rows = all_rows(harness)
        if server is None:
            put_back(harness)
        assert is_behind(older)
        with pytest.raises(JournalDiffers, match=_WORDS):
            older.night(NAME)
        found = older.verify().journal
        assert found.damage is not None
        assert _WORDS in found.damage
        assert plan_rebuild(older.config, Work()).was_copy
        assert rebuild(older).was_copy
        assert all_rows(older) == rows
        assert not is_behind(older)
        assert not older.verify().is_damaged


def test_fault_k25_readers_of_a_database_with_another_history_say_so(
    harness: ArchiveHarness, tmp_path: Path
) -> None:
    """They do not promise that a rebuild adds what only that database has: it follows the journal."""
    execute(harness, "update journal_head set file = 'x', length = 0")
    user = InProcessUser(tmp_path, harness.upstream, {"ARCHIVER_ARCHIVE": str(harness.root)})
    read = user.run("status", "--json")
    assert (read.code, read.object["behind"], len(read.err.splitlines())) == (0, True, 1)
    assert "different histories (to go on with the journal: archiver db rebuild; to go on" in read.err
    refused = user.run("export", "folder", "--prune", "out")
    assert (refused.code, "different histories" in refused.err) == (9, True)
    with served(harness.variables) as server:
        assert "different histories" in server.ask("/costs").text


def test_fault_j8_an_archive_that_python_has_open_is_compared_again(
    harness: ArchiveHarness, tmp_path: Path
) -> None:
    """An older copy is put in the place of its database: what would remove what it lacks is refused."""
    with Archive(harness.config) as archive:
        told = [archive.is_behind]
        archive.export_folder(tmp_path / "out")
        older = harness.root / "older.db"
        shutil.copy(harness.root.parent / "older.db", older)
        lose_database(harness)
        older.rename(harness.root / "archive.db")
        told.append(archive.is_behind)
        with pytest.raises(JournalDiffers, match="older copy"):
            archive.export_folder(tmp_path / "out", prune=True)
        assert rebuild(harness).is_complete
        assert not archive.is_behind


def test_fault_j8_every_page_of_serve_names_an_older_copy(
    harness: ArchiveHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a bar above its content, also on a page that is not there; the server notices what changes."""
    paths = ("/", "/timeline", "/changes", "/search?q=Edited", "/gaps", "/costs", "/item/1")
    with served(harness.variables) as server:
        assert not any("older copy" in server.ask(path).text for path in paths)
    put_back(harness)
    with served(harness.variables) as server:
        assert all("older copy" in server.ask(path).text for path in paths)
        assert "older copy" not in server.ask("/feed.atom").text
    monkeypatch.setattr("archiver.archive.session.COMPARED_SECONDS", 0.0)
    monkeypatch.setattr(serving, "_SECONDS_BETWEEN_LOOKS", 0.01)
    with open_for_reading(harness.config) as session, serving.DatabaseWatch(session) as watch:
        assert watch.read_lacking()
        (harness.root / "journal").rename(harness.root / "away")
        wait_until(lambda: not watch.read_lacking())


def test_fault_k12_serve_refuses_a_copy_from_before_forget_that_is_put_back(
    harness: ArchiveHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the marker of that time; and it shows the archive again once the database is rebuilt."""
    before = harness.root.parent / "before"
    shutil.copytree(harness.root, before)
    with Archive(harness.config) as archive:
        archive.forget(NAME)
    monkeypatch.setattr(serving, "_SECONDS_BETWEEN_LOOKS", 0.01)
    with open_for_reading(harness.config) as session, serving.DatabaseWatch(session) as watch:
        assert not watch.read_lacking()
        for name in ("archive.json", "archive.db"):
            (before / name).replace(harness.root / name)
        wait_until(lambda: is_refused(watch))
        rebuild(harness)
        wait_until(lambda: not is_refused(watch))


def is_refused(watch: serving.DatabaseWatch) -> bool:
    """Return whether pages are refused."""
    try:
        watch.read_lacking()
    except JournalDiffers:
        return True
    return False


def test_fault_j8_nothing_is_said_if_the_journal_cannot_be_read(harness: ArchiveHarness) -> None:
    """As in a copy without the journal, or of which the last file is damaged or cut off."""
    put_back(harness)
    assert is_behind(harness)
    newest = max((harness.root / "journal").rglob("*.gz"))
    newest.chmod(0o600)
    newest.write_bytes(b"no gzip" * 20)
    assert not is_behind(harness)
    shutil.rmtree(harness.root / "journal")
    assert not is_behind(harness)


def test_fault_j8_a_copy_from_before_a_new_journal_is_named_too(harness: ArchiveHarness) -> None:
    """``verify --repair`` began it; the file with the end that the copy knows is in ``quarantine/``."""
    newest = max((harness.root / "journal").rglob("*.gz"))
    newest.unlink()
    with Archive(harness.config) as archive:
        assert archive.repair().has_new_journal
    assert not is_behind(harness)
    put_back(harness)
    assert is_behind(harness)


@pytest.mark.whole
def test_fault_j8_in_a_bucket_too_and_nobody_waits_for_a_store_that_is_away(
    tmp_path: Path, server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One listing after the end that the database knows; without an answer in time, nothing is said."""
    server.set_environment(monkeypatch, limits=QUICK)

    def drip(handler: Any) -> bool:
        if handler.command != "GET" or ".jsonl.gz" not in handler.path:
            return False
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        with suppress(OSError):
            for _ in range(30):
                handler.wfile.write(b"x")
                time.sleep(0.5)
        return True

    with FaultyStandIn(EditableWorld.generate(1, 1, 1)) as upstream:
        harness = ArchiveHarness(tmp_path / "archive", upstream, storage=f"s3://{BUCKET}/pre/fix")
        assert harness.night(NAME).exit_code == 0
        shutil.copy(harness.root / "archive.db", tmp_path / "older.db")
        upstream.world.accounts[0].highlights[0].title = "Edited"
        assert harness.night(NAME).exit_code == 0
        assert not is_behind(harness)
        put_back(harness)
        assert is_behind(harness)
        server.act = drip
        started = time.monotonic()
        assert not is_behind(harness)
        assert time.monotonic() - started < 12
        server.stop()
        started = time.monotonic()
        assert not is_behind(harness)
        assert time.monotonic() - started < 8


@contextmanager
def _nights(harness: ArchiveHarness, count: int, enough: threading.Event) -> Iterator[threading.Thread]:
    """Let runs go on in another thread during the block, each with an edit: so many, or until enough."""

    def work() -> None:
        number = 0
        while number < count or not enough.is_set():
            number += 1
            harness.upstream.world.accounts[0].highlights[0].title = f"Edited {number}"
            assert harness.night(NAME).exit_code == 0

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield thread
    finally:
        enough.set()
        thread.join()


def _count_alarms(harness: ArchiveHarness, nights: int) -> tuple[int, int]:
    """Open the archive again and again during some nights, at least 21 times; return how often, and how often
    in vain.
    """
    looks = alarms = 0
    enough = threading.Event()
    with _nights(harness, nights, enough) as running:
        while running.is_alive():
            looks += 1
            alarms += is_behind(harness)
            if looks > 20:
                enough.set()
    return looks, alarms


def test_fault_j8_a_run_that_goes_on_gives_no_false_alarm(harness: ArchiveHarness) -> None:
    """However often somebody looks while entries are committed, shipped and recorded."""
    looks, alarms = _count_alarms(harness, 6)
    assert looks > 20
    assert alarms == 0


@pytest.mark.whole
def test_fault_j8_on_postgresql_too(tmp_path: Path, postgres: PostgresServer) -> None:
    """An older copy is named until it is brought up to date, and a run gives no false alarm."""
    with FaultyStandIn(EditableWorld.generate(1, 1, 1)) as upstream, postgres.database() as url:
        harness = ArchiveHarness(tmp_path / "archive", upstream, url)
        assert harness.night(NAME).exit_code == 0
        with postgres.database(make_url(url).database or "") as copy:
            looks, alarms = _count_alarms(harness, 6)
            assert looks > 20
            assert alarms == 0
            older = replace(harness, database=copy)
            assert (is_behind(harness), is_behind(older)) == (False, True)
            rebuild(older)
            assert not is_behind(older)
