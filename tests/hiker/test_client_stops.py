"""Waits that must end: a call under way when the run is stopped ends soon, and a black hole does not use up
all of its time.
"""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from archiver.errors import CallFailed
from archiver.hiker.client import LARGE_SIZE
from archiver.hiker.deadline_transport import GRACE
from tests.support.api_client import CALL, KEY, answers_once, client, everything
from tests.support.scripted_server import Connection, black_hole, scripted_server

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n"


def stopped_call(url: str) -> tuple[CallFailed, float]:
    """How a call fails that is stopped after 50 ms, and how many seconds after the stop."""
    stop = threading.Event()
    timer = threading.Timer(0.05, stop.set)
    with client(url, timeout=20) as hiker:
        timer.start()
        begun = time.monotonic()
        with pytest.raises(CallFailed, match="stopped before the answer came") as caught:
            hiker.send(CALL, is_stopped=stop.is_set)
        taken = time.monotonic() - begun - 0.05
    timer.join()
    assert KEY not in everything(caught.value)
    return caught.value, taken


@pytest.mark.parametrize("begin", [b"", b"HTTP/1.1 200 OK\r\n", HEAD + b"["])
@pytest.mark.parametrize("drips", [False, True])
def test_fault_h4_a_stop_ends_the_wait_for_an_answer(begin: bytes, drips: bool) -> None:
    """In head and body, in silence and in a drip: about half a second after the stop; it was sent, so it may
    be billed.
    """

    def act(connection: Connection) -> None:
        connection.request()
        connection.sock.sendall(begin)
        if drips:
            connection.drip(b"x-a: b\r\n")
        connection.over.wait(25)

    with scripted_server(act) as server:
        error, taken = stopped_call(server.url)
    assert error.was_sent
    assert taken < 2


def test_fault_h4_an_answer_that_comes_at_once_after_a_stop_is_kept() -> None:
    """It is paid for: a stop leaves it a moment to come."""
    stop = threading.Event()

    def act(connection: Connection) -> None:
        connection.request()
        stop.set()
        time.sleep(GRACE / 4)
        connection.answer(b"{}")

    with scripted_server(act) as server, client(server.url) as hiker:
        assert hiker.send(CALL, is_stopped=stop.is_set).status == 200


def test_fault_h4_a_call_that_begins_after_the_stop_is_not_sent() -> None:
    """Not a byte leaves, on a new connection or a kept one."""

    def act(connection: Connection) -> None:
        answers_once(connection)
        connection.request()

    with scripted_server(act) as server, client(server.url) as hiker:
        for kept in (False, True):
            with pytest.raises(CallFailed) as caught:
                hiker.send(CALL, is_stopped=lambda: True)
            assert not caught.value.was_sent
            if not kept:
                hiker.send(CALL)
    assert len(server.requests) == 1


def test_fault_h4_a_stop_ends_a_connection_that_does_not_come_about() -> None:
    """A host that neither accepts nor refuses: nothing was sent."""
    with black_hole() as port:
        error, taken = stopped_call(f"http://127.0.0.1:{port}")
    assert not error.was_sent
    assert taken < 1


def test_fault_h4_a_stop_ends_a_handshake_that_does_not_end() -> None:
    """A server that accepts and never speaks TLS: nothing was sent."""

    def act(connection: Connection) -> None:
        connection.over.wait(25)

    with scripted_server(act) as server:
        error, taken = stopped_call(f"https://localhost:{server.port}")
    assert not error.was_sent
    assert taken < 1


def test_fault_a31_a_connection_that_does_not_come_about_is_left_at_the_deadline() -> None:
    """A host that neither accepts nor refuses: not sent, worth another try, and told with the seconds."""
    with (
        black_hole() as port,
        client(f"http://127.0.0.1:{port}", timeout=0.2) as hiker,
        pytest.raises(CallFailed, match=r"within 0\.2 seconds") as caught,
    ):
        hiker.send(CALL)
    assert (caught.value.was_sent, caught.value.is_permanent) == (False, False)


def test_fault_a31_an_address_that_does_not_answer_leaves_time_for_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of two addresses the first is a black hole: it gets half of the time, and the second one serves."""

    def two(host: str, port: int, **_: int) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", p)) for p in (silent, port)]

    with scripted_server(answers_once) as server, black_hole() as silent:
        monkeypatch.setattr(socket, "getaddrinfo", two)
        with client(server.url, timeout=1) as hiker:
            assert hiker.send(CALL).status == 200


def _large(connection: Connection) -> None:
    while connection.request():
        connection.answer(b"[" + b" " * LARGE_SIZE + b"]")


def test_fault_a38_a_large_answer_waits_for_the_one_before_it_and_not_on_its_own_time() -> None:
    """It waits for longer than its timeout, and then it is whole."""
    with (
        scripted_server(_large) as server,
        client(server.url, timeout=0.5) as hiker,
        ThreadPoolExecutor(1) as pool,
    ):
        with hiker.large_body_slot() as first:
            assert len(hiker.send(CALL, slot=first).body) > LARGE_SIZE
            waiting = pool.submit(hiker.send, CALL)
            time.sleep(0.7)
            assert not waiting.done()
        assert len(waiting.result(5).body) > LARGE_SIZE


def test_fault_a38_a_stop_ends_the_wait_for_room() -> None:
    """A large answer that waits for another is given up about half a second after the stop; it may be
    billed."""
    with scripted_server(_large) as server, client(server.url) as hiker, hiker.large_body_slot() as first:
        hiker.send(CALL, slot=first)
        stop = threading.Event()
        timer = threading.Timer(0.05, stop.set)
        timer.start()
        begun = time.monotonic()
        with ThreadPoolExecutor(1) as pool, pytest.raises(CallFailed, match="stopped") as caught:
            pool.submit(hiker.send, CALL, is_stopped=stop.is_set).result(5)
        assert caught.value.was_sent
        assert time.monotonic() - begun < 2
        timer.join()
