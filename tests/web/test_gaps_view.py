"""The gaps in the browser: those of ``archiver gaps``, some accounts at a time."""

from __future__ import annotations

import pytest

from archiver.catalog import Catalog, record
from archiver.catalog.query import gaps
from archiver.errors import Reason
from archiver.model.archived import Failure
from archiver.model.identity import Subject
from archiver.model.upstream import User
from archiver.web import archive_views
from tests.support.catalog_samples import NATGEO, tray
from tests.support.databases import NOW, SQLITE_EVERYDAY
from tests.support.three_night_catalog import NASA, record_three_nights
from tests.support.view_pages import existing_page, hrefs, links, query_of, text_of, texts

OTHER = User("55", "other", "Other", False, False)


def test_the_gaps_of_accounts_are_those_of_all(catalog: Catalog) -> None:
    """The gaps of each account alone are what the gaps of the archive say of it; names of no account are
    given when asked for.
    """
    record_three_nights(catalog)
    failed = Failure(Subject.TARGET, "nobody", None, Reason.GONE, "no such account")
    catalog.write(record.record_failure, failed, NOW)
    found = list(catalog.stream(gaps.gaps))
    for pks in ([NATGEO.pk], [NASA.pk], [NATGEO.pk, NASA.pk]):
        for with_targets in (False, True):
            own = list(catalog.stream(gaps.gaps_of, pks, with_targets=with_targets))
            assert own == [g for g in found if g.user_pk in pks or (with_targets and g.subject == "target")]
    assert {gap.user_pk for gap in found} == {NATGEO.pk, NASA.pk, None}


@SQLITE_EVERYDAY
def test_accounts_with_many_items_have_pages_of_their_own(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many accounts as have few items are on a page; a link leads to the next. One can be shown alone."""
    record_three_nights(catalog)
    monkeypatch.setattr(archive_views, "MAX_ITEMS", 1)
    first = existing_page(catalog, "/gaps")
    assert texts(first, "h2") == ["NASA @nasa_gov"]
    second = existing_page(catalog, "/gaps", **query_of(links(first)["Gaps of the next accounts"]))
    assert texts(second, "h2") == ["National Geographic @natgeo"]
    assert "Gaps of the next accounts" not in links(second)
    assert text_of(existing_page(catalog, "/gaps", account=NASA.pk)) != text_of(second)


@SQLITE_EVERYDAY
def test_a_gap_says_what_is_missing_and_where(catalog: Catalog) -> None:
    """With the reason and the next try, and a link to its place in the highlight."""
    record_three_nights(catalog)
    root = existing_page(catalog, "/gaps")
    rows = texts(root, "tr")
    assert "thumbnail of C14 in Gift Guide network 1 next run" in " ".join(rows)
    assert any(href.endswith(".html#i14") for href in hrefs(root))


@SQLITE_EVERYDAY
def test_tries_are_a_column_if_there_were_any(catalog: Catalog) -> None:
    """The reason and the next try are in words."""
    record_three_nights(catalog)
    heads = [row for row in texts(existing_page(catalog, "/gaps"), "tr") if row.startswith("Missing")]
    assert "Missing Reason Tries Next try" in heads
    catalog.write(
        record.record_tray, catalog.write(record.start_run, "run", NOW), "55", tray("9", user=OTHER), NOW
    )
    rows = texts(existing_page(catalog, "/gaps", account="55"), "tr")
    assert rows == ["Missing Reason Next try", "highlight Gift Guide no run has reached it yet next run"]


@SQLITE_EVERYDAY
def test_a_page_shows_the_first_gaps_and_says_so(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are, a page is short."""
    record_three_nights(catalog)
    monkeypatch.setattr(archive_views, "MAX_GAPS", 2)
    root = existing_page(catalog, "/gaps")
    assert len([row for row in texts(root, "tr") if not row.startswith("Missing")]) == 2
    assert "These are the first 2 gaps" in text_of(root)
