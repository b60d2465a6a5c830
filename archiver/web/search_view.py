"""The search: accounts, highlights and items whose words match, with their pictures."""

from __future__ import annotations

from urllib.parse import urlencode

from archiver.catalog import Catalog
from archiver.catalog.search import results
from archiver.catalog.search.query_parser import SearchQuery
from archiver.catalog.snapshot import Snapshot
from archiver.errors import UsageError
from archiver.model.identity import Subject
from archiver.model.query_results import Field, Hit
from archiver.pages import html_pages, page_text
from archiver.pages.view_model import SubjectLink
from archiver.web import page_parts
from archiver.web.page_parts import Page, PageRequest
from archiver.wording import describe_match

PER_PAGE = 40
MAX_PAGES = 20
"""So many pages are in the order of a search; see ``results.hits``."""

_SHOWN_MATCHES = 2  # of an item
_MAX_LENGTH = 300  # of what is typed, in characters
_FORMER = (Field.FORMER_USERNAME, Field.FORMER_FULL_NAME, Field.FORMER_TITLE)


def show_search(catalog: Catalog, request: PageRequest) -> Page | None:
    """Return a page of what matches the words in ``q`` of the query, or the empty form.

    ``page`` in the query counts from 1.
    """
    text = request.query.get("q", "").strip()[:_MAX_LENGTH]
    try:
        page = page_parts.read_number(request.query, "page") or 1
    except ValueError:
        return None
    if page > MAX_PAGES:
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
                found = snapshot.stream(results.hits, query, limit=PER_PAGE + 1, skip=(page - 1) * PER_PAGE)
                hits = list(found)
        values = _values(snapshot, hits[:PER_PAGE])
    has_more = len(hits) > PER_PAGE and page < MAX_PAGES
    values |= {
        "text": text,
        "error": error[:1].upper() + error[1:],
        "max_length": _MAX_LENGTH,
        "page": page,
        "before": urlencode({"q": text, "page": page - 1}) if page > 1 else None,
        "following": urlencode({"q": text, "page": page + 1}) if has_more else None,
    }
    return Page(html_pages.archive_page("search", **values).encode())


def _values(snapshot: Snapshot, hits: list[Hit]) -> dict[str, object]:
    of = {subject: [hit for hit in hits if hit.subject is subject] for subject in Subject}
    in_highlights = of[Subject.HIGHLIGHT]
    owners = {hit.user_pk for hit in (*of[Subject.USER], *in_highlights) if hit.user_pk is not None}
    accounts = page_parts.read_accounts(snapshot, owners)
    highlights = page_parts.read_highlights(snapshot, [hit.subject_pk for hit in in_highlights])
    tiles = page_parts.read_tiles(snapshot, [hit.subject_pk for hit in of[Subject.ITEM]])
    return {
        "accounts": [
            _with_former_name(hit, page_parts.account_link(accounts[hit.subject_pk]))
            for hit in of[Subject.USER]
            if hit.subject_pk in accounts
        ],
        "highlights": [
            _with_former_name(
                hit,
                page_parts.highlight_link(
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
