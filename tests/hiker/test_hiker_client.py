"""HikerClient against respx (what it asks) and against real sockets (how it fails)."""

from __future__ import annotations

import gzip
import logging
import select
import socket
import threading
import time
import traceback
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import httpx
import pytest
import respx
from scripted_peer import Act, Connection, peer

import archiver
from archiver.errors import CallFailed, ConfigError
from archiver.hiker import body, tariff
from archiver.hiker.client import BODY_LIMIT, HikerClient
from archiver.secret import Secret

KEY = "canary-7f3a-never-shown"
API = "https://api.hikerapi.com"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
CALL = tariff.fetch_highlight("18085475671830440")


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy of the machine that runs the tests takes part in them."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@contextmanager
def client(base_url: str = API, timeout: float = 5.0) -> Iterator[HikerClient]:
    made = HikerClient(Secret(KEY), base_url=base_url, timeout=timeout, clock=lambda: NOON)
    try:
        yield made
    finally:
        made.close()


def _answers_once(connection: Connection) -> None:
    connection.request()
    connection.answer(b"{}")


def failure(*acts: Act, timeout: float = 5.0) -> CallFailed:
    """How one call fails against a server that does this."""
    with peer(*acts) as server, client(server.url, timeout) as hiker, pytest.raises(CallFailed) as caught:
        hiker.send(CALL)
    return caught.value


def test_the_request_carries_key_agent_and_the_encoded_url() -> None:
    """One GET with the key in its header only, our own User-Agent, and the highlight's URL as an encoded parameter."""
    with respx.mock, client() as hiker:
        route = respx.get(f"{API}/v1/highlight/by/url").respond(200, content=b"{}")
        answer = hiker.send(CALL)
        assert route.call_count == 1
        sent = route.calls[0].request
    assert sent.headers["x-access-key"] == KEY
    assert sent.headers["user-agent"] == f"archiver/{archiver.__version__}"
    assert sent.url.params["url"] == "https://www.instagram.com/stories/highlights/18085475671830440/"
    assert (answer.status, answer.body, answer.call) == (200, b"{}", CALL)
    assert answer.started_at == answer.finished_at == NOON
    assert answer.url == str(sent.url)
    assert KEY not in answer.url


def test_the_key_is_not_a_default_header_of_the_shared_client() -> None:
    """A request that does not ask for the key does not carry it."""
    with client() as hiker:
        assert "x-access-key" not in hiker._http.headers


@pytest.mark.parametrize(
    "status", [200, 301, 302, 307, 308, 400, 401, 402, 403, 404, 410, 422, 429, 500, 503, 526]
)
def test_any_status_is_an_answer(status: int) -> None:
    """Whatever the API answers comes back once, unjudged; a redirect is not followed."""
    with respx.mock, client() as hiker:
        route = respx.get(f"{API}/sys/balance").respond(
            status, headers={"location": "https://elsewhere.example/"}, content=b"body"
        )
        answer = hiker.send(tariff.balance())
        assert route.call_count == 1
    assert (answer.status, answer.body) == (status, b"body")


def test_cookies_are_neither_kept_nor_sent() -> None:
    """A cookie of an answer stands in no Answer and in no later request."""

    def act(connection: Connection) -> None:
        for _ in range(2):
            connection.request()
            connection.answer(b"{}", "set-cookie: __cf_bm=abc; path=/", "x-hiker-info: reqs=1")

    with peer(act) as server, client(server.url) as hiker:
        answers = [hiker.send(CALL) for _ in range(2)]
    assert b"cookie" not in server.requests[1].lower()
    assert all(a.header("set-cookie") is None and a.header("X-Hiker-Info") == "reqs=1" for a in answers)


def test_a_redirect_leads_nowhere() -> None:
    """The host that a redirect names never sees a connection, let alone the key (A34, L5)."""
    with peer(lambda c: c.answer(b"{}")) as other:

        def act(connection: Connection) -> None:
            connection.request()
            connection.answer(b"", f"location: {other.url}/", status="302 Found")

        with peer(act) as server, client(server.url) as hiker:
            assert hiker.send(CALL).status == 302
    assert other.connections == 0


