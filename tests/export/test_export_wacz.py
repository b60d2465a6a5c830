"""``export wacz``: what is in the file, and that nothing else ever has its name."""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from warcio.archiveiterator import ArchiveIterator

from archiver.answers.answer_store import AnswerStore
from archiver.archive.archive import Archive
from archiver.blobs.store import BlobLinks
from archiver.catalog import ledger, record
from archiver.errors import ArchiveLocked, DatabaseError, DiskFull, UsageError
from archiver.export import open_export, wacz
from archiver.export.export_entry import ExportStats
from archiver.export.link_methods import LinkMethod
from archiver.export.open_export import open_new_file
from archiver.export.wacz import Capture, CaptureIndex, to_surt
from archiver.model.api_calls import Answer, AnswerLocation, Call, Limits
from archiver.model.identity import Digest, Role
from archiver.store import disk
from tests.support.catalog_samples import FACTS, LATER, NATGEO, call, digest
from tests.support.command_line import CommandLineUser
from tests.support.databases import ARCHIVE_ID, NOW
from tests.support.export_archive import ExportHarness, tree

_BASE = f"https://{ARCHIVE_ID}.highlight-archiver.invalid/"
_KILLED = """
import os, signal, sys
from archiver.cli.main import main
from archiver.export.wacz import WaczWriter

def finish(self):
    os.kill(os.getpid(), signal.SIGKILL)

WaczWriter.finish = finish
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def person(harness: ExportHarness) -> CommandLineUser:
    """Whose archive it is."""
    return CommandLineUser(harness.home, None, harness.environ).in_process


def export(harness: ExportHarness, **options: Any) -> dict[str, bytes]:
    """Export and return the files in the WACZ."""
    with Archive(harness.config) as archive:
        archive.export_wacz(harness.out, **options)
    return contents(harness.out)


def contents(file: Path) -> dict[str, bytes]:
    """Return the files in a ZIP, after checking it."""
    with zipfile.ZipFile(file) as opened:
        assert opened.testzip() is None
        return {name: opened.read(name) for name in opened.namelist()}


def captures(files: dict[str, bytes]) -> Iterator[tuple[str, bytes, bytes]]:
    """Yield each line of the index, with the record at its place and the record's body."""
    for line in gzip.decompress(files["indexes/index.cdx.gz"]).splitlines():
        _, _, fields = line.decode().split(" ", 2)
        place = json.loads(fields)
        start, length = int(place["offset"]), int(place["length"])
        record = gzip.decompress(files[f"archive/{place['filename']}"][start : start + length])
        head, _, body = record.partition(b"\r\n\r\n")
        yield place["url"], head, body.removesuffix(b"\r\n\r\n")


def _answer(call: Call, body: bytes) -> Answer:
    url = "https://api.hikerapi.com/v2/user/highlights?user_id=787132&page_id=QVFD%3D"
    headers = (("Content-Type", "application/json; charset=utf-8"),)
    return Answer(call, url, 200, headers, body, NOW, NOW)


def store_answer(harness: ExportHarness) -> bytes:
    """Store an answer, followed by the beginning of another, as a kill leaves it. Return its body."""
    call = Call("/v2/user/highlights", (("user_id", "787132"), ("page_id", "QVFD=")), "787132", 1)
    body = b'{"url": "https://scontent.cdninstagram.com/a.jpg?oe=1"}'
    with AnswerStore(disk.Objects(harness.root)).writer(1, NOW) as writer:
        location = writer.keep(_answer(call, body), is_tray=False)
    with (harness.root / "answers" / location.segment).open("ab") as segment:
        segment.write(b"\x1f\x8b\x08" + bytes(6))
    return body


def store_paid_answers(harness: ExportHarness, run_id: int = 1) -> list[AnswerLocation]:
    """Store three answers in one segment, with their rows."""
    stored = []
    with (
        AnswerStore(disk.Objects(harness.root)).writer(run_id, NOW) as writer,
        harness.catalog() as catalog,
    ):
        for number in range(3):
            call_id = catalog.write(ledger.reserve, 1, paid := call(subject=NATGEO.pk), NOW, Limits())
            stored.append(writer.keep(_answer(paid, b"paid %d" % number), is_tray=False))
            catalog.write(ledger.settle, call_id, 200, 1, NOW, stored[-1], FACTS)
    return stored


