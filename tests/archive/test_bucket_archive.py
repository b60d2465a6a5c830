"""A whole archive in a bucket: what is where, and that every command works on it."""

from __future__ import annotations

import json
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import psycopg
import pytest

from archiver.archive.archive import Archive
from archiver.archive.creation import restore_marker
from archiver.archive.database import upgrade_schema
from archiver.archive.rebuild_archive import plan_rebuild, plan_snapshot, rebuild_database, take_snapshot
from archiver.archive.session import open_for_reading
from archiver.archive.storage_move import move_storage
from archiver.blobs import marker
from archiver.catalog import Catalog
from archiver.errors import (
    JournalDamaged,
    JournalDiffers,
    MarkerMismatch,
    StoppedBySignal,
    StorageError,
    UsageError,
)
from archiver.hiker import endpoints
from archiver.model.values import replace
from archiver.store import bucket_client
from archiver.work import StopFlag, Work
from tests.support.archive_harness import ArchiveHarness
from tests.support.command_line import CommandLineUser
from tests.support.databases import PostgresServer
from tests.support.rebuilt_archive import all_rows, lose_database, rebuild, require_equal_after_rebuild
from tests.support.s3_server import (
    BUCKET,
    Act,
    Handler,
    S3Server,
    at,
    client_environment,
    list_without_end,
    rclone_server,
    refuse,
    reset,
    s3_server,
)
from tests.support.standin import actions
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld
from tests.support.table_dumps import execute

ACCOUNT = "account0000"


@pytest.fixture
def harness(tmp_path: Path, server: S3Server) -> Iterator[ArchiveHarness]:
    """An archive of one account with two highlights, in a bucket, after its first night."""
    with FaultyStandIn(EditableWorld.generate(1, 2, 4)) as upstream:
        harness = ArchiveHarness(tmp_path / "archive", upstream, storage=f"s3://{BUCKET}/pre/fix/")
        assert harness.night(ACCOUNT).exit_code == 0
        yield harness


def stored(server: S3Server, place: str) -> list[str]:
    """Return the names of the objects below a place of the archive."""
    root = server.objects / "pre/fix"
    return sorted(p.relative_to(root).as_posix() for p in (root / place).rglob("*") if p.is_file())


def test_everything_but_the_database_is_in_the_bucket(harness: ArchiveHarness, server: S3Server) -> None:
    """The directory holds marker, database, lock, log and an empty spool."""
    names = {path.name for path in harness.root.iterdir()}
    assert names <= {"archive.json", "archive.db", "archive.db-wal", "archive.db-shm", "lock", "log", "tmp"}
    assert [path for path in (harness.root / "tmp").rglob("*") if path.is_file()] == []
    assert (server.objects / "pre/fix/archive.json").read_bytes() == (
        harness.root / "archive.json"
    ).read_bytes()
    digests = {str(sha256) for (sha256,) in harness.rows("select sha256 from blobs")}
    assert {name.rpartition("/")[2] for name in stored(server, "blobs")} == digests
    segments = {f"answers/{segment}" for (segment,) in harness.rows("select segment from answers")}
    assert set(stored(server, "answers")) == segments
    assert stored(server, "journal")
    assert harness.one("select storage from archive") == f"s3://{BUCKET}/pre/fix"


def test_a_second_night_uploads_no_blob_again(harness: ArchiveHarness, server: S3Server) -> None:
    """It costs one unit; only the tray and the journal are put."""
    server.calls()
    summary = harness.night(ACCOUNT)
    assert (summary.exit_code, summary.units, summary.files_new) == (0, 1, 0)
    put = [call for call in server.calls() if call.startswith("PUT")]
    assert [call for call in put if "/blobs/" in call] == []
    assert len([call for call in put if "/answers/" in call]) == 1


def test_fault_s5_it_can_be_verified_and_damage_is_found_and_fetched_again(
    harness: ArchiveHarness, server: S3Server
) -> None:
    """A blob whose bytes were changed is recorded as lost, put into quarantine, and uploaded again."""
    with Archive(harness.config) as archive:
        sound = archive.verify(read_data=True)
        assert (sound.blobs.damaged, sound.answers.damaged, sound.journal.is_damaged) == ((), (), False)
    broken = server.objects / "pre/fix" / stored(server, "blobs")[0]
    right = broken.read_bytes()
    broken.write_bytes(bytes(len(right)))
    with Archive(harness.config) as archive:
        report = archive.repair(read_data=True)
        assert [damage.sha256 for damage in report.verification.blobs.damaged] == [broken.name]
    assert [name for name in stored(server, "quarantine") if broken.name in name]
    assert harness.night(ACCOUNT, full=True).exit_code == 0
    assert broken.read_bytes() == right


