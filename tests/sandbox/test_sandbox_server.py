"""The stand-in as a process of its own, its log, and what it holds to while many ask at once."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest

from archiver.sandbox.__main__ import _parser
from archiver.sandbox.world_objects import SandboxAccount
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld
from tests.support.standin_requests import NATGEO, SALWAAA, ask, connect, get, page, tray


def test_the_log_is_whole() -> None:
    """Each request is logged once, with path, parameters, headers, status, units, subject and a time in
    UTC.
    """
    with FaultyStandIn() as upstream:
        tray(upstream)
        ask(upstream, "/v1/user/by/username", username="salwaaa_ki")
        first, second = upstream.requests
        assert (first.listener, first.method, first.path, first.status, first.units) == (
            "api",
            "GET",
            "/v1/user/highlights",
            200,
            1,
        )
        assert first.params == {"user_id": NATGEO, "force": "on"}
        assert first.headers["x-access-key"] == upstream.key
        assert abs(datetime.now(UTC) - first.at) < timedelta(seconds=5)
        assert (first.subject.user, second.subject.user) == (NATGEO, SALWAAA)
        assert upstream.requests.api_calls("/v1/user/by/username") == [second]
        assert (len(upstream.requests), upstream.units) == (2, 2)
        upstream.requests.reset()
        assert (len(upstream.requests), upstream.units) == (0, 0)


def test_a_connection_is_kept_alive() -> None:
    """Many requests go over one connection, pipelined ones too; ``connection: close`` ends it."""
    with FaultyStandIn() as upstream, connect(upstream.cdn_hosts[0]) as sock:
        sock.sendall(b"GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\nconnection: close\r\n\r\n")
        received = b"".join(iter(lambda: sock.recv(65_536), b""))
        assert received.count(b"HTTP/1.1 404 Not Found") == 2
        assert [a.path for a in upstream.requests] == ["/a", "/b"]


def test_what_is_not_http_ends_the_connection() -> None:
    """Garbage gets no answer and does no harm."""
    with FaultyStandIn() as upstream:
        with connect(upstream.cdn_hosts[0]) as sock:
            sock.sendall(b"\x16\x03\x01 garbage\r\n\r\n")
            assert sock.recv(10) == b""
        assert page(upstream)["items"]


def test_many_at_once_are_billed_exactly() -> None:
    """Concurrent calls lose no unit and no line of the log."""
    with FaultyStandIn(EditableWorld.generate(8, 3, 2), balance=1000) as upstream:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda n: tray(upstream, str(70_000_000_000 + n % 8)), range(200)))
        assert (upstream.units, upstream.balance, len(upstream.requests)) == (200, 800, 200)


def test_key_balance_and_world_can_be_changed() -> None:
    """Key, balance and world are what they were last set to, while serving."""
    with FaultyStandIn(EditableWorld(), key="first", balance=1) as upstream:
        assert (upstream.key, upstream.balance) == ("first", 1)
        old = {"x-access-key": "first", "user-agent": "x"}
        upstream.key, upstream.balance = "second", 7
        upstream.world = EditableWorld([SandboxAccount("1", "one", "One", None)])
        assert ask(upstream, "/sys/balance", old).status == 401
        assert ask(upstream, "/sys/balance").json["requests"] == 7
        assert ask(upstream, "/v1/user/by/id", id="1").json["profile_pic_url"] is None


def test_closing_frees_the_port_and_the_threads() -> None:
    """After ``close`` nothing listens and no thread of it runs; the port can be had again; closing twice is
    harmless.
    """
    before = set(threading.enumerate())  # another stand-in may serve other tests of this process
    upstream = FaultyStandIn().start()
    connection = http.client.HTTPConnection(urlsplit(upstream.base_url).netloc, timeout=5)
    connection.connect()
    upstream.close()
    upstream.close()
    connection.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("stand-in") and t not in before]
    port = urlsplit(upstream.base_url).port
    assert port is not None
    with pytest.raises(ConnectionRefusedError):
        ask(upstream, "/sys/balance")
    with FaultyStandIn(port=port) as again:
        assert again.base_url == upstream.base_url


def test_the_control_endpoint() -> None:
    """Counts can be read and reset over HTTP without a key; that is neither billed nor logged."""
    with FaultyStandIn(balance=10) as upstream:
        tray(upstream)
        get(tray(upstream)[0]["user"]["profile_pic_url"])
        counts = get(f"{upstream.base_url}/_standin/counts").json
        assert counts == {
            "units": 2,
            "api_calls": 2,
            "cdn_requests": 1,
            "paths": {"/v1/user/highlights": 2},
            "balance": 8,
        }
        assert get(f"{upstream.base_url}/_standin/reset", method="POST").json["units"] == 0
        assert len(upstream.requests) == 0
        assert get(f"{upstream.base_url}/_standin/reset").status == 404


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_on_its_own(number: signal.Signals) -> None:
    """``python -m archiver.sandbox`` prints how to reach it, serves the asked world, and ends on a signal
    with its counts on stderr.
    """
    command = [
        sys.executable,
        "-m",
        "archiver.sandbox",
        "--accounts",
        "2",
        "--highlights",
        "3",
        "--items",
        "4",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            lines = [process.stdout.readline().strip() for _ in range(3)]
            shown = dict(line.removeprefix("export ").split("=", 1) for line in lines)
            assert shown.keys() == {
                "HIKERAPI_TOKEN",
                "ARCHIVER_API_BASE_URL",
                "ARCHIVER_DOWNLOAD_ALLOWED_HOSTS",
            }
            headers = {"x-access-key": shown["HIKERAPI_TOKEN"], "user-agent": "x"}
            answer = get(f"{shown['ARCHIVER_API_BASE_URL']}/v1/user/highlights?user_id=70000000001", headers)
            assert [h["media_count"] for h in answer.json] == [4, 4, 4]
            process.send_signal(number)
            assert process.stdout.read() == ""  # a shell can source what is redirected into a file
            counts = json.loads(process.stderr.read())
            assert (counts["units"], counts["api_calls"], counts["cdn_requests"]) == (2, 1, 0)
            assert process.wait(5) == 0
        finally:
            process.kill()


def test_its_help_tells_what_holds_unless_one_says_otherwise() -> None:
    """Of each option."""
    command = [sys.executable, "-m", "archiver.sandbox", "--help"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    options = " ".join(told.split()).split(" --")[1:]
    help_of = {option.split()[0]: option for option in options if "default" in option}
    every = {action.option_strings[0].removeprefix("--") for action in _parser()._actions} - {"-h"}
    assert help_of.keys() == every
    assert "(default: 1000000)" in help_of["balance"]
    assert "(default: no limit)" in help_of["rate"]


def test_it_is_an_independent_witness() -> None:
    """The stand-in imports nothing else of the program and nothing outside the standard library; the program
    does not import it.
    """
    script = (
        "import sys; import archiver; assert 'archiver.sandbox' not in sys.modules; "
        "import archiver.sandbox.__main__;"
        "print([m for m in sys.modules if m.startswith('archiver.') and not m.startswith('archiver.sandbox')"
        " or m.partition('.')[0] in ('httpx', 'click', 'sqlalchemy', 'msgspec')])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
