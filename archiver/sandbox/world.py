"""The world that the stand-in shows: its accounts, and what upstream would find under a pk or a name."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Literal, Self

from archiver.sandbox import generated_world, vendor_examples
from archiver.sandbox.world_objects import LazyList, SandboxAccount, SandboxHighlight

PrivateWithForce = Literal["empty", "403", "404"]


def _nobody(_highlight_pk: str) -> str | None:
    return None


class World:
    """Accounts by pk and by current username, highlights by pk. To read several at once, hold ``lock``.

    ``v1_page``: entries after which the v1 tray is cut off. ``v2_page``: entries on a page of the v2 tray.
    ``v2_prefixed``: whether the v2 tray writes ``pk`` as ``highlight:<pk>`` (both have been reported).
    ``private_with_force``: what the tray of a private account answers when the privacy check is skipped: an
    empty list, 403 or 404 (it is not known which).
    """

    def __init__(
        self, accounts: Iterable[SandboxAccount] = (), owner_of: Callable[[str], str | None] = _nobody
    ) -> None:
        self.lock = threading.RLock()
        self.v1_page = 60
        self.v2_page = 30
        self.v2_prefixed = True
        self.private_with_force: PrivateWithForce = "empty"
        self._accounts: dict[str, SandboxAccount] = {}
        self._names: dict[str, str] = {}
        self._highlights: dict[str, SandboxHighlight] = {}
        self._owner_of = owner_of
        for account in accounts:
            self.add_account(account)

    @classmethod
    def seed(cls) -> Self:
        """Return a world of the vendor's two example accounts: natgeo (787132), salwaaa_ki (75885841119)."""
        return cls(vendor_examples.accounts())

    @classmethod
    def generate(
        cls,
        accounts: int = 10,
        highlights: int = 5,
        items: int = 10,
        *,
        thumbnail_size: generated_world.Size = None,
        video_size: generated_world.Size = None,
    ) -> Self:
        """Return a world of many similar accounts, whose parts are made when they are first needed.

        Usernames are ``account0000``, ``account0001``...; a pk depends only on the position in the world.
        Photos and videos alternate. A size is None (small), a number of bytes, or ``(least, most)``.
        """
        world = generated_world.GeneratedWorld(accounts, highlights, items, thumbnail_size, video_size)
        return cls(world.accounts(), world.owner_of)

    def add_account(self, account: SandboxAccount) -> SandboxAccount:
        """Add an account. Raises ``ValueError`` if its pk or username is taken."""
        with self.lock:
            if account.pk in self._accounts:
                raise ValueError(f"an account with pk {account.pk} exists")
            self._claim(account.username, account.pk)
            self._accounts[account.pk] = account
            if not isinstance(account.highlights, LazyList):
                self._highlights.update((h.pk, h) for h in account.highlights)
        return account

    @property
    def accounts(self) -> list[SandboxAccount]:
        """All accounts, also deleted ones, in the order in which they were added."""
        with self.lock:
            return list(self._accounts.values())

    def highlight(self, pk: str) -> SandboxHighlight:
        """Return the highlight with this pk, removed or not. Raises ``LookupError``."""
        with self.lock:
            if pk not in self._highlights and (owner := self._owner_of(pk)) is not None:
                self._highlights.update((h.pk, h) for h in self._accounts[owner].highlights)
            if pk not in self._highlights:
                raise LookupError(f"no highlight {pk!r} in this world")
            return self._highlights[pk]

    def find_account(self, *, pk: str = "", username: str = "") -> SandboxAccount | None:
        """Return the account that upstream finds under this pk or current username; None if there is none."""
        with self.lock:
            account = self._accounts.get(pk or self._names.get(username.lower(), ""))
            return None if account is None or account.is_deleted else account

    def find_page(self, pk: str) -> tuple[SandboxAccount, SandboxHighlight] | None:
        """Return the highlight that upstream finds under this pk, with its owner; None if either is gone."""
        with self.lock:
            try:
                highlight = self.highlight(pk)
            except LookupError:
                return None
            owner = self.find_account(pk=highlight.user_pk)
            return (
                None
                if owner is None or highlight.is_removed or highlight.is_page_lost
                else (owner, highlight)
            )

    def _claim(self, username: str, pk: str) -> None:
        holder = self._names.setdefault(username.lower(), pk)
        if holder != pk:
            raise ValueError(f"the username {username!r} belongs to {holder}")
