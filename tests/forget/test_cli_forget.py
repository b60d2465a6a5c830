"""Forgetting an account by the command, with hostile lists of files, and in a bucket that may refuse."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from archiver.archive import account_traces
from archiver.archive.archive import Archive
from archiver.archive.archive_storage import ArchiveStorage
from archiver.archive.rebuild_archive import take_snapshot
from archiver.archive.storage_move import move_storage
from archiver.blobs import marker
from archiver.config import Config, config_files, load
from archiver.durable import enter_directory, open_directory, open_root
from archiver.errors import ArchiveDamaged, DiskFull, MarkerMismatch, StorageError
from archiver.store.spool import list_parts, remove_part
from archiver.work import Work
from tests.support.archive_harness import ArchiveHarness
from tests.support.command_line import InProcessUser, on_terminal
from tests.support.forgotten_account import (
    FORMER,
    FULL_NAME,
    NAME,
    OTHER,
    begin_to_forget,
    find_words,
    make_world,
    words_of,
)
from tests.support.rebuilt_archive import lose_database, rebuild, require_equal_after_rebuild
from tests.support.s3_server import BUCKET, QUICK, Handler, S3Server, refuse
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.table_dumps import execute


@pytest.fixture
def person(harness: ArchiveHarness) -> InProcessUser:
    """Somebody whose archive this is."""
    return InProcessUser(harness.root.parent)


def _files(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and not path.name.startswith("archive.db-")
    }


def test_a_dry_run_says_what_would_be_removed_and_changes_nothing(
    person: InProcessUser, harness: ArchiveHarness
) -> None:
    """The same numbers as afterwards."""
    before = _files(harness.root)
    dry = person.run("forget", NAME, "--dry-run")
    assert (dry.code, dry.out) == (0, "")
    assert "4 highlights, 6 items, 12 stored files" in dry.err
    assert "would be removed" in dry.err
    assert f"account {NAME} (70000000000):" in dry.err
    assert "also mine.sqlite, a copy of the database" in dry.err
    planned = person.run("forget", NAME, "--dry-run", "--json").object
    assert _files(harness.root) == before
    done = person.run("forget", NAME, "--yes", "--json").object
    assert (planned["dry_run"], done["dry_run"]) == (True, False)
    assert planned["removed"] == done["removed"]
    assert person.run("forget", NAME, "--yes").code == 2


def test_without_a_terminal_it_needs_yes(person: InProcessUser, harness: ArchiveHarness) -> None:
    """Code 2, and nothing is removed; the message names a command that works as printed."""
    before = _files(harness.root)
    refused = person.run("forget", NAME)
    assert refused.code == 2
    assert f"forget --dry-run {NAME}; then add --yes" in refused.err
    assert _files(harness.root) == before


@pytest.mark.parametrize(("typed", "code"), [(f"{NAME}\n", 0), (f"@{NAME}\n", 0), ("yes\n", 2), ("\n", 2)])
def test_on_a_terminal_the_name_is_typed_again(
    person: InProcessUser, harness: ArchiveHarness, typed: str, code: int
) -> None:
    """Anything else removes nothing."""
    ended, shown = on_terminal(person, "forget", NAME, typed=typed)
    assert ended == code, shown
    assert f"Type {NAME} to delete this" in shown
    assert harness.one("select count(*) from users") == (1 if code == 0 else 2)


@pytest.mark.parametrize(
    "reason",
    [f"asked by {NAME.upper()}", f"by {FULL_NAME.lower()}", "account 70000000000", "as 17800000000000000"],
)
def test_a_reason_that_names_the_account_is_refused(
    person: InProcessUser, harness: ArchiveHarness, reason: str
) -> None:
    """By its name, its full name, its pk, or that of a highlight."""
    refused = person.run("forget", NAME, "--yes", "--reason", reason)
    assert refused.code == 2
    assert "the reason names" in refused.err
    assert harness.one("select count(*) from users") == 2


@pytest.mark.parametrize("reason", ["two\nlines", "\x1b[2J", "not UTF-8: \udcff"])
def test_a_reason_that_a_table_cannot_show_is_refused(
    person: InProcessUser, harness: ArchiveHarness, reason: str
) -> None:
    """Nothing is removed."""
    refused = person.run("forget", NAME, "--yes", "--reason", reason)
    assert refused.code == 2
    assert "one line of text" in refused.err
    assert harness.one("select count(*) from users") == 2


def test_the_account_is_taken_off_the_list(person: InProcessUser, harness: ArchiveHarness) -> None:
    """Under any of its names; a run would archive it again. The output also names what it did not look at."""
    config = person.home / "config.toml"
    head = f'[archive]\ndirectory = "{harness.root}"\n\n'
    other = f'[[accounts]]\nusername = "{OTHER}"\n'
    config.write_text(f'{head}[[accounts]]\nusername = "{FORMER}"\n\n{other}')
    before = config.read_text()
    foreign = ["notes.txt", "log/mine.txt", "answers/mine.warc.gz"]
    for name in foreign:
        (harness.root / name).write_text("?")
    dry = person.run("--config", str(config), "forget", NAME, "--dry-run")
    assert f"also {FORMER} in the list of accounts" in dry.err
    assert config.read_text() == before
    done = person.run("--config", str(config), "forget", NAME, "--yes")
    assert done.code == 0, done.err
    assert FORMER not in config.read_text()
    assert config.read_text() == head + other
    for name in foreign:
        assert f"{name} in its directory" in done.err


def test_fault_k13_the_account_is_off_the_list_before_anything_is_removed(
    person: InProcessUser, harness: ArchiveHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that finishes a killed removal does not archive the account again: it ends with 11."""
    config = person.home / "config.toml"
    accounts = "".join(f'[[accounts]]\nusername = "{name}"\n' for name in (NAME, OTHER))
    config.write_text(f'[archive]\ndirectory = "{harness.root}"\n\n{accounts}')
    with monkeypatch.context() as patch:
        patch.setattr(account_traces, "remove_log_lines", lambda *_: 1 / 0)
        assert person.run("--config", str(config), "forget", NAME, "--yes").code == 1
    assert NAME not in config.read_text()
    person.more["HIKERAPI_TOKEN"] = "standin-key-that-nobody-asks-for"
    ended = person.run("--config", str(config), "run")
    assert (ended.code, "an account was forgotten meanwhile" in ended.err) == (11, True), ended.err
    assert harness.one("select count(*) from users") == 1


