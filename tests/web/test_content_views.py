"""The views of the content, without a server: lists in pages, and the index of accounts."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy import Connection

from archiver.catalog import Catalog, record
from archiver.catalog.query import page_contents
from archiver.catalog.query.page_contents import AccountSums
from archiver.model.upstream import Highlight, User
from archiver.web import account_index, content_views
from archiver.web.account_index import AccountIndex, current_index
from archiver.web.page_parts import Page, PageRequest
from tests.support.archive_copies import ArchiveCopies
from tests.support.catalog_samples import FACTS, tray, video
from tests.support.databases import ARCHIVE_ID, NOW
from tests.support.export_archive import ExportHarness

NAMES = ("Zoë", "anna", "Bob", "émile", "carl")
DIRECTORY = {"directory": "natgeo-787132"}


def fill(archive: ExportHarness) -> None:
    """Five more accounts, of which each is changed a day later than the one before; natgeo has five items."""
    archive.show({"1": "Many"}, {"1": tuple(video(str(pk)) for pk in range(10, 15))})
    with archive.catalog() as rows:
        for n, name in enumerate(NAMES):
            user = User(str(n + 1), f"user{n}", name, False, False)
            rows.write(record.record_tray, archive.run_id, user.pk, tray(user=user), NOW + timedelta(days=n))


@pytest.fixture
def catalog(tmp_path_factory: pytest.TempPathFactory, archive_copies: ArchiveCopies) -> Iterator[Catalog]:
    """The database, open as the server opens it."""
    home = tmp_path_factory.mktemp("views")
    archive = ExportHarness.copied(home, archive_copies, "views", fill)
    with Catalog.open(archive.root / "archive.db", write=False, is_lasting=True) as opened:
        yield opened


def text_of(shown: object) -> str:
    """Return the text of a page."""
    assert isinstance(shown, Page)
    return shown.content.decode()


def items_in(shown: object) -> list[str]:
    """Return the items of a page, in its order."""
    return re.findall(r'<li class="item[^>]* id="i(\d+)"', text_of(shown))


def test_a_long_highlight_comes_in_pages(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    """In its order; an item leads to the page that has it, and no number leads beyond the last one."""
    monkeypatch.setattr(content_views, "ITEMS_PER_PAGE", 2)

    def show(**query: str) -> object:
        return content_views.show_highlight(catalog, PageRequest({**DIRECTORY, "highlight": "1"}, query))

    pages = [items_in(show(page=str(n))) for n in range(1, 4)]
    assert pages == [["10", "11"], ["12", "13"], ["14"]]
    assert items_in(show(item="13")) == pages[1]
    assert items_in(show(item="99")) == pages[0]
    assert [items_in(show(page=n)) for n in ("0", "-1", "x", "²", "9" * 30)] == [pages[0]] * 5
    assert items_in(show(page="4")) == pages[2]
    second = text_of(show(page="2"))
    assert 'rel="prev" href="?page=1"' in second
    assert 'rel="next" href="?page=3"' in second
    assert "Page 2 of 3" in second


def test_an_account_shows_all_items_in_pages(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    """The latest first; its highlights are on the first page."""
    monkeypatch.setattr(content_views, "ITEMS_PER_PAGE", 3)
    view = content_views.account_view(current_index(catalog))
    first, last = (view(catalog, PageRequest(DIRECTORY, {"page": n})) for n in "12")
    assert items_in(first) + items_in(last) == ["14", "13", "12", "11", "10"]
    assert 'class="covers"' in text_of(first)
    assert 'class="covers"' not in text_of(last)


def names_in(shown: object) -> list[str]:
    """Return the accounts of a page, in its order."""
    return re.findall(r'<a class="card[^>]*href="accounts/([^"-]+)-', text_of(shown))


def test_accounts_are_sorted_and_found(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    """By name, size and last change, page after page; by any word of any name, without case and accents."""
    monkeypatch.setattr(content_views, "ACCOUNTS_PER_PAGE", 4)
    view = content_views.accounts_view(current_index(catalog))

    def show(**query: str) -> list[str]:
        return names_in(view(catalog, PageRequest(query=query)))

    assert show() + show(page="2") == ["user1", "user2", "user4", "user3", "natgeo", "user0"]
    assert show(sort="size")[0] == "natgeo"
    assert show(q="ZOË") == ["user0"]
    assert show(q="@user a") == ["user1", "user4"]
    assert show(q="EMILE user3") == ["user3"]
    assert show(q="nobody") == []
    assert "q=user&amp;sort=size&amp;page=2" in text_of(
        view(catalog, PageRequest(query={"q": "user", "sort": "size"}))
    )


@pytest.mark.parametrize("edited", ["title", "name"])
def test_an_edit_is_the_last_change_of_its_account(
    tmp_path: Path, archive_copies: ArchiveCopies, monkeypatch: pytest.MonkeyPatch, edited: str
) -> None:
    """While the server runs, and without anything new in a highlight. (However slow this machine is, the
    accounts are read again at each request.)
    """
    monkeypatch.setattr(account_index, "_AT_ONCE", 60.0)
    archive = ExportHarness.copied(tmp_path, archive_copies, "views", fill)
    with Catalog.open(archive.root / "archive.db", write=False, is_lasting=True) as opened:
        view = content_views.accounts_view(current_index(opened))
        with archive.catalog() as rows:
            rows.write(
                record.record_tray,
                archive.run_id,
                "1",
                tray(user=User("1", "user.new", "Zoë", False, False)),
                NOW + timedelta(days=8),
            )
        newest_first = PageRequest(query={"sort": "changed"})
        assert names_in(view(opened, newest_first))[0] == "user.new"
        if edited == "title":
            archive.show({"1": "Few"}, {}, NOW + timedelta(days=9))
        else:
            archive.rename("natgeo.again", NOW + timedelta(days=9))
        assert names_in(view(opened, newest_first))[0].startswith("natgeo")


def test_no_page_waits_for_the_sums_of_all(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are read in the background; until then the list has names alone, and says so."""
    monkeypatch.setattr(account_index, "_AT_ONCE", 0)
    index = AccountIndex(catalog)
    view = content_views.accounts_view(lambda: index)
    first = text_of(view(catalog, PageRequest()))
    assert "still counting items" in first
    assert "6 accounts" in first
    until = time.monotonic() + 30
    while not index.read().is_complete and time.monotonic() < until:
        time.sleep(0.01)
    assert "<span>5 items</span>" in text_of(view(catalog, PageRequest()))


