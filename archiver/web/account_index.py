"""The accounts of the archive with their sums, in memory: to search and sort them must not read everything.

The sums of a million items take seconds. So they are kept, account by account, until the account has changed.
A page reads those that are missing for a tenth of a second, and finishes the read that it has begun: of a few
accounts, or of one large account. The others are read in the background.
"""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from threading import Lock, Thread

from msgspec import Struct

from archiver.catalog import Catalog
from archiver.catalog.query import page_contents
from archiver.catalog.query.page_contents import AccountRow, AccountSums
from archiver.errors import ArchiverError
from archiver.model.identity import Pk
from archiver.pages import page_text

SORTS = (("name", "name"), ("changed", "last change"), ("size", "size"))
"""The orders of accounts, as in the URL and in words. The size of an account is its number of items."""

_AT_ONCE = 0.1
"""Seconds after which a page begins no further read of sums."""
_ACCOUNTS_PER_READ = 20
"""Most accounts whose sums are read at once. PostgreSQL took 2.8 s for 10,000, and 52 to 126 s one by one."""
_SHORT_READ = 0.02
"""Seconds in which a read must end for a page to read twice as many accounts next."""
_SHOW_AGAIN = 2.0
"""Seconds after which sums that were read in the background are shown."""
_REST = 20.0
"""How many times as long as reading the names takes they are not read again."""
_NOTHING = AccountSums()


class AccountEntry(Struct, frozen=True):
    """An account in the index. ``sums``: None if they have not been read yet."""

    row: AccountRow
    sums: AccountSums | None
    name: str
    words: str


class SortedAccounts(Struct, frozen=True):
    """All accounts in each of the orders. ``is_complete``: whether all sums are known."""

    orders: dict[str, tuple[AccountEntry, ...]]
    is_complete: bool

    def find(self, text: str, sort: str) -> Sequence[AccountEntry]:
        """Return the accounts whose names contain every word of the text, in this order or that of names."""
        entries = self.orders.get(sort, self.orders["name"])
        words = _plain(text).replace("@", " ").split()
        if not words:
            return entries
        return [entry for entry in entries if all(word in entry.words for word in words)]


def current_index(catalog: Catalog) -> Callable[[], AccountIndex]:
    """Return what gives the index of the database that is there now: it goes with its database."""
    current = catalog.follow(), AccountIndex(catalog)

    def index() -> AccountIndex:
        nonlocal current
        times_replaced = catalog.follow()
        if current[0] != times_replaced:
            current = times_replaced, AccountIndex(catalog)
        return current[1]

    return index


class AccountIndex:
    """The index of one database. Every method may be called from any thread."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._lock = Lock()
        self._state: tuple[int | None, int | None] | None = None
        self._last_change: int | None = None
        self._rows: list[AccountRow] = []
        self._sums: dict[Pk, tuple[object, AccountSums]] = {}
        self._shown: SortedAccounts | None = None
        self._read_again_at = 0.0
        self._is_reading = False

    def read(self) -> SortedAccounts:
        """Return the accounts as of now; in a large archive, as of some seconds ago. Raises DatabaseError."""
        with self._lock:
            if self._refresh_rows() or self._shown is None:
                self._read_sums_for_page()
                self._shown = self._arrange()
            if not self._shown.is_complete and not self._is_reading:
                self._is_reading = True
                Thread(target=self._read_in_background, daemon=True, name="account sums").start()
            return self._shown

    def sums_of(self, user_pk: Pk) -> AccountSums:
        """Return the sums of one account as of now. Raises DatabaseError."""
        for row in self._catalog.read(page_contents.account_rows, user_pk):
            return self._current_sums(row) or self._read_some([row])[user_pk]
        return AccountSums()

    def _current_sums(self, row: AccountRow) -> AccountSums | None:
        """Return the sums of an account; None if they are not known, or may have changed."""
        stamp, sums = self._sums.get(row.pk, (None, None))
        return sums if stamp == row.stamp else None

    def _read_some(self, rows: Sequence[AccountRow]) -> dict[Pk, AccountSums]:
        found = self._catalog.read(page_contents.account_sums, [row.pk for row in rows])
        for row in rows:
            self._sums[row.pk] = row.stamp, found[row.pk]
        return found

    def _refresh_rows(self) -> bool:
        """Read the names again if the archive has changed; return whether it did."""
        now = time.monotonic()
        if now < self._read_again_at:
            return False
        state = self._catalog.read(page_contents.state)
        if state == self._state and self._shown is not None:
            return False
        with self._catalog.snapshot() as snapshot:
            if self._last_change is not None:
                for pk in snapshot.read(page_contents.edited_since, self._last_change):
                    self._sums.pop(pk, None)
            self._last_change = snapshot.read(page_contents.last_change)
            # Accounts of similar size follow each other, so that one read takes about as long as the next.
            self._rows = sorted(snapshot.read(page_contents.account_rows), key=lambda row: row.highlights)
        self._state = state
        self._read_again_at = now + _REST * (time.monotonic() - now - _AT_ONCE)
        return True

    def _missing(self) -> Iterator[AccountRow]:
        return (row for row in self._rows if self._current_sums(row) is None)

    def _read_sums_for_page(self) -> None:
        """Read sums until the time is over, of one account first: nobody knows yet how long that takes."""
        began = time.monotonic()
        until, count, missing = began + _AT_ONCE, 1, self._missing()
        while began < until and (rows := list(islice(missing, count))):
            self._read_some(rows)
            ended = time.monotonic()
            count = min(2 * count, _ACCOUNTS_PER_READ) if ended - began < _SHORT_READ else 1
            began = ended

    def _read_in_background(self) -> None:
        try:
            while not self._shown or not self._shown.is_complete:
                until, missing = time.monotonic() + _SHOW_AGAIN, self._missing()
                while time.monotonic() < until and (rows := list(islice(missing, _ACCOUNTS_PER_READ))):
                    self._read_some(rows)
                with self._lock:
                    self._shown = self._arrange()
        except ArchiverError:
            return  # the next page tries again, and says so
        finally:
            self._is_reading = False

    def _arrange(self) -> SortedAccounts:
        entries = sorted(map(self._entry, self._rows), key=lambda entry: (entry.name, entry.row.pk))
        by_change = sorted(entries, key=_change_time, reverse=True)
        by_size = sorted(entries, key=lambda entry: (entry.sums or _NOTHING).items.items, reverse=True)
        orders = {"name": tuple(entries), "changed": tuple(by_change), "size": tuple(by_size)}
        return SortedAccounts(orders, next(self._missing(), None) is None)

    def _entry(self, row: AccountRow) -> AccountEntry:
        shown = page_text.shorten(row.full_name or "") or row.username or row.pk
        names = (row.username, row.full_name, *row.former_usernames, row.pk)
        words = "\n".join(_plain(name) for name in names if name)
        known = self._sums.get(row.pk)
        return AccountEntry(row, known[1] if known is not None else None, _plain(shown), words)


@lru_cache(maxsize=65_536)
def _plain(text: str) -> str:
    """Return a text without accents and the like, in lower case, as accounts.js compares names."""
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(c for c in decomposed if not unicodedata.category(c).startswith("M")).casefold()


def _change_time(entry: AccountEntry) -> float:
    at = (entry.sums or _NOTHING).changed_at
    return at.timestamp() if at is not None else 0.0
