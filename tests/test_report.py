"""Reports and pings, sent over loopback sockets."""

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

from archiver import report
from archiver.report import Notification, NotificationUrl, Notifier
from tests.support import leak_detector
from tests.support.report_receiver import ReportReceiver, receive_reports

TOKEN = "canary-8f14e45fceea167a"
GOOD = Notification(
    "archiver run 7: ok", "2 accounts\nnothing new 🌎", b'{"exit_code": 0, "run_id": 7}', is_success=True
)
BAD = Notification("archiver run 8: partial", "failed: 1 expired", b'{"exit_code": 3}', is_success=False)


@pytest.fixture
def box() -> Iterator[ReportReceiver]:
    """A server that receives reports and pings."""
    with receive_reports() as opened:
        yield opened


@pytest.fixture(autouse=True)
def secret_token() -> None:
    """Fail every test here whose output or log contains the token."""
    leak_detector.watch_secret(TOKEN)


def make_notifier(report: str | None = None, ping: str | None = None, **more: object) -> Notifier:
    """Return a notifier that sends to these URLs."""
    return Notifier(
        NotificationUrl(report, "report.url") if report else None,
        NotificationUrl(ping, "report.ping_url") if ping else None,
        **more,  # type: ignore[arg-type]
    )


def only_line(problems: list[str]) -> str:
    """Return the only problem, which must not contain the token."""
    (line,) = problems
    assert TOKEN not in line
    return line


def test_a_web_address_gets_the_whole_object(box: ReportReceiver) -> None:
    """The JSON is posted once, to the configured path and query, with the password of the URL."""
    url = box.url.replace("//", f"//me:{TOKEN}@")
    assert make_notifier(f"{url}/hook/{TOKEN}?room={TOKEN}").notify_end(GOOD) == []
    (came,) = box.received
    assert (came.method, came.target) == ("POST", f"/hook/{TOKEN}?room={TOKEN}")
    assert came.headers["content-type"] == "application/json"
    assert came.headers["authorization"].startswith("Basic ")
    assert came.body == GOOD.document


@pytest.mark.parametrize(
    ("letter", "target"), [(GOOD, f"/{TOKEN}?rid=1"), (BAD, f"/{TOKEN}/fail?rid=1")], ids=["good", "bad"]
)
def test_a_monitor_is_pinged_at_the_start_and_at_the_end(
    box: ReportReceiver, letter: Notification, target: str
) -> None:
    """First with /start, then with nothing or /fail after the path; the last ping contains the text."""
    to = make_notifier(ping=f"{box.url}/{TOKEN}/?rid=1" if letter is BAD else f"{box.url}/{TOKEN}?rid=1")
    assert to.notify_start() == []
    assert to.notify_end(letter) == []
    assert box.targets == [f"/{TOKEN}/start?rid=1", target]
    assert box.received[0].body == b""
    assert box.received[1].body.decode() == f"{letter.title}\n{letter.text}\n"


def test_without_a_report_the_monitor_is_pinged_anyway(box: ReportReceiver) -> None:
    """Leaving out the report does not leave out the ping."""
    assert make_notifier(f"{box.url}/hook", f"{box.url}/ping").notify_end(GOOD, send_report=False) == []
    assert box.targets == ["/ping"]


def test_nothing_configured_sends_nothing() -> None:
    """Without URLs there is nothing to send and no problem."""
    assert make_notifier().notify_start() == make_notifier().notify_end(GOOD) == []


def test_fault_l13_no_redirect_is_followed(box: ReportReceiver) -> None:
    """Neither our client nor Apprise sends the body to a host that is not configured."""
    with receive_reports() as elsewhere:
        box.answers["/hook"] = box.answers["/ping"] = box.answers["/note"] = f"{elsewhere.url}/caught"
        problems = make_notifier(f"{box.url}/hook", f"{box.url}/ping").notify_end(GOOD)
        assert [line.partition(": ")[2] for line in problems] == [
            "it answered 307, and redirects are not followed (set report.ping_url to the final address)",
            "it answered 307, and redirects are not followed (set report.url to the final address)",
        ]
        only_line(make_notifier(f"json://127.0.0.1:{box.port}/note").notify_end(GOOD))
        assert len(box.received) == 3
        assert elsewhere.received == []


