"""The views of the whole archive: each is valid, closed and harmless, whatever the archive holds; what each
shows; and that what it reads does not grow with the archive.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest
from sqlalchemy import Connection

from archiver.catalog import Catalog, ledger, record
from archiver.catalog.query import change_history, gaps, page_contents
from archiver.catalog.record.stored_files import StoredFile
from archiver.errors import Reason
from archiver.model.api_calls import Limits
from archiver.model.archived import Failure
from archiver.model.identity import Role, Subject
from archiver.model.upstream import (
    Hashtag,
    Highlight,
    HighlightPage,
    Item,
    Location,
    Mention,
    Tray,
    User,
    WebLink,
)
from archiver.pages.page_text import MONTHS
from archiver.web import archive_views
from archiver.web.archive_views import ARCHIVE_VIEWS
from tests.support.catalog_samples import (
    FACTS,
    LATER,
    LATEST,
    NATGEO,
    call,
    file_of,
    highlight,
    page,
    tray,
    video,
)
from tests.support.databases import ARCHIVE_ID, NOW, SQLITE_EVERYDAY, count_steps
from tests.support.hostile_world import ESCAPES, FORGED, LONG, TITLES
from tests.support.three_night_catalog import NASA, record_three_nights
from tests.support.view_pages import (
    ORIGIN,
    existing_page,
    hrefs,
    links,
    marked,
    query_of,
    text_of,
    texts,
    tiles,
    view_page,
)

PAGES = [path for path in ARCHIVE_VIEWS if path != "/feed.atom"]
MARKUP = "</title><script>alert(1)</script><img src=x onerror=alert(1)>\"' onclick='x'"
HOSTILE = (*(title for title in TITLES if title.strip()), MARKUP, ESCAPES + FORGED + MARKUP + LONG)


def record_words(catalog: Catalog, text: str) -> None:
    """Record an account that has ``text`` wherever text is possible, in two nights."""
    owner = User("7", text, text, False, True, None, "a.jpg")
    run = catalog.write(record.start_run, "run", NOW)

    def listed(title: str) -> Highlight:
        return Highlight("70", owner, title, created_at=NOW, numbers=FACTS, cover_name="c.jpg")

    item = Item(
        "700",
        "7",
        text,
        NOW,
        2,
        mentions=(Mention(text, "2", text),),
        web_links=(WebLink("javascript:" + text, text, text),),
        hashtags=(Hashtag(text),),
        locations=(Location(text, "3", 1.0, 2.0),),
    )
    catalog.write(record.record_tray, run, "7", Tray(owner, (listed("first"),)), NOW)
    catalog.write(record.record_page, run, None, HighlightPage(listed("first"), ()), FACTS, NOW)
    catalog.write(record.record_tray, run, "7", Tray(owner, (listed(text),)), LATER)
    catalog.write(record.record_page, run, None, HighlightPage(listed(text), (item,)), FACTS, LATER)
    catalog.write(record.record_failure, Failure(Subject.TARGET, text, None, Reason.GONE, text), LATER)
    catalog.write(
        record.record_failure, Failure(Subject.ITEM, "700", Role.VIDEO, Reason.NETWORK, text), LATER
    )


def shape(root: Element) -> list[tuple[str, list[str]]]:
    """Return the elements of a page and the names of their attributes."""
    return [(element.tag, sorted(element.attrib)) for element in root.iter()]


@pytest.mark.parametrize("path", PAGES)
def test_an_empty_archive_has_every_page(catalog: Catalog, path: str) -> None:
    """Valid HTML, with the page itself marked in the navigation bar."""
    root = existing_page(catalog, path)
    (current,) = [a.attrib["href"] for a in root.iter("a") if a.get("aria-current")]
    assert current == path.removeprefix("/")


@SQLITE_EVERYDAY
def test_pages_of_an_archive_are_valid(catalog: Catalog) -> None:
    """They load and link to nothing but the server, and ids are unique."""
    record_three_nights(catalog)
    for path in PAGES:
        root = existing_page(catalog, path, q="natgeo")
        ids = [element.attrib["id"] for element in root.iter() if "id" in element.attrib]
        assert len(ids) == len(set(ids)), path
        for element in root.iter():
            loaded = [element.attrib[name] for name in ("src", "action", "poster") if name in element.attrib]
            assert not [address for address in loaded if "//" in address or address.startswith("/")]
            assert "style" not in element.attrib
            assert not [name for name in element.attrib if name.startswith("on")]


def test_words_of_strangers_are_text(tmp_path: Path, whole: bool) -> None:
    """With hostile words everywhere, the pages have the elements that they have with a plain word, and the
    feed is XML. Every day with the last two of them, which hold the most; with ``--whole`` with all.
    """
    expected: dict[str, list[tuple[str, list[str]]]] = {}
    for number, text in enumerate(("plain words", *(HOSTILE if whole else HOSTILE[-2:]))):
        with Catalog.create(tmp_path / f"{number}.db", ARCHIVE_ID, NOW) as catalog:
            record_words(catalog, text)
            for path in PAGES:
                found = shape(existing_page(catalog, path))
                assert found == expected.setdefault(path, found), (path, text)
            searched = existing_page(catalog, "/search", q=text)
            assert [e.get("src") for e in searched.iter("script")] == ["assets/viewer.js"]
            feed = ElementTree.fromstring(view_page(catalog, "/feed.atom") or "")
            assert len(feed.findall("{http://www.w3.org/2005/Atom}entry")) == 2  # the item, and the account


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_no_page_has_a_path_on_disk(catalog: Catalog) -> None:
    """Not even one that the detail of a failure states."""
    record_words(catalog, "plain")
    failed = Failure(Subject.HIGHLIGHT, "70", None, Reason.NETWORK, "/srv/archive/tmp/x: no space left")
    catalog.write(record.record_failure, failed, LATER)
    catalog.write(record.start_run, "run", LATER)
    for path in ARCHIVE_VIEWS:
        assert "/srv/" not in (view_page(catalog, path) or "")
    assert "highlight" in (view_page(catalog, "/gaps") or "")


@pytest.mark.parametrize(
    ("path", "name", "value"),
    [
        *(
            ("/timeline", name, value)
            for name in ("before", "after")
            for value in ("x", "2025-01-01 1", " ", "")
        ),
        ("/timeline", "before", "2025-01-01T00:00:00Z 1\x002"),
        ("/timeline", "day", "9999-12-31"),
        ("/timeline", "day", "yesterday"),
        *(("/changes", "before", value) for value in ("x", "-1", "1" * 40, "١")),
        *(("/gaps", name, value) for name in ("after", "account") for value in ("x", "'", "1" * 41)),
        ("/gaps", "account", "999"),
        *(("/search", "page", value) for value in ("x", "21", "-1")),
    ],
)
def test_a_malformed_place_is_no_page(catalog: Catalog, path: str, name: str, value: str) -> None:
    """A parameter that no link of ours has leads to no page, and to no error."""
    assert view_page(catalog, path, **{name: value, "q": "x"}) is None


DAY = timedelta(days=1)


def record_items(catalog: Catalog, run_id: int, taken: dict[str, datetime | None]) -> None:
    catalog.write(record.record_tray, run_id, "787132", tray("1"), NOW)
    items = [video(pk, taken_at=at) for pk, at in taken.items()]
    catalog.write(record.record_page, run_id, None, page("1", *items), FACTS, NOW)


def test_every_dated_item_is_on_one_page_of_the_timeline(catalog: Catalog, run_id: int) -> None:
    """Going back in time shows each once, the latest first, also those of the same moment; going forward
    leads over the same pages.
    """
    number = 2 * archive_views.ITEMS_PER_PAGE + 5
    same = {str(pk): NOW for pk in range(1000, 1000 + number)}
    record_items(catalog, run_id, {**same, "5": NOW - DAY, "7": NOW + DAY, "9": None})
    pages, query = [], dict[str, str]()
    while True:
        root = existing_page(catalog, "/timeline", **query)
        pages.append(tiles(root))
        if "Earlier" not in links(root):
            break
        query = query_of(links(root)["Earlier"])
    assert [pk for shown in pages for pk in shown] == ["7", *sorted(same, reverse=True), "5"]
    assert [len(one) for one in pages[:2]] == [archive_views.ITEMS_PER_PAGE] * 2
    back = existing_page(catalog, "/timeline", **query_of(links(root)["Later"]))
    assert tiles(back) == pages[-2]
    first = existing_page(catalog, "/timeline", **query_of(links(back)["Later"]))
    assert tiles(first) == pages[0]
    assert "Later" not in links(first)


@SQLITE_EVERYDAY
def test_a_place_that_no_link_names_has_no_page(catalog: Catalog, run_id: int) -> None:
    """Also one that is outside the calendar in UTC."""
    for place in ("", "2025-12-04", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "x 1"):
        for name in ("before", "after"):
            assert view_page(catalog, "/timeline", **{name: place}) is None


@SQLITE_EVERYDAY
def test_days_are_those_of_utc_as_the_site_shows_them(catalog: Catalog, run_id: int) -> None:
    """With their items below them, and a link to the account and the highlight of each."""
    midnight = datetime(2025, 12, 4, tzinfo=UTC)
    record_items(catalog, run_id, {"1": midnight, "2": midnight - timedelta(microseconds=1)})
    root = existing_page(catalog, "/timeline")
    assert texts(root, "h2")[:2] == ["4 December 2025", "3 December 2025"]
    assert "accounts/natgeo-787132/" in hrefs(root)
    assert "accounts/natgeo-787132/1.html?item=2#i2" in hrefs(root)


@SQLITE_EVERYDAY
def test_a_reader_can_jump_to_a_day_a_month_and_a_year(catalog: Catalog, run_id: int) -> None:
    """The timeline begins there with the last item of it, or of the time before."""
    taken = {"1": datetime(2019, 3, 5, tzinfo=UTC), "2": datetime(2021, 7, 9, 12, tzinfo=UTC)}
    record_items(catalog, run_id, dict(taken))
    root = existing_page(catalog, "/timeline")
    assert [name for name in links(root) if name.isdigit()] == ["2021", "2019"]
    assert tiles(existing_page(catalog, "/timeline", **query_of(links(root)["2019"]))) == ["1"]
    assert tiles(existing_page(catalog, "/timeline", **query_of(links(root)["Jul"]))) == ["2", "1"]
    assert tiles(existing_page(catalog, "/timeline", day="2021-07-09")) == ["2", "1"]
    empty = existing_page(catalog, "/timeline", day="2018-12-31")
    assert tiles(empty) == []
    assert tiles(existing_page(catalog, "/timeline", **query_of(links(empty)["Later"]))) == ["2", "1"]


def test_only_months_with_items_are_links(catalog: Catalog, run_id: int) -> None:
    """Of the year that is shown, whose link is marked, as that of its month is."""
    ends = datetime(2021, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    taken = {"1": datetime(2020, 8, 5, tzinfo=UTC), "2": datetime(2021, 3, 1, tzinfo=UTC), "3": ends}
    record_items(catalog, run_id, dict(taken))
    for query, months in (({}, ["Dec", "Mar"]), ({"day": "2021-04-30"}, ["Dec", "Mar"])):
        root = existing_page(catalog, "/timeline", **query)
        assert [name for name in links(root) if name in {month[:3] for month in MONTHS}] == months
    assert marked(existing_page(catalog, "/timeline")) == ["Timeline", "2021", "Dec"]
    assert marked(existing_page(catalog, "/timeline", day="2021-04-30")) == ["Timeline", "2021", "Mar"]
    assert marked(existing_page(catalog, "/timeline", day="2019-01-01")) == ["Timeline"]


@SQLITE_EVERYDAY
def test_a_tile_names_its_account(catalog: Catalog, run_id: int) -> None:
    """The day is in the heading above it."""
    record_items(catalog, run_id, {"1": NOW})
    catalog.write(record.record_files, [StoredFile(file_of("1", content="video"), None, NOW)], run_id=run_id)
    captions = [text_of(p) for p in existing_page(catalog, "/timeline").iter("p") if p.get("class") == "date"]
    assert captions == ["National Geographic"]


@SQLITE_EVERYDAY
def test_an_item_is_shown_as_in_a_highlight_that_still_shows_it(catalog: Catalog, run_id: int) -> None:
    """An item that one highlight no longer shows is not marked while another one shows it."""
    catalog.write(record.record_tray, run_id, "787132", tray("1", "2"), NOW)
    for pk in ("1", "2"):
        catalog.write(record.record_page, run_id, None, page(pk, "10", "11"), FACTS, NOW)
    catalog.write(record.record_page, run_id, None, page("1"), FACTS, NOW + DAY, gone=("10", "11"))
    catalog.write(record.record_page, run_id, None, page("2", "10"), FACTS, NOW + DAY, gone=("11",))
    items = [li for li in existing_page(catalog, "/timeline").iter("li") if li.get("id")]
    assert {li.attrib["id"]: li.attrib["class"] for li in items} == {"i10": "item", "i11": "item gone"}


def record_growth(catalog: Catalog, nights: int, added: int) -> None:
    """Record nights in each of which so many items were added to a highlight."""
    for night in range(nights + 1):
        run = catalog.write(record.start_run, "run", NOW)
        if night == 0:
            catalog.write(record.record_tray, run, "787132", tray("1"), NOW)
        shown = [str(pk) for pk in range(100, 100 + night * added)]
        catalog.write(record.record_page, run, None, page("1", *shown), FACTS, NOW)
        catalog.write(record.finish_run, run, NOW, "ok", 0)


@SQLITE_EVERYDAY
def test_each_night_says_what_changed_and_shows_its_items(catalog: Catalog) -> None:
    """The latest night first; edits in words; the items that were added or removed as pictures."""
    record_three_nights(catalog)
    root = existing_page(catalog, "/changes")
    assert texts(root, "h2") == [
        "2 April 2026, 23:30 UTC",
        "1 April 2026, 23:30 UTC",
        "Photo or video",  # the viewer
    ]
    edits = [text for text in texts(root, "p") if "renamed from Gift Guide" in text]
    assert edits == ["BOTW 1 added 1 removed renamed from Gift Guide"]
    assert sorted(tiles(root)) == ["11", "13", "15"]  # 11 names another owner now
    assert "accounts/natgeo-787132/1.html" in hrefs(root)


@SQLITE_EVERYDAY
def test_long_nights_go_on_and_can_be_skipped(catalog: Catalog) -> None:
    """Every change is on one page; a link leads past the rest of a night, another back."""
    record_growth(catalog, 3, archive_views.CHANGES_PER_PAGE + 1)
    pks, query, pages = list[str](), dict[str, str](), 0
    while True:
        root = existing_page(catalog, "/changes", **query)
        pks, pages = pks + tiles(root), pages + 1
        if "Earlier" not in links(root):
            break
        query = query_of(links(root)["Earlier"])
    assert sorted(pks) == [str(pk) for pk in range(100, 100 + 3 * (archive_views.CHANGES_PER_PAGE + 1))]
    assert pages == 4
    later = existing_page(catalog, "/changes", **query_of(links(root)["Later"]))
    assert "Earlier" in links(later)
    rest = links(existing_page(catalog, "/changes"))["Skip the rest of this night"]
    second = existing_page(catalog, "/changes", **query_of(rest))
    assert max(map(int, tiles(second))) == 99 + 2 * (archive_views.CHANGES_PER_PAGE + 1)


@SQLITE_EVERYDAY
def test_an_item_is_shown_once(catalog: Catalog) -> None:
    """Though it was added to two highlights: the viewer finds an item by its id."""
    for at, shown in ((NOW, []), (LATER, ["10"])):
        run = catalog.write(record.start_run, "run", at)
        catalog.write(record.record_tray, run, "787132", tray(highlight("1", "A"), highlight("2", "B")), at)
        for pk, title in (("1", "A"), ("2", "B")):
            catalog.write(record.record_page, run, None, page(pk, *shown, title=title), FACTS, at)
    root = existing_page(catalog, "/changes")
    assert tiles(root) == ["10"]
    assert [text for text in texts(root, "p") if "added" in text][1:] == ["A 1 added", "B 1 added"]


@SQLITE_EVERYDAY
def test_accounts_highlights_and_items_are_linked(catalog: Catalog) -> None:
    """Each under its heading, also by a former name, which is stated."""
    record_three_nights(catalog)
    found = existing_page(catalog, "/search", q="nasa")
    assert texts(found, "h2")[:2] == ["Accounts", "Items"]
    assert "accounts/nasa_gov-42/" in hrefs(found)
    assert tiles(found) == ["11"]
    former = existing_page(catalog, "/search", q='"nasa" -gov')
    assert tiles(former) == ["11"]
    renamed = existing_page(catalog, "/search", q="gift")
    assert "Gift Guide" in text_of(renamed)
    assert "formerly Gift Guide" in text_of(renamed)


@SQLITE_EVERYDAY
def test_an_item_says_whose_it_is_and_what_matched(catalog: Catalog, run_id: int) -> None:
    """In the words of ``archiver search``."""
    catalog.write(record.record_tray, run_id, "787132", tray("1"), NOW)
    item = video("10", hashtags=(Hashtag("moon"), Hashtag("sun")))
    catalog.write(record.record_page, run_id, None, page("1", item), FACTS, NOW)
    catalog.write(record.record_files, [StoredFile(file_of("10", content="video"), None, NOW)], run_id=run_id)
    (tile,) = (li for li in existing_page(catalog, "/search", q="moo").iter("li") if li.get("id") == "i10")
    captions = {p.get("class"): text_of(p) for p in tile.iter("p") if p.get("class") in ("date", "match")}
    assert captions == {"date": "National Geographic", "match": "hashtag: #moon"}


def test_every_match_is_on_one_page(catalog: Catalog, run_id: int) -> None:
    """The last link leads to the matches that follow, the newest first."""
    number = 2 * archive_views.HITS_PER_PAGE + 3
    items = [video(str(1000 + n), hashtags=(Hashtag("moon"),)) for n in range(number)]
    catalog.write(record.record_tray, run_id, "787132", tray("1"), NOW)
    catalog.write(record.record_page, run_id, None, page("1", *items), FACTS, NOW)
    pages, query = [], {"q": "moon"}
    while True:
        root = existing_page(catalog, "/search", **query)
        pages.append(tiles(root))
        if "More results" not in links(root):
            break
        query = query_of(links(root)["More results"])
    assert [len(one) for one in pages] == [archive_views.HITS_PER_PAGE, archive_views.HITS_PER_PAGE, 3]
    assert [pk for shown in pages for pk in shown] == [str(1000 + n) for n in reversed(range(number))]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_search_that_cannot_be_understood_says_why(catalog: Catalog) -> None:
    """The form keeps the text, and the page says what is wrong with it."""
    root = existing_page(catalog, "/search", q="-only -dashes")
    assert "The search only excludes words" in text_of(root)
    (field,) = root.iter("input")
    assert field.attrib["value"] == "-only -dashes"
    assert "Nothing was found" in text_of(existing_page(catalog, "/search", q="x"))


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


@SQLITE_EVERYDAY
def test_units_are_listed_by_month_day_run_account_and_endpoint(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The latest first; accounts and endpoints are those of the last run that paid."""
    later = NOW + timedelta(days=1)  # in April
    for at, units in ((NOW, 3), (later, 2)):
        run = catalog.write(record.start_run, "run", at)
        catalog.write(record.record_tray, run, NATGEO.pk, tray("1"), at)
        row = catalog.write(ledger.reserve, run, call(units, NATGEO.pk, "/v1/user/highlights"), at, Limits())
        catalog.write(ledger.settle, row, 200, units, at)
        catalog.write(record.finish_run, run, at, "ok", 0)
    catalog.write(record.start_run, "run", later)  # it has not paid
    monkeypatch.setattr(archive_views, "utcnow", lambda: later)
    root = existing_page(catalog, "/costs")
    rows = texts(root, "tr")
    assert "2 units this month 5 in total" in text_of(root)
    assert [row for row in rows if row.startswith("2026-")] == [
        *("2026-04 2", "2026-03 3"),
        *("2026-04-01 2", "2026-03-31 3"),
    ]
    assert [row for row in rows if ", run, " in row] == [
        "2, run, 1 Apr 2026, 23:30 2",
        "1, run, 31 Mar 2026, 23:30 3",
    ]
    assert rows[-3::2] == ["natgeo 2 1", "/v1/user/highlights 2 1"]


