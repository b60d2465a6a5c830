"""The views of what is archived: the accounts, an account, a highlight, an item.

Their paths are those of the exported site, so that the same templates serve both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from archiver.catalog import Catalog, Snapshot
from archiver.catalog.query import account_state, change_history, content, page_contents
from archiver.catalog.query.page_contents import AccountSums, ItemSums
from archiver.model.archived import KeptAccount, KeptHighlight, Placed, Selection
from archiver.model.identity import Pk, Subject, is_pk
from archiver.pages import cards, html_pages
from archiver.pages.cards import TimeSpan, account_directory
from archiver.pages.view_model import AccountCard, HighlightCover, ItemTile, Pager, Picture
from archiver.web.account_index import SORTS, AccountEntry, AccountIndex
from archiver.web.page_parts import Page, PageRequest, Redirect, View, read_accounts, read_highlights

ACCOUNTS_PER_PAGE = 60
ITEMS_PER_PAGE = 100


def accounts_view(index: Callable[[], AccountIndex]) -> View:
    """Return the view of all accounts. Its query: ``q`` words, ``sort`` one of SORTS, ``page``."""

    def show(catalog: Catalog, request: PageRequest) -> Page:
        search = request.query.get("q", "")[:200].strip()
        sort = request.query.get("sort", "name")
        sort = sort if sort in dict(SORTS) else "name"
        accounts = index().read()
        found = accounts.find(search, sort)
        asked = {"q": search} if search else {}
        pager = _pager(request, len(found), ACCOUNTS_PER_PAGE, **asked, sort=sort)
        shown = found[(pager.page - 1) * ACCOUNTS_PER_PAGE : pager.page * ACCOUNTS_PER_PAGE]
        items = sum(e.sums.items.items for e in found if e.sums) if accounts.is_complete else None
        page = html_pages.live_page(
            "accounts.html",
            up="",
            cards=_account_cards(catalog, shown),
            total=len(found),
            items=items,
            search=search,
            sort=sort,
            sorts=SORTS,
            pager=pager,
        )
        return _html(page)

    return show


def _account_cards(catalog: Catalog, entries: Sequence[AccountEntry]) -> list[AccountCard]:
    with catalog.snapshot() as moment:
        accounts = read_accounts(moment, [entry.row.pk for entry in entries])
    return [
        _card(accounts[entry.row.pk], entry.row.highlights, entry.sums or AccountSums())
        for entry in entries
        if entry.row.pk in accounts
    ]


def _card(account: KeptAccount, highlights: int, sums: AccountSums) -> AccountCard:
    span = TimeSpan(sums.items.first, sums.items.last)
    return cards.make_card(account, highlights, sums.items.items, span, sums.changed_at)


def account_view(index: Callable[[], AccountIndex]) -> View:
    """Return the view of an account: its highlights, and its items, the latest first.

    A name without a pk, a former name, or the pk under another name leads to it.
    """

    def show(catalog: Catalog, request: PageRequest) -> Page | Redirect | None:
        with catalog.snapshot() as moment:
            account = _find_account(moment, request.path["directory"])
        if account is None:
            return None
        directory = account_directory(account)
        if directory != f"accounts/{request.path['directory']}":
            return Redirect(f"{directory}/index.html")
        sums = index().sums_of(account.pk)
        pager = _pager(request, sums.items.items, ITEMS_PER_PAGE)
        offset = (pager.page - 1) * ITEMS_PER_PAGE
        with catalog.snapshot() as moment:
            highlights = list(moment.stream(content.highlights, Selection(user_pks=(account.pk,))))
            pks = moment.read(page_contents.account_items, account.pk, ITEMS_PER_PAGE, offset)
            covers = _covers(moment, account, highlights) if pager.page == 1 else []
            tiles = _account_tiles(moment, account, highlights, pks)
        card = _card(account, len(highlights), sums)
        shown = pager if pager.pages > 1 else None
        return _html(html_pages.account_page(card, covers, tiles, pager=shown, is_live=True))

    return show


def _find_account(moment: Snapshot, directory: str) -> KeptAccount | None:
    name, _, pk = directory.rpartition("-")
    if not (name and is_pk(pk)):
        pk = next(iter(moment.read(account_state.former_pks, directory)), "")
    return read_accounts(moment, (pk,)).get(pk)


def _account_tiles(
    moment: Snapshot, account: KeptAccount, highlights: Sequence[KeptHighlight], pks: Sequence[Pk]
) -> list[ItemTile]:
    """Return the tiles of these items in their order, each in the first highlight that shows it."""
    if not pks:
        return []
    by_pk = {highlight.pk: highlight for highlight in highlights}
    selection = Selection(user_pks=(account.pk,), item_pks=tuple(pks))
    placed: dict[Pk, Placed] = {}
    for place in moment.stream(content.contents, selection):
        placed.setdefault(place.item.pk, place)
    name = html_pages.account_name(account)
    places = [placed[pk] for pk in pks if pk in placed]
    return [cards.make_tile(place, by_pk[place.highlight_pk], name) for place in places]


def _covers(
    moment: Snapshot, account: KeptAccount, highlights: Sequence[KeptHighlight]
) -> list[HighlightCover]:
    sums = moment.read(page_contents.highlight_sums, [highlight.pk for highlight in highlights])
    titles = moment.read(change_history.former_titles, account.pk)
    pictures = _first_pictures(moment, highlights)
    return [
        _cover(
            highlight,
            pictures.get(highlight.pk),
            sums.get(highlight.pk, ItemSums()),
            titles.get(highlight.pk, ()),
        )
        for highlight in highlights
    ]


def _cover(
    highlight: KeptHighlight, first: Picture | None, sums: ItemSums, former_titles: Sequence[str]
) -> HighlightCover:
    return cards.make_cover(highlight, first, sums.items, TimeSpan(sums.first, sums.last), former_titles)


def _first_pictures(moment: Snapshot, highlights: Sequence[KeptHighlight]) -> dict[Pk, Picture]:
    """Return the picture of the first item of each highlight that has no cover."""
    pks = tuple(highlight.pk for highlight in highlights if cards.to_picture(highlight.cover) is None)
    first = moment.read(page_contents.first_items, pks) if pks else []
    selection = Selection(highlight_pks=pks, item_pks=tuple(first))
    found: dict[Pk, Picture] = {}
    for place in moment.stream(content.contents, selection, with_entries=False) if first else ():
        for file in place.item.held:
            if (picture := cards.to_picture(file)) is not None:
                found.setdefault(place.highlight_pk, picture)
    return found


def _places(moment: Snapshot, highlight_pk: Pk, pks: Sequence[Pk]) -> Iterable[Placed]:
    """Return these items of a highlight, in its order."""
    if not pks:
        return ()
    selection = Selection(highlight_pks=(highlight_pk,), item_pks=tuple(pks))
    return moment.stream(content.contents, selection)


def show_highlight(catalog: Catalog, request: PageRequest) -> Page | Redirect | None:
    """Return a page of a highlight's items. Its query: ``page``, or ``item`` for the page with that item."""
    with catalog.snapshot() as moment:
        name = request.path["highlight"]
        if name.startswith("items-"):  # an exported site has such pages
            return Redirect(f"accounts/{request.path['directory']}/index.html")
        highlight = read_highlights(moment, (name,)).get(name)
        if highlight is None:
            return None
        account = read_accounts(moment, (highlight.user_pk,))[highlight.user_pk]  # a highlight has one
        directory = account_directory(account)
        if directory != f"accounts/{request.path['directory']}":
            return Redirect(f"{directory}/{highlight.pk}.html")
        sums = moment.read(page_contents.highlight_sums, [highlight.pk]).get(highlight.pk, ItemSums())
        pager = _highlight_pager(moment, highlight.pk, sums.items, request)
        offset = (pager.page - 1) * ITEMS_PER_PAGE
        pks = moment.read(page_contents.highlight_items, highlight.pk, ITEMS_PER_PAGE, offset)
        name = html_pages.account_name(account)
        tiles = [cards.make_tile(place, highlight, name) for place in _places(moment, highlight.pk, pks)]
        first = _first_pictures(moment, [highlight]).get(highlight.pk)
        cover = _cover(highlight, first, sums, _former_titles(moment, highlight))
        neighbours = moment.read(page_contents.neighbours, account.pk, highlight.pk)
        beside = read_highlights(moment, [pk for pk in neighbours if pk is not None])
        before, following = (beside.get(pk or "") for pk in neighbours)
    page = html_pages.highlight_page(
        account, cover, tiles, before, following, pager=pager if pager.pages > 1 else None, is_live=True
    )
    return _html(page)


