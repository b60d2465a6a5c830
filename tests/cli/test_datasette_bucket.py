"""Datasette on an archive in a bucket: the printed command as a process, and a real store."""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import sqlite_utils

from archiver.catalog import Catalog
from archiver.model.identity import Role
from tests.support import leak_detector
from tests.support.command_line import CommandLineUser
from tests.support.databases import ARCHIVE_ID, NOW
from tests.support.s3_server import (
    BUCKET,
    KEY_ID,
    SECRET,
    Act,
    Handler,
    S3Server,
    refuse,
    reset,
    s3_server,
    stall_until,
)
from tests.support.sample_archive import content, digest, shelve

PLACE = f"s3://{BUCKET}/pre/fix"
VIDEO = digest("10", Role.VIDEO)
LOST = digest("20", Role.VIDEO)
EMPTY = digest("30", Role.THUMBNAIL)
ABSENT = digest("3", Role.COVER)
LARGE = "1a" * 32
"""A video of 128 MB that consists of zeros. Nothing here looks at its hash."""
LARGE_SIZE = 128 << 20


class Answer(NamedTuple):
    """What Datasette answers."""

    status: int
    headers: dict[str, str]
    body: bytes


class Site(NamedTuple):
    """A Datasette that serves. ``log``: the file with its messages."""

    port: int
    pid: int
    log: Path

    def get(self, path: str, headers: Mapping[str, str] | None = None, method: str = "GET") -> Answer:
        connection = self.connect()
        try:
            connection.request(method, path, headers=dict(headers or {}))
            found = connection.getresponse()
            return Answer(found.status, {k.lower(): v for k, v in found.getheaders()}, found.read())
        finally:
            connection.close()

    def connect(self) -> HTTPConnection:
        return HTTPConnection("127.0.0.1", self.port, timeout=60)

    def peak_memory(self) -> int:
        """Return the most bytes of memory that the process has had."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) << 10


def address(sha256: str) -> str:
    return f"/-/archiver/blob/{sha256}"


def stored(server: S3Server, sha256: str) -> Path:
    return server.objects / "pre/fix/blobs" / sha256[:2] / sha256


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3")) as started:
        yield started


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory, server: S3Server) -> CommandLineUser:
    """Somebody whose archive is in the bucket. One blob is lost, one was put into quarantine, one is gone."""
    person = CommandLineUser(tmp_path_factory.mktemp("home"), more=server.environment())
    person.archive.mkdir()
    database = person.archive / "archive.db"
    Catalog.create(database, ARCHIVE_ID, NOW).close()
    shelve(person.archive, database)
    moved = person.run("storage", "move", PLACE)
    assert moved.code == 0, moved.err
    for blob in (person.archive / "blobs").rglob("*"):
        if blob.is_file():
            blob.unlink()
    person.more["ARCHIVER_ARCHIVE_STORAGE"] = PLACE
    large = stored(server, LARGE)
    large.parent.mkdir(exist_ok=True)
    with large.open("wb") as file:
        file.truncate(LARGE_SIZE)
    opened = sqlite_utils.Database(database)
    opened.execute("UPDATE blobs SET lost_at = stored_at WHERE sha256 = ?", [LOST])
    row = {"sha256": LARGE, "size": LARGE_SIZE, "mime": "video/mp4", "stored_at": NOW.isoformat()}
    opened["blobs"].insert(row)  # type: ignore[union-attr]
    opened.conn.commit()
    opened.close()
    stored(server, ABSENT).unlink()
    stored(server, EMPTY).write_bytes(b"")
    return person


@pytest.fixture(scope="module")
def start(person: CommandLineUser) -> Path:
    """The printed command as a script."""
    ended = person.run("datasette", "web")
    assert ended.code == 0, ended.err
    script = person.home / "start"
    script.write_text(f"exec {ended.out}")
    return script


@contextmanager
def serving(person: CommandLineUser, start: Path, **changed: str) -> Iterator[Site]:
    log = person.home / "log"
    with log.open("w") as stderr:
        command = ["sh", str(start), "-p", "0"]
        process = subprocess.Popen(
            command, env=person.environ | changed, stdout=subprocess.DEVNULL, stderr=stderr
        )
    try:
        until(lambda: "running on" in log.read_text() or process.poll() is not None)
        port = re.findall(r"running on http://127\.0\.0\.1:(\d+)", log.read_text())
        assert port, log.read_text()
        yield Site(int(port[0]), process.pid, log)
    finally:
        process.terminate()
        process.wait(30)
        leak_detector.note_output(log.read_text())
        assert SECRET not in log.read_text()


@pytest.fixture(scope="module")
def module_site(person: CommandLineUser, start: Path) -> Iterator[Site]:
    with serving(person, start) as site:
        yield site


@pytest.fixture
def site(module_site: Site, server: S3Server) -> Iterator[Site]:
    server.calls()
    yield module_site
    server.act = None


def until(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def ask(person: CommandLineUser, start: Path, *words: str, **changed: str) -> tuple[int, str, str]:
    """Return code, output and messages of the script with ``--get``, or of one that ends at once."""
    command = ["sh", str(start), *words]
    ended = subprocess.run(command, env=person.environ | changed, capture_output=True, timeout=60)
    out, err = ended.stdout.decode(errors="replace"), ended.stderr.decode()
    leak_detector.note_output(out, err)
    assert SECRET not in out + err
    return ended.returncode, out, err


@pytest.mark.parametrize(
    ("asked", "status", "first", "last"),
    [
        (None, 200, 0, 26),
        ("bytes=2-5", 206, 2, 5),
        ("bytes=20-", 206, 20, 26),
        ("bytes=-3", 206, 24, 26),
        ("bytes=0-999", 206, 0, 26),
    ],
)
def test_only_the_bytes_that_are_asked_for_are_read(
    site: Site, server: S3Server, asked: str | None, status: int, first: int, last: int
) -> None:
    """HEAD and GET state the same; GET is one request to the store for these bytes, HEAD is none."""
    whole = content("10", Role.VIDEO)
    assert len(whole) == 27
    headers = {} if asked is None else {"range": asked}
    head = site.get(address(VIDEO), headers, "HEAD")
    name = f"pre/fix/blobs/{VIDEO[:2]}/{VIDEO}"
    assert server.calls() == [f"HEAD {name}"]
    answer = site.get(address(VIDEO), headers)
    assert [request.headers.get("range") for request in server.requests] == [None, f"bytes={first}-{last}"]
    assert server.calls() == [f"HEAD {name}", f"GET {name}"]
    assert (answer.status, answer.body) == (status, whole[first : last + 1])
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.headers["content-length"] == str(last + 1 - first)
    expected = f"bytes {first}-{last}/27" if status == 206 else None
    assert answer.headers.get("content-range") == expected
    assert (head.status, head.body) == (status, b"")
    assert head.headers | {"date": ""} == answer.headers | {"date": ""}


def test_a_range_after_the_end_is_416(site: Site, server: S3Server) -> None:
    """With the size, and nothing is read."""
    answer = site.get(address(VIDEO), {"range": "bytes=27-"})
    assert (answer.status, answer.body, answer.headers["content-range"]) == (416, b"", "bytes */27")
    assert [request.method for request in server.requests] == ["HEAD"]


@pytest.mark.parametrize("sha256", [LOST, EMPTY, ABSENT, "0" * 64])
def test_what_is_not_there_is_404(site: Site, sha256: str) -> None:
    """Lost, moved to quarantine, gone from the bucket, not in the database."""
    assert site.get(address(sha256)).status == 404
    assert site.get(address(sha256), method="HEAD").status == 404


def test_tables_show_pictures(site: Site) -> None:
    """As those of an archive in a directory."""
    page = site.get("/archive/items").body.decode()
    sources = re.findall(r'<img src="([^"]+)"', page)
    assert address(digest("10", Role.THUMBNAIL)) in sources
    assert site.get(sources[0]).headers["content-type"] == "image/jpeg"


def test_strangers_are_refused(site: Site, server: S3Server, person: CommandLineUser, start: Path) -> None:
    """A foreign host name, and users who may not see the table: before the store is asked."""
    assert site.get(address(VIDEO), {"host": "evil.example:8001"}).status == 403
    metadata = json.loads((person.home / "web/metadata.json").read_text()) | {"allow": False}
    closed = person.home / "closed.json"
    closed.write_text(json.dumps(metadata))
    code, out, _ = ask(person, start, "--metadata", str(closed), "--get", address(VIDEO))
    assert (code, "Forbidden" in out) == (1, True)
    assert server.requests == []


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_a_large_video_is_never_in_memory(site: Site) -> None:
    """128 MB are passed on in pieces."""
    site.get(address(VIDEO))
    before = site.peak_memory()
    connection = site.connect()
    connection.request("GET", address(LARGE))
    answer, size = connection.getresponse(), 0
    while piece := answer.read(1 << 20):
        size += len(piece)
    connection.close()
    assert size == LARGE_SIZE
    assert site.peak_memory() - before < 16 << 20


def test_a_browser_that_goes_away_ends_the_reading(site: Site, server: S3Server) -> None:
    """The rest of the video, which may cost money, is not fetched from the store."""
    server.calls()

    connection = site.connect()
    connection.request("GET", address(LARGE))
    answer = connection.getresponse()
    assert len(answer.read(1 << 20)) == 1 << 20
    answer.close()
    connection.close()
    asked = 0
    while asked != len(server.requests):  # each asks for 1 MB
        asked = len(server.requests)
        time.sleep(0.5)
    assert 1 < asked < LARGE_SIZE / (1 << 20) / 2


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (reset, "the store cannot be reached"),
        (refuse(403, "InvalidAccessKeyId", SECRET), "the store does not allow it"),
        (refuse(503, "SlowDown"), "the store answered 503"),
    ],
)
def test_a_store_that_is_away_is_502(site: Site, server: S3Server, act: Act, message: str) -> None:
    """The answer and the log say why, and name no key. The tables are there, and later the files too."""
    server.act = act
    began = time.monotonic()
    answer = site.get(address(VIDEO))
    assert time.monotonic() - began < 20
    assert (answer.status, answer.headers["content-type"]) == (502, "text/plain; charset=utf-8")
    assert "cache-control" not in answer.headers
    text = answer.body.decode()
    assert f"{PLACE}/blobs/" in text
    assert message in text
    assert text in site.log.read_text()
    for secret in (KEY_ID, SECRET):
        assert secret not in text + site.log.read_text()
    assert site.get("/archive/items").status == 200
    server.act = None
    assert site.get(address(VIDEO)).status == 200


@pytest.mark.whole
def test_a_store_that_does_not_answer_is_given_up(site: Site, server: S3Server) -> None:
    """In half of the time that a command takes: somebody waits for the page."""
    over = threading.Event()
    server.act = stall_until(over)
    began = time.monotonic()
    try:
        assert site.get(address(VIDEO)).status == 502
    finally:
        over.set()
    assert time.monotonic() - began < 30


def test_a_store_that_fails_after_the_lookup_is_502(site: Site, server: S3Server) -> None:
    """Nothing is sent before the first bytes can be read."""

    def act(handler: Handler) -> bool:
        return handler.command == "GET" and reset(handler)

    server.act = act
    assert site.get(address(VIDEO)).status == 502


def test_a_store_that_goes_away_in_between_breaks_the_answer(site: Site, server: S3Server) -> None:
    """The browser sees that bytes are missing, and asks again."""
    begun = False

    def act(handler: Handler) -> bool:
        nonlocal begun
        if handler.command != "GET":
            return False
        is_first, begun = not begun, True  # of the parts that it is read in
        return False if is_first else reset(handler)

    server.act = act
    with pytest.raises(http.client.IncompleteRead) as error:
        site.get(address(LARGE))
    assert len(error.value.partial) < LARGE_SIZE
    assert f"{PLACE}/blobs/1a/{LARGE} cannot be read" in site.log.read_text()
    assert "Traceback" not in site.log.read_text()
    server.act = None
    assert site.get(address(VIDEO)).status == 200


def test_the_metadata_has_the_place_and_no_key(person: CommandLineUser, site: Site) -> None:
    """The metadata service may be asked only if the configuration of archiver allows it."""
    settings = json.loads((person.home / "web/metadata.json").read_text())["plugins"]["archiver"]
    assert settings == {"database": "archive", "storage": PLACE, "use_metadata_service": False}
    assert "unencrypted" in site.log.read_text()
    more = person.more | {"ARCHIVER_ARCHIVE_USE_METADATA_SERVICE": "true"}
    asked: Any = CommandLineUser(person.home, more=more).run("datasette", "-").object
    assert asked["plugins"]["archiver"]["use_metadata_service"] is True


_NO_KEYS = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}


@pytest.mark.whole
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (_NO_KEYS, "there are no access keys"),
        ({"AWS_ALLOW_HTTP": ""}, "is not encrypted"),
        ({"AWS_PROFILE": "none"}, "there is no profile 'none'"),
    ],
)
def test_settings_that_cannot_be_used_are_refused_at_the_start(
    person: CommandLineUser, start: Path, changed: dict[str, str], message: str
) -> None:
    """With the message of archiver, and without a traceback."""
    code, out, err = ask(person, start, "--get", "/archive.json", **changed)
    assert (code, out) == (1, "")
    assert err.startswith("archiver: ")
    assert message in err
    assert "Traceback" not in err


@pytest.mark.whole
def test_the_metadata_service_needs_no_keys(person: CommandLineUser, start: Path) -> None:
    """If the metadata allows it, Datasette starts without keys; it is asked when a file is."""
    metadata = json.loads((person.home / "web/metadata.json").read_text())
    metadata["plugins"]["archiver"]["use_metadata_service"] = True
    allowing = person.home / "allowing.json"
    allowing.write_text(json.dumps(metadata))
    assert ask(person, start, "--metadata", str(allowing), "--get", "/archive.json", **_NO_KEYS)[0] == 0


@pytest.mark.whole
@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("archiver", "archiver with its extra s3 is not installed"),
        ("obstore", "the package obstore"),
    ],
)
def test_what_is_not_installed_is_named(
    person: CommandLineUser, start: Path, tmp_path: Path, module: str, message: str
) -> None:
    """Also if another program called archiver is installed."""
    (tmp_path / f"{module}.py").write_text("")
    path = f"{tmp_path}:{person.environ['PYTHONPATH']}"
    code, out, err = ask(person, start, "--get", "/archive.json", PYTHONPATH=path)
    assert (code, out) == (1, "")
    assert message in err
    assert "Traceback" not in err


@pytest.mark.whole
def test_an_archive_in_a_directory_needs_no_archiver(tmp_path: Path) -> None:
    """The plug-in runs where archiver is not installed."""
    person = CommandLineUser(tmp_path / "home")
    person.archive.mkdir(parents=True)
    database = person.archive / "archive.db"
    Catalog.create(database, ARCHIVE_ID, NOW).close()
    shelve(person.archive, database)
    start = tmp_path / "start"
    start.write_text(person.run("datasette", "web").out)
    (tmp_path / "archiver.py").write_text("")
    path = f"{tmp_path}:{person.environ['PYTHONPATH']}"
    code, out, _ = ask(person, start, "--get", address(VIDEO), PYTHONPATH=path)
    assert (code, out.rstrip("\n").encode()) == (0, content("10", Role.VIDEO))