def test_a_wacz_is_the_site_in_one_file(harness: ExportHarness) -> None:
    """Each file of ``export site`` is a record that the index finds, below one address that is not on the
    web, and its bytes are the same. WARCs and the index are stored, so that a player can seek in them.
    """
    files = export(harness)
    with Archive(harness.config) as archive:
        archive.export_site(harness.home / "site")
    found = {url: (head, body) for url, head, body in captures(files)}
    assert {url.removeprefix(_BASE): body for url, (_, body) in found.items()} == tree(harness.home / "site")
    heads = {url.rpartition(".")[2]: head for url, (head, _) in found.items()}
    assert b"\r\nContent-Type: text/html; charset=utf-8\r\n" in heads["html"]
    assert b"\r\nContent-Type: video/mp4\r\n" in heads["mp4"]
    with zipfile.ZipFile(harness.out) as opened:
        for name in ("archive/site.warc.gz", "indexes/index.cdx.gz"):
            assert opened.getinfo(name).compress_type == zipfile.ZIP_STORED


def test_the_datapackage_names_every_file_with_its_hash(harness: ExportHarness) -> None:
    """And its own digest is beside it. The lines of the index are sorted, and every record's digests are
    right.
    """
    files = export(harness)
    package = json.loads(files["datapackage.json"])
    assert {one["path"]: one["hash"] for one in package["resources"]} == {
        name: f"sha256:{hashlib.sha256(content).hexdigest()}"
        for name, content in files.items()
        if not name.startswith("datapackage")
    }
    assert package["mainPageURL"] == f"{_BASE}index.html"
    digest = json.loads(files["datapackage-digest.json"])["hash"]
    assert digest == f"sha256:{hashlib.sha256(files['datapackage.json']).hexdigest()}"
    lines = gzip.decompress(files["indexes/index.cdx.gz"]).splitlines()
    assert lines == sorted(lines)
    kinds = []
    for one in ArchiveIterator(BytesIO(files["archive/site.warc.gz"]), check_digests="raise"):
        one.content_stream().read()
        kinds.append(one.rec_type)
    assert kinds == ["warcinfo", *["resource"] * len(lines)]


def test_pages_are_listed_with_their_titles(harness: ExportHarness) -> None:
    """The first page, then each account before its highlights, in their order."""
    lines = [json.loads(line) for line in export(harness)["pages/pages.jsonl"].splitlines()]
    assert lines[0]["format"] == "json-pages-1.0"
    assert [(page["id"], page["title"]) for page in lines[1:]] == [
        ("index", "Story highlights"),
        ("account-787132", "National Geographic – story highlights"),
        ("highlight-1", "Gift: Guide – National Geographic"),
        ("highlight-2", "Travel 🦋 – National Geographic"),
    ]
    assert {page["url"] for page in lines[1:]} <= {url for url, _, _ in captures(export(harness, force=True))}


def test_fault_x19_answers_are_left_out_unless_they_are_requested(harness: ExportHarness) -> None:
    """They contain signed links. With the flag their whole records are there, as they are stored, and the
    index finds them. What a kill left of a record is not, nor a segment that is not a file.
    """
    body = store_answer(harness)
    (segment,) = (harness.root / "answers").glob("*/*/*.warc.gz")
    segment.with_name("1-link.warc.gz").symlink_to(harness.root / "archive.db")
    files = export(harness)
    assert [name for name in files if name.startswith("archive/")] == ["archive/site.warc.gz"]
    assert not any(body in content for _, _, content in captures(files))
    files = export(harness, with_answers=True, force=True)
    (name,) = (name for name in files if name.startswith("archive/2"))
    assert not files[name].endswith(bytes(6))
    (answer,) = (record for url, _, record in captures(files) if "hikerapi" in url)
    assert answer.endswith(b"\r\n\r\n" + body)
    assert (
        "com,hikerapi,api)/v2/user/highlights?page_id=qvfd=&user_id=787132 "
        in gzip.decompress(files["indexes/index.cdx.gz"]).decode()
    )
    with (
        Archive(harness.config) as archive,
        pytest.raises(UsageError, match="belong to the archive as a whole"),
    ):
        archive.export_wacz(harness.home / "b.wacz", with_answers=True, accounts="natgeo")