def test_a_key_that_the_answer_quotes_is_masked() -> None:
    """An error text that repeats the key does not bring it into what is kept (L3)."""

    def act(connection: Connection) -> None:
        connection.request()
        connection.answer(f'{{"error": "Unauthorized request: {KEY}"}}'.encode(), f"x-echo: {KEY}")

    with peer(act) as server, client(server.url) as hiker:
        answer = hiker.send(CALL)
    assert answer.body == b'{"error": "Unauthorized request: ***"}'
    assert answer.header("x-echo") == "***"


# --- nothing was sent


def test_a_refused_connection_sent_nothing() -> None:
    """Nobody listens: not sent, and worth another try (A31)."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with client(f"http://127.0.0.1:{port}") as hiker, pytest.raises(CallFailed, match="refused") as caught:
        hiker.send(CALL)
    assert (caught.value.sent, caught.value.permanent) == (False, False)


def test_a_name_without_address_sent_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that does not resolve: not sent, and the name is in the message (A31)."""

    def nobody(*args: object, **kwargs: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    with (
        client() as hiker,
        pytest.raises(CallFailed, match=r"api\.hikerapi\.com cannot be resolved") as caught,
    ):
        hiker.send(CALL)
    assert not caught.value.sent


def test_the_second_address_serves_where_the_first_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host with a dead address is reached at its next one."""
    real = socket.getaddrinfo

    def two(host: str, port: int, *args: int, **kwargs: int) -> list[tuple[object, ...]]:
        hosts = ["127.0.0.2", "127.0.0.1"] if host == "localhost" else [host]
        return [found for h in hosts for found in real(h, port, *args, **kwargs)]

    with peer(_answers_once) as server:
        monkeypatch.setattr(socket, "getaddrinfo", two)
        with client(f"http://localhost:{server.port}") as hiker:
            assert hiker.send(CALL).status == 200


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[socket.socket]:
    """The client's sockets, in the order in which they were opened."""
    sockets: list[socket.socket] = []
    real = socket.create_connection

    def remembering(address: tuple[str, int], timeout: float, source_address: None) -> socket.socket:
        sockets.append(real(address, timeout, source_address))
        return sockets[-1]

    monkeypatch.setattr(socket, "create_connection", remembering)
    return sockets


def test_a_write_to_a_closed_connection_sent_nothing(opened: list[socket.socket]) -> None:
    """A keep-alive connection that breaks under the very write of the request: the API cannot have seen it (A32)."""

    def act(connection: Connection) -> None:
        connection.request()
        connection.answer(b"{}")
        connection.over.wait(5)

    with peer(act) as server, client(server.url, timeout=0.5) as hiker:
        hiker.send(CALL)
        opened[0].shutdown(socket.SHUT_WR)
        with pytest.raises(CallFailed) as caught:
            hiker.send(CALL)
    assert not caught.value.sent
    assert len(server.requests) == 1


def test_a_connection_closed_while_idle_is_replaced(opened: list[socket.socket]) -> None:
    """The API closes idle connections early: the next call opens a new one and succeeds."""
    idle = threading.Event()

    def act(connection: Connection) -> None:
        _answers_once(connection)
        idle.wait(5)

    with peer(act) as server, client(server.url) as hiker:
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


def _answers_nothing(connection: Connection) -> None:
    connection.request()


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


@pytest.mark.parametrize(
    "act",
    [
        _reads_and_resets,
        _resets_in_headers,
        _resets_in_body,
        _ends_too_early,
        _answers_nothing,
        _huge_header,
        _two_lengths,
        _no_http,
        _quotes_the_key,
        _unasked_coding,
        _half_gzip,
        _damaged_gzip,
        _endless,
    ],
)
def test_a_call_that_breaks_after_its_request_counts_as_sent(act: Act) -> None:
    """However an exchange breaks once the request is out, the call may have been billed, and the key is not shown (A17, A18, A32, A35)."""
    error = failure(act)
    assert error.sent
    assert not error.permanent
    assert KEY not in _everything(error)


@pytest.mark.parametrize(
    "begin", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n["]
)
@pytest.mark.parametrize("drips", [False, True])
def test_the_deadline_is_for_the_whole_call(begin: bytes, drips: bool) -> None:
    """A peer that stalls, or sends a byte now and then for ever, is left at the deadline in every phase (A33)."""

    def act(connection: Connection) -> None:
        connection.request()
        connection.sock.sendall(begin)
        if drips:
            connection.drip(b"x-a: b\r\n")
        connection.over.wait(5)

    begun = time.monotonic()
    error = failure(act, timeout=0.15)
    assert error.sent
    assert "within 0.15 seconds" in str(error)
    assert time.monotonic() - begun < 2


def test_a_gzip_bomb_stops_at_the_limit() -> None:
    """200 kB that expand to 200 MB are given up at 16 MiB, without ever being in memory (A18)."""
    bomb = gzip.compress(b"\0" * 200_000_000, 1)

    def act(connection: Connection) -> None:
        connection.request()
        connection.answer(bomb, "content-encoding: gzip")

    assert f"larger than {BODY_LIMIT} bytes" in str(failure(act))


def test_only_the_limit_is_ever_inflated() -> None:
    """A chunk that would expand to 200 MB takes no more memory than twice the limit (A18)."""
    chunk = gzip.compress(b"\0" * 200_000_000, 1)
    tracemalloc.start()
    try:
        with pytest.raises(body.BodyUnusable):
            body.read([chunk], "gzip", 1_000_000)
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
    finally:
        tracemalloc.stop()


def test_a_gzipped_answer_arrives_decoded() -> None:
    """The body of an Answer is out of its content encoding."""

    def act(connection: Connection) -> None:
        connection.request()
        connection.answer(gzip.compress(b'{"a": 1}'), "content-encoding: gzip")

    with peer(act) as server, client(server.url) as hiker:
        assert hiker.send(CALL).body == b'{"a": 1}'
    assert b"accept-encoding: gzip\r\n" in server.requests[0].lower()


# --- the key


def _everything(error: BaseException) -> str:
    """All that a tool could print of an exception: with locals, and with everything it is chained to."""
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    chained = [repr(e) for e in (error.__cause__, error.__context__) if e is not None]
    return "".join([*told.format(), repr(error), *map(str, error.args), *chained])


def test_a_failure_is_chained_to_nothing_that_holds_the_key() -> None:
    """Neither cause nor context: foreign exceptions lead to frames whose locals show the request's headers (L2)."""
    error = failure(_reads_and_resets)
    assert error.__cause__ is None
    assert error.__context__ is None


def test_no_log_record_holds_the_key_or_a_url(caplog: pytest.LogCaptureFixture) -> None:
    """httpx and httpcore stay silent below WARNING even where the root logger wants everything (L1)."""
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    with caplog.at_level(logging.DEBUG), peer(_answers_nothing) as server, client(server.url) as hiker:
        with pytest.raises(CallFailed):
            hiker.send(CALL)
        assert KEY not in f"{hiker!r} {hiker} {vars(hiker)}"
    assert not [r for r in caplog.records if r.name.startswith(("httpx", "httpcore"))]


# --- how it is made


@pytest.mark.parametrize(
    "base_url",
    [
        "http://api.hikerapi.com",
        "http://127.0.0.1.evil.example",
        "http://192.168.0.1",
        "ftp://api.hikerapi.com",
        "api.hikerapi.com",
        "",
        "https://",
        "https://user:password@api.hikerapi.com",
        "https://api.hikerapi.com?x-access-key=abc",
        "https://api.hikerapi.com/#a",
        "https://[::1",
    ],
)
def test_a_base_url_that_could_leak_is_refused(base_url: str) -> None:
    """Plain http to a host that is not loopback, and all that is no bare https origin, is a ConfigError (L6)."""
    with pytest.raises(ConfigError, match=r"api\.base_url"), client(base_url):
        pass


@pytest.mark.parametrize(
    "base_url", ["http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1", "https://api.instagrapi.com"]
)
def test_https_and_loopback_are_accepted(base_url: str) -> None:
    """The vendor's alias, and a loopback host in plain http."""
    with client(base_url):
        pass


@pytest.mark.parametrize("timeout", [0.0, -1.0, float("nan"), float("inf")])
def test_an_impossible_timeout_is_refused(timeout: float) -> None:
    """The timeout is a finite number of seconds above 0."""
    with pytest.raises(ConfigError, match=r"api\.timeout"), client(timeout=timeout):
        pass


def test_a_base_url_may_have_a_path() -> None:
    """A gateway's path stays in front of the endpoint's."""
    with respx.mock, client(f"{API}/gate") as hiker:
        respx.get(f"{API}/gate/sys/balance").mock(return_value=httpx.Response(200))
        assert hiker.send(tariff.balance()).url == f"{API}/gate/sys/balance"
