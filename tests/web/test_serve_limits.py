"""Clients of ``archiver serve`` that are slow, or many. The limits are shortened; the sockets are real."""

from __future__ import annotations

import gc
import hashlib
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from archiver.archive.archive import Archive
from archiver.errors import StoppedBySignal
from archiver.model.identity import Role
from archiver.web import login, server
from archiver.web.serve_options import ServeOptions
from archiver.work import StopFlag
from tests.support.archive_copies import ArchiveCopies
from tests.support.databases import NOW
from tests.support.export_archive import ExportHarness
from tests.support.scripted_server import Authority
from tests.support.web_server import SECONDS, ServedArchive, read_all, write_token

LARGE = 40_000_000
DIGEST = hashlib.sha256(bytes(LARGE)).hexdigest()
SHORT = 0.3


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory, archive_copies: ArchiveCopies) -> ExportHarness:
    """An archive with one large video."""

    def fill(archive: ExportHarness) -> None:
        archive.fill()
        archive.keep("11", Role.VIDEO, bytes(LARGE), NOW)

    return ExportHarness.copied(tmp_path_factory.mktemp("large"), archive_copies, "served-large", fill)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who signs the certificate of the server that speaks TLS."""
    return Authority(tmp_path_factory.mktemp("authority"), "a.fbcdn.net")


@pytest.fixture
def hurried(
    request: pytest.FixtureRequest, large: ExportHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ServedArchive]:
    """A server in this process, whose patience is short; ``param``: it speaks TLS."""
    for waiting_for in server._LATE:
        monkeypatch.setitem(server._LATE, waiting_for, SHORT)
    monkeypatch.setattr(server, "SENDING_SECONDS", 5 * SHORT)
    monkeypatch.setattr(login, "_SECONDS_FOR_BODY", SHORT)
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 20)
    token = write_token(tmp_path / "token", "0123456789abcdef")
    tls: dict[str, Any] = {}
    if getattr(request, "param", False):
        signed = request.getfixturevalue("authority")
        tls = {"tls_cert": signed.certificate, "tls_key": signed.key}
    ready, stop, addresses, errors = threading.Event(), StopFlag(), list[str](), list[Exception]()

    def be_ready(address: str) -> None:
        addresses.append(address)
        ready.set()

    def run() -> None:
        with Archive(large.config) as archive:
            options = ServeOptions(port=0, token_file=token, **tls)
            archive.serve(options, on_ready=be_ready, report=errors.append, stop=stop)

    thread = threading.Thread(target=run)
    thread.start()
    assert ready.wait(SECONDS)
    yield ServedArchive(0, addresses[0], str(large.root))
    stop.stop(StoppedBySignal(2))
    thread.join(SECONDS)
    assert not thread.is_alive()
    assert errors == []


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"", marks=pytest.mark.whole),
        b"GET / HTTP/1.1\r\nHost: loc",
        pytest.param(
            b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /healthz HTTP/1.1\r\n",
            marks=pytest.mark.whole,
        ),
    ],
)
def test_fault_v5_an_unfinished_head_ends_the_connection(hurried: ServedArchive, sent: bytes) -> None:
    """Also one of which nothing arrives, and that of a second request."""
    with hurried.connect() as connection:
        connection.sendall(sent)
        began = time.monotonic()
        read_all(connection)
        assert time.monotonic() - began < SECONDS / 2


def test_fault_v5_a_head_that_trickles_in_ends_the_connection(hurried: ServedArchive) -> None:
    """One line after the other, each in time, is not enough."""
    with hurried.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n")
        assert is_cut_off(connection, b"X: 1\r\n")


def test_fault_v5_an_unfinished_form_ends_the_connection(hurried: ServedArchive) -> None:
    """The server waits for the login form, but not for long."""
    origin = hurried.address.rstrip("/")
    head = f"POST /login HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\nContent-Length: 30\r\n\r\n"
    received = hurried.send_raw(head.replace("localhost", origin.partition("//")[2]).encode() + b"token=")
    assert received.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("origin", ["", "Origin: http://elsewhere\r\n"])
def test_fault_k6_a_form_from_elsewhere_that_trickles_in_ends_the_connection(
    hurried: ServedArchive, origin: str
) -> None:
    """Whether or not it has its answer by then: the connection is not idle, so its time runs."""
    host = hurried.address.partition("//")[2].rstrip("/")
    with hurried.connect() as connection:
        connection.sendall(
            f"POST /login HTTP/1.1\r\nHost: {host}\r\n{origin}Content-Length: 4000\r\n\r\n".encode()
        )
        assert is_cut_off(connection, b"t")


def test_fault_k6_a_connection_without_a_request_is_closed(hurried: ServedArchive) -> None:
    """After some seconds, and not before, if it was used meanwhile."""
    connection = http.client.HTTPConnection(*hurried.place, timeout=SECONDS)
    for _ in range(4):
        connection.request("GET", "/healthz", headers={"Host": "localhost"})
        assert connection.getresponse().read() == b"ok\n"
        time.sleep(0.5)
    began, opened = time.monotonic(), connection.sock
    assert read_all(opened) == b""
    assert time.monotonic() - began < 10
    connection.close()


@pytest.mark.parametrize("hurried", [True], indirect=True)
def test_fault_k7_a_connection_counts_from_the_moment_it_is_accepted(
    hurried: ServedArchive, authority: Authority
) -> None:
    """Before its TLS handshake; one that does not end its handshake loses its place."""
    client = ssl.create_default_context(cafile=str(authority.certificate))
    client.check_hostname = False
    silent = [hurried.connect() for _ in range(40)]
    assert count_ended(silent[20:]) == 20
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        try:
            assert hurried.ask("/healthz", tls=client).status == 200
            break
        except OSError:
            time.sleep(0.05)
    assert [read_all(connection) for connection in silent] == [b""] * 40
    for connection in silent:
        connection.close()


def test_fault_k17_a_client_cannot_make_the_server_print_an_error(hurried: ServedArchive) -> None:
    """By bytes after its last request, or bytes that are no request, just before it has its answer."""
    begin = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
    for delay in (0.0, 0.0002, 0.0005, 0.001, 0.002) * 8:
        for head, more in ((b"Connection: close\r\n\r\n", b"more"), (b"\r\n", b"\n")):
            with hurried.connect() as connection:
                connection.sendall(begin + head)
                time.sleep(delay)
                connection.sendall(more)
                assert read_all(connection)[9:12] in (b"200", b"400")


@pytest.mark.parametrize("times", [1, pytest.param(2000, marks=pytest.mark.whole)])
def test_fault_v5_an_answer_that_is_not_read_ends_the_connection(hurried: ServedArchive, times: int) -> None:
    """A video that nobody reads, and many short answers."""
    path = f"/media/{DIGEST[:2]}/{DIGEST}.mp4" if times == 1 else "/assets/site.css"
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nCookie: {log_in(hurried)}\r\n\r\n"
    with hurried.connect() as connection:
        try:
            connection.sendall(request.encode() * times)
        except OSError:
            return  # while the server waited for its answers to be read
        assert is_cut_off(connection, request.encode())


@pytest.mark.whole
def test_a_download_that_is_broken_off_leaves_nothing_in_memory(hurried: ServedArchive) -> None:
    """Neither its file nor its last piece, also before Python looks for cycles."""
    path = f"/media/{DIGEST[:2]}/{DIGEST}.mp4"
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nCookie: {log_in(hurried)}\r\n\r\n"
    gc.collect()
    gc.disable()
    try:
        for _ in range(5):
            with hurried.connect() as connection:
                connection.sendall(request.encode())
                connection.recv(1000)
        until = time.monotonic() + SECONDS / 2
        while open_parts() and time.monotonic() < until:
            time.sleep(0.02)
        assert open_parts() == 0
    finally:
        gc.enable()


def open_parts() -> int:
    """Return how many parts of blobs are in memory."""
    return sum(type(one).__name__ == "_OpenPart" for one in gc.get_objects())


def is_cut_off(connection: socket.socket, sent: bytes) -> bool:
    """Return whether the server ends the connection while something is sent every now and then."""
    until = time.monotonic() + SECONDS / 2
    while time.monotonic() < until:
        try:
            connection.sendall(sent)
        except OSError:
            return True
        time.sleep(0.05)
    return False


def log_in(server: ServedArchive) -> str:
    """Return a cookie."""
    form = b"token=0123456789abcdef"
    answer = server.ask("/login", "POST", form, Origin=server.address.rstrip("/"))
    return answer.headers["set-cookie"].partition(";")[0]


def count_ended(connections: list[socket.socket]) -> int:
    """Return how many of these the server has ended."""
    ended = 0
    for connection in connections:
        connection.settimeout(0.2)
        try:
            ended += connection.recv(1) == b""
        except ConnectionResetError:
            ended += 1
        except TimeoutError:
            pass
        connection.settimeout(SECONDS)
    return ended


def test_fault_v5_connections_are_limited(hurried: ServedArchive) -> None:
    """What is over the limit is cut off at once; when the others have ended, new ones are welcome."""
    opened = [hurried.connect() for _ in range(40)]
    assert count_ended(opened[20:]) == 20
    for connection in opened:
        connection.close()
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        try:
            assert hurried.ask("/healthz").status == 200
            return
        except ConnectionResetError:
            time.sleep(0.05)
    pytest.fail("it does not answer any more")
