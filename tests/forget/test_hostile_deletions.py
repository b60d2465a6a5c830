"""An archive from somebody else, whose rows, journal or links name files that ``forget`` must not delete."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from archiver.archive.archive import Archive
from archiver.archive.archive_storage import ArchiveStorage
from archiver.archive.rebuild_archive import take_snapshot
from archiver.config import Config, load
from archiver.durable import enter_directory, open_directory, open_root
from archiver.errors import ArchiveDamaged, StorageError
from archiver.store.spool import list_parts, remove_part
from archiver.work import Work
from tests.support.archive_harness import ArchiveHarness
from tests.support.forgotten_account import NAME, OTHER, begin_to_forget, find_words, words_of
from tests.support.rebuilt_archive import lose_database, rebuild
from tests.support.s3_server import BUCKET, S3Server
from tests.support.table_dumps import execute

_DIGEST = "ab" * 32
_HOSTILE = (
    *("../outside/precious.txt", "blobs/../../outside/precious.txt", "./../outside/precious.txt"),
    *("quarantine/../../outside/precious.txt", "journal/2026/11/../../../../outside/precious.txt"),
    *("answers/2026/../../outside/precious.txt", "./quarantine/../archive.db", "./tmp/../archive.db"),
    *("archive.db", "archive.json", "lock", "./archive.db", "./archive.json", "./lock", "./blobs", "./.."),
    *("log/archiver.log", "tmp/note.txt", "answers/note.txt", "journal/note.jsonl.gz", "blobs/note"),
    *(f"ab/{_DIGEST}", f"../ab/{_DIGEST}", f"journal/ab/{_DIGEST}", "log/2026/11/x.warc.gz"),
    *(f"blobs/cd/{_DIGEST}", f"blobs/ab/{_DIGEST}/x", f"blobs//{_DIGEST}", f"blobs/ab/{_DIGEST.upper()}"),
    *("journal/2026/11/000000000001-0123456789.jsonl.gz", "answers/2026/11/x.warc.gz\n", "quarantine/"),
    *("", ".", "..", "/", "./", "quarantine/./x", "quarantine//x", "quarantine/x\0", "./\0", "7"),
)


@pytest.fixture
def outside(harness: ArchiveHarness) -> Path:
    """A directory beside the archive, with a file that nothing may touch."""
    place = harness.root.parent / "outside"
    place.mkdir()
    (place / "precious.txt").write_text("precious")
    return place


def snapshot(config: Config) -> None:
    """Run ``db snapshot``."""
    take_snapshot(config, Work())


def reread(config: Config) -> None:
    """Run ``reread``."""
    with Archive(config) as archive:
        archive.reread()


def reread_dry(config: Config) -> None:
    """Run ``reread --dry-run``."""
    with Archive(config) as archive:
        archive.reread(dry_run=True)


def verify(config: Config) -> None:
    """Run ``verify``."""
    with Archive(config) as archive:
        archive.verify()


def repair(config: Config) -> None:
    """Run ``verify --repair``."""
    with Archive(config) as archive:
        archive.repair()


def _files(root: Path) -> set[Path]:
    return {path for path in root.rglob("*") if path.name not in ("archive.db-wal", "archive.db-shm")}


def _insert(root: Path, *names: str) -> None:
    with closing(sqlite3.connect(root / "archive.db")) as rows, rows:
        rows.executemany("insert into deletions values (?)", [(name,) for name in names])


def test_fault_k1_only_files_of_an_archive_are_deleted_by_name(
    harness: ArchiveHarness, outside: Path
) -> None:
    """Any other name in ``deletions`` is damage: it is named, and nothing is deleted, good names neither."""
    storage, before = ArchiveStorage(harness.config), _files(harness.root.parent)
    good = next(harness.root.glob("blobs/*/*")).relative_to(harness.root).as_posix()
    for name in (*_HOSTILE, str(outside / "precious.txt")):
        with pytest.raises(ArchiveDamaged, match="nothing was deleted"):
            storage.delete([good, name], lambda: None)
        assert _files(harness.root.parent) == before, name


@pytest.mark.parametrize("command", [snapshot, reread, reread_dry, verify, repair])
@pytest.mark.parametrize("names", [("../outside/precious.txt",), ("7",), ("./archive.json", "lock")])
def test_fault_k1_an_archive_that_deletes_elsewhere_is_refused(
    harness: ArchiveHarness, outside: Path, command: Callable[[Config], None], names: tuple[str, ...]
) -> None:
    """By whatever writes, by its dry run, and by ``verify``: code 12, with the name of the file and the next
    step; once the row is gone, the archive is usable.
    """
    _insert(harness.root, *names)
    with pytest.raises(ArchiveDamaged) as caught:
        command(harness.config)
    assert caught.value.exit_code == 12
    assert "remove that row" in caught.value.hint
    assert (outside / "precious.txt").read_text() == "precious"
    assert (harness.root / "archive.json").exists()
    with closing(sqlite3.connect(harness.root / "archive.db")) as rows, rows:
        rows.execute("delete from deletions")
    command(harness.config)


@pytest.mark.parametrize("command", [snapshot, reread_dry, verify])
def test_fault_k1_a_request_to_remove_several_accounts_is_damage(
    harness: ArchiveHarness, command: Callable[[Config], None]
) -> None:
    """``forget`` records one account, by its pk or by one name. Nothing is removed."""
    names = f'["{NAME}", "{OTHER}"]'
    execute(
        harness,
        f"insert into removal_requests values (1, '2026-11-27T00:00:00.000000Z', null, '{names}', null)",
    )
    with pytest.raises(ArchiveDamaged, match="several accounts at once"):
        command(harness.config)
    assert harness.one("select count(*) from users") == 2


def test_fault_k1_a_line_of_the_journal_deletes_nothing_elsewhere(
    harness: ArchiveHarness, outside: Path
) -> None:
    """A rebuild gives the row back, and the removal of the file is refused."""
    _insert(harness.root, "../outside/precious.txt")
    with pytest.raises(ArchiveDamaged):
        snapshot(harness.config)  # the row is in the journal now
    lose_database(harness)
    with pytest.raises(ArchiveDamaged, match=r"\.\./outside/precious\.txt"):
        rebuild(harness)
    assert (outside / "precious.txt").read_text() == "precious"


def test_fault_k1_directories_that_are_links_lead_nowhere(harness: ArchiveHarness, outside: Path) -> None:
    """What they point to is neither deleted from nor emptied, and the directory is named."""
    storage, name = ArchiveStorage(harness.config), f"000000000001-{'0' * 8}.jsonl.gz"
    for place, file in (("blobs/ab", _DIGEST), ("journal/1999", f"11/{name}"), ("quarantine/journal-x", "y")):
        target = outside / place.replace("/", "-") / file
        target.parent.mkdir(parents=True)
        target.write_text("precious")
        link = harness.root / place
        if link.is_dir():
            link.rename(harness.root.parent / "aside")
        link.symlink_to(outside / place.replace("/", "-"))
        with pytest.raises(StorageError, match=place):
            storage.delete([f"{place}/{file}"], lambda: None)
        assert target.read_text() == "precious"


def test_fault_k1_an_account_with_a_segment_elsewhere_is_forgotten(
    harness: ArchiveHarness, outside: Path
) -> None:
    """The name of a segment is in a row too. What is no segment is neither deleted nor written again."""
    pk, words = harness.upstream.world.account(NAME).pk, words_of(harness)
    own = f"select min(id) from api_calls where subject = '{pk}'"
    execute(
        harness,
        f"update answers set segment = '../../outside/precious.txt' where api_call_id = ({own})",
    )
    with Archive(harness.config) as archive:
        archive.forget(NAME)
    assert (outside / "precious.txt").read_text() == "precious"
    assert harness.one("select count(*) from answers where segment like '%precious%'") == 0
    assert find_words(harness.root, words) == []


def test_fault_k1_objects_of_others_stay_in_the_bucket(
    server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A name is that of an object below the archive's prefix, or nothing is deleted."""
    server.set_environment(monkeypatch)
    variables = {"ARCHIVER_ARCHIVE": str(tmp_path), "ARCHIVER_ARCHIVE_STORAGE": f"s3://{BUCKET}/pre/fix/"}
    storage = ArchiveStorage(load(None, variables))
    assert storage.bucket is not None
    storage.bucket.put("archive.json", b"mine")
    for name in ("../../other/precious", "archive.json", "blobs/../archive.json", *_HOSTILE[:8]):
        with pytest.raises(ArchiveDamaged):
            storage.delete([name], lambda: None)
    assert storage.bucket.read_range("archive.json", 0, 10) == b"mine"