@pytest.mark.parametrize("damage", ["gone", "cut off", "damaged", "other", "head", "lost"])
def test_fault_e48_an_answer_that_is_not_whole_is_named(
    person: CommandLineUser, harness: ExportHarness, damage: str
) -> None:
    """Code 3, whatever became of it, and a dry run counts it; the others are there. A damaged head loses
    nothing, and ``--check`` reads what was written. What is recorded as lost is no news.
    """
    first, second, third = store_paid_answers(harness)
    segment = harness.root / "answers" / first.segment
    stored = segment.read_bytes()
    missing = {"gone": [first, second, third], "head": [], "lost": []}.get(damage, [second])
    if damage in ("gone", "lost"):
        segment.unlink()
    elif damage == "cut off":
        missing = [third]
        segment.write_bytes(stored[: third.offset + third.length - 2])
    elif damage == "other":
        with closing(sqlite3.connect(harness.root / "archive.db")) as rows, rows:
            rows.execute(f"UPDATE answers SET sha256 = '{'0' * 64}' WHERE offset = {second.offset}")
    else:
        at = second.offset + {"damaged": 40, "head": 3}[damage]
        segment.write_bytes(stored[:at] + b"\x01" + stored[at + 1 :])
    if damage == "lost":
        with harness.catalog() as catalog:
            catalog.write(record.record_lost_answers, [1, 2, 3], LATER)
    ended = person.run("export", "wacz", "a.wacz", "--with-answers")
    assert ended.code == (3 if missing else 0)
    named = [f"its answer at offset {place.offset:,} is damaged or missing" for place in missing]
    assert ended.err.count("is damaged or missing") == len(named)
    assert all(name in ended.err for name in named)
    planned = person.run("export", "wacz", "b.wacz", "--with-answers", "--dry-run")
    assert planned.err.count(f"{len(missing)} failed") == bool(missing)
    assert person.run("export", "wacz", "a.wacz", "--check").code == 0
    bodies = [body for url, _, body in captures(contents(harness.home / "a.wacz")) if "hikerapi" in url]
    whole = {first, second, third} - set(missing) if damage != "lost" else set()
    assert sorted(body[-6:] for body in bodies if b"paid" in body) == sorted(
        b"paid %d" % place for place, at in enumerate((first, second, third)) if at in whole
    )


def test_fault_e48_answers_that_move_meanwhile_end_the_export(harness: ExportHarness) -> None:
    """``forget`` writes segments again, under new names: no WACZ without their answers gets its name."""
    for run_id in (1, 2, 3):
        store_paid_answers(harness, run_id)
    files = set[int]()

    def forget_once(stats: ExportStats) -> None:
        if stats.files == 14 and stats.files not in files:  # in the second segment
            with Archive(harness.config) as other, suppress(DatabaseError):  # the export still reads
                other.forget("natgeo")
        files.add(stats.files)

    with (
        Archive(harness.config) as archive,
        pytest.raises(ArchiveLocked, match="an account was forgotten meanwhile"),
    ):
        archive.export_wacz(harness.out, with_answers=True, progress=forget_once)
    assert 14 in files
    assert not harness.out.exists()