def test_fault_l12_a_report_that_is_not_delivered_is_one_line(box: ReportReceiver) -> None:
    """The line has scheme and host, the reason and the next step; never path, query or password."""
    box.answers[f"/{TOKEN}"] = 404
    url = box.url.replace("//", f"//{TOKEN}:{TOKEN}@")
    line = only_line(make_notifier(f"{url}/{TOKEN}").notify_end(GOOD))
    assert line == "the report was not sent to http://127.0.0.1: it answered 404 (check report.url)"


def test_fault_h39_a_port_without_a_listener_is_no_connection() -> None:
    """The line says so, and what to check."""
    with receive_reports() as gone:
        url = f"{gone.url}/{TOKEN}"
    line = only_line(make_notifier(ping=url).notify_start())
    assert line == (
        "the ping was not sent to http://127.0.0.1: no connection"
        " (check report.ping_url, and that this machine can reach its host)"
    )


def test_fault_h39_a_server_that_never_answers_costs_the_time_limit_once(box: ReportReceiver) -> None:
    """That holds for a report and a ping together; both are reported as problems."""
    box.stalls |= {"/hook", "/ping"}
    begun = time.monotonic()
    problems = make_notifier(f"{box.url}/hook", f"{box.url}/ping", seconds=0.5).notify_end(GOOD)
    assert time.monotonic() - begun < 0.95
    assert [line.partition(":")[0] for line in problems] == [
        "the ping was not sent to http",
        "the report was not sent to http",
    ]


