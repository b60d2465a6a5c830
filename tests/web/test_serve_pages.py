"""``archiver serve``: what a browser gets, from a real process."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack

import pytest

from archiver.cli import serve_command
from archiver.cli.options import GlobalOptions
from archiver.errors import DatabaseError
from tests.support import ROOT
from tests.support.command_line import CommandLineUser
from tests.support.export_archive import ExportHarness
from tests.support.web_server import ServedArchive

ACCOUNT = "accounts/natgeo-787132"


def test_the_pages_are_where_the_exported_site_has_them(server: ServedArchive) -> None:
    """Account list, account, highlight, media and assets; and an item, which only the server has."""
    index = server.ask("/")
    assert index.text == server.ask("/index.html").text
    assert f'href="{ACCOUNT}/index.html"' in index.text
    account = server.ask(f"/{ACCOUNT}/")
    assert account.status == 200
    assert 'href="1.html"' in account.text
    assert 'href="1.html?item=10#i10"' in account.text
    highlight = server.ask(f"/{ACCOUNT}/1.html?item=10")
    assert 'id="i10"' in highlight.text
    assert 'id="i11"' in highlight.text
    item = server.ask("/item/11")
    assert "Travel 🦋" in item.text
    links = set(re.findall(r'(?:href|src|poster)="\.\./([^"#?]+)', item.text))
    assert {path: server.ask(f"/{path}").status for path in links} == dict.fromkeys(links, 200)


@pytest.mark.parametrize(
    ("path", "current"),
    [
        ("/", [("index.html", "page")]),
        (f"/{ACCOUNT}/", [("../../index.html", "true")]),
        (f"/{ACCOUNT}/1.html", [("../../index.html", "true")]),
        ("/item/10", [("../index.html", "true")]),
        ("/timeline/nothing", []),
    ],
)
def test_every_page_has_the_bar(server: ServedArchive, path: str, current: list[tuple[str, str]]) -> None:
    """With the list of accounts marked on its own pages and on those of accounts, highlights and items."""
    page = server.ask(path).text
    assert re.findall(r'<li><a href="([^"]*)" aria-current="(.*?)"', page) == current
    assert page.count(">Timeline</a>") == 1
    assert "All accounts" not in page


def test_a_page_that_is_missing_says_how_to_go_on(server: ServedArchive) -> None:
    """With a search, or the list of accounts."""
    missing = server.ask("/accounts/nobody-99/")
    assert missing.status == 404
    links = re.findall(r'href="\.\./\.\./([^"]*)"', missing.text.partition("<main")[2])
    assert {path: server.ask(f"/{path}").status for path in links} == {"search": 200, "index.html": 200}


@pytest.mark.parametrize(
    "path",
    [
        "/accounts/nat.geo-787132/index.html",
        "/accounts/nat.geo/",
        "/accounts/natgeo/",
        "/accounts/xyz-787132/",
    ],
)
def test_other_names_lead_to_the_page(server: ServedArchive, path: str) -> None:
    """A former name, a name without its pk, and a wrong name with it: links of an older site still work."""
    answer = server.ask(path)
    assert answer.status == 302
    assert answer.headers["location"] == f"../../{ACCOUNT}/index.html"


def test_the_first_line_is_the_address_and_a_signal_ends_the_server(archive: ExportHarness) -> None:
    """With 128 + N, as every command does, while a browser's connection is open. stdout is a pipe."""
    person = CommandLineUser(archive.home, more=archive.environ)
    for signum in (signal.SIGTERM, signal.SIGINT):
        with person.start("serve", "--port", "0", shell='trap - INT; exec "$@"') as process:
            assert process.stdout is not None
            address = process.stdout.readline().rstrip("\n")
            assert re.fullmatch(r"http://127\.0\.0\.1:[1-9][0-9]*/", address)
            with socket.create_connection(ServedArchive(process.pid, address, "").place, 10):
                process.send_signal(signum)
                out, errors = process.communicate(timeout=10)
        assert (process.returncode, out) == (-signum, "")
        assert errors == f"archiver: serve: stopped by {signal.Signals(signum).name}\n"


def test_few_open_files_are_enough_for_many_connections(archive: ExportHarness) -> None:
    """A shell may allow fewer than the server needs, as macOS does; then it allows itself more."""
    person = CommandLineUser(archive.home, more=archive.environ)
    process = person.start("serve", "--port", "0", shell='ulimit -S -n 64; exec "$@"')
    with process, ExitStack() as opened:
        opened.callback(process.kill)
        assert process.stdout is not None
        server = ServedArchive(process.pid, process.stdout.readline().rstrip("\n"), str(archive.root))
        for _ in range(100):
            opened.enter_context(server.connect())
        with server.connect() as connection:
            connection.settimeout(5)  # those that send nothing would be cut off after ten seconds
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert connection.recv(12) == b"HTTP/1.1 200"


def test_fault_v5_too_few_open_files_are_reported_once(archive: ExportHarness) -> None:
    """In one line, however many connections cannot be accepted."""
    person = CommandLineUser(archive.home, more=archive.environ)
    process = person.start("serve", "--port", "0", shell='ulimit -n 40; exec "$@"')
    with process, ExitStack() as opened:
        opened.callback(process.kill)
        assert process.stdout is not None
        assert process.stderr is not None
        server = ServedArchive(process.pid, process.stdout.readline().rstrip("\n"), str(archive.root))
        for _ in range(100):
            opened.enter_context(server.connect())
        assert process.stderr.readline() == "archiver: serve: Too many open files\n"
        process.terminate()
        assert process.communicate(timeout=10)[1] == "archiver: serve: stopped by SIGTERM\n"


def test_a_missing_extra_is_named(archive: ExportHarness) -> None:
    """With the command that installs it."""
    without = (
        "import sys; sys.modules['starlette'] = None; from archiver.__main__ import main; sys.exit(main())"
    )
    ended = subprocess.run(
        [sys.executable, "-c", without, "serve", "--port", "0"],
        env={"PYTHONPATH": str(ROOT), "HOME": "/nowhere", **archive.environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert "needs, are not installed (install them: " in ended.stderr
    assert ended.stderr.endswith("starlette uvicorn)\n")


def test_fault_k17_an_error_is_printed_once_a_minute_and_in_words(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Our own errors each, with what to do; of others one of each kind, since a stranger may have written
    their words.
    """
    report = serve_command._reporter(GlobalOptions())
    for number in (1, 2):
        report(DatabaseError("the database is damaged", "restore it"))
        report(DatabaseError(f"there is no database {number}"))
        report(OSError(24, "Too many open files"))
        report(ValueError(f"what a client sent: {number}"))
    assert capsys.readouterr().err.splitlines() == [
        "archiver: serve: the database is damaged (restore it)",
        "archiver: serve: there is no database 1",
        "archiver: serve: Too many open files",
        "archiver: serve: a request failed: ValueError: what a client sent: 1",
        "archiver: serve: there is no database 2",
    ]
