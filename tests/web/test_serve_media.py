"""Pictures and videos from ``archiver serve``: whole, in part, from a disk and from a bucket."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import os
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

from archiver.archive import serving
from archiver.archive.session import open_for_reading
from archiver.catalog import Catalog
from archiver.config import load
from archiver.model.identity import Role
from archiver.web.media_response import MediaFiles
from archiver.web.request_guard import IS_GONE
from tests.support.command_line import CommandLineUser
from tests.support.databases import ARCHIVE_ID, NOW, execute_directly
from tests.support.disk_limits import disk_blobs
from tests.support.export_archive import ExportHarness
from tests.support.s3_server import BUCKET, S3Server, s3_server
from tests.support.sample_archive import content, digest, shelve
from tests.support.web_server import SECONDS, ServedArchive, served

VIDEO = b"video"
PRESENT = {"state": {IS_GONE: lambda: False}}
PLACE = f"s3://{BUCKET}/pre/fix"


def path_of(sha256: str, extension: str) -> str:
    """Return the path of a file."""
    return f"/media/{sha256[:2]}/{sha256}.{extension}"


def media_path(content: bytes, extension: str) -> str:
    """Return the path of a file with this content."""
    return path_of(hashlib.sha256(content).hexdigest(), extension)


@pytest.mark.parametrize(
    ("asked", "status", "body", "content_range"),
    [
        ("bytes=0-0", 206, b"v", "bytes 0-0/5"),
        ("bytes=1-3", 206, b"ide", "bytes 1-3/5"),
        ("bytes=2-", 206, b"deo", "bytes 2-4/5"),
        ("bytes=-2", 206, b"eo", "bytes 3-4/5"),
        ("bytes=-99", 206, b"video", "bytes 0-4/5"),
        ("bytes=3-999999999999999999", 206, b"eo", "bytes 3-4/5"),
        ("bytes=5-", 416, b"", "bytes */5"),
        ("bytes=999999999999999999-", 416, b"", "bytes */5"),
        ("bytes=-0", 416, b"", "bytes */5"),
        ("bytes=3-1", 200, b"video", None),
        ("bytes=-", 200, b"video", None),
        ("bytes=1-2,4-4", 200, b"video", None),
        (f"bytes={'0-,' * 1300}", 200, b"video", None),
        (f"bytes=0-{'9' * 4000}", 200, b"video", None),
        ("lines=0-1", 200, b"video", None),
        ("bytes=٣-٤".encode().decode("latin-1"), 200, b"video", None),
    ],
)
def test_fault_v6_ranges(
    server: ServedArchive, asked: str, status: int, body: bytes, content_range: str | None
) -> None:
    """One range is answered as RFC 9110 says; several, absurd or malformed ones give the whole, once."""
    answer = server.ask(media_path(VIDEO, "mp4"), Range=asked)
    assert (answer.status, answer.body) == (status, body)
    assert answer.headers.get("content-range") == content_range
    assert answer.headers["content-length"] == str(len(body))


def test_a_file_is_kept_by_its_hash(server: ServedArchive) -> None:
    """A browser asks once: the bytes under a hash never change."""
    path = media_path(VIDEO, "mp4")
    answer = server.ask(path)
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
    tag = answer.headers["etag"]
    assert server.ask(path, If_None_Match=f'"x", {tag}').status == 304
    assert server.ask(path, If_None_Match='"x"').status == 200
    assert server.ask(path, Range="bytes=0-0", If_Range=tag).status == 206
    assert server.ask(path, Range="bytes=0-0", If_Range='"x"').status == 200
    head = server.ask(path, "HEAD")
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", "5")


def test_answers_over_one_connection_wait_for_nothing(server: ServedArchive) -> None:
    """A head and a body are sent at once; otherwise the body waits 40 ms for the client's next packet."""
    took = []
    connection = http.client.HTTPConnection(*server.place, timeout=SECONDS)
    with closing(connection):
        for _ in range(15):
            began = time.perf_counter()
            connection.request("GET", "/healthz")
            assert connection.getresponse().read() == b"ok\n"
            took.append(time.perf_counter() - began)
    assert min(took[5:]) < 0.03


