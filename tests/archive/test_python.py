"""The archive from Python: what docs/python.md promises, on SQLite and on PostgreSQL."""

from __future__ import annotations

import gc
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import pytest

import archiver
from archiver import (
    Archive,
    Dated,
    Field,
    KeptAccount,
    Kind,
    Placed,
    Role,
    RunOptions,
    Said,
    errors,
    open_archive,
)
from archiver.archive.rebuild_archive import take_snapshot
from archiver.catalog import Catalog, record
from archiver.model.identity import Subject
from archiver.sandbox.standin import StandIn
from archiver.work import Work
from tests.support.databases import ARCHIVE_ID, NOW, SQLITE_EVERYDAY
from tests.support.sample_archive import HOSTILE, LATER, content, digest, make_nightly, shelve

_ELSEWHERE = timezone(timedelta(hours=-9))


@pytest.fixture
def shelved(tmp_path: Path, database: str | Path) -> tuple[Path, str | Path]:
    """An archive's directory, and its database."""
    shelve(tmp_path, database)
    return tmp_path, database


@pytest.fixture
def archive(shelved: tuple[Path, str | Path]) -> Iterator[Archive]:
    with open_archive(shelved[0], database=shelved[1]) as opened:
        yield opened


@pytest.fixture(scope="module")
def unread(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[Archive]:
    """An archive that is never asked for anything."""
    root = tmp_path_factory.mktemp("unread")
    shelve(root, Path(shutil.copy(sqlite_template, root / "archive.db")))
    with open_archive(root) as opened:
        yield opened


def test_everything_is_read_in_its_order(archive: Archive) -> None:
    """Accounts, highlights as on the profile, items by pk or in their places, files as they were kept; with
    types of their own.
    """
    assert (archive.id, archive.root.name != "") == (ARCHIVE_ID, True)
    assert [(account.username, account.usernames) for account in archive.accounts()] == [
        ("natgeo", ("natgeo",))
    ]
    assert [highlight.title for highlight in archive.highlights()] == ["Gifts", "Whales", HOSTILE]
    assert [item.pk for item in archive.items()] == ["10", "11", "20", "30"]
    assert [place.item.pk for place in archive.contents()] == ["20", "10", "10", "11", "30"]
    assert [file.role for file in archive.files()][:3] == [Role.AVATAR, Role.COVER, Role.COVER]
    kinds = [type(step) for step in archive.walk(titles="Wh*")]
    assert kinds == [KeptAccount, archiver.KeptHighlight, Placed, Placed]
    assert [place.highlight_pk for place in archive.places(archive.item("10"))] == ["2", "1"]


@SQLITE_EVERYDAY
def test_a_part_is_read_by_keywords(archive: Archive) -> None:
    """One or several accounts, highlights and title globs, spans of time, types, what is new; they narrow one
    another.
    """

    def pks(**narrowing: object) -> list[str]:
        return [item.pk for item in archive.items(**narrowing)]  # type: ignore[arg-type]

    assert pks(accounts="natgeo", titles="Whales") == ["10", "11"]
    assert pks(accounts=["@natgeo", archive.account("787132")], media_types={1}) == ["11", "30"]
    assert pks(accounts=iter(["natgeo"]), media_types=1, taken_from=NOW.astimezone(_ELSEWHERE)) == [
        "11",
        "30",
    ]
    assert pks(highlights=["2", archive.highlight("highlight:3")]) == ["10", "20", "30"]
    assert pks(highlights="1", titles="Gifts") == []
    assert pks(taken_before=NOW) == ["20"]
    assert pks(taken_from=NOW, titles=["Gi*", "nothing"]) == ["10"]
    assert pks(new_since=LATER) == []
    assert [place.item.pk for place in archive.contents(titles="Gi*")] == ["20", "10"]


@SQLITE_EVERYDAY
def test_what_is_not_held_is_told(archive: Archive) -> None:
    """NotHeld, with near names; a naive time, an unknown keyword and what is no highlight are mistakes of the
    caller.
    """
    with pytest.raises(errors.NotHeld, match="did you mean natgeo"):
        archive.account("natgoe")
    for ask in (archive.highlight, archive.item):
        with pytest.raises(errors.NotHeld):
            ask("999")
    with pytest.raises(errors.UsageError, match="time zone"):
        archive.items(taken_from=datetime(2026, 1, 1))  # noqa: DTZ001
    with pytest.raises(errors.UsageError, match="not a highlight"):
        archive.highlight("natgeo")
    with pytest.raises(TypeError):
        archive.items(user="natgeo")  # type: ignore[call-arg]
    assert archive.item("C10-code") == archive.item("10")


@SQLITE_EVERYDAY
def test_files_are_found_and_opened(archive: Archive) -> None:
    """By their absolute path and as bytes; a file that is not there is StorageError."""
    file = archive.item("10").file(Role.VIDEO)
    assert file is not None
    path = archive.path(file)
    assert path.is_absolute()
    assert path == archive.root / "blobs" / digest("10", Role.VIDEO)[:2] / digest("10", Role.VIDEO)
    with archive.open(file) as opened:
        assert opened.read() == path.read_bytes() == content("10", Role.VIDEO)
    path.unlink()
    with pytest.raises(errors.StorageError):
        archive.open(file)


@SQLITE_EVERYDAY
def test_sql_reads_and_cannot_write(archive: Archive) -> None:
    """Rows with their columns, at most so many."""
    rows = archive.query("SELECT pk FROM items ORDER BY pk", limit=2)
    assert (rows.columns, rows.rows, rows.truncated) == (("pk",), (("10",), ("11",)), True)
    with pytest.raises(errors.QueryRefused):
        archive.query("DELETE FROM items")
    assert archive.query("SELECT pk FROM items WHERE pk = :pk", {"pk": "11"}).rows == (("11",),)
    assert archive.query("SELECT 1 AS one", limit=10**30, seconds=float("inf")).rows == ((1,),)


@SQLITE_EVERYDAY
def test_what_is_said_is_found_by_words(archive: Archive) -> None:
    """As ``archiver search`` finds it, best first, with the texts that matched; of accounts, of kinds, since
    a time, so many.
    """

    def found(text: str, **narrowed: object) -> list[str]:
        hits = archive.search(text, **narrowed)  # type: ignore[arg-type]
        return [f"{hit.kind} {hit.subject_pk}" for hit in hits]

    assert found("nat") == ["account 787132"]
    assert found("gift") == ["highlight 2"]
    assert found("wild OR") == []
    (hit,) = archive.search("kamch wild")
    assert (hit.kind, hit.title, hit.code, hit.at) == (Kind.VIDEO, "Whales", "C10-code", NOW)
    assert hit.matched == (Said(Field.LOCATION, "Kamchatka"), Said(Field.HASHTAG, "wild"))
    assert found("nasa", accounts=[archive.account("natgeo")], kinds=["item", Kind.ACCOUNT]) == ["video 10"]
    assert found("whales", kinds="highlight") == ["highlight 1"]
    assert (
        found("whales", highlights="2")
        == found("whales", highlights=["2"], accounts="natgeo")
        == ["video 10"]
    )
    assert hit.dated is Dated.TAKEN
    assert found("whales", kinds=Kind.ACCOUNT) == found("whales", since=LATER) == []
    assert found("whales", since=NOW) == ["highlight 1", "video 10"]
    assert found("whales", limit=1) == ["highlight 1"]
    assert found("whales", limit=10**30) == found("whales")
    assert found("whales", limit=0) == found("whales", accounts=[]) == found("whales", kinds=iter(())) == []
    assert found("whales", highlights=()) == []


_LATE = datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))
_MISUSES: dict[str, tuple[Callable[[Archive], object], str]] = {
    "a media type in words": (lambda a: a.items(media_types="video"), r"1 \(photo\) or 2 \(video\)"),  # type: ignore[arg-type]
    "a media type that is none": (lambda a: a.walk(media_types={3}), r"3 is not a media type: use 1"),
    "a media type as a truth": (lambda a: a.items(media_types=True), "True is not a media type"),
    "an account by number": (
        lambda a: a.items(accounts=787132),  # type: ignore[arg-type]
        "is not a username, id, link or KeptAccount",
    ),
    "a highlight as an account": (
        lambda a: a.highlights(accounts=list(a.highlights())),  # type: ignore[arg-type]
        "is not a username, id, link or KeptAccount",
    ),
    "an account in bytes": (lambda a: a.contents(accounts=b"natgeo"), "b'natgeo' is not a username"),  # type: ignore[arg-type]
    "highlights by number": (lambda a: a.items(highlights=[1]), "is not a pk, link or KeptHighlight"),  # type: ignore[list-item]
    "a title that is none": (lambda a: a.highlights(titles=[3]), "3 is not a glob"),  # type: ignore[list-item]
    "a time as text": (lambda a: a.items(taken_from="2026-11-01"), "'2026-11-01' is not a datetime"),  # type: ignore[arg-type]
    "a day": (lambda a: a.items(taken_before=date(2026, 11, 1)), "is not a datetime"),  # type: ignore[arg-type]
    "a naive time": (lambda a: a.items(new_since=datetime(2026, 11, 1)), "new_since has no time zone"),  # noqa: DTZ001
    "a time before all": (lambda a: a.items(taken_from=_LATE), "is out of range in UTC"),
    "places of a pk": (lambda a: a.places("10"), "'10' is not a KeptItem"),  # type: ignore[arg-type]
    "an account by its number": (lambda a: a.account(787132), "787132 is not a username, id or link"),  # type: ignore[arg-type]
    "an empty name": (lambda a: a.account(""), "the target is empty"),
    "a highlight by its number": (lambda a: a.highlight(1), "1 is not a pk or link"),  # type: ignore[arg-type]
    "an item by its number": (lambda a: a.item(10), "10 is not a pk or code"),  # type: ignore[arg-type]
    "the path of a pk": (lambda a: a.path("10"), "is not a KeptFile"),  # type: ignore[arg-type]
    "the bytes of an item": (lambda a: a.open(a.item("10")), "is not a KeptFile"),  # type: ignore[arg-type]
    "SQL in bytes": (lambda a: a.query(b"SELECT 1"), "is not a statement"),  # type: ignore[arg-type]
    "parameters in their order": (lambda a: a.query("SELECT :a", ["1"]), "not a mapping of names"),  # type: ignore[arg-type]
    "a parameter of time": (
        lambda a: a.query("SELECT :a", {"a": NOW}),  # type: ignore[dict-item]
        r"a is datetime\.datetime.*: use a text, a number or None",
    ),
    "a parameter that is no number": (lambda a: a.query("SELECT :a", {"a": float("nan")}), "a is nan"),
    "half a character": (lambda a: a.query("SELECT :a", {"a": "\ud800"}), "the query failed: "),
    "SQL with half a character": (lambda a: a.query("SELECT '\ud800'"), "the query failed: "),
    "rows below none": (
        lambda a: a.query("SELECT 1", limit=-1),
        "-1 is not a whole number, 0 or more",
    ),
    "no time": (lambda a: a.query("SELECT 1", seconds=0), "0 is not a number above 0"),
    "a time that is no number": (
        lambda a: a.query("SELECT 1", seconds=float("nan")),
        "nan is not a number above 0",
    ),
    "a time in words": (lambda a: a.query("SELECT 1", seconds="60"), "'60' is not a number"),  # type: ignore[arg-type]
    "a search for nothing": (lambda a: a.search(""), "no word, number or emoji"),
    "a search for a number": (lambda a: a.search(5), "5 is not a text to search for"),  # type: ignore[arg-type]
    "a kind that is none": (
        lambda a: a.search("a", kinds="photos"),
        "account, highlight, item, photo, video",
    ),
    "kinds by number": (lambda a: a.search("a", kinds={1}), "kinds: 1 is invalid"),  # type: ignore[arg-type]
    "a search since no time": (lambda a: a.search("a", since="7d"), "since: '7d' is not a datetime"),  # type: ignore[arg-type]
    "hits below none": (lambda a: a.search("a", limit=-1), "-1 is not a whole number"),
    "changes of nobody": (lambda a: a.changes("natgoe"), "did you mean natgeo"),
    "changes of a highlight": (lambda a: a.changes("highlight:1"), "not an account"),
    "changes since a text": (lambda a: a.changes(since="7d"), "since: '7d' is not a datetime"),  # type: ignore[arg-type]
    "changes of a run that was not made": (lambda a: a.changes(run_id=99), "there is no run 99"),
    "gaps of nobody": (lambda a: a.gaps(["natgeo", "nobody"]), "no account nobody"),
    "costs by what is unknown": (
        lambda a: a.costs("week"),
        "by: 'week' is invalid: use one of day, month, account",
    ),
    "a share of nothing": (lambda a: a.verify(share=0), "share: 0 is not a number above 0, up to 1"),
    "a share of more than all": (lambda a: a.repair(share=5), "share: 5 is not a number above 0"),
    "the details of a number": (lambda a: a.show(787132), "787132 is not a username, id, pk"),  # type: ignore[arg-type]
    "current files of nobody": (lambda a: a.current_files("nobody"), "no account nobody"),
    "a plan without accounts": (lambda a: a.plan(), "no accounts are configured"),
    "a run over a number": (lambda a: a.run(787132), "787132 is not a username, id or link"),  # type: ignore[arg-type]
    "a run of fewer units than none": (lambda a: a.run("natgeo", max_units=-1), "max_units: -1 is not"),
    "an export to a number": (lambda a: a.export_site(3), "directory: 3 is not a path"),  # type: ignore[arg-type]
    "an export by an unknown link": (lambda a: a.export_site("x", link="soft"), "link: 'soft' is invalid"),
    "an export of an unknown table": (lambda a: a.export_tables("x", tables=["y"]), "no table y"),
    "an export of numbers": (lambda a: a.export_tables("x", tables=[3]), "tables: 3 is not a name"),  # type: ignore[list-item]
    "an export of no list": (lambda a: a.export_tables("x", tables=None), "tables: None is not a list"),  # type: ignore[arg-type]
    "a bag with a mapping": (lambda a: a.export_bagit("x", info={"X": "y"}), "is not a pair of a label"),  # type: ignore[arg-type]
    "a bag with a text": (lambda a: a.export_bagit("x", info=["ab"]), "'ab' is not a pair of a label"),  # type: ignore[list-item]
    "a template without words": (lambda a: a.export_folder("x", template=""), "is empty"),
    "a template that is a number": (lambda a: a.export_folder("x", template=5), "template: 5 is not a"),  # type: ignore[arg-type]
    "changes of a run that is a text": (lambda a: a.changes(run_id="x"), "run_id: 'x' is not a whole number"),  # type: ignore[arg-type]
    "an export of an unknown form": (lambda a: a.export_tables("x", form="xml"), "jsonl, csv"),
    "a table of an unknown name": (lambda a: a.table_lines("nothing"), "no table nothing"),
    "a template without an end": (lambda a: a.export_folder("x", template="{code}"), "ext"),
}


