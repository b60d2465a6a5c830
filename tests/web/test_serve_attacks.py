"""Attacks on ``archiver serve``, over real sockets: what a web page, a proxy or a stranger could send.

In each answer the directory of the archive is looked for, too (``tests.support.web_server``).
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from html.parser import HTMLParser

import pytest

from tests.support.archive_copies import ArchiveCopies
from tests.support.databases import NOW
from tests.support.export_archive import ExportHarness
from tests.support.hostile_world import TITLES
from tests.support.web_server import ServedArchive, read_all, served

HEADERS = {
    "content-security-policy",
    "x-content-type-options",
    "referrer-policy",
    "x-frame-options",
    "cross-origin-resource-policy",
}
MARKUP = (
    "</title></script><script>alert(1)</script>",
    "\"' onmouseover=alert(1) autofocus onfocus=alert(2) x='",
    "{{ 7 * 7 }}{% raw %}",
)


def request(*lines: str, body: str = "") -> bytes:
    """Return a request for the first page with these lines in its head."""
    return ("\r\n".join(("GET / HTTP/1.1", *lines, "", "")) + body).encode("latin-1")


def statuses(received: bytes) -> list[int]:
    """Return the status of each response that was received."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 ([0-9]{3})", received)]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost.", 421),
        ("127.1", 421),
        ("0.0.0.0", 421),
        ("[::ffff:127.0.0.1]", 421),
        ("user@localhost", 400),
        ("localhost:80:80", 400),
        ("localhost, evil.example", 400),
        ("", 400),
        ("LOCALHOST:1", 200),
        ("[::1]:8000", 200),
    ],
)
def test_fault_v1_only_known_host_names_are_answered(server: ServedArchive, host: str, status: int) -> None:
    """A page whose own name leads to this machine (DNS rebinding) learns nothing."""
    answer = server.ask("/", Host=host)
    assert answer.status == status
    assert (b"natgeo" in answer.body) == (status == 200)


def test_fault_v1_a_request_names_one_host(server: ServedArchive) -> None:
    """Two Host headers, or none: a proxy in front may believe another one."""
    for lines in (("Host: localhost", "Host: evil.example"), ("Host: localhost", "Host: localhost"), ()):
        received = server.send_raw(request(*lines))
        assert statuses(received) == [400]
    assert statuses(server.send_raw(b"GET / HTTP/1.0\r\n\r\n")) == [400]
    absolute = b"GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n"
    assert statuses(server.send_raw(absolute)) == [400]


@pytest.mark.parametrize(
    "method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get"]
)
@pytest.mark.parametrize("path", ["/", "/login", "/assets/site.css"])
def test_fault_v2_only_reading_is_allowed(server: ServedArchive, method: str, path: str) -> None:
    """Without a login there is nothing to post to either."""
    answer = server.ask(path, method)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


def test_head_has_the_headers_of_get(server: ServedArchive) -> None:
    """And no body."""
    for path in ("/", "/assets/live.js", "/healthz"):
        got, asked = server.ask(path), server.ask(path, "HEAD")
        assert asked.body == b""
        assert asked.headers["content-length"] == got.headers["content-length"] == str(len(got.body))


@pytest.mark.parametrize(
    "path",
    [
        "/../archive.json",
        "/assets/../archive.json",
        "/assets/%2e%2e/%2e%2e/html_pages.py",
        "/assets/..%2fhtml_pages.py",
        "/assets/..%5chtml_pages.py",
        "/assets//etc/passwd",
        "/media/../archive.db",
        "/media/%2e%2e%2farchive.db",
        "/media/ab/" + "../" * 9 + "etc/passwd",
        "/media/ab/" + "ab" * 32 + ".jpg%00.html",
        "/accounts/..%2f..-787132/index.html",
        "/accounts/natgeo-787132/..%2findex.html",
        "/accounts/%00-787132%00/",
        "/accounts/-787132'--/",
        "/accounts/natgeo-787132/1.html%0d%0aset-cookie:%20a=b",
        "/item/10'%20OR%201=1",
        "/item/%ff%fe",
        "//etc/passwd",
        "/blobs/ab",
        "/archive.db",
        "/" + "a/" * 4000,
    ],
)
def test_fault_v3_no_path_leads_out(server: ServedArchive, path: str) -> None:
    """No part of a path becomes a path on the disk, or a part of a query or a header."""
    answer = server.ask(path)
    assert answer.status in (400, 404), path
    assert b"root:" not in answer.body
    assert "set-cookie" not in answer.headers


HIDDEN = "GET /item/10 HTTP/1.1\r\nHost: localhost\r\n\r\n"
"""A request that hides in the body of another."""


