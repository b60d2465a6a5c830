"""The timeline: the items of all accounts, by the day on which they were taken."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterator, Mapping
from datetime import MAXYEAR, UTC, date, datetime, time, timedelta
from itertools import groupby

from archiver.catalog import Catalog
from archiver.catalog.query import page_contents
from archiver.catalog.snapshot import Snapshot
from archiver.model.archived import DatedPk
from archiver.model.identity import utcnow
from archiver.pages import html_pages, page_text
from archiver.pages.view_model import DayOfItems, PageTurn
from archiver.web import page_parts
from archiver.web.page_parts import Page, PageRequest

PER_PAGE = 60
_MAX_YEARS = 30


def show_timeline(catalog: Catalog, request: PageRequest) -> Page | None:
    """Return a page of the timeline, from its latest item on.

    ``before`` and ``after`` in the query continue from an item, ``day`` (``2025-12-04``, in UTC) begins with
    the items of that day.
    """
    try:
        before = page_parts.read_place(request.query, "before") or _read_day(request.query)
        after = page_parts.read_place(request.query, "after")
    except (ValueError, OverflowError):
        return None
    with catalog.snapshot() as snapshot:
        places = snapshot.read(page_contents.newest_taken, PER_PAGE, before=before, after=after)
        turn = _turn(snapshot, places, before)
        tiles = page_parts.read_tiles(snapshot, [place.pk for place in places])
        years = list(_years(snapshot))
        months = list(_months(snapshot, places[0].at.astimezone(UTC).date())) if places else []
    days = [
        DayOfItems(day, tuple(tiles[place.pk] for place in group if place.pk in tiles))
        for day, group in groupby(places, key=lambda place: place.at.astimezone(UTC).date())
    ]
    values = {"days": days, "turn": turn, "years": years, "months": months}
    return Page(html_pages.archive_page("timeline", **values).encode())


def _read_day(query: Mapping[str, str]) -> DatedPk | None:
    if "day" not in query:
        return None
    day = date.fromisoformat(query["day"])
    return DatedPk(datetime.combine(day + timedelta(days=1), time.min, UTC), "")


def _turn(snapshot: Snapshot, places: tuple[DatedPk, ...], before: DatedPk | None) -> PageTurn:
    first, last = (places[0], places[-1]) if places else (before, None)
    later = first is not None and snapshot.read(page_contents.newest_taken, 1, after=first)
    earlier = last is not None and snapshot.read(page_contents.newest_taken, 1, before=last)
    return PageTurn(
        page_parts.write_place("after", first) if first and later else None,
        page_parts.write_place("before", last) if last and earlier else None,
    )


def _years(snapshot: Snapshot) -> Iterator[tuple[int, date]]:
    """Yield the years that have items, with their last days; the latest first.

    To find them takes one look-up for each.
    """
    year = utcnow().year + 1
    for _ in range(_MAX_YEARS):
        before = DatedPk(datetime(year, 1, 1, tzinfo=UTC), "")
        found = snapshot.read(page_contents.newest_taken, 1, before=before)
        if not found:
            return
        year = found[0].at.astimezone(UTC).year
        yield year, date(year, 12, 31)


def _months(snapshot: Snapshot, shown: date) -> Iterator[tuple[str, date | None]]:
    """Yield the months of the year that is shown, the latest first, with their last days if they have items.

    To find them takes one look-up for each month that has items.
    """
    have_items = {shown.month}
    before = DatedPk(datetime(shown.year + 1, 1, 1, tzinfo=UTC), "") if shown.year < MAXYEAR else None
    while (found := snapshot.read(page_contents.newest_taken, 1, before=before)) and (
        at := found[0].at.astimezone(UTC)
    ).year == shown.year:
        have_items.add(at.month)
        before = DatedPk(datetime(at.year, at.month, 1, tzinfo=UTC), "")
    for month in range(12, 0, -1):
        last = date(shown.year, month, monthrange(shown.year, month)[1])
        yield page_text.MONTHS[month - 1][:3], last if month in have_items else None