@pytest.mark.parametrize("form", ["folder", "bagit", "wacz"])
def test_fault_e51_a_blob_that_is_deleted_meanwhile_is_named(
    harness: ExportHarness, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``forget`` may delete it between the look for it and the copy: it is named; the others are exported."""
    gone = harness.blob(digest("photo"))
    real = BlobLinks.stat

    def delete_after(links: BlobLinks, sought: Digest) -> os.stat_result | None:
        status = real(links, sought)
        if gone.name == sought:
            gone.unlink(missing_ok=True)
        return status

    monkeypatch.setattr(BlobLinks, "stat", delete_after)
    with Archive(harness.config) as archive:
        if form == "wacz":
            stats = archive.export_wacz(harness.out)
        else:
            stats = harness.export_as(form, LinkMethod.COPY)
    assert [failure.why for failure in stats.failures] == ["its blob is missing (archiver verify --repair)"]
    assert stats.files > 5


def test_fault_e51_a_large_blob_that_is_deleted_while_it_is_read_is_in_the_wacz(
    harness: ExportHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read twice, by one descriptor."""
    monkeypatch.setattr(wacz, "_IN_MEMORY", 0)
    real = BlobLinks.open

    def delete_after(links: BlobLinks, sought: Digest) -> BinaryIO:
        source = real(links, sought)
        harness.blob(sought).unlink()
        return source

    monkeypatch.setattr(BlobLinks, "open", delete_after)
    with Archive(harness.config) as archive:
        assert archive.export_wacz(harness.out).failures == []
    bodies = [body for _, _, body in captures(contents(harness.out))]
    assert {b"photo", b"video", b"cover"} <= set(bodies)


def test_a_filter_narrows_a_wacz(harness: ExportHarness) -> None:
    """As it narrows the site."""
    urls = [url for url, _, _ in captures(export(harness, highlights="2"))]
    assert sum("/media/" in url for url in urls) == 3
    assert not any(url.endswith("/1.html") for url in urls)


def test_the_command_says_what_it_made(person: CommandLineUser, harness: ExportHarness) -> None:
    """One line, or one object that names the file; a dry run gives the same numbers and makes nothing."""
    planned = person.run("export", "wacz", "a.wacz", "-n", "--json").object
    assert sorted(path.name for path in harness.home.iterdir()) == ["archive"]
    done = person.run("export", "wacz", "a.wacz", "--json").object
    assert planned == {**done, "dry_run": True}
    assert (done["form"], done["file"], done["directory"]) == ("wacz", "a.wacz", None)
    assert (done["files"], done["copied"], done["written"]) == (13, 5, 8)
    told = person.run("export", "wacz", "new/b.wacz")
    assert (told.code, told.out) == (0, "")
    assert told.err.startswith("13 files in new/b.wacz: 13 new (5 copied, 8 written, ")


def test_fault_x20_nothing_is_replaced(person: CommandLineUser, harness: ExportHarness) -> None:
    """An existing file needs --force; whatever is not a regular file is never replaced, and nothing is
    written into an archive or another export.
    """
    harness.export()
    (harness.home / "there.wacz").write_bytes(b"mine")
    (harness.home / "directory").mkdir()
    (harness.home / "link").symlink_to("there.wacz")
    before = sorted(harness.home.rglob("*"))
    refused = {
        ("there.wacz",): "there.wacz exists already (name another file, or replace it with --force)",
        ("archive/a.wacz", "--force"): "archive belongs to the archive at ",
        ("out/natgeo/a.wacz", "--force"): "belongs to the export in ",
        ("directory", "--force"): "directory is a directory",
        ("link", "--force"): "link is not a regular file",
        ("-", "--force"): "- means stdout",
        ("", "--force"): "the path is empty",
    }
    for words, says in refused.items():
        ended = person.run("export", "wacz", *words)
        assert (ended.code, says in ended.err) == (2, True), words
    assert sorted(harness.home.rglob("*")) == before
    assert (harness.home / "there.wacz").read_bytes() == b"mine"
    assert person.run("export", "wacz", "there.wacz", "--force").code == 0
    assert zipfile.is_zipfile(harness.home / "there.wacz")


def test_fault_x20_a_draft_of_a_killed_export_is_used_by_the_next(
    person: CommandLineUser, harness: ExportHarness
) -> None:
    """It ends as if nothing had been there. (With --whole an export is killed.)"""
    (harness.home / ".a.wacz.part").write_bytes(b"longer" * 100_000)
    assert person.run("export", "wacz", "a.wacz").code == 0
    assert sorted(path.name for path in harness.home.iterdir()) == ["a.wacz", "archive"]
    assert len(list(captures(contents(harness.home / "a.wacz")))) == 13


@pytest.mark.whole
def test_fault_x20_a_killed_export_leaves_no_file(person: CommandLineUser, harness: ExportHarness) -> None:
    """Under the final name there is nothing, and with --force still the old file; the next export uses the
    draft and ends as if nothing had happened.
    """
    words = [sys.executable, "-c", _KILLED, "export", "wacz", "a.wacz"]
    environ = {**os.environ, **harness.environ}
    ended = subprocess.run(words, env=environ, cwd=harness.home, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert sorted(path.name for path in harness.home.iterdir()) == [".a.wacz.part", "archive"]
    with (harness.home / ".a.wacz.part").open("ab") as draft:
        draft.write(b"longer" * 100_000)
    assert person.run("export", "wacz", "a.wacz").code == 0
    assert sorted(path.name for path in harness.home.iterdir()) == ["a.wacz", "archive"]
    assert len(list(captures(contents(harness.home / "a.wacz")))) == 13


def test_fault_x20_an_interrupted_export_leaves_nothing(harness: ExportHarness) -> None:
    """Neither a file nor a draft, whatever stopped it; an existing file that was to be replaced stays."""
    harness.out.write_bytes(b"mine")

    def stop(stats: object) -> None:
        raise KeyboardInterrupt

    with Archive(harness.config) as archive, pytest.raises(KeyboardInterrupt):
        archive.export_wacz(harness.out, force=True, progress=stop)
    assert harness.out.read_bytes() == b"mine"
    assert sorted(path.name for path in harness.home.iterdir()) == ["archive", "out"]


def test_a_full_disk_is_named(harness: ExportHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    """As such, and it leaves nothing behind."""

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(open_export, "sync", full)
    with Archive(harness.config) as archive, pytest.raises(DiskFull, match="out cannot be written"):
        archive.export_wacz(harness.out)
    assert sorted(path.name for path in harness.home.iterdir()) == ["archive"]


def test_what_appears_meanwhile_stays(tmp_path: Path) -> None:
    """A file that got the name while the export ran is not replaced, and two exports never share a draft."""
    path = tmp_path / "a.wacz"
    with suppress(UsageError), open_new_file(path) as file:
        with pytest.raises(ArchiveLocked), open_new_file(path):
            pass
        file.write(b"ours")
        path.write_bytes(b"theirs")
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("a.wacz", b"theirs")]


def test_a_draft_that_another_export_has_just_finished_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between opening a draft and locking it, its file may have got its final name."""
    draft, finished, lock = tmp_path / ".a.wacz.part", tmp_path / "finished", fcntl.flock
    draft.write_bytes(b"first")

    def finish_first(fd: int, operation: int) -> None:
        if not finished.exists():
            draft.rename(finished)
        lock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", finish_first)
    with open_new_file(tmp_path / "a.wacz") as file:
        file.write(b"second")
    assert (finished.read_bytes(), (tmp_path / "a.wacz").read_bytes()) == (b"first", b"second")


def test_fault_k61_a_draft_that_is_another_name_of_a_file_is_not_written_to(tmp_path: Path) -> None:
    """A hard link under the name of the draft: the file keeps its bytes, and the export gets its own."""
    mine = tmp_path / "mine"
    mine.write_bytes(b"mine")
    (tmp_path / ".a.wacz.part").hardlink_to(mine)
    with open_new_file(tmp_path / "a.wacz") as file:
        file.write(b"export")
    assert (mine.read_bytes(), (tmp_path / "a.wacz").read_bytes()) == (b"mine", b"export")


@pytest.mark.parametrize("limit", [wacz._IN_MEMORY, pytest.param(0, marks=pytest.mark.whole)])
def test_a_damaged_blob_is_left_out_and_named(
    person: CommandLineUser, harness: ExportHarness, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    """Code 3; the rest is there and whole, whether blobs are read at once or in pieces."""
    monkeypatch.setattr(wacz, "_IN_MEMORY", limit)
    blob = harness.blob(harness.keep("10", Role.THUMBNAIL, b"photo"))
    blob.chmod(0o600)
    blob.write_bytes(b"PHOTO")
    ended = person.run("export", "wacz", "a.wacz")
    assert ended.code == 3
    assert "its blob is damaged (archiver verify --read-data --repair)" in ended.err
    bodies = [body for _, _, body in captures(contents(harness.home / "a.wacz"))]
    assert len(bodies) == 12
    assert b"PHOTO" not in bodies
    assert b"video" in bodies


def test_the_index_has_blocks_that_a_player_finds() -> None:
    """Every 1,024 lines a new block, whose first key, place and digest are in the other index."""
    with CaptureIndex() as index:
        for number in range(2_500):
            url = f"https://a.invalid/{(number * 7) % 2_500:04}"
            index.add(Capture(url, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "image/jpeg", "", "a", 0, 1))
        blocks = list(index.blocks())
    offset = 0
    for number, (block, line) in enumerate(blocks):
        key, at, place = line.split(" ", 2)
        assert (key, at) == (f"invalid,a)/{number * 1024:04}", "20260102030405")
        assert gzip.decompress(block).startswith(f"{key} {at} ".encode())
        fields = json.loads(place)
        assert (fields["offset"], fields["length"]) == (offset, len(block))
        assert fields["digest"] == f"sha256:{hashlib.sha256(block).hexdigest()}"
        offset += len(block)
    assert [gzip.decompress(block).count(b"\n") for block, _ in blocks] == [1024, 1024, 452]


_URLS = {
    f"{_BASE}index.html": f"invalid,highlight-archiver,{ARCHIVE_ID})/index.html",
    "https://api.hikerapi.com": "com,hikerapi,api)/",
    "https://api.hikerapi.com/v2/x?user_id=12&amount=3&A=B": "com,hikerapi,api)/v2/x?a=b&amount=3&user_id=12",
    "https://www.example.com:443/v1/a/?url=https%3A%2F%2Fwww.instagram.com%2Fp%2FABC%2F%3Fx%3D1": (
        "com,example)/v1/a?url=https://www.instagram.com/p/abc/?x=1"
    ),
    "http://127.0.0.1:8080/v1/%C3%A9?b=%C3%A9&a=%2B+x&c=": "1,0,0,127:8080)/v1/%c3%a9?a=++x&b=%c3%a9&c=",
    "https://api.hikerapi.com/v2/x?id=%25%20&p=QVFD%3D%3D": "com,hikerapi,api)/v2/x?id=%25%20&p=qvfd==",
}


@pytest.mark.parametrize("url", _URLS)
def test_a_url_has_the_key_under_which_players_look(url: str) -> None:
    """The same for all its spellings."""
    assert to_surt(url) == _URLS[url]


@pytest.mark.whole
@pytest.mark.parametrize("url", _URLS)
def test_a_url_has_the_key_of_the_internet_archive(url: str) -> None:
    """As its own package makes it."""
    surt = pytest.importorskip("surt", reason="pywb is only installed on Linux, x86-64")
    assert surt.surt(url) == _URLS[url]


def _tool(name: str) -> str:
    """Return a program of the test environment; skip the test if it is not installed."""
    path = Path(sys.executable).parent / name
    if not path.exists():
        pytest.skip(f"{name} is missing: it is a test extra on Linux, x86-64")
    return str(path)


@pytest.mark.whole
def test_wacz_validates_the_file(harness: ExportHarness) -> None:
    """With and without answers. The index that the reference implementation makes of the same WARCs has the
    same keys, times, places and payloads.
    """
    store_answer(harness)
    files: dict[str, bytes] = {}
    for with_answers in (False, True):
        files = export(harness, with_answers=with_answers, force=True)
        words = [_tool("wacz"), "validate", "-f", str(harness.out)]
        said = subprocess.run(words, check=True, capture_output=True, text=True).stdout
        assert "Validation succeeded, the passed WACZ is valid" in said
    warcs = []
    for name, content in files.items():
        if name.startswith("archive/"):
            warcs.append(harness.home / Path(name).name)
            warcs[-1].write_bytes(content)
    index = subprocess.run([_tool("cdxj-indexer"), "-s", *warcs], check=True, capture_output=True).stdout
    theirs, ours = (
        {tuple(line.split(b" ", 2)[:2]): json.loads(line.split(b" ", 2)[2]) for line in lines.splitlines()}
        for lines in (index, gzip.decompress(files["indexes/index.cdx.gz"]))
    )
    assert ours.keys() == theirs.keys()
    for key, fields in ours.items():
        for name in ("url", "mime", "offset", "length", "filename"):
            assert fields[name] == theirs[key][name]


@contextmanager
def _pywb(collection: Path, file: Path) -> Iterator[str]:
    """Take a WACZ into a collection of pywb, and serve it. Yields the address of the collection."""
    collection.mkdir()
    quiet: dict[str, Any] = {"cwd": collection, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    manager = _tool("wb-manager")
    subprocess.run([manager, "init", "site"], check=True, **quiet)
    subprocess.run([manager, "add", "site", str(file), "--unpack-wacz"], check=True, **quiet)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = subprocess.Popen([_tool("wayback"), "-b", "127.0.0.1", "-p", str(port)], **quiet)
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and server.poll() is None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/site/2026id_/"
    finally:
        server.terminate()
        server.wait()


@pytest.mark.whole
def test_pywb_plays_the_file(harness: ExportHarness) -> None:
    """Its pages, its pictures, a part of a video (206), and an answer, as they are in the archive."""
    body, video = store_answer(harness), bytes(range(256)) * 8_000
    harness.keep("11", Role.VIDEO, video, LATER)
    files = export(harness, with_answers=True)
    bodies = {url: body for url, _, body in captures(files)}
    with _pywb(harness.home / "pywb", harness.out.rename(harness.home / "a.wacz")) as base:
        for url, content in bodies.items():
            with urllib.request.urlopen(f"{base}{url}") as response:
                found = response.read()
            assert found == (body if "hikerapi" in url else content), url
        film = next(url for url in bodies if url.endswith(".mp4"))
        part = urllib.request.Request(f"{base}{film}", headers={"Range": "bytes=1000-1999"})
        with urllib.request.urlopen(part) as response:
            assert (response.status, response.read()) == (206, bodies[film][1000:2000])
            assert response.headers["Content-Range"] == f"bytes 1000-1999/{len(video)}"
            assert response.headers["Content-Type"] == "video/mp4"
