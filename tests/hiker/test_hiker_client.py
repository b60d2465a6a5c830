"""HikerClient: what it asks, what it hands back, what it refuses to be made with, and where the key never
shows.
"""

from __future__ import annotations

import logging
import socket

import httpx
import pytest
import respx

import archiver
from archiver.errors import CallFailed, ConfigError
from archiver.hiker import endpoints
from tests.support.api_client import API, CALL, KEY, NOON, client, failed_call, hangs_up
from tests.support.scripted_server import Connection, scripted_server

pytestmark = pytest.mark.usefixtures("no_proxy")


def test_the_request_carries_key_agent_and_the_encoded_url() -> None:
    """One GET with the key in its header only, our own User-Agent, and the highlight's URL as an encoded
    parameter.
    """
    with respx.mock(using="api") as api, client() as hiker:
        route = api.get(f"{API}/v1/highlight/by/url").respond(200, content=b"{}")
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
    with respx.mock(using="api") as api, client() as hiker:
        route = api.get(f"{API}/sys/balance").respond(
            status, headers={"location": "https://elsewhere.example/"}, content=b"body"
        )
        answer = hiker.send(endpoints.balance_call())
        assert route.call_count == 1
    assert (answer.status, answer.body) == (status, b"body")


def test_cookies_are_neither_kept_nor_sent() -> None:
    """A cookie of an answer stands in no Answer and in no later request."""

    def act(connection: Connection) -> None:
        for _ in range(2):
            connection.request()
            connection.answer(b"{}", "set-cookie: __cf_bm=abc; path=/", "x-hiker-info: reqs=1")

    with scripted_server(act) as server, client(server.url) as hiker:
        answers = [hiker.send(CALL) for _ in range(2)]
    assert "cookie" not in server.requests[1].lower()
    assert all(a.header("set-cookie") is None and a.header("X-Hiker-Info") == "reqs=1" for a in answers)


def test_fault_a34_a_redirect_leads_nowhere() -> None:
    """The host that a redirect names never sees a connection, let alone the key (A34, L5)."""
    with scripted_server(lambda c: c.answer(b"{}")) as other:

        def act(connection: Connection) -> None:
            connection.request()
            connection.answer(b"", f"location: {other.url}/", status="302 Found")

        with scripted_server(act) as server, client(server.url) as hiker:
            assert hiker.send(CALL).status == 302
    assert other.connections == 0


def test_fault_l3_a_key_that_the_answer_quotes_is_masked() -> None:
    """An error text that repeats the key does not bring it into what is kept (L3)."""

    def act(connection: Connection) -> None:
        connection.request()
        connection.answer(f'{{"error": "Unauthorized request: {KEY}"}}'.encode(), f"x-echo: {KEY}")

    with scripted_server(act) as server, client(server.url) as hiker:
        answer = hiker.send(CALL)
    assert answer.body == b'{"error": "Unauthorized request: ***"}'
    assert answer.header("x-echo") == "***"


def test_fault_a31_a_name_without_address_sent_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that does not resolve: not sent, and the name is in the message (A31)."""

    def nobody(*args: object, **kwargs: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    with (
        client() as hiker,
        pytest.raises(CallFailed, match=r"api\.hikerapi\.com cannot be resolved") as caught,
    ):
        hiker.send(CALL)
    assert not caught.value.was_sent


# --- the key


def test_fault_l2_a_failure_is_chained_to_nothing_that_holds_the_key() -> None:
    """Neither cause nor context: foreign exceptions lead to frames whose locals show the request's headers
    (L2).
    """
    error = failed_call(hangs_up)
    assert error.__cause__ is None
    assert error.__context__ is None


def test_fault_l1_no_log_record_holds_the_key_or_a_url(caplog: pytest.LogCaptureFixture) -> None:
    """httpx and httpcore stay silent below WARNING even where the root logger wants everything (L1)."""
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    with caplog.at_level(logging.DEBUG), scripted_server(hangs_up) as server, client(server.url) as hiker:
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
def test_fault_l6_a_base_url_that_could_leak_is_refused(base_url: str) -> None:
    """Plain http to a host that is not loopback, and all that is no bare https origin, is a ConfigError
    (L6).
    """
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
    with respx.mock(using="api") as api, client(f"{API}/gate") as hiker:
        api.get(f"{API}/gate/sys/balance").mock(return_value=httpx.Response(200, content=b"{}"))
        assert hiker.send(endpoints.balance_call()).url == f"{API}/gate/sys/balance"