@pytest.mark.parametrize("way", ["repair", pytest.param("rebuild", marks=pytest.mark.whole)])
def test_fault_s5_a_damaged_end_of_the_journal_is_put_right(
    harness: ArchiveHarness, server: S3Server, way: str
) -> None:
    """No kill leaves bytes after the last whole part of an object. Both ways out of the message work."""
    last = server.objects / "pre/fix" / stored(server, "journal")[-1]
    last.write_bytes(last.read_bytes() + b"damage")
    with pytest.raises(JournalDamaged, match="is damaged after byte") as refused:
        harness.night(ACCOUNT)
    assert ("verify --repair" in refused.value.hint, "--skip-damage" in refused.value.hint) == (True, True)
    if way == "repair":
        with Archive(harness.config) as archive:
            assert archive.repair().has_new_journal
    else:
        lose_database(harness)
        rebuild_database(harness.config, Work(), skip_damage=True)
    assert [name for name in stored(server, "quarantine") if name.endswith(last.name)]
    summary = harness.night(ACCOUNT)
    assert (summary.exit_code, summary.units, summary.files_new) == (0, 1, 0)
    require_whole(harness)


def test_files_are_read_and_exported(harness: ArchiveHarness, tmp_path: Path) -> None:
    """``open`` reads, ``location`` is an s3 name, and an export has all bytes."""
    with Archive(harness.config) as archive:
        files = list(archive.files())
        for file in files:
            with archive.open(file) as opened:
                assert len(opened.read()) == file.blob.size
            assert archive.location(file).startswith(f"s3://{BUCKET}/pre/fix/blobs/")
            with pytest.raises(UsageError, match="open"):
                archive.path(file)
        archive.export_folder(tmp_path / "export")
    exported = [path for path in (tmp_path / "export").rglob("*.*") if path.suffix in (".jpg", ".mp4")]
    assert sum(path.stat().st_size for path in exported) >= sum(
        file.blob.size for file in files if file.owner.subject == "item"
    )


