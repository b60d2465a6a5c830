"""``archiver serve``: what a browser gets, from a real process."""

from __future__ import annotations

import hashlib
import re
import signal
from collections.abc import Iterator
from datetime import timedelta

import pytest

from archiver.model.identity import Role
from tests.support.archive_copies import ArchiveCopies
from tests.support.databases import NOW
from tests.support.export_archive import ExportHarness
from tests.support.web_server import ServedArchive, served

ACCOUNT = "accounts/natgeo-787132"


def fill(archive: ExportHarness) -> None:
    """Fill an archive, with a renamed account and a file of an unknown type."""
    archive.fill()
    archive.keep("10", Role.THUMBNAIL, b"<svg/>", NOW + timedelta(days=1), mime="image/svg+xml")
    archive.rename("nat.geo", NOW + timedelta(days=1))
    archive.rename("natgeo", NOW + timedelta(days=2))


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, archive_copies: ArchiveCopies) -> ExportHarness:
    """An archive with a photo and a video in two highlights."""
    return ExportHarness.copied(tmp_path_factory.mktemp("served"), archive_copies, "served", fill)


@pytest.fixture(scope="module")
def server(archive: ExportHarness) -> Iterator[ServedArchive]:
    """A server of that archive, on loopback."""
    with served(archive.environ) as running:
        yield running


def media_path(content: bytes, extension: str) -> str:
    """Return the path of a file with this content."""
    digest = hashlib.sha256(content).hexdigest()
    return f"/media/{digest[:2]}/{digest}.{extension}"


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
    """With 128 + N, as every command does, and nothing else is on stdout."""
    for signum in (signal.SIGTERM, signal.SIGINT):
        with served(archive.environ) as running:
            assert re.fullmatch(r"http://127\.0\.0\.1:[1-9][0-9]*/", running.address)
            assert running.ask("/healthz").text == "ok\n"
            code, errors = running.end(signum)
        assert code == -signum
        assert "stopped by" in errors