def test_a_page_reads_few_sums_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice as many after a short read, one after a long one, and none after a tenth of a second. Accounts
    with few highlights come first. In the background, twenty are read at once.
    """
    now, page = 0.0, threading.current_thread()
    reads = {True: list[int](), False: list[int]()}
    read_sums = page_contents.account_sums

    def read_slowly(connection: Connection, pks: Sequence[str]) -> dict[str, AccountSums]:
        nonlocal now
        reads[threading.current_thread() is page].append(len(pks))
        now += sum(0.03 if pk in large else 0.001 for pk in pks)
        return read_sums(connection, pks)

    monkeypatch.setattr(page_contents, "account_sums", read_slowly)
    monkeypatch.setattr(account_index, "time", SimpleNamespace(monotonic=lambda: now))
    large = [str(n) for n in range(100, 130)]
    with Catalog.create(tmp_path / "archive.db", ARCHIVE_ID, NOW) as opened:
        run = opened.write(record.start_run, "run", NOW)
        for pk in [*large, *map(str, range(130, 160))]:
            user = User(pk, f"user{pk}", None, False, False)
            highlights = [Highlight(f"{pk}0", user, "Title", numbers=FACTS)] if pk in large else []
            opened.write(record.record_tray, run, pk, tray(*highlights, user=user), NOW)
        index = AccountIndex(opened)
        index.read()
        until = time.monotonic() + 30
        while not index.read().is_complete and time.monotonic() < until:
            time.sleep(0.01)
    assert reads == {True: [1, 2, 4, 8, 16, 1, 1], False: [20, 7]}