def test_fault_k1_a_request_of_a_stranger_changes_no_configuration(
    person: InProcessUser, harness: ArchiveHarness
) -> None:
    """It comes with the archive, as a row or a line of the journal. What finishes it leaves the list."""
    config = person.home / "config.toml"
    config.write_text(f'[archive]\ndirectory = "{harness.root}"\n\n[[accounts]]\nusername = "bbc"\n')
    before = config.read_text()
    execute(
        harness,
        "insert into removal_requests values (1, '2026-11-27T00:00:00.000000Z', null, '[\"bbc\"]', null)",
    )
    assert person.run("--config", str(config), "db", "upgrade").code == 0
    assert harness.one("select count(*) from removal_requests") == 0
    assert config.read_text() == before


def test_fault_k13_a_rebuild_says_that_it_has_finished_a_removal(
    person: InProcessUser, harness: ArchiveHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And that the older copy which it replaced is deleted: it does not name a file that is gone."""
    copy = shutil.copy(harness.root / "archive.db", person.home / "older.db")
    with monkeypatch.context() as patch:
        patch.setattr(account_traces, "remove_log_lines", lambda *_: 1 / 0)
        assert person.run("forget", NAME, "--yes").code == 1
    lose_database(harness)
    shutil.copy(copy, harness.root / "archive.db")
    rebuilt = person.run("db", "rebuild")
    assert rebuilt.code == 0, rebuilt.err
    assert "the removal of an account that was interrupted is finished" in rebuilt.err
    assert "there before is deleted: it still held the account" in rebuilt.err
    assert "is now" not in rebuilt.err


def test_a_list_that_cannot_be_changed_leaves_no_request(
    person: InProcessUser, harness: ArchiveHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a disk that is full: nothing is removed."""
    config = person.home / "config.toml"
    config.write_text(f'[archive]\ndirectory = "{harness.root}"\n\n[[accounts]]\nusername = "{NAME}"\n')

    def refuse(path: Path, text: str, *, dry_run: bool = False) -> None:
        if not dry_run:
            raise DiskFull("no space")

    with monkeypatch.context() as patch:
        patch.setattr(config_files, "replace_text", refuse)
        assert person.run("--config", str(config), "forget", NAME, "--yes").code == 8
    assert harness.one("select count(*) from removal_requests") == 0
    assert person.run("verify", "--read-data").code == 0
    assert harness.one("select count(*) from users") == 2


def test_fault_k24_comments_of_the_account_list_that_still_name_it_are_listed(
    person: InProcessUser, harness: ArchiveHarness
) -> None:
    """By any of its names, its full name or its pk, with file and line; they are their author's to remove.

    A dry run counts the lines as they are, and the command as it leaves them.
    """
    config, names = person.home / "config.toml", person.home / "accounts.txt"
    config.write_text(
        f'sync.accounts_file = "{names}"\n[archive]\ndirectory = "{harness.root}"  # asked by @{FORMER}\n\n'
        f'[[accounts]]\nusername = "{NAME}"  # {NAME}: goes with the entry\n\n# a comment of {FULL_NAME}\n'
        f'[[accounts]]\nusername = "{OTHER}"  # {OTHER}\n'
    )
    names.write_text(f"{NAME}\n# 70000000000 was private\n# others\n")
    present = [f"{config}, line 3", f"{config}, line 8", f"{names}, line 2"]
    places = [f"{config}, line 3", f"{config}, line 5", f"{names}, line 1"]
    dry = person.run("--config", str(config), "forget", NAME, "-n", "--json")
    done = person.run("--config", str(config), "forget", NAME, "--yes", "--json")
    for ended, lines in ((dry, present), (done, places)):
        assert ended.code == 0, ended.err
        assert [line for line in ended.err.splitlines() if "comment" in line] == [
            f"a comment still names it: {place}; remove it by hand" for place in lines
        ]
    removed, planned = done.object["removed"], dry.object["removed"]
    assert isinstance(planned, dict)
    assert removed == {**planned, "comments": places}
    assert f"# asked by @{FORMER}" in config.read_text()


@pytest.mark.parametrize("is_json", [False, True])
def test_the_same_command_finishes_one_that_was_interrupted(
    person: InProcessUser, harness: ArchiveHarness, is_json: bool
) -> None:
    """It says so, and ends with code 0 although the account is gone by then."""
    begin_to_forget(harness)
    again = person.run("forget", NAME, "--yes", *(["--json"] if is_json else []))
    assert again.code == 0
    if is_json:
        nothing = {"removed": None, "dry_run": False}
        assert again.object == {"exit_code": 0, "outcome": "ok", **nothing}
    else:
        assert again.out == ""
    assert "interrupted is finished" in again.err
    assert harness.one("select count(*) from deletions") == 0


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


def names_of_files(root: Path) -> set[Path]:
    return {path for path in root.rglob("*") if path.name not in ("archive.db-wal", "archive.db-shm")}


def _insert(root: Path, *names: str) -> None:
    with closing(sqlite3.connect(root / "archive.db")) as rows, rows:
        rows.executemany("insert into deletions values (?)", [(name,) for name in names])


def test_fault_k1_only_files_of_an_archive_are_deleted_by_name(
    harness: ArchiveHarness, outside: Path
) -> None:
    """Any other name in ``deletions`` is damage: it is named, and nothing is deleted, good names neither."""
    storage, before = ArchiveStorage(harness.config), names_of_files(harness.root.parent)
    good = next(harness.root.glob("blobs/*/*")).relative_to(harness.root).as_posix()
    for name in (*_HOSTILE, str(outside / "precious.txt")):
        with pytest.raises(ArchiveDamaged, match="nothing was deleted"):
            storage.delete([good, name], lambda: None)
        assert names_of_files(harness.root.parent) == before, name


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


@pytest.fixture
def server(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    server.set_environment(monkeypatch, limits=QUICK)
    return server


@pytest.fixture
def in_bucket(tmp_path: Path, server: S3Server) -> Iterator[ArchiveHarness]:
    """An archive of two accounts in a bucket, after a night."""
    with FaultyStandIn(make_world(is_edited=True)) as upstream:
        made = ArchiveHarness(tmp_path / "archive", upstream, storage=f"s3://{BUCKET}/pre/fix")
        assert made.night(NAME, OTHER).exit_code == 0
        yield made


def _refuse_deletion(server: S3Server, *, after: int = 0) -> None:
    left = after

    def act(handler: Handler) -> bool:
        nonlocal left
        if handler.command != "DELETE":
            return False
        left -= 1
        return left < 0 and refuse(403, "AccessDenied")(handler)

    server.act = act


def test_fault_s10_without_the_right_to_delete_nothing_is_removed(
    in_bucket: ArchiveHarness, server: S3Server
) -> None:
    """Code 8; the message names the right."""
    _refuse_deletion(server)
    with Archive(in_bucket.config) as archive, pytest.raises(StorageError, match="does not allow") as refused:
        archive.forget(NAME)
    assert refused.value.exit_code == 8
    assert "DeleteObject" in refused.value.hint
    assert in_bucket.one("select count(*) from users") == 2
    server.act = None
    assert in_bucket.night(NAME, OTHER).units == 2
    assert not in_bucket.verify().is_damaged


@pytest.mark.parametrize(
    "after", [pytest.param(1, marks=pytest.mark.whole), 4, pytest.param(12, marks=pytest.mark.whole)]
)
def test_fault_s10_a_right_that_is_lost_in_the_middle_lets_the_rest_wait(
    in_bucket: ArchiveHarness, server: S3Server, after: int
) -> None:
    """The account is gone from the rows. Every command that writes ends with code 8 until the right is back,
    and the next one then deletes the rest.
    """
    _refuse_deletion(server, after=after)
    with Archive(in_bucket.config) as archive, pytest.raises(StorageError, match="does not allow"):
        archive.forget(NAME)
    assert in_bucket.one("select count(*) from users") == 1
    with pytest.raises(StorageError, match="does not allow"):
        in_bucket.night(OTHER)
    server.act = None
    assert in_bucket.night(OTHER).units == 1
    for place in (in_bucket.root, server.objects):
        assert find_words(place, words_of(in_bucket)) == []
    require_equal_after_rebuild(in_bucket)


@pytest.mark.whole
def test_a_move_first_finishes_a_removal(in_bucket: ArchiveHarness, server: S3Server) -> None:
    """Nothing of the account gets to the new place."""
    begin_to_forget(in_bucket)
    move_storage(in_bucket.config, None, Work())
    in_bucket.storage = None
    for place in (in_bucket.root, server.objects):
        assert find_words(place, words_of(in_bucket)) == []
    assert not in_bucket.verify().is_damaged
    assert marker.read(in_bucket.root).removals == 1


def test_an_older_marker_in_the_directory_is_refused(in_bucket: ArchiveHarness) -> None:
    """It would let a database from before the removal pass."""
    older = (in_bucket.root / "archive.json").read_bytes()
    with Archive(in_bucket.config) as archive:
        archive.forget(NAME)
    (in_bucket.root / "archive.json").write_bytes(older)
    with pytest.raises(MarkerMismatch, match="from before"):
        in_bucket.night(OTHER)