ATOM, XHTML = "{http://www.w3.org/2005/Atom}", "{http://www.w3.org/1999/xhtml}"


def read_feed(catalog: Catalog) -> Element:
    page = view_page(catalog, "/feed.atom")
    assert page is not None
    return ElementTree.fromstring(page)


def children(element: Element, tag: str) -> list[str]:
    return [child.text or "" for child in element.findall(ATOM + tag)]


def check_feed(feed: Element) -> None:
    """Check what RFC 4287 requires of a feed and its entries (4.1.1, 4.1.2)."""
    assert feed.tag == f"{ATOM}feed"
    for element in (feed, *feed.findall(f"{ATOM}entry")):
        for once in ("id", "title", "updated"):
            (text,) = children(element, once)
            assert text
    for entry in feed.findall(f"{ATOM}entry"):
        assert entry.findall(f"{ATOM}author/{ATOM}name")
        (content,) = entry.findall(f"{ATOM}content")
        assert content.attrib == {"type": "xhtml"}
        assert [child.tag for child in content] == [f"{XHTML}div"]
        for link in entry.findall(f"{ATOM}link"):
            assert link.attrib["href"].startswith(f"{ORIGIN}/")
    ids = children(feed, "id") + [children(entry, "id")[0] for entry in feed.findall(f"{ATOM}entry")]
    assert len(ids) == len(set(ids))


