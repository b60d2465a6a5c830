"""A tree for people: every file of the archive under names that tell what it is. Pure: what is kept in, what is wanted where out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from archiver.export import names, sidecar
from archiver.export.template import OF_ACCOUNT, OF_HIGHLIGHT, Filler, Template
from archiver.export.wanted import Wanted
from archiver.model import KeptAccount, KeptFile, KeptHighlight, Placed

_WORDS = {1: "photo", 2: "video"}
_UNDATED = dict.fromkeys(("taken_at", "date", "year", "month", "day"), "undated")


@dataclass(frozen=True, slots=True)
class Layout:
    """How a tree is laid out: ``of_items`` says where items go; avatars and covers go as deep as that tells one account or highlight.

    ``sidecars`` adds a JSON file beside each; without ``gone`` what upstream shows no more is left out; ``below`` are directories above all.
    """

    of_items: Template
    sidecars: bool = False
    gone: bool = True
    below: tuple[str, ...] = ()


def wanted(steps: Iterable[KeptAccount | KeptHighlight | Placed], layout: Layout) -> Iterator[Wanted]:
    """The files that the tree consists of, of what ``query.walk`` yields, in that order. An item is in the tree once for each highlight
    that shows it, or once at all where the template tells no highlights apart."""
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
        self._is_apart = bool(layout.of_items.fields & (OF_HIGHLIGHT | {"position"}))
        self._met: set[str] = set()

    def through(self, steps: Iterable[KeptAccount | KeptHighlight | Placed]) -> Iterator[Wanted]:
        account: KeptAccount | None = None
        highlight: KeptHighlight | None = None
        for step in steps:
            if isinstance(step, KeptAccount):
                account, self._met = step, set()
                yield from self._of_account(account)
            elif isinstance(step, KeptHighlight):
                highlight = step if step.gone_at is None or self._layout.gone else None
                if highlight is not None:
                    assert account is not None
                    yield from self._of_highlight(account, highlight)
            elif highlight is not None and (step.gone_at is None or self._layout.gone):
                assert account is not None
                yield from self._of_item(account, highlight, step)

    def _of_account(self, account: KeptAccount) -> Iterator[Wanted]:
        values, of = _of_account(account), f"account {account.pk}"
        if account.avatar is not None:
            yield self._file(f"{of} avatar", self._avatar, values, account.avatar, None, (account.pk,))
        if self._layout.sidecars:
            text = sidecar.of_account(account)
            yield self._text(f"{of} json", self._account, values, text, account.last_seen_at, (account.pk,))

    def _of_highlight(self, account: KeptAccount, highlight: KeptHighlight) -> Iterator[Wanted]:
        values, of = _of_account(account) | _of_highlight(highlight), f"highlight {highlight.pk}"
        self._of = values
        if highlight.cover is not None:
            yield self._file(f"{of} cover", self._cover, values, highlight.cover, None, (highlight.pk,))
        if self._layout.sidecars:
            text = sidecar.of_highlight(account, highlight)
            yield self._text(
                f"{of} json", self._highlight, values, text, highlight.last_seen_at, (highlight.pk,)
            )

    def _of_item(self, account: KeptAccount, highlight: KeptHighlight, placed: Placed) -> Iterator[Wanted]:
        item = placed.item
        of = f"item {highlight.pk} {item.pk}" if self._is_apart else f"item {item.pk}"
        if of in self._met:
            return
        self._met.add(of)
        values = self._of | _of_item(placed)
        marks = (item.pk, f"{item.pk} {highlight.pk}")
        for file in item.held:
            values["role"] = file.role
            yield self._file(f"{of} {file.role}", self._item, values, file, item.taken_at, marks)
        if self._layout.sidecars:
            text = sidecar.of_item(account, highlight, placed)
            at = item.taken_at or item.first_seen_at
            values["role"] = "json"
            yield self._text(f"{of} json", self._item, values, text, at, marks)

    def _file(
        self,
        id_: str,
        where: Filler,
        values: dict[str, str],
        file: KeptFile,
        at: datetime | None,
        marks: tuple[str, ...],
    ) -> Wanted:
        values["ext"] = names.extension(file.blob.mime)
        path = where.filled(values)
        return Wanted(
            id_, (*self._layout.below, *path), file.blob.sha256, file.blob.size, at or file.kept_at, marks
        )

    def _text(
        self,
        id_: str,
        where: Filler,
        values: dict[str, str],
        text: bytes,
        at: datetime,
        marks: tuple[str, ...],
    ) -> Wanted:
        values["ext"] = "json"
        path = where.filled(values)
        return Wanted(id_, (*self._layout.below, *path), text, len(text), at, marks)


def _of_account(account: KeptAccount) -> dict[str, str]:
    return {
        "username": account.username or account.pk,
        "full_name": account.full_name or account.username or account.pk,
        "user_pk": account.pk,
    }


def _of_highlight(highlight: KeptHighlight) -> dict[str, str]:
    return {"title": highlight.title or "untitled", "highlight_pk": highlight.pk}


def _of_item(placed: Placed) -> dict[str, str]:
    item = placed.item
    return {
        "code": item.code or item.pk,
        "item_pk": item.pk,
        "position": f"{placed.position + 1:03d}",
        "type": _WORDS.get(item.media_type or 0, "other"),
        **(_dates(item.taken_at) if item.taken_at is not None else _UNDATED),
    }


def _dates(at: datetime) -> dict[str, str]:
    text = at.isoformat(" ").replace(":", "-")
    return {"taken_at": text[:19], "date": text[:10], "year": text[:4], "month": text[5:7], "day": text[8:10]}