@pytest.mark.parametrize("misuse", _MISUSES)
def test_an_argument_that_cannot_be_used_is_told_at_once(unread: Archive, misuse: str) -> None:
    """As UsageError, before anything is read, in a sentence that names what is right: not as nothing found,
    nor from somewhere within.
    """
    ask, said = _MISUSES[misuse]
    with pytest.raises(errors.UsageError, match=said):
        ask(unread)


def test_a_place_that_is_none_is_told() -> None:
    """Before anything is looked for."""
    for wrong in (3, b"archive", "", "a\0b", "~nobody-here/archive"):
        with pytest.raises(errors.UsageError, match=r"^path: "):
            open_archive(wrong)  # type: ignore[arg-type]
    for wrong in (3, b"archive.db", "", "a\0b"):
        with pytest.raises(errors.UsageError, match=r"^database: "):
            open_archive(".", database=wrong)  # type: ignore[arg-type]


@SQLITE_EVERYDAY
def test_an_empty_list_is_met_by_nothing(archive: Archive) -> None:
    """What a program picked out may come to nothing, which must not mean everything; None is as if it were
    left out.
    """
    for name in ("accounts", "highlights", "titles", "media_types"):
        assert list(archive.items(**{name: []})) == [], name  # type: ignore[arg-type]
        assert list(archive.walk(**{name: iter(())})) == [], name  # type: ignore[arg-type]
        assert list(archive.items(**{name: None})) == list(archive.items()), name