def test_a_link_is_refused_before_a_row_is_read(
    harness: ArchiveHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of millions of rows too: nothing of a bucket can be linked to, whatever is selected."""
    with Archive(harness.config) as archive:
        assert archive.id  # it is open
        monkeypatch.setattr(Catalog, "snapshot", lambda _: 1 / 0)
        for export in (archive.export_folder, archive.export_site, archive.export_bagit):
            for way in ("reflink", "hardlink"):
                with pytest.raises(UsageError, match="the archive is in a bucket"):
                    export(tmp_path / "export", link=way)
    assert not (tmp_path / "export").exists()


def test_the_database_is_rebuilt_from_the_bucket(harness: ArchiveHarness) -> None:
    """All rows come back from the journal that is there."""
    require_equal_after_rebuild(harness)
    assert harness.night(ACCOUNT).units == 1


@pytest.mark.parametrize("storage", [None, f"s3://{BUCKET}/elsewhere"])
def test_fault_s4_another_storage_is_refused(harness: ArchiveHarness, storage: str | None) -> None:
    """Nobody reads or writes where the archive is not."""
    harness.storage = storage
    with pytest.raises(StorageError, match="the archive is stored in"):
        harness.night(ACCOUNT)
    with pytest.raises(StorageError, match="the archive is stored in"), open_for_reading(harness.config):
        pass


@pytest.mark.parametrize("storage", [None, f"s3://{BUCKET}/elsewhere"])
def test_fault_s4_a_rebuild_reads_only_the_journal_that_the_marker_names(
    harness: ArchiveHarness, storage: str | None
) -> None:
    """A journal that the archive has left would give an old database. The message names the setting."""
    lose_database(harness)
    harness.storage = storage
    with pytest.raises(StorageError, match="the archive is stored in") as refused:
        rebuild(harness)
    assert refused.value.hint == f'set archive.storage = "s3://{BUCKET}/pre/fix"'
    assert not (harness.root / "archive.db").exists()


def test_fault_s4_a_second_archive_in_the_same_place_is_refused(
    harness: ArchiveHarness, tmp_path: Path
) -> None:
    """A new archive is not made where another one is."""
    other = ArchiveHarness(tmp_path / "other", harness.upstream, storage=harness.storage)
    with pytest.raises((StorageError, MarkerMismatch), match="has an archive already"):
        other.night(ACCOUNT)
    assert not (tmp_path / "other").exists()


def test_fault_k25_two_machines_that_write_at_once_are_told(
    harness: ArchiveHarness, server: S3Server, tmp_path: Path
) -> None:
    """Both nights end well. After that, a command that writes ends with code 9, unless the last file of the
    journal is that of the machine, and ``archive.json`` counts no more lines than it has written: there
    ``verify`` names a file that is not its own. So one of them is told, or both.
    """
    shutil.copytree(harness.root, tmp_path / "copy")
    machines = harness, ArchiveHarness(tmp_path / "copy", harness.upstream, storage=harness.storage)
    with ThreadPoolExecutor(2) as pool:
        nights = list(pool.map(lambda machine: machine.night(ACCOUNT, full=True).exit_code, machines))
    assert nights == [0, 0]
    told, expected = [], []
    for machine in machines:
        ((written, last),) = machine.rows("select seq, file from journal_head")
        counted = json.loads((server.objects / "pre/fix/archive.json").read_text())["journal"]["seq"]
        is_at_the_end = stored(server, "journal")[-1] == f"journal/{last}" and int(str(written)) >= counted
        expected.append(0 if is_at_the_end else 9)
        try:
            machine.night(ACCOUNT)
        except JournalDiffers as error:
            told.append(error.exit_code)
        else:
            told.append(0)
            assert "two databases wrote to this journal" in (machine.verify().journal.damage or "")
    assert told == expected
    assert 9 in told


@pytest.mark.parametrize("place", ["pre", "", "pre/fix/below/two"])
def test_fault_k21_an_archive_inside_another_is_refused(
    harness: ArchiveHarness, tmp_path: Path, place: str
) -> None:
    """Neither above nor below the prefix of another: the two would list each other's objects."""
    other = ArchiveHarness(tmp_path / "other", harness.upstream, storage=f"s3://{BUCKET}/{place}".rstrip("/"))
    with pytest.raises(StorageError, match=rf"s3://{BUCKET}/pre/fix/archive.json is there"):
        other.night(ACCOUNT)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    "command",
    [
        *("run", "repair"),
        *(
            pytest.param(command, marks=pytest.mark.whole)
            for command in ("upgrade", "snapshot", "rebuild", "rebuild from nothing")
        ),
    ],
)
def test_fault_s4_another_archive_behind_a_wrong_endpoint_is_not_touched(
    harness: ArchiveHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """At the endpoint of another store, the same place may belong to another archive. No command writes
    there: above all, none takes its journal for a damaged one of ours.
    """

    def use() -> None:
        if command == "run":
            harness.night(ACCOUNT)
        elif command == "upgrade":
            upgrade_schema(harness.config)
        elif command == "snapshot":
            take_snapshot(harness.config, Work())
        elif command == "repair":
            with Archive(harness.config) as archive:
                archive.repair()
        else:
            if command == "rebuild from nothing":
                lose_database(harness)
            rebuild(harness)

    with s3_server(tmp_path / "another store") as wrong:
        monkeypatch.setenv("AWS_ENDPOINT_URL", wrong.url)
        other = ArchiveHarness(tmp_path / "other", harness.upstream, storage=harness.storage)
        assert other.night(ACCOUNT).exit_code == 0
        before = contents(wrong)
        with pytest.raises(MarkerMismatch, match="belongs to another archive"):
            use()
        assert contents(wrong) == before


def contents(server: S3Server) -> dict[str, bytes]:
    """Return all objects, by name."""
    files = (path for path in server.objects.rglob("*") if path.is_file())
    return {path.relative_to(server.objects).as_posix(): path.read_bytes() for path in files}


def test_fault_s2_a_store_that_is_away_at_the_start_costs_nothing(
    harness: ArchiveHarness, server: S3Server
) -> None:
    """The run ends before a unit is spent, and the next one goes on."""
    server.act = reset
    with pytest.raises(StorageError):
        harness.night(ACCOUNT)
    assert harness.upstream.units == 0
    server.act = None
    assert harness.night(ACCOUNT).exit_code == 0


def test_fault_s3_a_store_that_has_nothing_for_a_while_has_lost_nothing(
    harness: ArchiveHarness, server: S3Server
) -> None:
    """A gateway without its store, or a bucket that was renamed, answers 404: the run ends with code 8, no
    blob is recorded as lost, and nothing is paid for again.
    """
    assert harness.night(ACCOUNT).exit_code == 0
    quiet = harness.night(ACCOUNT).units
    harness.sleep(days=20)  # all blobs are looked for
    refused, left = refuse(404, ""), iter(range(8))
    server.act = lambda handler: next(left, None) is None and refused(handler)
    assert harness.night(ACCOUNT).exit_code == 8
    server.act = None
    assert harness.one("SELECT count(*) FROM blobs WHERE lost_at IS NOT NULL") == 0
    assert harness.night(ACCOUNT).units == quiet


@pytest.mark.parametrize("keep_answers", ["all", pytest.param("fetched", marks=pytest.mark.whole)])
@pytest.mark.parametrize("place", ["blobs", pytest.param("answers", marks=pytest.mark.whole), "journal"])
def test_fault_s3_a_store_that_goes_away_during_a_run_loses_nothing(
    harness: ArchiveHarness, server: S3Server, place: str, keep_answers: str
) -> None:
    """The run ends with code 8, and the next one makes the archive whole. The ledger states what was billed,
    and no page is paid for twice.
    """
    harness.environ["ARCHIVER_ARCHIVE_KEEP_ANSWERS"] = keep_answers
    add_highlights(harness)
    before = ledger(harness)
    refused = refuse(503, "ServiceUnavailable")
    begun = threading.Event()

    def fail(handler: Handler) -> bool:
        if handler.command == "PUT" and f"/{place}/" in handler.path:
            begun.set()
        return begun.is_set() and refused(handler)

    server.act = fail
    if place == "journal":  # the last of it is written after the run has its result
        with pytest.raises(StorageError, match="503"):
            harness.night(ACCOUNT)
    else:
        assert harness.night(ACCOUNT).exit_code == 8
    assert begun.is_set()
    paid, billed = pages_paid(harness), harness.upstream.units
    assert ledger(harness) == before + billed
    server.act = None
    assert harness.night(ACCOUNT).exit_code == 0
    paid += pages_paid(harness)
    assert ledger(harness) == before + billed + harness.upstream.units
    assert (len(paid), set(paid.values())) == (3, {1})
    require_whole(harness)


@pytest.mark.whole
def test_fault_s3_a_store_that_goes_away_ends_the_paying_at_once(
    harness: ArchiveHarness, server: S3Server
) -> None:
    """Pages that are requested already are waited for, however slow they are, and kept; no more are."""
    harness.environ["ARCHIVER_ARCHIVE_KEEP_ANSWERS"] = "fetched"
    world = harness.upstream.world
    for n in range(24):
        world.add_highlight(world.accounts[0].pk, f"New {n}", 1)
    harness.upstream.faults.add(actions.pace(1.0), path=endpoints.HIGHLIGHT, nth=2, count=None)
    server.act = fail_at("PUT", "answers")
    before = ledger(harness)
    assert harness.night(ACCOUNT).exit_code == 8
    paid, billed = pages_paid(harness), harness.upstream.units
    assert 2 <= sum(paid.values()) <= 16
    assert ledger(harness) == before + billed
    server.act = None
    harness.upstream.faults.clear()
    assert harness.night(ACCOUNT).exit_code == 0
    paid += pages_paid(harness)
    assert (len(paid), set(paid.values())) == (24, {1})
    require_whole(harness)


def ledger(harness: ArchiveHarness) -> int:
    """Return the units of all calls, as the ledger has them."""
    return int(str(harness.one("select sum(units) from api_calls")))


def pages_paid(harness: ArchiveHarness) -> Counter[str]:
    """Return how often the last night has paid for the page of each highlight."""
    calls = harness.upstream.requests.api_calls(endpoints.HIGHLIGHT)
    return Counter(call.subject.highlight for call in calls if call.units)


def fail_at(method: str, place: str) -> Act:
    """Refuse the requests of this method below a place of the archive."""
    return at(method, f"/{place}/", refuse(503, "ServiceUnavailable"))


def add_highlights(harness: ArchiveHarness) -> None:
    world = harness.upstream.world
    for n in range(3):
        world.add_highlight(world.accounts[0].pk, f"New {n}", 3)


def require_whole(harness: ArchiveHarness) -> None:
    found = harness.verify()
    assert (found.blobs.damaged, found.answers.damaged, found.journal.is_damaged) == ((), (), False)
    assert harness.one("select count(*) from highlights where completed_at is null") == 0


def test_fault_s7_an_answer_that_the_store_cannot_deliver_now_is_not_paid_for_again(
    harness: ArchiveHarness, server: S3Server
) -> None:
    """The run ends with code 8, and the next one uses the answer."""
    add_highlights(harness)
    server.act = fail_at("PUT", "blobs")  # so that the files of the pages are still missing
    assert harness.night(ACCOUNT).exit_code == 8
    paid = pages_paid(harness)
    assert paid
    server.act = fail_at("GET", "answers")
    assert harness.night(ACCOUNT).exit_code == 8
    paid += pages_paid(harness)
    server.act = None
    assert harness.night(ACCOUNT).exit_code == 0
    paid += pages_paid(harness)
    assert set(paid.values()) == {1}
    require_whole(harness)


def test_trays_that_are_not_kept_never_reach_the_bucket(harness: ArchiveHarness, server: S3Server) -> None:
    """With ``keep_answers = "fetched"`` a successful run leaves only pages, and an empty spool."""
    harness.environ["ARCHIVER_ARCHIVE_KEEP_ANSWERS"] = "fetched"
    server.calls()
    assert harness.night(ACCOUNT).exit_code == 0
    assert [call for call in server.calls() if "-trays-" in call] == []
    assert [path for path in (harness.root / "tmp").rglob("*") if path.is_file()] == []


def test_the_commands_work_on_an_archive_in_a_bucket(tmp_path: Path, server: S3Server) -> None:
    """From nothing to an export, by the command line; every start says that the store is not encrypted."""
    (tmp_path / "home").mkdir()
    with FaultyStandIn(EditableWorld.generate(1, 1, 2)) as upstream:
        more = server.environment() | {"ARCHIVER_ARCHIVE_STORAGE": f"s3://{BUCKET}/by/command"}
        person = CommandLineUser(tmp_path / "home", upstream, more)
        made = person.run("backup", ACCOUNT)
        assert made.code == 0, made.err
        assert "unencrypted" not in made.err  # the store is on this machine
        paths = person.run("show", ACCOUNT, "--paths").out.splitlines()
        assert paths
        assert all(path.startswith(f"s3://{BUCKET}/by/command/blobs/") for path in paths)
        for command in (
            ("verify", "--read-data"),
            ("export", "folder", str(tmp_path / "export")),
            ("export", "site", str(tmp_path / "site")),
            ("export", "wacz", str(tmp_path / "pages.wacz")),
            ("status",),
            ("reread",),
        ):
            done = person.run(*command)
            assert done.code == 0, (command, done.err)
        refused = person.run("export", "folder", str(tmp_path / "links"), "--link", "hardlink")
        assert (refused.code, "in a bucket" in refused.err) == (2, True)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"AWS_SECRET_ACCESS_KEY": ""}, "secret access key"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "there are no access keys"),
        ({"AWS_ALLOW_HTTP": ""}, "not encrypted"),
        ({"ARCHIVER_ARCHIVE_STORAGE": "s3://key:secret@bucket/x"}, "access keys"),
    ],
)
def test_fault_s2_settings_that_cannot_be_used_are_refused_before_anything_is_made(
    tmp_path: Path, server: S3Server, changed: dict[str, str], message: str
) -> None:
    """The message says what is wrong, and quotes no key."""
    (tmp_path / "home").mkdir()
    with FaultyStandIn(EditableWorld.generate(1, 1, 1)) as upstream:
        more = server.environment() | {"ARCHIVER_ARCHIVE_STORAGE": f"s3://{BUCKET}/x"} | changed
        person = CommandLineUser(tmp_path / "home", upstream, more)
        refused = person.run("backup", ACCOUNT)
        assert refused.code in (2, 8)
        assert message in refused.err
        assert "key:secret" not in refused.err
        assert not person.archive.exists()
        assert upstream.units == 0