def test_the_feed_is_valid_and_its_links_lead_to_the_server(catalog: Catalog) -> None:
    """Each item has a page, its files with type and length, and its picture."""
    record_three_nights(catalog)
    run = catalog.write(record.start_run, "run", LATEST)
    catalog.write(
        record.record_page, run, None, page("1", "11", "12", "15", "16", title="BOTW"), FACTS, LATEST
    )
    catalog.write(record.record_files, [StoredFile(file_of("16"), None, LATEST)], run_id=run)
    feed = read_feed(catalog)
    check_feed(feed)
    entries = {children(entry, "id")[0]: entry for entry in feed.findall(f"{ATOM}entry")}
    new = ("account:787132", "account:42", "item:16")
    assert set(entries) == {f"urn:archiver:{ARCHIVE_ID}:{what}" for what in new}
    entry = entries[f"urn:archiver:{ARCHIVE_ID}:item:16"]
    linked = {link.attrib["rel"]: link.attrib for link in entry.findall(f"{ATOM}link")}
    assert linked["alternate"]["href"] == f"{ORIGIN}/item/16"
    assert (linked["enclosure"]["type"], linked["enclosure"]["length"]) == ("video/mp4", "1000")
    assert linked["enclosure"]["href"].startswith(f"{ORIGIN}/media/")