def test_fault_v11_what_is_known_of_a_file_expires(archive: ExportHarness) -> None:
    """A file that becomes lost is shown two seconds longer at most, while its bytes are there."""
    now = [0.0]
    sha256 = hashlib.sha256(VIDEO).hexdigest()
    scope = {"type": "http", "method": "HEAD", "path": path_of(sha256, "mp4"), "headers": [], **PRESENT}
    lose = "UPDATE blobs SET lost_at = {} WHERE sha256 = '" + sha256 + "'"
    database = archive.root / "archive.db"
    with Catalog.open(database, write=False) as catalog, disk_blobs(archive.root) as store:
        files = MediaFiles(catalog, store, lambda error: None, lambda: now[0])

        def is_shown() -> bool:
            return asyncio.run(files.answer(Request(scope))) is not None

        assert is_shown()
        execute_directly(database, lose.format("stored_at"))
        try:
            assert is_shown()
            now[0] = 2.0
            assert not is_shown()
        finally:
            execute_directly(database, lose.format("NULL"))


def test_a_file_that_is_larger_than_a_piece_arrives_whole(
    archive: ExportHarness, server: ServedArchive
) -> None:
    """All pieces are sent, the first and the others, also when the file has just been asked for."""
    large = bytes(range(256)) * 4000
    with disk_blobs(archive.root) as store:
        store.prepare()
        with store.draft() as draft:
            draft.write(large)
            sha256, size = store.put(draft)
    insert = (
        "INSERT INTO blobs (sha256, size, mime, stored_at) SELECT '{}', {}, 'video/mp4', stored_at FROM blobs"
    )
    execute_directly(archive.root / "archive.db", f"{insert.format(sha256, size)} LIMIT 1")
    path = path_of(sha256, "mp4")
    for _ in range(2):
        assert server.ask(path).body == large
        assert server.ask(path, Range="bytes=1000-900000").body == large[1000:900_001]


def test_pages_and_assets_are_asked_for_again_and_not_sent_again(server: ServedArchive) -> None:
    """They have a tag, too, by their content."""
    for path in ("/", "/accounts/natgeo-787132/", "/item/10", "/assets/viewer.js"):
        answer = server.ask(path)
        assert answer.headers["cache-control"] == "private, no-cache"
        again = server.ask(path, If_None_Match=answer.headers["etag"])
        assert (again.status, again.body) == (304, b"")


def test_fault_v11_what_is_no_picture_is_a_download(server: ServedArchive) -> None:
    """SVG can run scripts: it has neither its type nor a place in the page."""
    answer = server.ask(media_path(b"<svg/>", "bin"))
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment; filename=")
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_fault_v11_a_file_has_one_address(server: ServedArchive) -> None:
    """Another extension, directory or case is not in the archive; nor is a blob that no row names."""
    good = media_path(VIDEO, "mp4")
    name = good.rpartition("/")[2]
    strange = (good.replace(".mp4", ".html"), good.upper(), f"/media/00/{name}", f"{good}/", f"/media/{name}")
    assert {path: server.ask(path).status for path in strange} == dict.fromkeys(strange, 404)
    assert server.ask(media_path(b"nobody has this", "jpg")).status == 404


def test_fault_v11_lost_bytes_are_not_found(archive: ExportHarness, server: ServedArchive) -> None:
    """A file that is gone from the disk, or was replaced by a link, and one that is recorded as lost."""
    photo, poster = hashlib.sha256(b"cover").hexdigest(), hashlib.sha256(b"avatar").hexdigest()
    blob = archive.root / "blobs" / photo[:2] / photo
    hidden = blob.with_name("hidden")
    blob.rename(hidden)
    try:
        assert server.ask(path_of(photo, "jpg")).status == 404
        blob.symlink_to(archive.root / "archive.json")
        assert server.ask(path_of(photo, "jpg")).status == 404
    finally:
        blob.unlink(missing_ok=True)
        hidden.rename(blob)
    lose = "UPDATE blobs SET lost_at = {} WHERE sha256 = '" + poster + "'"
    execute_directly(archive.root / "archive.db", lose.format("stored_at"))
    try:
        assert server.ask(path_of(poster, "jpg")).status == 404
    finally:
        execute_directly(archive.root / "archive.db", lose.format("NULL"))