def _former_titles(moment: Snapshot, highlight: KeptHighlight) -> list[str]:
    renamings = moment.read(change_history.renamings, Subject.HIGHLIGHT, highlight.pk)
    titles = dict.fromkeys(change.old for change in renamings)
    return [title for title in titles if title is not None and title != highlight.title]


def _highlight_pager(moment: Snapshot, highlight_pk: Pk, items: int, request: PageRequest) -> Pager:
    item = request.query.get("item", "")
    if "page" not in request.query and is_pk(item):
        rank = moment.read(page_contents.rank_in_highlight, highlight_pk, item)
        if rank is not None:
            return Pager.of(rank // ITEMS_PER_PAGE + 1, _pages(items, ITEMS_PER_PAGE))
    return _pager(request, items, ITEMS_PER_PAGE)


def show_item(catalog: Catalog, request: PageRequest) -> Page | None:
    """Return the page of one item, with all highlights that show it or did."""
    with catalog.snapshot() as moment:
        places = list(moment.stream(content.contents, Selection(item_pks=(request.path["item"],))))
        if not places:
            return None
        highlights = read_highlights(moment, [place.highlight_pk for place in places])
        accounts = read_accounts(moment, [highlight.user_pk for highlight in highlights.values()])
    first = highlights[places[0].highlight_pk]
    account = accounts[first.user_pk]
    tile = cards.make_tile(places[0], first, html_pages.account_name(account))
    shown = [
        {
            "highlight": highlights[place.highlight_pk],
            "gone_at": place.gone_at,
            "directory": account_directory(accounts[highlights[place.highlight_pk].user_pk]),
        }
        for place in places
    ]
    page = html_pages.live_page(
        "item.html", up="../", tile=tile, account=account, directory=account_directory(account), places=shown
    )
    return _html(page)


def _html(page: str) -> Page:
    return Page(page.encode())


def _pages(total: int, at_once: int) -> int:
    return max(1, -(-total // at_once))


def _pager(request: PageRequest, total: int, at_once: int, **query: str) -> Pager:
    """Return the page that the request asks for; the nearest one if there is none of that number."""
    asked = request.query.get("page", "1")
    number = int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 10 else 1
    pages = _pages(total, at_once)
    return Pager.of(min(max(1, number), pages), pages, **query)