def test_after_the_machine_is_lost_the_marker_and_the_bucket_are_enough(
    harness: ArchiveHarness, tmp_path: Path
) -> None:
    """On a new machine, ``db rebuild`` makes the database, and the next night pays for nothing again."""
    before = all_rows(harness)
    new = ArchiveHarness(tmp_path / "new", harness.upstream, storage=harness.storage)
    new.root.mkdir()
    shutil.copy(harness.root / "archive.json", new.root)
    rebuild(new)
    assert all_rows(new) == before
    summary = new.night(ACCOUNT)
    assert (summary.exit_code, summary.units, summary.files_new) == (0, 1, 0)


def test_rows_in_postgresql_and_bytes_in_a_bucket(
    tmp_path: Path, server: S3Server, postgres: PostgresServer
) -> None:
    """Both together leave only marker, lock, log and an empty spool in the directory."""
    with (
        postgres.database() as url,
        FaultyStandIn(EditableWorld.generate(1, 1, 2)) as upstream,
    ):
        harness = ArchiveHarness(tmp_path / "archive", upstream, url, storage=f"s3://{BUCKET}/pg")
        assert harness.night(ACCOUNT).exit_code == 0
        assert harness.night(ACCOUNT).files_new == 0
        assert {path.name for path in harness.root.iterdir()} <= {"archive.json", "lock", "log", "tmp"}
        require_equal_after_rebuild(harness)


