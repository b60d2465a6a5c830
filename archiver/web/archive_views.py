"""The views of the whole archive: timeline, changes, search, gaps and costs, and the Atom feed (RFC 4287)."""

from __future__ import annotations

from calendar import monthrange
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import MAXYEAR, UTC, date, datetime, time, timedelta
from itertools import groupby, islice
from urllib.parse import urlencode

from msgspec import Struct

from archiver.catalog import Catalog, Snapshot
from archiver.catalog.query import change_history, gaps, page_contents, totals
from archiver.catalog.search import results
from archiver.catalog.search.query_parser import SearchQuery
from archiver.errors import UsageError
from archiver.hiker import endpoints
from archiver.model.api_calls import CostsBy
from archiver.model.archived import DatedPk, Gap, KeptAccount, KeptHighlight, NamedChange, ShownItem
from archiver.model.identity import EPOCH, Pk, Subject, is_pk, utcnow
from archiver.model.query_results import Field, Hit
from archiver.model.values import replace
from archiver.pages import html_pages, page_text
from archiver.pages.cards import media_path
from archiver.pages.view_model import (
    AccountChanges,
    AtomFeed,
    DayOfItems,
    FeedEntry,
    FeedFile,
    GapLine,
    GapsOfAccount,
    ItemTile,
    NightOfChanges,
    PageTurn,
    SubjectChanges,
    SubjectLink,
)
from archiver.web.page_parts import (
    Page,
    PageRequest,
    View,
    account_href,
    account_link,
    highlight_link,
    make_shown_tile,
    read_accounts,
    read_highlights,
    read_number,
    read_place,
    read_tiles,
    write_place,
)
from archiver.wording import (
    PRESENCE,
    describe_change,
    describe_gap,
    describe_match,
    describe_reason,
    next_try,
    since_when,
)

ITEMS_PER_PAGE = 60
_MAX_YEARS = 30


def show_timeline(catalog: Catalog, request: PageRequest) -> Page | None:
    """Return a page of the timeline, from its latest item on.

    ``before`` and ``after`` in the query continue from an item, ``day`` (``2025-12-04``, in UTC) begins with
    the items of that day.
    """
    try:
        before = read_place(request.query, "before") or _read_day(request.query)
        after = read_place(request.query, "after")
    except (ValueError, OverflowError):
        return None
    with catalog.snapshot() as snapshot:
        places = snapshot.read(page_contents.newest_taken, ITEMS_PER_PAGE, before=before, after=after)
        turn = _turn_items(snapshot, places, before)
        tiles = read_tiles(snapshot, [place.pk for place in places])
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