def test_fault_k70_workers_parts_elsewhere_are_not_removed(harness: ArchiveHarness, outside: Path) -> None:
    """If ``tmp`` is a link, nothing is listed or removed where it leads."""
    part = outside / "worker-x"
    part.mkdir()
    (part / "precious.txt").write_text("precious")
    (harness.root / "tmp").rename(harness.root.parent / "aside")
    (harness.root / "tmp").symlink_to(outside)
    remove_part(harness.root, part.name)
    with pytest.raises(StorageError):
        list_parts(harness.root)
    with closing(sqlite3.connect(harness.root / "archive.db")) as rows, rows:
        rows.execute(
            "insert into removal_requests values (1, '2026-11-27T00:00:00.000000Z', '1', '[]', null)"
        )
    with pytest.raises(StorageError):
        snapshot(harness.config)
    assert (part / "precious.txt").exists()


def test_fault_k73_a_copy_made_before_a_removal_has_ended_is_deleted_with_the_others(
    harness: ArchiveHarness,
) -> None:
    """An upgrade makes one when a newer version finishes the removal of a killed ``forget``."""
    words = words_of(harness)
    copy = (harness.root / "mine.sqlite").read_bytes()
    begin_to_forget(harness)
    (harness.root / "archive.db.0018-20261127T000000.000000Z").write_bytes(copy)
    (harness.root / "other.sqlite").write_bytes(copy)
    (harness.root / "other.sqlite-wal").write_bytes(copy)
    with Archive(harness.config) as archive:
        archive.finish_removal()
    assert find_words(harness.root, words) == []


def test_names_of_directories_do_not_lead_out(tmp_path: Path) -> None:
    """Neither upwards nor several levels down."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    top = open_root(tmp_path / "a")
    try:
        for name in ("..", "b/..", "/", "../a", b"..", b"b/c"):
            with pytest.raises(NotADirectoryError):
                open_directory(name, within=top)
        with pytest.raises(NotADirectoryError):
            enter_directory("..", 0o700, within=top)
    finally:
        os.close(top)
