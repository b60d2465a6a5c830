"""HikerClient against peers that misbehave, on real sockets: what counts as sent, and when it gives up."""

from __future__ import annotations

import gzip
import select
import socket
import threading
import time
import tracemalloc

import pytest

from archiver.errors import CallFailed
from archiver.hiker.client import BODY_LIMIT, BodyUnusable, read_body
from tests.support.api_client import CALL, KEY, answers_once, client, everything, failed_call, hangs_up
from tests.support.scripted_server import Act, Connection, scripted_server

# --- nothing was sent


def test_fault_a31_a_refused_connection_sent_nothing() -> None:
    """Nobody listens: not sent, and worth another try (A31)."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with client(f"http://127.0.0.1:{port}") as hiker, pytest.raises(CallFailed, match="refused") as caught:
        hiker.send(CALL)
    assert (caught.value.was_sent, caught.value.is_permanent) == (False, False)


def test_the_second_address_serves_where_the_first_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host with a dead address is reached at its next one."""
    real = socket.getaddrinfo

    def two(host: str, port: int, *args: int, **kwargs: int) -> list[tuple[object, ...]]:
        hosts = ["::1", "127.0.0.1"] if host == "localhost" else [host]
        return [found for h in hosts for found in real(h, port, *args, **kwargs)]

    with scripted_server(answers_once) as server:
        monkeypatch.setattr(socket, "getaddrinfo", two)
        with client(f"http://localhost:{server.port}") as hiker:
            assert hiker.send(CALL).status == 200


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[socket.socket]:
    """The client's sockets, in the order in which they were opened."""
    sockets: list[socket.socket] = []
    real = socket.socket.connect_ex

    def remembering(sock: socket.socket, address: tuple[str, int]) -> int:
        sockets.append(sock)
        return real(sock, address)

    monkeypatch.setattr(socket.socket, "connect_ex", remembering)
    return sockets


def test_fault_a32_a_write_to_a_closed_connection_sent_nothing(opened: list[socket.socket]) -> None:
    """A keep-alive connection that breaks under the very write of the request: the API cannot have seen it
    (A32).
    """

    def act(connection: Connection) -> None:
        connection.request()
        connection.answer(b"{}")
        connection.over.wait(5)

    with scripted_server(act) as server, client(server.url, timeout=0.5) as hiker:
        hiker.send(CALL)
        opened[0].shutdown(socket.SHUT_WR)
        with pytest.raises(CallFailed) as caught:
            hiker.send(CALL)
    assert not caught.value.was_sent
    assert len(server.requests) == 1


def test_fault_a32_a_connection_closed_while_idle_is_replaced(opened: list[socket.socket]) -> None:
    """The API closes idle connections early: the next call opens a new one and succeeds."""
    idle = threading.Event()

    def act(connection: Connection) -> None:
        answers_once(connection)
        idle.wait(5)

    with scripted_server(act) as server, client(server.url) as hiker:
        hiker.send(CALL)
        idle.set()
        select.select([opened[0]], [], [], 5)
        assert hiker.send(CALL).status == 200
        assert server.connections == 2


# --- it may have been sent


def _reads_and_resets(connection: Connection) -> None:
    connection.request()
    connection.reset()


def _resets_in_headers(connection: Connection) -> None:
    connection.request()
    connection.sock.sendall(b"HTTP/1.1 200 OK\r\ncontent-")
    connection.reset()