def _turn_items(snapshot: Snapshot, places: tuple[DatedPk, ...], before: DatedPk | None) -> PageTurn:
    first, last = (places[0], places[-1]) if places else (before, None)
    later = first is not None and snapshot.read(page_contents.newest_taken, 1, after=first)
    earlier = last is not None and snapshot.read(page_contents.newest_taken, 1, before=last)
    return PageTurn(
        write_place("after", first) if first and later else None,
        write_place("before", last) if last and earlier else None,
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


CHANGES_PER_PAGE = 80
"""Rows of ``changes``: each may show an item."""


def show_changes(catalog: Catalog, request: PageRequest) -> Page | None:
    """Return a page of changes, the latest night first.

    ``before`` and ``after`` in the query continue from a change, by its id.
    """
    try:
        before = read_number(request.query, "before")
        after = read_number(request.query, "after")
    except ValueError:
        return None
    with catalog.snapshot() as snapshot:
        changes = snapshot.read(change_history.changes_back, CHANGES_PER_PAGE, before=before, after=after)
        turn, rest = _turn_changes(snapshot, changes)
        nights = _Nights.read(snapshot, changes).nights(changes)
    values = {"nights": list(nights), "turn": turn, "rest": rest}
    return Page(html_pages.archive_page("changes", **values).encode())


def _turn_changes(snapshot: Snapshot, changes: Sequence[NamedChange]) -> tuple[PageTurn, str | None]:
    """Return the links to the neighbours, and one past the rest of the last night if a part of it is left."""
    if not changes:
        return PageTurn(), None
    first, last = changes[0], changes[-1]
    has_later = snapshot.read(change_history.changes_back, 1, after=first.id)
    has_earlier = snapshot.read(change_history.changes_back, 1, before=last.id)
    begin = snapshot.read(change_history.first_change, last.run_id)
    has_rest = begin is not None and begin < last.id
    return (
        PageTurn(f"after={first.id}" if has_later else None, f"before={last.id}" if has_earlier else None),
        f"before={begin}" if has_rest else None,
    )


class _Nights(Struct, frozen=True):
    """What is known of the things that changed."""

    starts: Mapping[int, datetime]
    accounts: Mapping[Pk, KeptAccount]
    highlights: Mapping[Pk, KeptHighlight]
    tiles: dict[Pk, ItemTile]
    """Those of items that are not on the page yet: an item is shown once."""

    @classmethod
    def read(cls, snapshot: Snapshot, changes: Sequence[NamedChange]) -> _Nights:
        items = {pk for change in changes for pk in _items_of(change)}
        return cls(
            snapshot.read(change_history.run_starts, {change.run_id for change in changes}),
            read_accounts(snapshot, {c.user_pk for c in changes if c.user_pk is not None}),
            read_highlights(snapshot, {c.subject_pk for c in changes if c.subject is Subject.HIGHLIGHT}),
            read_tiles(snapshot, items),
        )

    def nights(self, changes: Sequence[NamedChange]) -> Iterator[NightOfChanges]:
        for run_id, group in groupby(changes, key=lambda change: change.run_id):
            by_account: dict[Pk | None, list[NamedChange]] = {}
            for change in group:
                by_account.setdefault(change.user_pk, []).append(change)
            accounts = (self._account_changes(pk, seen) for pk, seen in by_account.items())
            in_order = sorted(accounts, key=lambda one: one.account.name.lstrip("@").casefold())
            yield NightOfChanges(run_id, self.starts[run_id], tuple(in_order))

    def _account_changes(self, pk: Pk | None, changes: Sequence[NamedChange]) -> AccountChanges:
        """Return the changes of an account: its own, then those of its highlights by title."""
        account = self.accounts.get(pk or "")
        link = account_link(account) if account is not None else SubjectLink("Unknown account")
        by_subject: dict[tuple[Subject, Pk], list[NamedChange]] = {}
        for change in reversed(changes):
            by_subject.setdefault((change.subject, change.subject_pk), []).append(change)
        subjects = [self._subject_changes(account, seen) for seen in by_subject.values()]
        return AccountChanges(link, tuple(sorted(subjects, key=lambda one: one.subject.name.casefold())))

    def _subject_changes(self, account: KeptAccount | None, changes: Sequence[NamedChange]) -> SubjectChanges:
        pks = [pk for change in changes for pk in _items_of(change)]
        tiles = [self.tiles.pop(pk) for pk in pks if pk in self.tiles]
        return SubjectChanges(self._link(account, changes[0]), tuple(_change_texts(changes)), tuple(tiles))

    def _link(self, account: KeptAccount | None, change: NamedChange) -> SubjectLink:
        highlight = self.highlights.get(change.subject_pk) if change.subject is Subject.HIGHLIGHT else None
        if highlight is not None and account is not None:
            link = highlight_link(highlight, account)
            return replace(link, is_gone=False)  # the changes say so
        if change.subject is Subject.USER:
            return SubjectLink("Account")
        return SubjectLink(f"{change.subject.value.capitalize()} {change.subject_pk}")


def _items_of(change: NamedChange) -> Iterator[Pk]:
    if change.subject is Subject.ITEM:
        yield change.subject_pk
    elif change.field == "items":
        yield from (pk for pk in (change.old, change.new) if pk is not None)


def _change_texts(changes: Sequence[NamedChange]) -> Iterator[str]:
    """Yield each change in words; items that were added or removed are counted."""
    counts = Counter("removed" if c.new is None else "added" for c in changes if c.field == "items")
    yield from (f"{number:,} {word}" for word, number in counts.items())
    for change in changes:
        if change.field == "presence":
            yield PRESENCE.get(change.new or "", change.new or "")
        elif change.field != "items":
            name = change.title if change.subject is Subject.HIGHLIGHT else change.username
            values = change.subject, change.field, change.old, change.new, name
            yield describe_change(*values, page_text.shorten)


HITS_PER_PAGE = 40
MAX_SEARCH_PAGES = 20
"""So many pages are in the order of a search; see ``results.hits``."""

_SHOWN_MATCHES = 2  # of an item
_MAX_TEXT = 300  # of what is typed, in characters
_FORMER = (Field.FORMER_USERNAME, Field.FORMER_FULL_NAME, Field.FORMER_TITLE)


def show_search(catalog: Catalog, request: PageRequest) -> Page | None:
    """Return a page of what matches the words in ``q`` of the query, or the empty form.

    ``page`` in the query counts from 1.
    """
    text = request.query.get("q", "").strip()[:_MAX_TEXT]
    try:
        page = read_number(request.query, "page") or 1
    except ValueError:
        return None
    if page > MAX_SEARCH_PAGES:
        return None
    hits: list[Hit] = []
    error = ""
    with catalog.snapshot() as snapshot:
        if text:
            try:
                query = SearchQuery.parse(text)
            except UsageError as refusal:
                error = str(refusal)
            else:
                found = snapshot.stream(
                    results.hits, query, limit=HITS_PER_PAGE + 1, skip=(page - 1) * HITS_PER_PAGE
                )
                hits = list(found)
        values = _search_values(snapshot, hits[:HITS_PER_PAGE])
    has_more = len(hits) > HITS_PER_PAGE and page < MAX_SEARCH_PAGES
    values |= {
        "text": text,
        "error": error[:1].upper() + error[1:],
        "max_length": _MAX_TEXT,
        "page": page,
        "before": urlencode({"q": text, "page": page - 1}) if page > 1 else None,
        "following": urlencode({"q": text, "page": page + 1}) if has_more else None,
    }
    return Page(html_pages.archive_page("search", **values).encode())


def _search_values(snapshot: Snapshot, hits: list[Hit]) -> dict[str, object]:
    of = {subject: [hit for hit in hits if hit.subject is subject] for subject in Subject}
    in_highlights = of[Subject.HIGHLIGHT]
    owners = {hit.user_pk for hit in (*of[Subject.USER], *in_highlights) if hit.user_pk is not None}
    accounts = read_accounts(snapshot, owners)
    highlights = read_highlights(snapshot, [hit.subject_pk for hit in in_highlights])
    tiles = read_tiles(snapshot, [hit.subject_pk for hit in of[Subject.ITEM]])
    return {
        "accounts": [
            _with_former_name(hit, account_link(accounts[hit.subject_pk]))
            for hit in of[Subject.USER]
            if hit.subject_pk in accounts
        ],
        "highlights": [
            _with_former_name(
                hit,
                highlight_link(
                    highlights[hit.subject_pk],
                    accounts[hit.user_pk],
                    html_pages.account_name(accounts[hit.user_pk]),
                ),
            )
            for hit in in_highlights
            if hit.subject_pk in highlights and hit.user_pk in accounts
        ],
        "tiles": [tiles[hit.subject_pk] for hit in of[Subject.ITEM] if hit.subject_pk in tiles],
        "matches": {
            hit.subject_pk: [page_text.shorten(describe_match(said)) for said in hit.matched[:_SHOWN_MATCHES]]
            for hit in of[Subject.ITEM]
        },
    }


def _with_former_name(hit: Hit, link: SubjectLink) -> SubjectLink:
    """Add the former name that matches; it may be the only reason why this was found."""
    former = next((said.text for said in hit.matched if said.field in _FORMER), None)
    if former is None:
        return link
    parts = filter(None, (link.note, f"formerly {page_text.shorten(former)}"))
    return SubjectLink(link.name, link.href, link.picture, " · ".join(parts), link.is_gone)


MAX_ITEMS = 8_000
"""A page is about accounts with at most so many items, or one account: to find a gap, each item is read."""

MAX_GAPS = 300
"""How many gaps a page shows."""


def show_gaps(catalog: Catalog, request: PageRequest) -> Page | None:
    """Return the gaps of some accounts, by pk; None if there are no such accounts.

    ``after`` in the query continues after an account, ``account`` shows one; both are pks.
    """
    after, account = request.query.get("after", ""), request.query.get("account")
    if not all(is_pk(pk) for pk in (after, account) if pk):
        return None
    with catalog.snapshot() as snapshot:
        pks = (account,) if account else snapshot.read(gaps.next_accounts, after, MAX_ITEMS)
        accounts = read_accounts(snapshot, pks)
        if (account or after) and not accounts:
            return None
        found = list(
            islice(snapshot.stream(gaps.gaps_of, pks, with_targets=not (account or after)), MAX_GAPS + 1)
        )
        following = pks[-1] if not account and pks and snapshot.read(gaps.next_accounts, pks[-1], 0) else None
    values = {
        "accounts": _gaps_by_account(found[:MAX_GAPS], accounts, utcnow()),
        "is_cut": len(found) > MAX_GAPS,
        "is_part": bool(account or after or following),
        "limit": MAX_GAPS,
        "following": following,
    }
    return Page(html_pages.archive_page("gaps", **values).encode())


def _gaps_by_account(
    found: Sequence[Gap], accounts: Mapping[Pk, KeptAccount], now: datetime
) -> list[GapsOfAccount]:
    entries = []
    for (pk, username), group in groupby(found, key=lambda gap: (gap.user_pk, gap.username)):
        account = accounts.get(pk or "")
        name = page_text.shorten(username or "") or "Unknown account"
        link = account_link(account) if account is not None else SubjectLink(name)
        entries.append(GapsOfAccount(link, tuple(_gap_line(gap, account, now) for gap in group)))
    return entries


def _gap_line(gap: Gap, account: KeptAccount | None, now: datetime) -> GapLine:
    highlight = _highlight_link(gap, account)
    counted = f": {gap.present:,} of {gap.counted:,} items" if gap.present is not None else ""
    return GapLine(
        describe_gap(gap) + (_joint(gap) if highlight is not None else ""),
        highlight,
        describe_reason(gap.subject, gap.reason) + counted + since_when(gap),
        gap.attempts,
        next_try(gap, now),
    )


def _joint(gap: Gap) -> str:
    """Return the word between what is missing and the highlight; none if that is the highlight itself."""
    if gap.subject is Subject.ITEM:
        return " in"
    return " of" if gap.role is not None else ""


def _highlight_link(gap: Gap, account: KeptAccount | None) -> SubjectLink | None:
    """Return the highlight of a gap as a link to the missing item in it."""
    if gap.highlight_pk is None or account is None:
        return None
    place = f"#i{gap.subject_pk}" if gap.subject is Subject.ITEM else ""
    name = page_text.shorten(gap.title or "") or "Untitled"
    return SubjectLink(name, f"{account_href(account)}{gap.highlight_pk}.html{place}")


COST_DAYS = 31
"""How many days with costs are listed, and of how many days the runs."""

_COST_ACCOUNTS = 20
"""How many accounts are listed: those that cost most."""


def show_costs(catalog: Catalog, request: PageRequest) -> Page:
    """Return the page of the costs."""
    now = utcnow()
    with catalog.snapshot() as snapshot:
        units = snapshot.read(totals.units_by_period)
        runs = snapshot.read(totals.run_costs, now - timedelta(days=COST_DAYS), free_path=endpoints.BALANCE)
        last = snapshot.read(totals.last_paid_run)
        accounts, paths = (
            snapshot.read(totals.costs, by, run_id=last, free_path=endpoints.BALANCE)
            if last is not None
            else ()
            for by in (CostsBy.ACCOUNT, CostsBy.ENDPOINT)
        )
    latest_first = list(units.items())[::-1]
    months = [(period, number) for period, number in latest_first if len(period) == len("2026-11")]
    days = [(period, number) for period, number in latest_first if len(period) == len("2026-11-27")]
    values = {
        "this_month": units.get(f"{now:%Y-%m}", 0),
        "in_total": sum(number for _, number in months),
        "months": months,
        "days": days[:COST_DAYS],
        "runs": runs[::-1][:COST_DAYS],
        "accounts": accounts[:_COST_ACCOUNTS],
        "endpoints": paths,
    }
    return Page(html_pages.archive_page("costs", **values).encode())


FEED_PATH = "/feed.atom"
FEED_ENTRIES = 60
FEED_TYPE = "application/atom+xml; charset=utf-8"


def show_feed(catalog: Catalog, request: PageRequest) -> Page:
    """Return the feed. Its links begin with the origin of the request, its ids with that of the archive."""
    with catalog.snapshot() as snapshot:
        items = snapshot.read(page_contents.new_items, FEED_ENTRIES)
        shown = snapshot.read(page_contents.shown_items, [place.pk for place in items])
        new = snapshot.read(page_contents.new_accounts, FEED_ENTRIES)
        accounts = read_accounts(snapshot, [place.pk for place in new])
    urn = f"urn:archiver:{catalog.archive_id}"
    entries = [_item_entry(urn, place.at, shown[place.pk]) for place in items if place.pk in shown]
    entries += [_account_entry(urn, place.at, accounts[place.pk]) for place in new]
    entries = sorted(entries, key=lambda entry: entry.updated, reverse=True)[:FEED_ENTRIES]
    updated = entries[0].updated if entries else EPOCH
    feed = AtomFeed(f"{urn}:items", request.origin, updated, tuple(entries))
    return Page(html_pages.atom_feed(feed).encode(), FEED_TYPE)


def _item_entry(urn: str, updated: datetime, shown: ShownItem) -> FeedEntry:
    tile, item = make_shown_tile(shown), shown.placed.item
    return FeedEntry(
        f"{urn}:item:{item.pk}",
        updated,
        tile.alt,
        account_link(shown.account),
        f"item/{item.pk}",
        tile.taken_at,
        tile.picture,
        (
            page_text.shorten(shown.highlight.title or "") or "Untitled",
            *(f"{of.heading}: {', '.join(detail.text for detail in of.details)}" for of in tile.detail_lists),
        ),
        tuple(FeedFile(media_path(file), file.blob.mime, file.blob.size) for file in item.held),
    )


def _account_entry(urn: str, updated: datetime, account: KeptAccount) -> FeedEntry:
    author = account_link(account)
    title = f"New in the archive: {author.name}"
    text = "What it showed on that day is no news: it is on the page of the account, not in this feed."
    return FeedEntry(
        f"{urn}:account:{account.pk}",
        updated,
        title,
        author,
        account_href(account),
        paragraphs=(text,),
    )


ARCHIVE_VIEWS: Mapping[str, View] = {
    "/timeline": show_timeline,
    "/changes": show_changes,
    "/search": show_search,
    "/gaps": show_gaps,
    "/costs": show_costs,
    FEED_PATH: show_feed,
}
"""The views by path. They have no placeholders."""
