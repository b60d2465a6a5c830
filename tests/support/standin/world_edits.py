"""What owners do between two nights, one method each.

Accounts are named by pk or username, highlights and items by pk.

Every method takes effect in the next answer, is atomic, and raises ``LookupError`` for what is not in the
world.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from archiver.sandbox import item_factory
from archiver.sandbox.world import World
from archiver.sandbox.world_objects import Role, SandboxAccount, SandboxFile, SandboxHighlight, SandboxItem


class EditableWorld(World):
    """A world that its owners edit. Thread-safe: answers and edits take turns."""

    def __init__(
        self, accounts: Iterable[SandboxAccount] = (), owner_of: Callable[[str], str | None] | None = None
    ) -> None:
        super().__init__(accounts, owner_of or (lambda _pk: None))
        self._last_number = (
            1 << 20
        )  # past the accounts of a generated world, whose numbers distinguish its items

    def account(self, who: str) -> SandboxAccount:
        """Return the account with this pk or username, which may be the last one of a deleted account.

        Raises ``LookupError``.
        """
        with self.lock:
            found = self._accounts.get(who) or self._accounts.get(self._names.get(who.lower(), ""))
            if found is None:
                found = next((a for a in self._accounts.values() if a.username.lower() == who.lower()), None)
            if found is None:
                raise LookupError(f"no account {who!r} in this world")
            return found

    def item(self, highlight: str, item: str) -> SandboxItem:
        """Return the item with that pk in that highlight. Raises ``LookupError``."""
        with self.lock:
            return self.highlight(highlight).items[self._place(highlight, item)]

    def shorten(self, items: int) -> None:
        """Leave each highlight its first items: to download them all takes most of a first night."""
        with self.lock:
            for highlight in (h for account in self.accounts for h in account.highlights):
                del highlight.items[items:]

    def rename(self, account: str, username: str) -> None:
        """Another username; the old one is free from now on.

        Raises ``ValueError`` if somebody holds the new one.
        """
        with self.lock:
            found = self.account(account)
            self._claim(username, found.pk)
            if username.lower() != found.username.lower():
                self._free(found.username)
            found.username = username

    def take_username(self, username: str, by: str | None = None) -> SandboxAccount:
        """Somebody takes a free username: the account ``by``, or a new one without highlights.

        Raises ``ValueError`` if it is not free.
        """
        with self.lock:
            if by is not None:
                self.rename(by, username)
                return self.account(username)
            pk = str(61_000_000_000 + self._number())
            return self.add_account(SandboxAccount(pk, username, "Somebody Else", item_factory.avatar(pk)))

    def set_private(self, account: str) -> None:
        """Only followers see it from now on."""
        with self.lock:
            self.account(account).is_private = True

    def set_public(self, account: str) -> None:
        """Everybody sees it again."""
        with self.lock:
            self.account(account).is_private = False

    def delete_account(self, account: str) -> None:
        """It answers 404 from now on, and its username is free."""
        with self.lock:
            found = self.account(account)
            found.is_deleted = True
            self._free(found.username)

    def restore_account(self, account: str) -> None:
        """It is back with all its highlights. Raises ``ValueError`` if its username was taken meanwhile."""
        with self.lock:
            found = self.account(account)
            self._claim(found.username, found.pk)
            found.is_deleted = False

    def set_full_name(self, account: str, full_name: str) -> None:
        with self.lock:
            self.account(account).full_name = full_name

    def change_avatar(self, account: str) -> SandboxFile:
        """Another picture, under another name."""
        with self.lock:
            found = self.account(account)
            found.avatar = item_factory.avatar(found.pk, self._number())
            return found.avatar

    def add_highlight(
        self, account: str, title: str, items: int = 3, *, created_at: int = 1_770_000_000
    ) -> SandboxHighlight:
        """A new highlight with that many items, photos and videos in turn, first in the tray."""
        with self.lock:
            owner = self.account(account)
            number = self._number()
            pk = str(18_400_000_000_000_000 + number)
            made = SandboxHighlight(pk, owner.pk, title, created_at, created_at, item_factory.cover(pk))
            for place in range(items):
                taken_at = created_at - 3600 * (items - 1 - place)
                kind: item_factory.Kind = "video" if place % 2 else "photo"
                made.items.append(
                    item_factory.item(
                        item_factory.media_pk(taken_at, self._number()), owner.pk, taken_at, kind, place
                    )
                )
            owner.highlights.insert(0, made)
            self._highlights[pk] = made
            return made

    def remove_highlight(self, highlight: str) -> None:
        """It leaves the tray, and its page answers 404."""
        with self.lock:
            self.highlight(highlight).is_removed = True

    def restore_highlight(self, highlight: str) -> None:
        """It is back at its old place, page and all."""
        with self.lock:
            found = self.highlight(highlight)
            found.is_removed = found.is_page_lost = False

    def lose_page(self, highlight: str) -> None:
        """Its page answers 404 while the tray still lists it; ``restore_highlight`` ends that."""
        with self.lock:
            self.highlight(highlight).is_page_lost = True

    def retitle(self, highlight: str, title: str) -> None:
        with self.lock:
            self.highlight(highlight).title = title

    def recover(self, highlight: str) -> SandboxFile:
        """A new cover, under another name."""
        with self.lock:
            found = self.highlight(highlight)
            found.cover = item_factory.cover(found.pk, self._number())
            return found.cover

    def pin(self, highlight: str, pinned: bool = True) -> None:
        """Pins it or, with False, takes the pin away; its place in the tray stays."""
        with self.lock:
            self.highlight(highlight).is_pinned = pinned

    def reorder_tray(self, account: str, highlights: Sequence[str]) -> None:
        """The tray in the order of these pks; those not named follow in their old order."""
        with self.lock:
            owner = self.account(account)
            rank = {pk: place for place, pk in enumerate(highlights)}
            owner.highlights[:] = sorted(owner.highlights, key=lambda h: rank.get(h.pk, len(rank)))

    def add_item(
        self, highlight: str, kind: item_factory.Kind = "photo", *, taken_at: int | None = None
    ) -> SandboxItem:
        """A new item at the end.

        ``latest_reel_media`` moves if it is the newest: an old ``taken_at`` leaves it where it is.

        Without ``taken_at`` it is taken an hour after the newest.
        """
        with self.lock:
            found = self.highlight(highlight)
            newest = max([found.latest_reel_media or 0, *(i.taken_at for i in found.items)])
            if taken_at is None:
                taken_at = newest + 3600
            number = self._number()
            made = item_factory.item(
                item_factory.media_pk(taken_at, number), found.user_pk, taken_at, kind, number
            )
            self._append(found, made)
            return made

    def put_item(self, highlight: str, item: str, *, source: str) -> SandboxItem:
        """An item of the highlight ``source`` also stands at the end of this one."""
        with self.lock:
            one = self.item(source, item)
            self._append(self.highlight(highlight), one)
            return one

    def remove_item(self, highlight: str, item: str) -> SandboxItem:
        """It leaves the highlight; ``latest_reel_media`` stays, as nobody has seen it move back."""
        with self.lock:
            return self.highlight(highlight).items.pop(self._place(highlight, item))

    def move_item(self, item: str, *, source: str, target: str) -> None:
        """It leaves one highlight and stands at the end of another."""
        with self.lock:
            self._append(self.highlight(target), self.remove_item(source, item))

    def reorder_items(self, highlight: str, items: Sequence[str]) -> None:
        """The items in the order of these pks; those not named follow in their old order."""
        with self.lock:
            found = self.highlight(highlight)
            rank = {pk: place for place, pk in enumerate(items)}
            found.items[:] = sorted(found.items, key=lambda i: rank.get(i.pk, len(rank)))

    def withhold(self, highlight: str, item: str, role: Role) -> None:
        """The answer offers null for this file from now on."""
        with self.lock:
            one = self.item(highlight, item)
            if role == "video":
                one.video = None
            else:
                one.thumbnail = None

    def change_bytes(self, highlight: str, item: str, role: Role) -> None:
        """The CDN serves other bytes for this file, under the same name, at once.

        Raises ``LookupError`` if it is not offered.
        """
        with self.lock:
            media = self.item(highlight, item).file(role)
            if media is None:
                raise LookupError(f"item {item} offers no {role}")
            media.mark = f"{media.mark} edited {self._number()}"

    @staticmethod
    def _append(highlight: SandboxHighlight, item: SandboxItem) -> None:
        highlight.items.append(item)
        highlight.latest_reel_media = max(highlight.latest_reel_media or 0, item.taken_at)

    def _place(self, highlight: str, item: str) -> int:
        for place, one in enumerate(self.highlight(highlight).items):
            if one.pk == item:
                return place
        raise LookupError(f"no item {item!r} in highlight {highlight}")

    def _free(self, username: str) -> None:
        self._names.pop(username.lower(), None)

    def _number(self) -> int:
        self._last_number += 1
        return self._last_number