def _resets_in_body(connection: Connection) -> None:
    connection.request()
    connection.sock.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n[")
    connection.reset()


def _ends_too_early(connection: Connection) -> None:
    connection.request()
    connection.sock.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n[")


def _huge_header(connection: Connection) -> None:
    connection.request()
    connection.sock.sendall(b"HTTP/1.1 200 OK\r\nx-big: " + b"a" * 200_000 + b"\r\n\r\n")


def _two_lengths(connection: Connection) -> None:
    connection.request()
    connection.answer(b"{}", "content-length: 7")


def _no_http(connection: Connection) -> None:
    connection.request()
    connection.sock.sendall(b"220 mail.example ESMTP\r\n\r\n")


def _quotes_the_key(connection: Connection) -> None:
    connection.request()
    connection.sock.sendall(f"HTTP/9 {KEY}\r\n\r\n".encode())


def _unasked_coding(connection: Connection) -> None:
    connection.request()
    connection.answer(b"whatever", "content-encoding: br")


def _half_gzip(connection: Connection) -> None:
    connection.request()
    connection.answer(gzip.compress(b"[" * 10_000)[:-9], "content-encoding: gzip")


def _damaged_gzip(connection: Connection) -> None:
    connection.request()
    connection.answer(b"no gzip at all", "content-encoding: gzip")


def _endless(connection: Connection) -> None:
    connection.request()
    connection.sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        connection.sock.sendall(b" " * 65536)


def _counts_as_sent(act: Act) -> None:
    error = failed_call(act)
    assert (error.was_sent, error.is_permanent, error.status) == (True, False, None)
    assert KEY not in everything(error)


@pytest.mark.parametrize(
    "act", [_reads_and_resets, _resets_in_headers, _resets_in_body, _ends_too_early, hangs_up]
)
def test_fault_a32_a_call_that_breaks_after_its_request_counts_as_sent(act: Act) -> None:
    """However an exchange breaks once the request is out, the call may have been billed, and the key is not
    shown.
    """
    _counts_as_sent(act)


@pytest.mark.parametrize("act", [_huge_header, _two_lengths, _no_http, _quotes_the_key])
def test_fault_a35_what_is_no_http_counts_as_sent(act: Act) -> None:
    """A head of 200 kB, two lengths and another protocol are a broken exchange like any other; no text shows
    the key.
    """
    _counts_as_sent(act)


def _is_billed_and_final(act: Act) -> None:
    error = failed_call(act)
    assert (error.was_sent, error.is_permanent, error.status) == (True, True, 200)
    assert KEY not in everything(error)


@pytest.mark.parametrize("act", [_unasked_coding, _half_gzip, _damaged_gzip])
def test_fault_a17_an_answered_call_whose_body_cannot_be_used_is_billed_and_final(act: Act) -> None:
    """Status 200 with a body that nobody can read: it is settled as 200, and asking again would be paying
    again.
    """
    _is_billed_and_final(act)


def test_fault_a18_an_endless_body_is_billed_and_final() -> None:
    """It is given up at the limit, and not asked for again."""
    _is_billed_and_final(_endless)


@pytest.mark.parametrize(
    "begin", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n["]
)
@pytest.mark.parametrize("drips", [False, True])
def test_fault_a33_the_deadline_is_for_the_whole_call(begin: bytes, drips: bool) -> None:
    """A peer that stalls, or sends a byte now and then for ever, is left at the deadline in every phase
    (A33).
    """

    def act(connection: Connection) -> None:
        connection.request()
        connection.sock.sendall(begin)
        if drips:
            connection.drip(b"x-a: b\r\n")
        connection.over.wait(5)

    begun = time.monotonic()
    error = failed_call(act, timeout=0.15)
    assert error.was_sent
    assert "within 0.15 seconds" in str(error)
    assert time.monotonic() - begun < 2


def test_fault_a18_a_gzip_bomb_stops_at_the_limit() -> None:
    """60 kB that expand to 60 MB are given up at 16 MiB, without ever being in memory (A18)."""
    bomb = gzip.compress(b"\0" * 60_000_000, 1)

    def act(connection: Connection) -> None:
        connection.request()
        connection.answer(bomb, "content-encoding: gzip")

    assert f"larger than {BODY_LIMIT} bytes" in str(failed_call(act))


def test_fault_a18_only_the_limit_is_ever_inflated() -> None:
    """A chunk that would expand to 60 MB takes no more memory than twice the limit (A18)."""
    chunk = gzip.compress(b"\0" * 60_000_000, 1)
    tracemalloc.start()
    try:
        with pytest.raises(BodyUnusable):
            read_body([chunk], "gzip", 1_000_000)
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
    finally:
        tracemalloc.stop()


def test_a_gzipped_answer_arrives_decoded() -> None:
    """The body of an Answer is out of its content encoding."""

    def act(connection: Connection) -> None:
        connection.request()
        connection.answer(gzip.compress(b'{"a": 1}'), "content-encoding: gzip")

    with scripted_server(act) as server, client(server.url) as hiker:
        assert hiker.send(CALL).body == b'{"a": 1}'
    assert "accept-encoding: gzip\r\n" in server.requests[0].lower()


# --- bytes after an answer


SURPLUS = b'HTTP/1.1 200 OK\r\ncontent-length: 18\r\n\r\n{"planted": "yes"}'
WHOLE = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
IN_CHUNKS = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"


@pytest.mark.parametrize("answer", [WHOLE, IN_CHUNKS], ids=["length", "chunks"])
@pytest.mark.parametrize("surplus", [SURPLUS, SURPLUS[:20], b"\r\n", b"x"])
@pytest.mark.parametrize("late", [False, True], ids=["at once", "late"])
def test_fault_a37_bytes_after_an_answer_are_no_answer(
    answer: bytes, surplus: bytes, late: bool, opened: list[socket.socket]
) -> None:
    """In the same segment or just after it: the next call has a connection of its own, and its own answer."""
    came = threading.Event()

    def act(connection: Connection) -> None:
        connection.request()
        connection.sock.sendall(answer if late else answer + surplus)
        if late:
            came.wait(5)
            connection.sock.sendall(surplus)
        if connection.request():
            connection.answer(b'{"late": "answer"}')

    def honest(connection: Connection) -> None:
        while connection.request():
            connection.answer(b'{"own": "answer"}')

    with scripted_server(act, honest) as server, client(server.url) as hiker:
        assert hiker.send(CALL).body == b"{}"
        came.set()
        if late:
            select.select([opened[0]], [], [], 5)
        assert [hiker.send(CALL).body for _ in range(2)] == [b'{"own": "answer"}'] * 2
        assert (server.connections, len(server.requests)) == (2, 3)


@pytest.mark.parametrize("answer", [WHOLE, IN_CHUNKS], ids=["length", "chunks"])
def test_a_connection_serves_as_many_calls_as_its_server_allows(answer: bytes) -> None:
    """Nothing is left over after an honest answer: ten calls need one connection."""

    def act(connection: Connection) -> None:
        while connection.request():
            connection.sock.sendall(answer)

    with scripted_server(act) as server, client(server.url) as hiker:
        assert {hiker.send(CALL).body for _ in range(10)} == {b"{}"}
        assert server.connections == 1
