"""The state of a world: who exists, what is found under which pk or name, and the knobs for what nobody has seen upstream."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Literal

from archiver.sandbox.things import Account, Deferred, Highlight, Item

PrivateWithForce = Literal["empty", "403", "404"]


def _nobody(_highlight_pk: str) -> str | None:
    return None


class State:
    """Accounts by pk and by current username, highlights by pk. Whoever reads several things in a row holds ``lock``.

    ``v1_page``: entries after which the v1 tray is cut. ``v2_page``: entries on a page of the v2 tray. ``v2_prefixed``: whether the v2
    tray writes ``pk`` as ``highlight:<pk>`` (both have been reported). ``private_with_force``: what the tray of a private
    account answers when the privacy check is skipped: an empty list, 403 or 404.
    """

    def __init__(
        self, accounts: Iterable[Account] = (), owner_of: Callable[[str], str | None] = _nobody
    ) -> None:
        self.lock = threading.RLock()
        self.v1_page = 60
        self.v2_page = 30
        self.v2_prefixed = True
        self.private_with_force: PrivateWithForce = "empty"
        self._accounts: dict[str, Account] = {}
        self._names: dict[str, str] = {}
        self._highlights: dict[str, Highlight] = {}
        self._owner_of = owner_of
        self._last_number = (
            1 << 20
        )  # past the accounts of a generated world, whose numbers tell its items apart
        for account in accounts:
            self.add_account(account)

    def add_account(self, account: Account) -> Account:
        """Puts an account into the world. Raises ``ValueError`` if its pk or username is taken."""
        with self.lock:
            if account.pk in self._accounts:
                raise ValueError(f"an account with pk {account.pk} exists")
            self._claim(account.username, account.pk)
            self._accounts[account.pk] = account
            if not isinstance(account.highlights, Deferred):
                self._highlights.update((h.pk, h) for h in account.highlights)
        return account

    @property
    def accounts(self) -> list[Account]:
        """All accounts, deleted ones too, in the order in which they came."""
        with self.lock:
            return list(self._accounts.values())

    def account(self, who: str) -> Account:
        """The account with this pk or username; a username may also be the last one of a deleted account. Raises ``LookupError``."""
        with self.lock:
            found = self._accounts.get(who) or self._accounts.get(self._names.get(who.lower(), ""))
            if found is None:
                found = next((a for a in self._accounts.values() if a.username.lower() == who.lower()), None)
            if found is None:
                raise LookupError(f"no account {who!r} in this world")
            return found

    def highlight(self, pk: str) -> Highlight:
        """The highlight with this pk, removed or not. Raises ``LookupError``."""
        with self.lock:
            if pk not in self._highlights and (owner := self._owner_of(pk)) is not None:
                self._highlights.update((h.pk, h) for h in self._accounts[owner].highlights)
            if pk not in self._highlights:
                raise LookupError(f"no highlight {pk!r} in this world")
            return self._highlights[pk]

    def item(self, highlight: str, item: str) -> Item:
        """The item of that pk in that highlight. Raises ``LookupError``."""
        with self.lock:
            return self.highlight(highlight).items[self._place(highlight, item)]

    def alive(self, *, pk: str = "", username: str = "") -> Account | None:
        """The account that upstream finds under this pk or current username; None if there is none or it was deleted."""
        with self.lock:
            found = self._accounts.get(pk or self._names.get(username.lower(), ""))
            return None if found is None or found.deleted else found

    def page(self, pk: str) -> tuple[Account, Highlight] | None:
        """The highlight that upstream finds under this pk, with its owner; None if either is gone, or only its page is."""
        with self.lock:
            try:
                found = self.highlight(pk)
            except LookupError:
                return None
            owner = self.alive(pk=found.user_pk)
            return None if owner is None or found.removed or found.page_lost else (owner, found)

    def _place(self, highlight: str, item: str) -> int:
        for place, one in enumerate(self.highlight(highlight).items):
            if one.pk == item:
                return place
        raise LookupError(f"no item {item!r} in highlight {highlight}")

    def _claim(self, username: str, pk: str) -> None:
        holder = self._names.setdefault(username.lower(), pk)
        if holder != pk:
            raise ValueError(f"the username {username!r} belongs to {holder}")

    def _free(self, username: str) -> None:
        self._names.pop(username.lower(), None)

    def _number(self) -> int:
        self._last_number += 1
        return self._last_number