@SQLITE_EVERYDAY
def test_a_query_leaves_the_process_as_it_was(archive: Archive) -> None:
    """SQLite's bound on memory would hold for all that the process does with SQLite from then on."""
    before = _heap_limit()
    archive.query("SELECT 1 AS one")
    assert _heap_limit() == before


def _heap_limit() -> object:
    with closing(sqlite3.connect(":memory:")) as own:
        return own.execute("PRAGMA hard_heap_limit").fetchone()


def test_fault_e1_an_open_archive_reads_the_database_that_is_there_now(
    tmp_path: Path, sqlite_template: Path
) -> None:
    """Rows, search and SQL; an iterator ends with the database that it began with."""
    database = Path(shutil.copy(sqlite_template, tmp_path / "archive.db"))
    shelve(tmp_path, database)
    with open_archive(tmp_path) as archive:
        begun, found = archive.items(), archive.query("SELECT pk FROM items").rows
        assert (next(begun).pk, len(found), len(list(archive.search("whales")))) == ("10", 4, 2)
        Path(shutil.copy(sqlite_template, tmp_path / "new.db")).replace(database)
        assert (list(archive.items()), list(archive.search("whales"))) == ([], [])
        assert archive.query("SELECT pk FROM items").rows == ()
        assert [item.pk for item in begun] == ["11", "20", "30"]
        database.unlink()
        with pytest.raises(errors.DatabaseError, match="there is no database at"):
            archive.query("SELECT pk FROM items")