@pytest.mark.whole
def test_fault_s8_a_directory_of_before_a_move_is_brought_up_to_date(
    tmp_path: Path, server: S3Server
) -> None:
    """Restored from a backup, it does not lead back to where the archive was: the bucket's marker does, and a
    rebuild then adds what the older database lacks.
    """
    with FaultyStandIn(EditableWorld.generate(1, 2, 4)) as upstream:
        harness = ArchiveHarness(tmp_path / "archive", upstream)
        assert harness.night(ACCOUNT).exit_code == 0
        shutil.copytree(harness.root, tmp_path / "backup")
        place = f"s3://{BUCKET}/pre/fix"
        move_storage(harness.config, place, Work())
        harness.storage = place
        add_highlights(harness)
        assert harness.night(ACCOUNT).exit_code == 0
        before = all_rows(harness)
        shutil.rmtree(harness.root)
        shutil.copytree(tmp_path / "backup", harness.root)
        for use in (lambda: harness.night(ACCOUNT), lambda: rebuild(harness)):
            with pytest.raises(MarkerMismatch, match="is older than that") as refused:
                use()
            assert refused.value.hint.startswith(f"put {place}/archive.json in its place")
        shutil.copy(server.objects / "pre/fix/archive.json", harness.root)
        assert rebuild(harness).was_copy
        assert all_rows(harness) == before
        summary = harness.night(ACCOUNT)
        assert (summary.exit_code, summary.units, summary.files_new) == (0, 1, 0)
        require_whole(harness)