def test_fault_h39_a_service_that_hangs_is_abandoned(
    box: ReportReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time limit holds for Apprise too, which has longer ones."""
    monkeypatch.setattr(report, "send_with_apprise", lambda to, title, text: box.over.wait(30))
    line = only_line(make_notifier(f"ntfy://{TOKEN}", seconds=0.2).notify_end(GOOD))
    assert (
        line
        == "the report was not sent to ntfy://…: not finished within 0.2 seconds (the next run tries again)"
    )


@pytest.mark.parametrize("stalls", [{"/ping/fail"}, {"/ping/fail", "/hook"}], ids=["one", "both"])
def test_fault_h39_a_signal_ends_the_wait_after_a_moment(
    box: ReportReceiver, monkeypatch: pytest.MonkeyPatch, stalls: set[str]
) -> None:
    """After a signal, deliveries have ``GRACE`` seconds left; those that finish in time are no problem."""
    monkeypatch.setattr(report, "GRACE", 0.3)
    box.stalls |= stalls
    begun = time.monotonic()
    problems = make_notifier(f"{box.url}/hook", f"{box.url}/ping", is_stopped=lambda: True).notify_end(BAD)
    assert 0.3 <= time.monotonic() - begun < 3
    assert len(problems) == len(stalls)
    assert all("http://127.0.0.1: the run was stopped (" in line for line in problems)
    assert box.at("/hook").body == BAD.document


def test_apprise_sends_title_and_text(box: ReportReceiver) -> None:
    """Other schemes go through Apprise, here its json:// service, and only at the end of a run."""
    assert make_notifier(f"json://127.0.0.1:{box.port}/{TOKEN}").notify_start() == []
    assert box.received == []
    assert make_notifier(f"json://127.0.0.1:{box.port}/{TOKEN}").notify_end(GOOD) == []
    received = json.loads(box.at(f"/{TOKEN}").body)
    assert (received["title"], received["message"]) == (GOOD.title, GOOD.text)


def test_a_service_that_refuses_is_named_by_its_scheme_only(box: ReportReceiver) -> None:
    """In slack://TOKEN the token is where the host would be."""
    box.answers[f"/{TOKEN}"] = 500
    line = only_line(make_notifier(f"json://127.0.0.1:{box.port}/{TOKEN}").notify_end(GOOD))
    assert line.startswith(
        "the report was not sent to json://…: the json:// service refused the report (check "
    )


def test_fault_h39_a_missing_apprise_is_reported_before_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """The problem is returned at the start with the command to install it, and not again at the end."""
    monkeypatch.setitem(sys.modules, "apprise", None)
    to = make_notifier(f"ntfy://{TOKEN}")
    install = f"{sys.executable} -m pip install apprise"
    why = f"ntfy://…: ntfy:// needs the package Apprise (install it: {install})"
    assert only_line(to.notify_start()) == f"the report cannot be sent to {why}"
    assert to.notify_end(GOOD) == []


def test_a_problem_with_the_monitor_is_returned_once() -> None:
    """It is returned at the start, and at the end only other problems are."""
    with receive_reports() as gone:
        url = f"{gone.url}/{TOKEN}"
    to = make_notifier(f"{url}/hook", f"{url}/ping")
    assert "the ping was not sent" in only_line(to.notify_start())
    assert "the report was not sent" in only_line(to.notify_end(GOOD))


LINK_LOCAL = """
import sys, threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from archiver.report import Notification, NotificationUrl, Notifier

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
        to = NotificationUrl(url, "report.url", may_be_link_local=allowed)
        problems = Notifier(to).notify_end(Notification("title", "text", b"{}", is_success=True))
        print(allowed, problems, flush=True)
"""


def test_fault_l14_a_name_that_leads_to_a_link_local_address_gets_no_report() -> None:
    """In a network namespace with that address, nothing is sent there unless the configuration allows it."""
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
    """A host in brackets is checked, and so is the mail server in the query."""
    assert "a link-local address" in only_line(make_notifier(url).notify_end(GOOD))


def test_a_scheme_that_apprise_does_not_know_is_reported_before_the_run() -> None:
    """That finds a misspelt scheme before the run."""
    assert "Apprise cannot use this slakc:// address" in only_line(
        make_notifier(f"slakc://{TOKEN}").notify_start()
    )


def test_fault_l12_a_bug_in_what_sends_quotes_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unexpected exception is named by its type only, as its text may quote the URL."""

    def broken(to: NotificationUrl, title: str, text: str) -> None:
        raise RuntimeError(to.reveal())

    monkeypatch.setattr(report, "send_with_apprise", broken)
    assert "an unexpected RuntimeError" in only_line(make_notifier(f"ntfy://{TOKEN}").notify_end(GOOD))


def test_fault_l13_plain_http_never_goes_through_a_proxy(
    box: ReportReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy could read the body."""
    with receive_reports() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        assert make_notifier(f"{box.url}/hook").notify_end(GOOD) == []
    assert box.targets == ["/hook"]
    assert proxy.received == []


def test_https_goes_through_the_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy gets a CONNECT request, which names only the host."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with receive_reports() as proxy:
        proxy.answers["hooks.example.com:443"] = 502
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        line = only_line(make_notifier(f"https://hooks.example.com/{TOKEN}").notify_end(GOOD))
    assert "https://hooks.example.com: ProxyError" in line
    assert [(each.method, each.target) for each in proxy.received] == [("CONNECT", "hooks.example.com:443")]
    assert TOKEN not in str(proxy.received)


def test_fault_l12_an_address_never_prints_itself() -> None:
    """It prints scheme and host of a web address, only the scheme of others, and cannot be pickled."""
    web = NotificationUrl(f"https://me:{TOKEN}@hooks.example.com:8443/{TOKEN}", "report.url")
    assert (str(web), repr(web)) == (
        "https://hooks.example.com",
        "NotificationUrl(https://hooks.example.com)",
    )
    assert str(NotificationUrl(f"slack://{TOKEN}/b/c", "report.url")) == "slack://…"
    with pytest.raises(TypeError):
        pickle.dumps(web)


def test_a_thread_that_cannot_be_started_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit on threads costs the report, never the run."""

    def refused(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    line = only_line(make_notifier(ping=f"http://127.0.0.1:9/{TOKEN}").notify_start())
    assert "the ping was not sent to http://127.0.0.1: no thread can be started" in line