@SQLITE_EVERYDAY
def test_an_entry_stays_as_it_is(catalog: Catalog) -> None:
    """What happens later to other items, and when the feed is read, does not change it; the newest comes
    first.
    """
    run = catalog.write(record.start_run, "run", NOW)
    catalog.write(record.record_tray, run, NATGEO.pk, tray("1"), NOW)
    catalog.write(record.record_page, run, None, page("1", "10"), FACTS, NOW)
    (first,) = read_feed(catalog).findall(f"{ATOM}entry")
    assert children(read_feed(catalog), "updated") == children(first, "updated") == ["2026-03-31T23:30:00Z"]
    catalog.write(record.record_page, run, None, page("1", "10", "11"), FACTS, LATER)
    before, _ = read_feed(catalog).findall(f"{ATOM}entry")
    catalog.write(record.record_page, run, None, page("1", "10", "11", "12"), FACTS, LATEST)
    catalog.write(record.record_files, [StoredFile(file_of("12"), None, LATEST)], run_id=run)
    feed = read_feed(catalog)
    newest, *same = feed.findall(f"{ATOM}entry")
    assert [*map(ElementTree.tostring, same)] == [ElementTree.tostring(before), ElementTree.tostring(first)]
    assert children(feed, "updated") == children(newest, "updated")