def test_fault_s8_a_lost_marker_is_written_again_from_the_bucket(
    harness: ArchiveHarness, server: S3Server
) -> None:
    """By ``init``, if the database has the id of the bucket's marker."""
    marker = (harness.root / "archive.json").read_bytes()
    (harness.root / "archive.json").unlink()
    with pytest.raises(StorageError, match="is missing") as refused:
        harness.night(ACCOUNT)
    assert "archiver init" in refused.value.hint
    mine = (server.objects / "pre/fix/archive.json").read_bytes()
    (server.objects / "pre/fix/archive.json").write_bytes(mine.replace(b'"id": "', b'"id": "0'))
    with pytest.raises(MarkerMismatch, match="another archive"):
        restore_marker(harness.config)
    (server.objects / "pre/fix/archive.json").write_bytes(mine)
    assert restore_marker(harness.config)
    assert (harness.root / "archive.json").read_bytes() == marker
    assert harness.night(ACCOUNT).exit_code == 0
    lose_database(harness)
    (harness.root / "archive.json").unlink()
    assert not restore_marker(harness.config)


def test_a_bucket_that_is_configured_after_init_is_not_ignored(tmp_path: Path, server: S3Server) -> None:
    """The first ``init`` has made the archive in the directory. A second one says so, and how to move it."""
    person = CommandLineUser(tmp_path, more=server.environment())
    storage = f"s3://{BUCKET}/pre/fix"
    assert person.run("init").code == 0
    person.more["ARCHIVER_ARCHIVE_STORAGE"] = storage
    for command in ("init", "status"):
        refused = person.run(command)
        assert refused.code == 8
        assert f"is stored in the directory {person.archive}" in refused.err
        assert f"storage move {storage}" in refused.err
    assert person.run("storage", "move", storage).code == 0
    assert person.run("init").code == 0