@SQLITE_EVERYDAY
def test_an_iterator_left_half_way_holds_nothing_up(shelved: tuple[Path, str | Path]) -> None:
    """A run writes beside it and empties its WAL; forgotten, it gives its connection back; the end of the
    archive ends it, loudly.
    """
    root, database = shelved
    with open_archive(root, database=database) as archive:
        items = archive.items()
        assert next(items).pk == "10"
        with Catalog.open(database, write=True) as catalog:
            catalog.write(record.start_run, "run", LATER)
        reader = archive._open().catalog._reader
        assert reader.pool.checkedout() == 1  # type: ignore[attr-defined]
        del items
        gc.collect()
        assert reader.pool.checkedout() == 0  # type: ignore[attr-defined]
        with archive.items() as left:
            next(left)
        assert list(left) == []
        items = archive.items()
        next(items)
    assert reader.pool.checkedout() == 0  # type: ignore[attr-defined]
    for ask in (lambda: next(items), archive.accounts, lambda: archive.query("SELECT 1")):
        with pytest.raises(ValueError, match="closed"):
            ask()
    archive.close()


@SQLITE_EVERYDAY
def test_threads_read_at_the_same_time(archive: Archive) -> None:
    """Each with an iterator of its own."""
    counts: list[int] = []
    threads = [threading.Thread(target=lambda: counts.append(len(list(archive.walk())))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [9] * 6


_TWO_THREADS_REBUILD = """
import sys, threading
import archiver
reports, begin = [], threading.Barrier(2)
with archiver.open_archive(sys.argv[1], database=sys.argv[2]) as archive:
    def verify():
        for _ in range(3):
            begin.wait()
            reports.append(archive.verify(read_data=True, dry_run=True).is_damaged)
    threads = [threading.Thread(target=verify) for _ in range(2)]
    for thread in threads: thread.start()
    for thread in threads: thread.join(60)
print(reports)
"""


@SQLITE_EVERYDAY
def test_fault_h64_threads_rebuild_rows_at_the_same_time(shelved: tuple[Path, str | Path]) -> None:
    """In a process of their own: the suite replaces what creates tables."""
    with open_archive(shelved[0], database=shelved[1]) as archive:
        take_snapshot(archive._config, Work())
    command = [sys.executable, "-c", _TWO_THREADS_REBUILD, *map(str, shelved)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (ended.stdout, ended.returncode) == (f"{[False] * 6}\n", 0), ended.stderr


@SQLITE_EVERYDAY
def test_the_list_of_an_archive_that_is_mounted_late_counts_from_then_on(
    shelved: tuple[Path, str | Path], tmp_path: Path
) -> None:
    """The configuration names another copy of the archive: nothing says that it is one until its disk is
    there.
    """
    root, copy = shelved[0], tmp_path / "copy"
    config = tmp_path / "own.toml"
    config.write_text(f"[archive]\ndirectory = '{copy}'\n[[accounts]]\nusername = 'neverreached'\n")
    with open_archive(root, database=shelved[1], config=config) as archive:

        def unreached() -> list[str]:
            return [gap.subject_pk for gap in archive.gaps() if gap.subject is Subject.TARGET]

        assert "neverreached" not in unreached()
        copy.mkdir()
        shutil.copy(root / "archive.json", copy)
        assert "neverreached" in unreached()


_ON_A_READ_ONLY_DISK = """
import subprocess, sys
import archiver
for how in (["--bind", sys.argv[1], sys.argv[1]], ["-o", "remount,bind,ro", sys.argv[1]]):
    subprocess.run(["mount", *how], check=True)
with archiver.open_archive(sys.argv[1]) as archive:
    print(len(list(archive.walk())), archive.open(archive.item("10").held[0]).read()[:2])
"""


@pytest.mark.whole
def test_an_archive_on_a_read_only_disk_is_read(tmp_path: Path, sqlite_template: Path) -> None:
    """Elsewhere SQLite may leave its two empty companions beside the database, and nothing else is made or
    altered.
    """
    database = Path(shutil.copy(sqlite_template, tmp_path / "archive.db"))
    shelve(tmp_path, database)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    unshared = ["unshare", "--user", "--map-root-user", "--mount"]
    if shutil.which("unshare") and not subprocess.run([*unshared, "true"], capture_output=True).returncode:
        command = [*unshared, sys.executable, "-c", _ON_A_READ_ONLY_DISK, str(tmp_path)]
        ended = subprocess.run(command, capture_output=True, text=True)
        assert (ended.stdout, ended.stderr) == ("9 b'\\xff\\xd8'\n", "")
    with open_archive(str(tmp_path)) as archive:
        assert len(list(archive.walk())) == 9
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert {path: at for path, at in after.items() if path.suffix not in (".db-shm", ".db-wal")} == before


def test_what_commands_report_is_reported(archive: Archive) -> None:
    """Numbers, changes of accounts and of a time, gaps, costs; an empty list of accounts selects nothing."""
    status = archive.status()
    assert (status.accounts, status.highlights, status.items, status.units) == (1, 3, 4, 1)
    assert [change.field for change in archive.changes("natgeo")] == ["title", "presence"]
    assert list(archive.changes(since=LATER + timedelta(days=1))) == list(archive.changes([])) == []
    assert {gap.user_pk for gap in archive.gaps()} == {"787132"}
    assert list(archive.gaps("natgeo")) == list(archive.gaps(archive.account("natgeo")))
    assert list(archive.gaps([])) == []
    assert archive.costs("endpoint").total.units == archive.costs().rows[0].units == 1
    assert not archive.verify(read_data=True).is_damaged
    files = list(archive.current_files("natgeo"))
    assert files[0].role is Role.AVATAR
    assert Role.COVER in {file.role for file in files}
    assert len({file.blob.sha256 for file in files}) == len(files)


def test_a_program_makes_runs(tmp_path: Path) -> None:
    """It plans, runs, exports, repairs what was lost and reads the stored answers again, on the stand-in."""
    with StandIn() as upstream:
        make_nightly(tmp_path, upstream)
        with open_archive(tmp_path / "nightly", config=tmp_path / "nightly.toml") as archive:
            (plan,) = archive.plan()
            assert (plan.units, upstream.units) == (2, 0)
            assert archive.balance().units > 0
            events: list[object] = []
            summary = archive.run(observe=events.append)
            assert (summary.command, summary.outcome, summary.units) == ("run", "ok", upstream.units)
            assert events
            assert archive.status().files == len(list(archive.files()))
            again = archive.run("natgeo")
            assert (again.command, again.units, again.items_new) == ("backup", 1, 0)
            assert archive.run(options=RunOptions(full=True), max_units=1).exit_code == 5
            lost = next(file for file in archive.files() if file.role is Role.VIDEO)
            archive.path(lost).unlink()
            report = archive.repair()
            assert (report.lost, report.units > 0) == (1, True)
            assert archive.run(report.targets, options=report.run_options, command="repair").exit_code == 0
            assert archive.status().lost == 0
            assert archive.reread().recovery.answers == 0
            done = archive.export_folder(tmp_path / "out", accounts="natgeo", dry_run=True)
            assert (done.new > 0, (tmp_path / "out").exists()) == (True, False)


def test_a_run_needs_a_key(tmp_path: Path) -> None:
    """From the configuration, or as an argument; a program that only reads needs none."""
    with StandIn() as upstream:
        make_nightly(tmp_path, upstream)
        with open_archive(tmp_path / "nightly") as archive, pytest.raises(errors.KeyMissing):
            archive.run("natgeo")
        (tmp_path / "hikerapi.token").write_text("wrong")
        config = tmp_path / "nightly.toml"
        with open_archive(tmp_path / "nightly", config=config) as archive:
            assert archive.run("natgeo").exit_code == 4
        with open_archive(tmp_path / "nightly", config=config, key=upstream.key) as archive:
            assert archive.run("natgeo", options=RunOptions(list_only=True)).exit_code == 0


def test_an_archive_that_is_none_is_refused(tmp_path: Path, sqlite_template: Path) -> None:
    """No marker, no database, or the database of another archive."""
    with pytest.raises(errors.NoArchive):
        open_archive(tmp_path)
    database = Path(shutil.copy(sqlite_template, tmp_path / "archive.db"))
    shelve(tmp_path, database)
    with pytest.raises(errors.DatabaseError):
        open_archive(tmp_path, database=tmp_path / "nothing.db")
    marker = tmp_path / "archive.json"
    marker.write_text(marker.read_text().replace(ARCHIVE_ID, "another"))
    with pytest.raises(errors.MarkerMismatch):
        open_archive(tmp_path)


def test_importing_the_package_imports_nothing_else() -> None:
    """What ``__all__`` promises is looked up when it is asked for, all of it; other names are errors."""
    said = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, archiver; print(sorted(m for m in sys.modules if m.startswith('archiver')))",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert said == "['archiver']\n"
    assert all(getattr(archiver, name) for name in archiver.__all__)
    assert set(archiver.__all__) <= set(dir(archiver))
    with pytest.raises(AttributeError):
        archiver.nothing  # type: ignore[attr-defined]  # noqa: B018