@pytest.mark.parametrize(
    "sent",
    [
        request(
            "Host: localhost", "Content-Length: 5", "Transfer-Encoding: chunked", body="0\r\n\r\n" + HIDDEN
        ),
        request("Host: localhost", "Transfer-Encoding: chunked", body="0\r\n\r\n" + HIDDEN),
        request("Host: localhost", f"Content-Length: {len(HIDDEN)}", body=HIDDEN),
        request("Host: localhost", "Content-Length: 0", f"Content-Length: {len(HIDDEN)}", body=HIDDEN),
        request("Host: localhost", f"Content-Length: 0, {len(HIDDEN)}", body=HIDDEN),
        request("Host: localhost", f"Content-Length: +{len(HIDDEN)}", body=HIDDEN),
        request("Host: localhost", "Transfer-Encoding: xchunked", body=HIDDEN),
        request("Host: localhost", "Transfer-Encoding : chunked", body="0\r\n\r\n" + HIDDEN),
        request("Host: localhost", "X: a\n", body=HIDDEN),
        b"GET / HTTP/1.1\nHost: localhost\n\n" + HIDDEN.encode(),
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\n\n" + HIDDEN.encode(),
        b"GET / HTTP/1.1\r\nHost: localhost\r\n folded: 1\r\n\r\n".replace(b"localhost", b"local\x00host"),
        b"GET /\tHTTP/1.1\r\nHost: localhost\r\n\r\n" + HIDDEN.encode(),
        b"GET / HTTP/2.0\r\nHost: localhost\r\n\r\n" + HIDDEN.encode(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + HIDDEN.encode(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 60 + b"\r\n\r\n",
    ],
)
def test_fault_v4_no_request_hides_in_another(server: ServedArchive, sent: bytes) -> None:
    """What could be read in two ways is refused, and the connection ends: the rest is never a request."""
    received = server.send_raw(sent)
    (status,) = statuses(received)
    assert status in (400, 411, 413, 501, 505)
    assert b"Gift" not in received
    head = received.partition(b"\r\n\r\n")[0].decode().lower()
    assert {line.partition(":")[0] for line in head.splitlines()} >= HEADERS


def test_a_line_end_may_be_cut_between_two_packets(server: ServedArchive) -> None:
    """A CR at the end of one, the LF in the next: that is a line end like any other."""
    with server.connect() as connection:
        for piece in (b"GET /healthz HTTP/1.1\r", b"\nHost: localhost\r\nConnection: close\r\n\r", b"\n"):
            connection.sendall(piece)
            time.sleep(0.02)
        assert statuses(read_all(connection)) == [200]


def test_requests_may_follow_each_other_in_one_packet(server: ServedArchive) -> None:
    """Each is answered, in order."""
    first = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    last = b"GET /nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    assert statuses(server.send_raw(first * 2 + last)) == [200, 200, 404]


def test_a_head_that_is_too_long_is_refused(server: ServedArchive) -> None:
    """16 kB are enough for any request that a browser sends here."""
    assert statuses(server.send_raw(request("Host: localhost", "X: " + "a" * 100_000))) == [431]


@pytest.mark.parametrize("path", ["/", "/nothing", "/healthz", "/assets/site.css", "/item/10", "/%00"])
def test_every_response_has_the_policy(server: ServedArchive, path: str) -> None:
    """Found or not, page or not, refused or not."""
    for answer in (server.ask(path), server.ask(path, "POST"), server.ask(path, Host="evil.example")):
        assert answer.headers.keys() >= HEADERS
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "server" not in answer.headers


@pytest.fixture(scope="module")
def hostile(
    tmp_path_factory: pytest.TempPathFactory, archive_copies: ArchiveCopies
) -> Iterator[ServedArchive]:
    """A server of an account with the titles of somebody who would like to do harm."""

    def fill(archive: ExportHarness) -> None:
        archive.show({str(pk): title for pk, title in enumerate((*TITLES, *MARKUP), start=1)}, {}, NOW)
        archive.rename("../../<script>alert(1)</script>", NOW)

    archive = ExportHarness.copied(tmp_path_factory.mktemp("hostile"), archive_copies, "served-hostile", fill)
    with served(archive.environ) as running:
        yield running


def test_fault_v10_hostile_titles_are_text(hostile: ServedArchive) -> None:
    """No markup of a title, and no direction mark of one, gets into a page or an address."""
    index = hostile.ask("/")
    (directory,) = re.findall(r'href="(accounts/[^"]+)/index.html"', index.text)
    assert re.fullmatch(r"accounts/[a-z0-9._-]+-787132", directory)
    searched = hostile.ask("/?q=%3Cscript%3Ealert(1)%3C/script%3E%22%27&sort=%3Cb%3E&page=-1")
    account = hostile.ask(f"/{directory}/")
    pages = [index, searched, account]
    pages += [hostile.ask(f"/{directory}/{pk}.html") for pk in range(1, len(TITLES + MARKUP) + 1)]
    for page in pages:
        assert page.status == 200
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", page.text)
        markup = Markup()
        markup.feed(page.text)
        assert set(markup.scripts) <= {"live.js", "viewer.js"}
        assert not markup.handlers
        assert "49" not in page.text.partition("<h1")[2].partition("</h1>")[0]


class Markup(HTMLParser):
    """What a page runs: the names of its scripts, and attributes that are handlers of events."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts: list[str] = []
        self.handlers: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        if tag == "script":
            self.scripts.append((dict(attrs)["src"] or "").rpartition("/")[2])
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