def test_fault_e5_the_items_of_a_new_account_are_no_news(catalog: Catalog, run_id: int) -> None:
    """One entry says that the account is new. An item that a later page adds, and all items of a highlight
    that a later tray adds, are entries; an item that was removed and is back is not."""
    catalog.write(record.record_tray, run_id, NATGEO.pk, tray("1"), NOW)
    catalog.write(record.record_page, run_id, None, page("1", *map(str, range(100, 170))), FACTS, NOW)
    (entry,) = read_feed(catalog).findall(f"{ATOM}entry")
    assert children(entry, "id") == [f"urn:archiver:{ARCHIVE_ID}:account:{NATGEO.pk}"]
    assert entry.findall(f"{ATOM}link")[0].attrib["href"] == f"{ORIGIN}/accounts/natgeo-787132/"
    catalog.write(record.record_tray, run_id, NATGEO.pk, tray("1", "2"), LATER)
    catalog.write(record.record_page, run_id, None, page("1", "100", "200"), FACTS, LATER, gone=("101",))
    catalog.write(record.record_page, run_id, None, page("2", "300", "301"), FACTS, LATER)
    catalog.write(record.record_page, run_id, None, page("1", "100", "200", "101"), FACTS, LATEST)
    ids = [children(entry, "id")[0] for entry in read_feed(catalog).findall(f"{ATOM}entry")]
    assert ids == [f"urn:archiver:{ARCHIVE_ID}:item:{pk}" for pk in (301, 300, 200)] + [
        f"urn:archiver:{ARCHIVE_ID}:account:{NATGEO.pk}"
    ]


