"""Copies of an archive, and readers of one that do not have the program: docs/list_archive.py, and boto3."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import NamedTuple

import pytest
from warcio.archiveiterator import ArchiveIterator

from archiver.archive.archive import Archive
from archiver.archive.rebuild_archive import take_snapshot
from archiver.catalog import tables
from archiver.catalog.tables import JOURNALED
from archiver.store import disk
from archiver.store.bucket_client import SINGLE_PUT
from archiver.work import Work
from tests.support import ROOT
from tests.support.archive_copies import ArchiveCopies
from tests.support.archive_damage import ACCOUNTS, world
from tests.support.archive_harness import ArchiveHarness
from tests.support.real_stores import LOCALBUCKET, OTHER_STORES, RealStore, real_store
from tests.support.rebuilt_archive import rebuild
from tests.support.released_journal import released
from tests.support.s3_server import SECRET
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld

SCRIPT = ROOT / "docs" / "list_archive.py"


def test_every_item_is_listed_with_its_files(tmp_path: Path, archive_copies: ArchiveCopies) -> None:
    """Without the database; each path that it prints exists, and nothing is missing."""
    with archive_copies.after_nights(1, (1, 2, 2), tmp_path / "archive") as harness:
        expected = {str(row[0]) for row in harness.rows("SELECT sha256 FROM files WHERE item_pk IS NOT NULL")}
        (tmp_path / "archive" / "archive.db").unlink()
        command = [sys.executable, "-I", str(SCRIPT), str(tmp_path / "archive")]
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    lines = [line.split("\t") for line in listed.splitlines()]
    assert {Path(line[4]).name for line in lines} == expected
    assert all(Path(line[4]).is_file() for line in lines)
    assert {line[0] for line in lines} == {"account0000"}


def test_missing_lines_of_the_journal_are_reported(tmp_path: Path) -> None:
    """Code 1 and a reason for a missing journal, and for missing lines, whose rows before are listed."""
    _, names = released(tmp_path / "archive")

    def run() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-I", str(SCRIPT), str(tmp_path / "archive")]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    whole = run()
    assert (whole.returncode, whole.stderr) == (0, "")
    (tmp_path / "archive" / "journal" / names[-2]).unlink()
    cut = run()
    assert (cut.returncode, bool(cut.stdout)) == (1, True)
    assert "are missing" in cut.stderr
    shutil.rmtree(tmp_path / "archive" / "journal")
    nothing = run()
    assert (nothing.returncode, nothing.stdout) == (1, "")
    assert "no journal that can be read" in nothing.stderr


def test_fault_j10_the_page_answers_what_a_reader_must_know(
    tmp_path: Path, archive_copies: ArchiveCopies
) -> None:
    """Order by number, a file without a header, whole lines in a torn member, and a lost snapshot.

    Written from the page alone, the reader lists the same with all of them.
    """
    with archive_copies.after_nights(1, (1, 2, 2), tmp_path / "archive") as harness:
        snapshot = take_snapshot(harness.config, Work())
        world = harness.upstream.world
        world.retitle(world.accounts[0].highlights[0].pk, "Edited")
        assert harness.night("account0000").exit_code == 0
    journal = tmp_path / "archive" / "journal"
    command = [sys.executable, "-I", str(SCRIPT), str(tmp_path / "archive")]

    def run() -> str:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    whole = run()
    assert "\tEdited\t" in whole
    first, *_, last = sorted(journal.rglob("*.gz"))
    later = journal / "2199" / "01" / first.name
    later.parent.mkdir(parents=True)
    shutil.copy(first, later)
    (last.parent / "999999999998-00000000.jsonl.gz").write_bytes(b"")
    shutil.copy(first, last.parent / "000000009999-00000000.jsonl.gz")
    member = gzip.compress(b'{"seq":1}\n' + bytes(70_000) + b'{"seq":999999999999}\n' * 99)
    last.write_bytes(last.read_bytes() + member[:-9])
    (journal / snapshot.file).unlink()
    assert run() == whole
    second = min(path for path in journal.rglob("*.gz") if path.name > first.name)
    second.unlink()
    cut = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (cut.returncode, "are missing" in cut.stderr) == (1, True)


def test_the_script_is_short_and_needs_nothing() -> None:
    """Under 100 lines, with modules of the standard library alone."""
    text = SCRIPT.read_text()
    assert len(text.splitlines()) < 100
    imported = {
        line.split()[1].partition(".")[0]
        for line in text.splitlines()
        if line.startswith(("import ", "from "))
    }
    assert imported <= sys.stdlib_module_names


def test_the_page_names_every_table_that_the_journal_leaves_out() -> None:
    """A reader that rebuilds all tables knows that nothing else is missing."""
    text = (ROOT / "docs" / "archive-format.md").read_text()
    left_out = {*tables.metadata.tables} - {table.name for table in JOURNALED}
    assert {name for name in left_out if f"`{name}`" not in text} == set()


ACCOUNT = "account0000"
PREFIX = "one/archive/"


class ReadArchive(NamedTuple):
    """An archive in a store. ``harness`` is for its rows: its upstream is gone."""

    harness: ArchiveHarness
    store: RealStore


@pytest.fixture(scope="module", params=[LOCALBUCKET, *OTHER_STORES])
def in_store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ReadArchive]:
    """One after two nights and a repair, with a video of more than 16 MB. All tests read the same."""
    root = tmp_path_factory.mktemp("read")
    with real_store(request.param, root, lambda: request.getfixturevalue("ceph")) as store:
        with (
            FaultyStandIn(EditableWorld.generate(1, 1, 2, video_size=SINGLE_PUT + 1)) as upstream,
            pytest.MonkeyPatch.context() as patch,
        ):
            for name, value in store.environment().items():
                patch.setenv(name, value)
            harness = ArchiveHarness(root / "archive", upstream, storage=store.place(PREFIX))
            assert harness.night(ACCOUNT).exit_code == 0
            damaged = min(store.sizes(f"{PREFIX}blobs/"))
            store.write(damaged, bytes(store.sizes()[damaged]))
            with Archive(harness.config) as opened:
                assert opened.repair(read_data=True).verification.is_damaged
            assert harness.night(ACCOUNT, full=True).exit_code == 0
        yield ReadArchive(harness, store)


def documented_names() -> list[str]:
    """Return a pattern for each row of the table of docs/object-storage.md that says what is where."""
    page = (ROOT / "docs" / "object-storage.md").read_text("utf-8")
    _, _, table = page.partition("| in the bucket, below the prefix | |")
    names = re.findall(r"^\| `([^`]+)` \|", table.partition("\n\n")[0], re.MULTILINE)
    patterns = []
    for name in names:
        pattern = re.escape(name).replace("ab/<sha256>", r"(?P<start>[0-9a-f]{2})/(?P=start)[0-9a-f]{62}")
        pattern = pattern.replace("YYYY/MM", "[0-9]{4}/[0-9]{2}").replace("…", "[^/]+")
        patterns.append(pattern + ".+" if pattern.endswith("/") else pattern)
    return patterns


def test_it_finds_what_is_documented_and_nothing_else(in_store: ReadArchive) -> None:
    """Each name is one of those in the table, each row of the table has a name, and no upload is open."""
    patterns = documented_names()
    assert len(patterns) == 5
    names = [name.removeprefix(PREFIX) for name in in_store.store.sizes()]
    assert [name for name in names if not any(re.fullmatch(pattern, name) for pattern in patterns)] == []
    assert [pattern for pattern in patterns if not any(re.fullmatch(pattern, name) for name in names)] == []
    if in_store.store.kind != LOCALBUCKET:  # which cannot list them
        uploads = in_store.store.client.list_multipart_uploads(Bucket=in_store.store.bucket_name)
        assert "Uploads" not in uploads


def test_it_reads_all_blobs(in_store: ReadArchive) -> None:
    """The bytes of each hash to its name, also of one that was uploaded in parts; all have rows."""
    blobs = in_store.store.sizes(f"{PREFIX}blobs/")
    rows = in_store.harness.rows("SELECT sha256, size FROM blobs")
    assert {name.rpartition("/")[2]: size for name, size in blobs.items()} == {
        str(sha256): size for sha256, size in rows
    }
    assert max(blobs.values()) > SINGLE_PUT
    contents = {name: in_store.store.read(name) for name in blobs}
    assert [
        name for name, content in contents.items() if hashlib.sha256(content).hexdigest() != name[-64:]
    ] == []


def test_it_reads_all_answers(in_store: ReadArchive) -> None:
    """They are whole gzip, and WARC with right digests; a body is the JSON that its row has the hash of."""
    names = in_store.store.sizes(f"{PREFIX}answers/")
    rows = {
        f"{PREFIX}answers/{segment}": sha256
        for segment, sha256 in in_store.harness.rows("SELECT segment, sha256 FROM answers")
    }
    assert set(names) == set(rows)
    for name in names:
        content, kinds = in_store.store.read(name), []
        assert gzip.decompress(content)
        for record in ArchiveIterator(io.BytesIO(content), check_digests="raise"):
            kinds.append(record.rec_type)
            body = record.content_stream().read()
            if record.rec_type == "response":
                json.loads(body)
                assert hashlib.sha256(body).hexdigest() == rows[name]
        assert kinds == ["warcinfo", "response", "request"]


def test_it_reads_the_whole_journal(in_store: ReadArchive) -> None:
    """Each object is whole gzip with a header and whole lines, whose numbers have no gaps."""
    marker = json.loads(in_store.store.read(f"{PREFIX}archive.json"))
    seqs: list[int] = []
    for name in sorted(in_store.store.sizes(f"{PREFIX}journal/")):
        text = gzip.decompress(in_store.store.read(name))
        assert text.endswith(b"\n")
        header, *lines = map(json.loads, text.splitlines())
        assert (header["archive"], header["format"]) == (marker["id"], 1)
        assert int(name.rpartition("/")[2].partition("-")[0]) == lines[0]["seq"]
        seqs += [line["seq"] for line in lines]
    assert seqs == list(range(1, len(seqs) + 1))
    assert len(seqs) > 10


def test_it_finds_no_key(in_store: ReadArchive) -> None:
    """Neither the key of the API nor that of the store is in an object, packed or not."""
    keys = [in_store.harness.upstream.key.encode(), SECRET.encode()]
    for name in in_store.store.sizes():
        content = in_store.store.read(name)
        plain = gzip.decompress(content) if name.endswith(".gz") else content
        assert [key for key in keys if key in content or key in plain] == [], name


_OTHERS = shutil.ignore_patterns("archive.*", "journal", "tmp", "lock")


def copy_database(harness: ArchiveHarness, to: Path) -> None:
    to.mkdir()
    shutil.copy2(harness.root / "archive.json", to)
    with Archive(harness.config) as archive:
        archive.backup_database(to / "archive.db")


def copy_journal(harness: ArchiveHarness, to: Path) -> None:
    shutil.copytree(harness.root / "journal", to / "journal")


def copy_rest(harness: ArchiveHarness, to: Path) -> None:
    shutil.copytree(harness.root, to, ignore=_OTHERS, dirs_exist_ok=True)


STEPS: tuple[Callable[[ArchiveHarness, Path], None], ...] = (copy_database, copy_journal, copy_rest)


def test_fault_j4_a_copy_made_during_a_run_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is damaged; the check says only that the database lacks the last entries of the journal.

    ``db rebuild`` in the restored copy adds them, and then every row has its bytes.
    """
    monkeypatch.setattr(disk.Objects, "gather_seconds", 0.0)
    with FaultyStandIn(world()) as upstream:
        harness = ArchiveHarness(tmp_path / "archive", upstream)
        copied = ArchiveHarness(tmp_path / "copy", upstream)
        requests, steps, one_at_a_time = count(1), iter(STEPS), threading.Lock()

        def make_step(_: object) -> None:
            with one_at_a_time:  # downloads wait meanwhile, and go on between two steps
                if next(requests) in range(4, 34, 10):
                    time.sleep(0.2)  # until the last downloads are recorded and in the journal
                    next(steps)(harness, copied.root)

        upstream.faults.add(None, listener="cdn", count=None, before=make_step)
        assert harness.night(*ACCOUNTS).exit_code == 0
        assert next(steps, None) is None
    with Archive(copied.config) as archive:
        found = archive.verify(read_data=True, dry_run=True)
    assert (found.blobs.damaged, found.answers.damaged, found.answers.surplus) == ((), (), ())
    assert "older copy" in str(found.journal.damage)
    rebuild(copied)
    with Archive(copied.config) as archive:
        assert not archive.verify(read_data=True, dry_run=True).is_damaged
