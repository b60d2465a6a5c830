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
from tests.support.api_client import CALL, KEY, answers_once, client, everything, failed_call
from tests.support.scripted_server import Connection, scripted_server

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


HEAD = b"HTTP/1.1 200 OK\r\n"
BROKEN = [
    pytest.param(b"", True, id="test_fault_a32_a_reset_before_the_head"),
    pytest.param(HEAD + b"content-", True, id="test_fault_a32_a_reset_in_the_head"),
    pytest.param(HEAD + b"content-length: 100\r\n\r\n[", True, id="test_fault_a32_a_reset_in_the_body"),
    pytest.param(HEAD + b"content-length: 100\r\n\r\n[", False, id="test_fault_a32_an_end_in_the_body"),
    pytest.param(b"", False, id="test_fault_a32_an_empty_reply"),
    pytest.param(
        HEAD + b"x-big: " + b"a" * 200_000 + b"\r\n\r\n", False, id="test_fault_a35_a_head_of_200_kb"
    ),
    pytest.param(
        HEAD + b"content-length: 7\r\ncontent-length: 2\r\n\r\n{}", False, id="test_fault_a35_two_lengths"
    ),
    pytest.param(b"220 mail.example ESMTP\r\n\r\n", False, id="test_fault_a35_another_protocol"),
    pytest.param(f"HTTP/9 {KEY}\r\n\r\n".encode(), False, id="test_fault_a35_another_version_with_the_key"),
]
"""What the API sends after a request, and whether it then resets the connection."""


@pytest.mark.parametrize(("sent", "is_reset"), BROKEN)
def test_a_call_that_breaks_after_its_request_counts_as_sent(sent: bytes, is_reset: bool) -> None:
    """However an exchange breaks once the request is out, the call may have been billed; no text shows the
    key.
    """

    def act(connection: Connection) -> None:
        connection.request()
        connection.sock.sendall(sent)
        if is_reset:
            connection.reset()

    error = failed_call(act)
    assert (error.was_sent, error.is_permanent, error.status) == (True, False, None)
    assert KEY not in everything(error)


TOO_LARGE = f"larger than {BODY_LIMIT} bytes"
BOMB = gzip.compress(b"\0" * 60_000_000, 1)
UNUSABLE = [
    pytest.param(b"whatever", "br", "", id="test_fault_a17_a_coding_that_nobody_asked_for"),
    pytest.param(gzip.compress(b"[" * 10_000)[:-9], "gzip", "", id="test_fault_a17_half_of_a_gzip"),
    pytest.param(b"no gzip at all", "gzip", "", id="test_fault_a17_a_damaged_gzip"),
    pytest.param(b" " * (BODY_LIMIT + 1), "identity", TOO_LARGE, id="test_fault_a18_a_body_over_the_limit"),
    pytest.param(BOMB, "gzip", TOO_LARGE, id="test_fault_a18_60_kb_that_expand_to_60_mb"),
]
"""A body, its coding, and what is told."""


@pytest.mark.parametrize(("body", "coding", "told"), UNUSABLE)
def test_an_answered_call_whose_body_cannot_be_used_is_billed_and_final(
    body: bytes, coding: str, told: str
) -> None:
    """Status 200 with a body that nobody can read: it is settled as 200, and asking again would be paying
    again. What is too large is given up at the limit.
    """

    def act(connection: Connection) -> None:
        connection.request()
        connection.answer(body, f"content-encoding: {coding}")

    error = failed_call(act)
    assert (error.was_sent, error.is_permanent, error.status) == (True, True, 200)
    assert told in str(error)
    assert KEY not in everything(error)


def test_fault_a18_an_endless_body_is_given_up() -> None:
    """As one that is too large."""

    def act(connection: Connection) -> None:
        connection.request()
        connection.sock.sendall(HEAD + b"\r\n")
        while True:
            connection.sock.sendall(b" " * 65536)

    error = failed_call(act)
    assert (error.was_sent, error.is_permanent, error.status) == (True, True, 200)
    assert TOO_LARGE in str(error)
    assert KEY not in everything(error)


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


def test_fault_a18_only_the_limit_is_ever_inflated() -> None:
    """A chunk that would expand to 60 MB takes no more memory than twice the limit (A18)."""
    tracemalloc.start()
    try:
        with pytest.raises(BodyUnusable):
            read_body([BOMB], "gzip", 1_000_000)
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
