"""The accounts of the archive with their sums, in memory: to search and sort them must not read everything.

The sums of a million items take seconds. So they are read again only after the archive has changed; if that
takes long, in the background, and pages show the older sums meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from threading import Lock, Thread

from msgspec import Struct

from archiver.catalog import Catalog
from archiver.catalog.query import page_contents
from archiver.catalog.query.page_contents import AccountSums
from archiver.errors import ArchiverError
from archiver.pages import page_text

SORTS = (("name", "name"), ("changed", "last change"), ("size", "size"))
"""The orders in which accounts can be listed: as in the URL, and in words."""

_AT_ONCE = 0.1
"""Seconds that a page may wait for newer sums."""
_REST = 10.0
"""Between two readings in the background, as many times as long as one takes: it must not fill a core."""


class AccountEntry(Struct, frozen=True):
    """An account in the index. ``words``: what a search looks at."""

    sums: AccountSums
    name: str
    words: str


class SortedAccounts(Struct, frozen=True):
    """All accounts in each of the orders. ``state``: that of the archive when they were read."""

    state: int | None
    orders: dict[str, tuple[AccountEntry, ...]]
    read_seconds: float

    def find(self, text: str, sort: str) -> Sequence[AccountEntry]:
        """Return the accounts whose names contain every word of the text, in this order or that of names."""
        entries = self.orders.get(sort, self.orders["name"])
        words = text.casefold().replace("@", " ").split()
        if not words:
            return entries
        return [entry for entry in entries if all(word in entry.words for word in words)]


class AccountIndex:
    """The index. Every method may be called from any thread."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._current: SortedAccounts | None = None
        self._reading = Lock()
        self._rest_until = 0.0

    def read(self) -> SortedAccounts:
        """Return the accounts as of now, or as of a few seconds ago in a large archive.

        Raises DatabaseError.
        """
        current = self._current
        if current is None:
            with self._reading:  # the first: everyone has to wait for it
                return self._current or self._refresh()
        if self._catalog.read(page_contents.state) == current.state:
            return current
        if current.read_seconds <= _AT_ONCE:
            with self._reading:
                return self._refresh()
        if time.monotonic() >= self._rest_until and self._reading.acquire(blocking=False):
            Thread(target=self._refresh_in_background, daemon=True, name="account index").start()
        return current

    def _refresh_in_background(self) -> None:
        try:
            self._refresh()
        except ArchiverError:  # the next page tries again, or says so
            self._rest_until = time.monotonic() + _REST
        finally:
            self._reading.release()

    def _refresh(self) -> SortedAccounts:
        began = time.monotonic()
        with self._catalog.snapshot() as moment:
            state = moment.read(page_contents.state)
            sums = moment.read(page_contents.account_sums)
        entries = sorted(map(_entry, sums), key=lambda entry: (entry.name, entry.sums.pk))
        by_change = sorted(entries, key=_change_time, reverse=True)
        by_size = sorted(entries, key=lambda entry: entry.sums.bytes, reverse=True)
        orders = {"name": tuple(entries), "changed": tuple(by_change), "size": tuple(by_size)}
        seconds = time.monotonic() - began
        self._current = SortedAccounts(state, orders, seconds)
        self._rest_until = time.monotonic() + _REST * seconds
        return self._current


def _entry(sums: AccountSums) -> AccountEntry:
    shown = page_text.shorten(sums.full_name or "") or sums.username or sums.pk
    names = (sums.username, sums.full_name, *sums.former_usernames, sums.pk)
    return AccountEntry(sums, shown.casefold(), "\n".join(name.casefold() for name in names if name))


def _change_time(entry: AccountEntry) -> float:
    return entry.sums.changed_at.timestamp() if entry.sums.changed_at is not None else 0.0
