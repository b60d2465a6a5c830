"""What changed, night by night: what owners edited, added and removed, with the pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import groupby

from msgspec import Struct

from archiver.catalog import Catalog
from archiver.catalog.query import change_history
from archiver.catalog.snapshot import Snapshot
from archiver.model.archived import KeptAccount, KeptHighlight, NamedChange
from archiver.model.identity import Pk, Subject
from archiver.model.values import replace
from archiver.pages import html_pages, page_text
from archiver.pages.view_model import (
    AccountChanges,
    ItemTile,
    NightOfChanges,
    PageTurn,
    SubjectChanges,
    SubjectLink,
)
from archiver.web import page_parts
from archiver.web.page_parts import Page, PageRequest
from archiver.wording import PRESENCE, describe_change

PER_PAGE = 80
"""Rows of ``changes``: each may show an item."""


def show_changes(catalog: Catalog, request: PageRequest) -> Page | None:
    """Return a page of changes, the latest night first.

    ``before`` and ``after`` in the query continue from a change, by its id.
    """
    try:
        before = page_parts.read_number(request.query, "before")
        after = page_parts.read_number(request.query, "after")
    except ValueError:
        return None
    with catalog.snapshot() as snapshot:
        changes = snapshot.read(change_history.changes_back, PER_PAGE, before=before, after=after)
        turn, rest = _turn(snapshot, changes)
        nights = _Nights.read(snapshot, changes).nights(changes)
    values = {"nights": list(nights), "turn": turn, "rest": rest}
    return Page(html_pages.archive_page("changes", **values).encode())


def _turn(snapshot: Snapshot, changes: Sequence[NamedChange]) -> tuple[PageTurn, str | None]:
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
            page_parts.read_accounts(snapshot, {c.user_pk for c in changes if c.user_pk is not None}),
            page_parts.read_highlights(
                snapshot, {c.subject_pk for c in changes if c.subject is Subject.HIGHLIGHT}
            ),
            page_parts.read_tiles(snapshot, items),
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
        link = page_parts.account_link(account) if account is not None else SubjectLink("Unknown account")
        by_subject: dict[tuple[Subject, Pk], list[NamedChange]] = {}
        for change in reversed(changes):
            by_subject.setdefault((change.subject, change.subject_pk), []).append(change)
        subjects = [self._subject_changes(account, seen) for seen in by_subject.values()]
        return AccountChanges(link, tuple(sorted(subjects, key=lambda one: one.subject.name.casefold())))

    def _subject_changes(self, account: KeptAccount | None, changes: Sequence[NamedChange]) -> SubjectChanges:
        pks = [pk for change in changes for pk in _items_of(change)]
        tiles = [self.tiles.pop(pk) for pk in pks if pk in self.tiles]
        return SubjectChanges(self._link(account, changes[0]), tuple(_texts(changes)), tuple(tiles))

    def _link(self, account: KeptAccount | None, change: NamedChange) -> SubjectLink:
        highlight = self.highlights.get(change.subject_pk) if change.subject is Subject.HIGHLIGHT else None
        if highlight is not None and account is not None:
            link = page_parts.highlight_link(highlight, account)
            return replace(link, is_gone=False)  # the changes say so
        if change.subject is Subject.USER:
            return SubjectLink("Account")
        return SubjectLink(f"{change.subject.value.capitalize()} {change.subject_pk}")


def _items_of(change: NamedChange) -> Iterator[Pk]:
    if change.subject is Subject.ITEM:
        yield change.subject_pk
    elif change.field == "items":
        yield from (pk for pk in (change.old, change.new) if pk is not None)


def _texts(changes: Sequence[NamedChange]) -> Iterator[str]:
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
