"""A tree for people: every file of the archive under names that tell what it is. Pure: what is kept in, what is wanted where out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from archiver.export import names, sidecar
from archiver.export.template import OF_ACCOUNT, OF_HIGHLIGHT, Filler, Template
from archiver.export.wanted import Wanted, nanoseconds
from archiver.model.archived import MEDIA_TYPE_NAMES, KeptAccount, KeptFile, KeptHighlight, Placed, PlacedFile
from archiver.model.identity import Digest, Pk

Step = KeptAccount | KeptHighlight | Placed | PlacedFile
"""Of a walk through an archive."""

_DATES = {
    "taken_at": slice(19),
    "date": slice(10),
    "year": slice(4),
    "month": slice(5, 7),
    "day": slice(8, 10),
}
"""Where they stand in a time as ISO 8601 writes it."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a tree is laid out: ``of_items`` says where items go; avatars and covers go as deep as that tells one account or highlight.

    ``sidecars`` adds a JSON file beside each; without ``gone`` what upstream shows no more is left out; ``below`` are directories above all.
    """

    of_items: Template
    sidecars: bool = False
    gone: bool = True
    below: tuple[str, ...] = ()


def wanted(steps: Iterable[Step], layout: Layout) -> Iterator[Wanted]:
    """The files that the tree consists of, of what ``query.walk`` or ``query.walk_files`` yields, in that order; items have sidecars in a walk
    of the first kind. An item is in the tree once for each highlight that shows it, or once at all where the template tells no
    highlights apart."""
    return _Walk(layout).through(steps)


class _Walk:
    def __init__(self, layout: Layout) -> None:
        self._layout, template = layout, layout.of_items
        self._item = Filler(template)
        self._avatar = Filler(template.beside(OF_ACCOUNT, "avatar"))
        self._account = Filler(template.beside(OF_ACCOUNT, "account"))
        self._cover = Filler(template.beside(OF_ACCOUNT | OF_HIGHLIGHT, "cover"))
        self._highlight = Filler(template.beside(OF_ACCOUNT | OF_HIGHLIGHT, "highlight"))
        self._of: dict[str, str] = {}
        self._values: tuple[Pk, dict[str, str]] = "", {}
        self._dates = [(field, digits) for field, digits in _DATES.items() if field in template.fields]
        self._is_apart = bool(template.fields & (OF_HIGHLIGHT | {"position"}))
        self._met: set[str] = set()

    def through(self, steps: Iterable[Step]) -> Iterator[Wanted]:
        account: KeptAccount | None = None
        highlight: KeptHighlight | None = None
        gone = self._layout.gone
        for step in steps:
            if isinstance(step, PlacedFile):
                if (
                    highlight is not None
                    and (gone or step.gone_at is None)
                    and self._is_new(step.item_pk, step.role)
                ):
                    yield self._of_file(step)
            elif isinstance(step, KeptAccount):
                account, self._met = step, set()
                yield from self._of_account(account)
            elif isinstance(step, KeptHighlight):
                highlight = step if gone or step.gone_at is None else None
                if highlight is not None:
                    assert account is not None
                    yield from self._of_highlight(account, highlight)
            elif highlight is not None and (gone or step.gone_at is None):
                assert account is not None
                new = (file for file in step.files if self._is_new(file.item_pk, file.role))
                yield from map(self._of_file, new)
                if self._layout.sidecars and self._is_new(step.item.pk, "json"):
                    yield self._beside(account, highlight, step)

    def _of_account(self, account: KeptAccount) -> Iterator[Wanted]:
        values, of, marks = _of_account(account), f"account {account.pk}", (account.pk,)
        if account.avatar is not None:
            yield self._picture(f"{of} avatar", self._avatar, values, account.avatar, marks)
        if self._layout.sidecars:
            text, at = sidecar.of_account(account), nanoseconds(account.last_seen_at)
            yield Wanted.text(f"{of} json", self._path(self._account, values, "json"), text, at, marks)

    def _of_highlight(self, account: KeptAccount, highlight: KeptHighlight) -> Iterator[Wanted]:
        values, of, marks = _of_account(account), f"highlight {highlight.pk}", (highlight.pk,)
        self._of = values = values | _of_highlight(highlight)
        self._values = "", {}
        if highlight.cover is not None:
            yield self._picture(f"{of} cover", self._cover, values, highlight.cover, marks)
        if self._layout.sidecars:
            text, at = sidecar.of_highlight(account, highlight), nanoseconds(highlight.last_seen_at)
            yield Wanted.text(f"{of} json", self._path(self._highlight, values, "json"), text, at, marks)

    def _is_new(self, item_pk: Pk, role: str) -> bool:
        """Whether the tree does not have this file of an item from another highlight already."""
        if self._is_apart:
            return True
        of = f"{item_pk} {role}"
        if of in self._met:
            return False
        self._met.add(of)
        return True

    def _of_file(self, file: PlacedFile) -> Wanted:
        pk, at = file.item_pk, file.at
        if self._values[0] != pk:
            taken_at = at if file.is_dated else None
            self._values = pk, self._of_item(pk, file.code, file.position, file.media_type, taken_at)
        values = self._values[1]
        values["role"] = file.role
        path = self._path(self._item, values, names.extension(file.mime))
        of = self._id(file.highlight_pk, pk, file.role)
        return Wanted(of, path, Digest(file.sha256), file.size, nanoseconds(at), (pk, file.highlight_pk))

    def _beside(self, account: KeptAccount, highlight: KeptHighlight, placed: Placed) -> Wanted:
        item = placed.item
        values = self._of_item(item.pk, item.code, placed.position, item.media_type, item.taken_at)
        path = self._path(self._item, values | {"role": "json"}, "json")
        text, at = (
            sidecar.of_item(account, highlight, placed),
            nanoseconds(item.taken_at or item.first_seen_at),
        )
        return Wanted.text(self._id(highlight.pk, item.pk, "json"), path, text, at, (item.pk, highlight.pk))

    def _id(self, highlight_pk: Pk, item_pk: Pk, role: str) -> str:
        return f"item {highlight_pk} {item_pk} {role}" if self._is_apart else f"item {item_pk} {role}"

    def _of_item(
        self, pk: Pk, code: str | None, position: int, media_type: int | None, taken_at: datetime | None
    ) -> dict[str, str]:
        values = self._of | {"code": code or pk, "item_pk": pk, "position": f"{position + 1:03d}"}
        values["type"] = MEDIA_TYPE_NAMES.get(media_type, "other")
        text = taken_at.isoformat(" ").replace(":", "-") if taken_at is not None else None
        for field, digits in self._dates:
            values[field] = text[digits] if text is not None else "undated"
        return values

    def _picture(
        self, of: str, where: Filler, values: dict[str, str], file: KeptFile, marks: tuple[str, ...]
    ) -> Wanted:
        path = self._path(where, values, names.extension(file.blob.mime))
        return Wanted(of, path, file.blob.sha256, file.blob.size, nanoseconds(file.kept_at), marks)

    def _path(self, where: Filler, values: dict[str, str], ext: str) -> tuple[str, ...]:
        values["ext"] = ext
        return self._layout.below + where.filled(values)


def _of_account(account: KeptAccount) -> dict[str, str]:
    return {
        "username": account.username or account.pk,
        "full_name": account.full_name or account.username or account.pk,
        "user_pk": account.pk,
    }


def _of_highlight(highlight: KeptHighlight) -> dict[str, str]:
    return {"title": highlight.title or "untitled", "highlight_pk": highlight.pk}