@pytest.mark.parametrize(
    "corrected",
    [pytest.param(f"s3://{BUCKET}/pre/fix", marks=pytest.mark.whole), None],
    ids=["bucket", "directory"],
)
def test_fault_s8_a_wrong_bucket_at_the_first_run_can_be_corrected(
    tmp_path: Path, server: S3Server, corrected: str | None
) -> None:
    """Nothing is made for a bucket that does not exist; and what a refused creation left takes the storage
    that is configured then.
    """
    with FaultyStandIn(EditableWorld.generate(1, 1, 1)) as upstream:
        harness = ArchiveHarness(tmp_path / "archive", upstream)
        harness.storage = "s3://archive-buket/pre/fix"
        with pytest.raises(StorageError, match="the bucket does not exist"):
            harness.night(ACCOUNT)
        assert not harness.root.exists()
        harness.storage = f"s3://{BUCKET}/wrong"
        server.act = fail_at("PUT", "wrong")
        with pytest.raises(StorageError, match="503"):
            harness.night(ACCOUNT)
        assert (harness.root / "archive.db").exists()
        server.act = None
        harness.storage = corrected
        assert harness.night(ACCOUNT).exit_code == 0
        assert harness.one("select storage from archive") == corrected
        require_whole(harness)
        assert harness.night(ACCOUNT).units == 1


@pytest.mark.whole
def test_no_transaction_lasts_while_a_request_is_answered(
    tmp_path: Path, server: S3Server, postgres: PostgresServer
) -> None:
    """It would keep PostgreSQL from removing old rows, for hours in an archive of terabytes."""
    with (
        postgres.database() as url,
        FaultyStandIn(EditableWorld.generate(2, 2, 2)) as upstream,
        psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as observer,
    ):
        harness = ArchiveHarness(tmp_path / "archive", upstream, url, storage=f"s3://{BUCKET}/pg")
        transactions: list[tuple[str, object]] = []
        lock = threading.Lock()

        def look(handler: Handler) -> bool:
            with lock:
                found = observer.execute(
                    "select query from pg_stat_activity where datname = current_database()"
                    " and pid <> pg_backend_pid() and state like 'idle in transaction%'"
                ).fetchall()
            transactions.extend((handler.path, query) for query in found)
            return False

        targets = (ACCOUNT, "account0001")
        assert harness.night(*targets).exit_code == 0
        server.act = look
        with Archive(harness.config) as archive:
            assert archive.verify(read_data=True).journal.is_compared
            archive.repair()
            execute(harness, "delete from answers where id = (select max(id) from answers)")
            reread = archive.reread()
            archive.export_folder(tmp_path / "folder", sidecars=True, xmp=True)
            archive.export_site(tmp_path / "site")
            archive.export_wacz(tmp_path / "pages.wacz", with_answers=True)
            archive.export_bagit(tmp_path / "bag")
        assert transactions == []
        answers = harness.one("select count(*) from answers")
        assert (reread.recovery.answers, reread.replay.read_count) == (1, answers)
        for name in ("folder", "site", "bag"):
            assert len(list((tmp_path / name).rglob("*.*"))) > 8


def test_an_emptied_bucket_is_noticed_by_few_requests(harness: ArchiveHarness, server: S3Server) -> None:
    """Not by one for each blob; and if one blob is left, it is found."""
    blobs = [server.objects / "pre/fix" / name for name in stored(server, "blobs")]
    last = blobs[-1].read_bytes()
    for blob in blobs:
        blob.unlink()
    server.calls()
    with pytest.raises(StorageError, match=f"lists {len(blobs)} blobs, and none"):
        harness.night(ACCOUNT)
    heads = [call for call in server.calls() if call.startswith("HEAD") and "/blobs/" in call]
    assert len(heads) == 1
    blobs[-1].write_bytes(last)
    with Archive(harness.config) as archive:
        assert len(archive.verify().blobs.damaged) == len(blobs) - 1


@pytest.mark.whole
def test_a_check_without_reading_lists_instead_of_asking_for_each(
    harness: ArchiveHarness, server: S3Server
) -> None:
    """The store states the sizes of a thousand objects in one answer."""
    for _ in range(3):
        assert harness.night(ACCOUNT).exit_code == 0
    server.calls()
    with Archive(harness.config) as archive:
        assert not archive.verify().is_damaged
    heads = [call for call in server.calls() if call.startswith("HEAD")]
    # Whether any blob is there, and the end of the journal, when it is opened and when it is checked.
    assert (len(heads), len(set(heads))) == (3, 2), heads
    missing = server.objects / "pre/fix" / stored(server, "answers")[1]
    missing.unlink()
    with Archive(harness.config) as archive:
        (damaged,) = archive.verify().answers.damaged
    assert f"answers/{damaged.segment}".endswith(missing.name)