@pytest.mark.parametrize("size", [0, 3, 6])
def test_fault_k16_a_blob_of_another_size_is_not_served(archive: ExportHarness, size: int) -> None:
    """It is damaged: not found, so that no browser keeps it for a year; the server's messages name it."""
    sha256 = hashlib.sha256(VIDEO).hexdigest()
    blob = archive.root / "blobs" / sha256[:2] / sha256
    scope = {"type": "http", "method": "GET", "path": path_of(sha256, "mp4"), "headers": [], **PRESENT}
    told: list[Exception] = []
    blob.chmod(0o644)
    os.truncate(blob, size)
    try:
        with (
            Catalog.open(archive.root / "archive.db", write=False) as catalog,
            disk_blobs(archive.root) as disk,
        ):
            assert asyncio.run(MediaFiles(catalog, disk, told.append).answer(Request(scope))) is None
    finally:
        blob.write_bytes(VIDEO)
        blob.chmod(0o444)
    assert [str(error) for error in told] == [f"{blob} has {size} bytes, not 5"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A store."""
    with s3_server(tmp_path_factory.mktemp("s3")) as started:
        yield started


@pytest.fixture(scope="module")
def moved(store: S3Server, tmp_path_factory: pytest.TempPathFactory) -> CommandLineUser:
    """Somebody whose small archive is in the bucket of ``store``."""
    home = tmp_path_factory.mktemp("in-bucket")
    person = CommandLineUser(home, more=store.environment())
    Catalog.create(home / "new.db", ARCHIVE_ID, NOW).close()
    person.archive.mkdir()
    (home / "new.db").rename(person.archive / "archive.db")
    shelve(person.archive, person.archive / "archive.db")
    assert person.run("storage", "move", PLACE).code == 0
    person.more["ARCHIVER_ARCHIVE_STORAGE"] = PLACE
    assert person.run("db", "snapshot").code == 0  # its journal begins
    return person


@pytest.fixture(scope="module")
def in_bucket(moved: CommandLineUser) -> Iterator[ServedArchive]:
    """The pages of that archive."""
    with served(moved.environ) as running:
        yield running


def test_an_archive_in_a_bucket_is_served(store: S3Server, in_bucket: ServedArchive) -> None:
    """Only the bytes of the range are asked for; a blob that is gone from the bucket is not found."""
    whole = content("10", Role.VIDEO)
    path = path_of(digest("10", Role.VIDEO), "mp4")
    gone = digest("3", Role.COVER)
    (store.objects / "pre/fix/blobs" / gone[:2] / gone).unlink()
    assert in_bucket.ask(path).body == whole
    store.requests.clear()
    assert in_bucket.ask(path, Range="bytes=3-6").body == whole[3:7]
    head, get = store.requests
    assert (head.method, get.method) == ("HEAD", "GET")
    assert {name.lower(): value for name, value in get.headers.items()}["range"] == "bytes=3-6"
    extension = re.findall(rf"{gone}\.([a-z]+)", in_bucket.ask("/accounts/natgeo-787132/").text)
    assert in_bucket.ask(path_of(gone, extension[0])).status == 404


def test_fault_k8_a_store_that_drips_stops_no_other_picture(
    store: S3Server, in_bucket: ServedArchive
) -> None:
    """Twelve readers wait for a video whose bytes come one by one: a picture, and /healthz, are answered."""
    slow, whole = digest("10", Role.VIDEO), content("10", Role.VIDEO)
    page = in_bucket.ask("/accounts/natgeo-787132/").text
    picture = next(
        path for path in re.findall(r"/media/[0-9a-f/]+\.[a-z]+", page) if digest("3", Role.COVER) not in path
    )
    over = threading.Event()
    dripping = threading.Semaphore(0)

    def drip(handler: Any) -> bool:
        if not handler.path.endswith(slow) or handler.command != "GET":
            return False
        handler.send_response(206)
        handler.send_header("Content-Length", str(len(whole)))
        handler.send_header("Content-Range", f"bytes 0-{len(whole) - 1}/{len(whole)}")
        handler.end_headers()
        dripping.release()
        with suppress(OSError):
            for byte in whole:
                handler.wfile.write(bytes([byte]))
                over.wait(1)
        return True

    store.act = drip
    with ThreadPoolExecutor(12) as pool:
        waiting = [pool.submit(in_bucket.ask, path_of(slow, "mp4")) for _ in range(12)]
        for _ in waiting:
            assert dripping.acquire(timeout=20)
        began = time.monotonic()
        try:
            assert in_bucket.ask("/healthz").status == 200
            assert in_bucket.ask(picture).status == 200
            assert time.monotonic() - began < 5
        finally:
            over.set()
            store.act = None


def test_fault_k8_nothing_is_read_for_clients_that_left_while_they_waited(
    store: S3Server, in_bucket: ServedArchive
) -> None:
    """Every thread waits for a store that is silent: who left before asks it for nothing."""
    slow, poster = digest("10", Role.VIDEO), digest("10", Role.THUMBNAIL)
    over, silent = threading.Event(), threading.Semaphore(0)

    def wait(handler: Any) -> bool:
        if handler.path.endswith(slow):
            silent.release()
            over.wait(SECONDS)
        return False

    store.act = wait
    store.requests.clear()
    with ExitStack() as connections:
        try:
            for path, count in ((path_of(slow, "mp4"), 32), (path_of(poster, "jpg"), 8)):
                asked = f"GET {path} HTTP/1.1\r\nHost: {in_bucket.place[0]}\r\n\r\n".encode()
                for _ in range(count):
                    connections.enter_context(in_bucket.connect()).sendall(asked)
                for _ in range(count if path.endswith("mp4") else 0):
                    assert silent.acquire(timeout=20)
            assert in_bucket.ask("/healthz").status == 200  # so all have been read
            connections.close()
            assert in_bucket.ask("/healthz").status == 200
        finally:
            over.set()
            store.act = None
    assert in_bucket.ask(path_of(digest("1", Role.COVER), "jpg")).status == 200
    assert not [request for request in store.requests if request.name.endswith(poster)]


def test_fault_k8_a_store_that_is_slow_stops_no_page(
    store: S3Server, moved: CommandLineUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of the journal, which is compared with the database for the bar of an older copy, is there."""
    asked, over = threading.Event(), threading.Event()

    def wait(handler: Any) -> bool:
        asked.set()
        over.wait(SECONDS)
        return False

    store.set_environment(monkeypatch)
    monkeypatch.setattr("archiver.archive.session.COMPARED_SECONDS", 0.0)
    monkeypatch.setattr(serving, "_SECONDS_BETWEEN_LOOKS", 0.05)
    config = load(None, dict(moved.environ))
    with open_for_reading(config) as session, serving.DatabaseWatch(session) as watch:
        store.act = wait
        try:
            began = time.monotonic()
            assert watch.read_lacking() is None
            assert asked.wait(SECONDS)
            assert watch.read_lacking() is None
            assert time.monotonic() - began < 2
        finally:
            over.set()
            store.act = None


def test_both_databases_are_served_while_something_writes(own_database: str | Path, tmp_path: Path) -> None:
    """The same pages, with the account list and the sums, on either database."""
    archive = ExportHarness.make(tmp_path, own_database)
    archive.fill()
    with served(archive.environ) as running:
        assert "natgeo" in running.ask("/?q=NATGEO&sort=size").text
        assert running.ask("/accounts/natgeo-787132/").text.count('class="item') == 2
        assert running.ask("/accounts/natgeo-787132/1.html?item=11").status == 200
        assert running.ask("/item/11").status == 200
        assert running.ask("/?q=%00%ff&page=9").status == 200
        assert running.ask(media_path(VIDEO, "mp4"), Range="bytes=1-1").body == b"i"
        archive.rename("renamed", NOW)
        assert "accounts/renamed-787132/" in running.ask("/").text
