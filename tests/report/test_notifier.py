"""Reports and pings, sent over real loopback sockets."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from archiver.report import apprise_service, notifier
from archiver.report.destination import Destination
from archiver.report.notifier import Notification, Notifier
from tests.support import leak_detector
from tests.support.report_receiver import ReportReceiver, receive_reports

TOKEN = "canary-8f14e45fceea167a"
GOOD = Notification(
    "archiver run 7: ok", "2 accounts\nnothing new 🌎", b'{"exit_code": 0, "run_id": 7}', is_success=True
)
BAD = Notification("archiver run 8: partial", "failed: 1 expired", b'{"exit_code": 3}', is_success=False)


@pytest.fixture
def box() -> Iterator[ReportReceiver]:
    """Where reports and pings arrive."""
    with receive_reports() as opened:
        yield opened


@pytest.fixture(autouse=True)
def hidden() -> None:
    """The token of every address here may stand in nothing that is said or logged."""
    leak_detector.watch_secret(TOKEN)


def carrier(report: str | None = None, ping: str | None = None, **more: object) -> Notifier:
    """Somebody who carries to these URLs."""
    return Notifier(
        Destination(report, "report.url") if report else None,
        Destination(ping, "report.ping_url") if ping else None,
        **more,  # type: ignore[arg-type]
    )


def only(troubles: list[str]) -> str:
    """The one line of trouble, which names no token."""
    (line,) = troubles
    assert TOKEN not in line
    return line


def test_a_web_address_gets_the_whole_object(box: ReportReceiver) -> None:
    """One POST of the JSON as it is, to the path and query that were configured, with the password of the URL."""
    url = box.url.replace("//", f"//me:{TOKEN}@")
    assert carrier(f"{url}/hook/{TOKEN}?room={TOKEN}").notify_end(GOOD) == []
    (came,) = box.received
    assert (came.method, came.target) == ("POST", f"/hook/{TOKEN}?room={TOKEN}")
    assert came.headers["content-type"] == "application/json"
    assert came.headers["authorization"].startswith("Basic ")
    assert came.body == GOOD.document


@pytest.mark.parametrize(
    ("letter", "target"), [(GOOD, f"/{TOKEN}?rid=1"), (BAD, f"/{TOKEN}/fail?rid=1")], ids=["good", "bad"]
)
def test_a_monitor_hears_the_start_and_how_it_ended(
    box: ReportReceiver, letter: Notification, target: str
) -> None:
    """start, then the address itself or fail, each behind the path; the text comes along with the end."""
    to = carrier(ping=f"{box.url}/{TOKEN}/?rid=1" if letter is BAD else f"{box.url}/{TOKEN}?rid=1")
    assert to.notify_start() == []
    assert to.notify_end(letter) == []
    assert box.targets == [f"/{TOKEN}/start?rid=1", target]
    assert box.received[0].body == b""
    assert box.received[1].body.decode() == f"{letter.title}\n{letter.text}\n"


def test_a_night_that_is_not_to_be_reported(box: ReportReceiver) -> None:
    """The monitor hears of it anyway."""
    assert carrier(f"{box.url}/hook", f"{box.url}/ping").notify_end(GOOD, send_report=False) == []
    assert box.targets == ["/ping"]


def test_nothing_configured_sends_nothing() -> None:
    """No address, no trouble."""
    assert carrier().notify_start() == carrier().notify_end(GOOD) == []


def test_fault_l13_no_redirect_is_followed(box: ReportReceiver) -> None:
    """The body travels to no host that nobody named, neither by our client nor by Apprise."""
    with receive_reports() as elsewhere:
        box.answers["/hook"] = box.answers["/ping"] = box.answers["/note"] = f"{elsewhere.url}/caught"
        troubles = carrier(f"{box.url}/hook", f"{box.url}/ping").notify_end(GOOD)
        assert [line.partition(": ")[2] for line in troubles] == [
            "it answered 307, and redirects are not followed (set report.ping_url to the final address)",
            "it answered 307, and redirects are not followed (set report.url to the final address)",
        ]
        only(carrier(f"json://127.0.0.1:{box.port}/note").notify_end(GOOD))
        assert len(box.received) == 3
        assert elsewhere.received == []


def test_fault_l12_what_does_not_arrive_is_one_line(box: ReportReceiver) -> None:
    """Scheme and host, why, and the next step; never the path, the query or the password."""
    box.answers[f"/{TOKEN}"] = 404
    url = box.url.replace("//", f"//{TOKEN}:{TOKEN}@")
    line = only(carrier(f"{url}/{TOKEN}").notify_end(GOOD))
    assert line == "the report was not sent to http://127.0.0.1: it answered 404 (check report.url)"


def test_fault_h39_nobody_at_the_other_end() -> None:
    """A port that nobody listens at."""
    with receive_reports() as gone:
        url = f"{gone.url}/{TOKEN}"
    line = only(carrier(ping=url).notify_start())
    assert line == (
        "the ping was not sent to http://127.0.0.1: no connection"
        " (check report.ping_url, and that this machine can reach its host)"
    )


def test_fault_h39_it_is_bounded_in_time(box: ReportReceiver) -> None:
    """A peer that never answers costs the time of one, whether one or two are sent, and is told."""
    box.stalls |= {"/hook", "/ping"}
    begun = time.monotonic()
    troubles = carrier(f"{box.url}/hook", f"{box.url}/ping", seconds=0.5).notify_end(GOOD)
    assert time.monotonic() - begun < 0.95
    assert [line.partition(":")[0] for line in troubles] == [
        "the ping was not sent to http",
        "the report was not sent to http",
    ]


def test_fault_h39_a_service_that_hangs_is_left_to_itself(
    box: ReportReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Apprise may wait longer than we do: the bound holds for it too."""
    monkeypatch.setattr(apprise_service, "send", lambda to, title, text: box.over.wait(30))
    line = only(carrier(f"ntfy://{TOKEN}", seconds=0.2).notify_end(GOOD))
    assert (
        line == "the report was not sent to ntfy://…: not done within 0.2 seconds (the next run tries again)"
    )