@pytest.mark.whole
def test_a_store_that_ignores_ranges_and_preconditions_holds_an_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nights, a check, an export and a rebuild work on ``rclone serve s3``."""
    with (
        rclone_server(tmp_path / "rclone") as url,
        FaultyStandIn(EditableWorld.generate(1, 2, 4)) as upstream,
    ):
        for name, value in client_environment(url).items():
            monkeypatch.setenv(name, value)
        harness = ArchiveHarness(tmp_path / "archive", upstream, storage=f"s3://{BUCKET}/pre/fix")
        for _ in range(2):
            assert harness.night(ACCOUNT).exit_code == 0
        require_whole(harness)
        with Archive(harness.config) as archive:
            assert archive.export_wacz(tmp_path / "pages.wacz", with_answers=True).failed == 0
        require_equal_after_rebuild(harness)
        assert harness.reread().replay.unreadable == ()
        assert harness.night(ACCOUNT).units == 1


def test_fault_j9_the_bucket_also_says_where_the_journal_ended(
    harness: ArchiveHarness, server: S3Server
) -> None:
    """An older archive.json in the directory does not undo it, and a lost end of the journal is counted."""
    older = (harness.root / "archive.json").read_bytes()
    harness.upstream.world.accounts[0].highlights[0].title = "Edited"
    assert harness.night(ACCOUNT).exit_code == 0
    newer = (harness.root / "archive.json").read_bytes()
    assert older != newer == (server.objects / "pre/fix/archive.json").read_bytes()
    (harness.root / "archive.json").write_bytes(older)
    assert harness.night(ACCOUNT).exit_code == 0
    assert marker.parse(newer, "").journal != marker.read(harness.root).journal
    assert (harness.root / "archive.json").read_bytes() == (
        server.objects / "pre/fix/archive.json"
    ).read_bytes()
    last = sorted((server.objects / "pre/fix/journal").rglob("*.gz"))[-1]
    (harness.root / "archive.json").write_bytes(older)
    last.write_bytes(b"")
    lose_database(harness)
    rebuilt = rebuild(harness)
    assert rebuilt.journal.missing > 0
    assert not rebuilt.is_complete


def test_fault_s8_a_dry_run_refuses_what_the_command_refuses(
    harness: ArchiveHarness, server: S3Server
) -> None:
    """Another machine has forgotten an account meanwhile: the marker in the directory is older than that."""
    mine = marker.read(harness.root)
    (server.objects / "pre/fix/archive.json").write_bytes(marker.pack(replace(mine, removals=1)))
    for refused in (
        lambda: plan_rebuild(harness.config, Work()),
        lambda: rebuild(harness),
        lambda: plan_snapshot(harness.config),
        lambda: harness.night(ACCOUNT),
    ):
        with pytest.raises(MarkerMismatch, match="before an account was forgotten"):
            refused()


def test_fault_k10_a_journal_in_quarantine_has_as_many_objects_as_it_likes(
    harness: ArchiveHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are archiver's, so they do not end the listing; a journal of a year can have 100,000."""
    assert harness.night("account0000").exit_code == 0
    monkeypatch.setattr(bucket_client, "_MOST_OTHERS", 2)
    with open_for_reading(harness.config) as session:
        session.storage.journal().set_aside(harness.now)
        aside = session.storage.list_quarantine()
    assert len(aside) > 2
    assert all(name.startswith("quarantine/journal-") for name in aside)


def test_fault_k10_a_listing_without_end_ends_at_the_next_page_when_a_command_is_stopped(
    harness: ArchiveHarness, server: S3Server
) -> None:
    """Blobs without a row are only counted, but each page is a chance to stop."""
    stop, pages, list_more = StopFlag(), count(), list_without_end("blobs/00/{:064x}")

    def list_and_stop(handler: Handler) -> bool:
        if "list-type" not in handler.path or "blobs" not in handler.path:
            return False
        if next(pages) == 3:
            stop.stop(StoppedBySignal(15, ""))
        return list_more(handler)

    server.act = list_and_stop
    with pytest.raises(StoppedBySignal), Archive(harness.config) as archive:
        archive.verify(progress=lambda *_: stop.check())
    assert next(pages) < 8