@SQLITE_EVERYDAY
def test_a_feed_is_short(catalog: Catalog, run_id: int) -> None:
    """It has the newest items, however many the archive holds; without any it is valid too."""
    check_feed(read_feed(catalog))
    catalog.write(record.record_tray, run_id, NATGEO.pk, tray("1"), NOW)
    pks = [str(1000 + n) for n in range(archive_views.FEED_ENTRIES + 2)]
    catalog.write(record.record_page, run_id, None, page("1", *pks[:1]), FACTS, NOW)
    catalog.write(record.record_page, run_id, None, page("1", *pks), FACTS, LATER)
    assert len(read_feed(catalog).findall(f"{ATOM}entry")) == archive_views.FEED_ENTRIES


MOON_OWNER = User("42", "nasa", "NASA", False, True, None, "nasa.jpg")
SECOND = timedelta(seconds=1)

QUERIES: tuple[Callable[[Connection], object], ...] = (
    lambda connection: page_contents.newest_taken(connection, 5),
    lambda connection: page_contents.new_items(connection, 5),
    lambda connection: change_history.changes_back(connection, 5),
    lambda connection: list(gaps.gaps_of(connection, ["787132"], with_targets=True)),
)


def record_other_items(catalog: Catalog, run_id: int, first: int, number: int) -> None:
    """Record more items of another account; ten come at a time."""
    listed = Highlight("5", MOON_OWNER, "Moon")
    for start in range(first, number, 10):
        pks = range(5000 + start, 5010 + start)
        items = tuple(video(str(pk), user_pk=MOON_OWNER.pk, taken_at=NOW + SECOND * pk) for pk in pks)
        now = NOW + SECOND * start
        catalog.write(record.record_page, run_id, None, HighlightPage(listed, items), FACTS, now)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_pages_read_no_more_rows_of_a_larger_archive(catalog: Catalog, run_id: int) -> None:
    """The first page of the timeline, of the feed and of the changes, and the gaps of another account."""
    catalog.write(record.record_tray, run_id, "787132", tray("1"), NOW)
    catalog.write(record.record_page, run_id, None, page("1", "10", "11"), FACTS, NOW)
    catalog.write(
        record.record_tray,
        run_id,
        MOON_OWNER.pk,
        Tray(MOON_OWNER, (Highlight("5", MOON_OWNER, "Moon"),)),
        NOW,
    )
    steps = []
    for first, number in ((0, 100), (100, 500)):
        record_other_items(catalog, run_id, first, number)
        steps.append([catalog.read(count_query_steps, query) for query in QUERIES])
    few, many = steps
    assert all(later <= 1.2 * before for before, later in zip(few, many, strict=True)), steps


def count_query_steps(connection: Connection, query: Callable[[Connection], object]) -> int:
    return count_steps(connection, lambda: query(connection))