@pytest.mark.parametrize("stalls", [{"/ping/fail"}, {"/ping/fail", "/hook"}], ids=["one", "both"])
def test_fault_h39_a_signal_does_not_wait_for_it(box: ReportReceiver, stalls: set[str]) -> None:
    """Once the run is to stop, all that is on its way gets one moment; what arrives within that has arrived."""
    box.stalls |= stalls
    begun = time.monotonic()
    troubles = carrier(f"{box.url}/hook", f"{box.url}/ping", is_stopped=lambda: True).notify_end(BAD)
    assert time.monotonic() - begun < 1.9 * notifier.GRACE
    assert len(troubles) == len(stalls)
    assert all("http://127.0.0.1: the run was stopped (" in line for line in troubles)
    assert box.at("/hook").body == BAD.document


def test_apprise_sends_title_and_text(box: ReportReceiver) -> None:
    """Any other scheme goes through Apprise: really, by its json:// service."""
    assert carrier(f"json://127.0.0.1:{box.port}/{TOKEN}").notify_start() == []
    assert box.received == []
    assert carrier(f"json://127.0.0.1:{box.port}/{TOKEN}").notify_end(GOOD) == []
    told = json.loads(box.at(f"/{TOKEN}").body)
    assert (told["title"], told["message"]) == (GOOD.title, GOOD.text)


def test_apprise_says_no(box: ReportReceiver) -> None:
    """What the service refuses is told by its scheme alone: in slack://TOKEN the token stands where a host would."""
    box.answers[f"/{TOKEN}"] = 500
    line = only(carrier(f"json://127.0.0.1:{box.port}/{TOKEN}").notify_end(GOOD))
    assert line.startswith(
        "the report was not sent to json://…: the service behind json:// refused it (check "
    )


def test_fault_h39_without_the_extra_it_is_said_before_the_night(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not again after it. The night itself goes on."""
    monkeypatch.setitem(sys.modules, "apprise", None)
    to = carrier(f"ntfy://{TOKEN}")
    install = f"{sys.executable} -m pip install apprise"
    why = f"ntfy://…: ntfy:// needs the package Apprise (install it: {install})"
    assert only(to.notify_start()) == f"the report cannot be sent to {why}"
    assert to.notify_end(GOOD) == []


def test_a_monitor_that_cannot_be_reached_is_told_once() -> None:
    """At the beginning of the night; at its end only if something else is wrong."""
    with receive_reports() as gone:
        url = f"{gone.url}/{TOKEN}"
    to = carrier(f"{url}/hook", f"{url}/ping")
    assert "the ping was not sent" in only(to.notify_start())
    assert "the report was not sent" in only(to.notify_end(GOOD))


LINK_LOCAL = """
import sys, threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from archiver.report.destination import Destination
from archiver.report.notifier import Notification, Notifier

class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        print("asked", self.path, flush=True)
        self.send_response(200)
        self.end_headers()
    def log_message(self, *words):
        pass

server = HTTPServer(("169.254.169.254", 80), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
for allowed in (False, True):
    for url in ("http://2852039166/report", "json://2852039166/report"):
        to = Destination(url, "report.url", may_be_link_local=allowed)
        print(allowed, Notifier(to).notify_end(Notification("title", "text", b"{}", is_success=True)), flush=True)
"""


def test_fault_l14_a_name_that_leads_to_a_link_local_address_gets_no_report() -> None:
    """In a network of its own, where the machine has that address: nothing is asked there unless the
    configuration allows it."""
    network = ["unshare", "-rn", "sh", "-c"]
    ready = 'ip link set lo up && ip addr add 169.254.169.254/32 dev lo && exec "$@"'
    if (
        not shutil.which("ip")
        or subprocess.run([*network, ready, "sh", "true"], capture_output=True).returncode
    ):
        pytest.skip("no network of its own can be made here")
    command = [*network, ready, "sh", sys.executable, "-c", LINK_LOCAL]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    refused, by_apprise, *allowed = ended.stdout.splitlines()
    for line in (refused, by_apprise):
        assert "its host is at 169.254.169.254, a link-local address (check report.url; " in line
    assert allowed == ["asked /report", "True []", "asked /report", "True []"]


@pytest.mark.parametrize(
    "url",
    [
        "json://[fe80::1]/",
        "json://[::ffff:169.254.169.254]/",
        "mailto://me:pw@example.com?smtp=2852039166",
        "mailto://me:pw@example.com?smtp=[fe80::1]",
    ],
)
def test_fault_l14_apprise_is_given_no_link_local_address_in_brackets_or_in_the_query(url: str) -> None:
    """Its host in brackets is looked at, and so is the server that a mail is sent to."""
    assert "a link-local address" in only(carrier(url).notify_end(GOOD))


def test_an_address_that_apprise_does_not_know() -> None:
    """A misspelt scheme is told before the night."""
    assert "Apprise cannot use this slakc:// address" in only(carrier(f"slakc://{TOKEN}").notify_start())


def test_fault_l12_a_bug_in_what_sends_quotes_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception that nobody expected is told by its kind: its text may hold anything."""

    def broken(to: Destination, title: str, text: str) -> None:
        raise RuntimeError(to.reveal_url())

    monkeypatch.setattr(apprise_service, "send", broken)
    assert "an unexpected RuntimeError" in only(carrier(f"ntfy://{TOKEN}").notify_end(GOOD))


def test_fault_l13_plain_http_never_goes_through_a_proxy(
    box: ReportReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would read what is sent."""
    with receive_reports() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        assert carrier(f"{box.url}/hook").notify_end(GOOD) == []
    assert box.targets == ["/hook"]
    assert proxy.received == []


def test_https_goes_through_the_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked for a tunnel, and sees the host alone."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with receive_reports() as proxy:
        proxy.answers["hooks.example.com:443"] = 502
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        line = only(carrier(f"https://hooks.example.com/{TOKEN}").notify_end(GOOD))
    assert "https://hooks.example.com: ProxyError" in line
    assert [(each.method, each.target) for each in proxy.received] == [("CONNECT", "hooks.example.com:443")]
    assert TOKEN not in str(proxy.received)


def test_fault_l12_an_address_never_prints_itself() -> None:
    """Scheme and host of a web address, the scheme of all others; it goes into no pickle."""
    web = Destination(f"https://me:{TOKEN}@hooks.example.com:8443/{TOKEN}", "report.url")
    assert (str(web), repr(web)) == ("https://hooks.example.com", "Destination(https://hooks.example.com)")
    assert str(Destination(f"slack://{TOKEN}/b/c", "report.url")) == "slack://…"
    with pytest.raises(TypeError):
        pickle.dumps(web)


def test_where_no_thread_can_be_started_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that allows no more of them costs the report, never the run."""

    def refused(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    line = only(carrier(ping=f"http://127.0.0.1:9/{TOKEN}").notify_start())
    assert "the ping was not sent to http://127.0.0.1: no thread can be started" in line
