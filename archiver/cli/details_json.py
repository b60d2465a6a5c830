"""An account, highlight or item as ``archiver show --json`` shows it: all fields, and paths of files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from typing import Any

from archiver.archive import Part, Showing, ShownAccount, ShownHighlight, ShownItem
from archiver.model.archived import (
    ContentSize,
    KeptAccount,
    KeptFile,
    KeptHighlight,
    KeptItem,
    Placed,
    Provenance,
)

Fields = dict[str, object]


def describe_details(showing: Showing) -> tuple[Fields, str, Iterator[Fields]]:
    """Return the fields of what is shown, the name of its one long list, and the entries of that list."""
    shown = showing.shown
    if isinstance(shown, ShownAccount):
        return _account(showing, shown), "highlights", (_part(showing, part) for part in shown.parts)
    if isinstance(shown, ShownHighlight):
        items = (_placed_item(showing, placed) for placed in showing.contents())
        return _highlight(showing, shown), "items", items
    return _item(showing, shown), "highlights", (_place(shown.account, *place) for place in shown.places)


def _account(showing: Showing, shown: ShownAccount) -> Fields:
    return {
        "kind": "account",
        **_fields(shown.account, without=("usernames", "avatars")),
        "listed_at": shown.held.listed_at,
        "verdict": shown.held.verdict,
        "verdict_at": shown.held.verdict_at,
        "verdict_due_at": shown.held.verdict_due_at,
        **_content_size(shown.extent),
        "usernames": shown.names,
        "renamings": shown.renamings,
        "avatars": _files(showing, shown.account.avatars),
    }


def _highlight(showing: Showing, shown: ShownHighlight) -> Fields:
    return {
        "kind": "highlight",
        "account": _account_names(shown.account),
        **_part(showing, shown.part),
        "renamings": shown.renamings,
    }


def _item(showing: Showing, shown: ShownItem) -> Fields:
    files = _files(showing, shown.item.files)
    return {
        "kind": "item",
        "account": _account_names(shown.account),
        **_item_fields(showing, shown.item),
        "answer": _answer(shown.answers, shown.item.answer_id),
        "files": [{**file, "answer": _answer(shown.answers, file["answer_id"])} for file in files],
    }


def _part(showing: Showing, part: Part) -> Fields:
    return {
        **_fields(part.highlight, without=("covers",)),
        **_content_size(part.extent),
        "open_failures": part.open_failures,
        "due": part.due,
        "due_at": part.due_at,
        "covers": _files(showing, part.highlight.covers),
    }


def _content_size(size: ContentSize) -> Fields:
    return {
        "items_total": size.items,
        "items_gone": size.gone,
        "blobs": size.blobs,
        "bytes": size.bytes,
        "lost": size.lost,
    }


def _placed_item(showing: Showing, placed: Placed) -> Fields:
    place = _fields(placed, without=("item", "highlight_pk", "first_seen_at"))
    return {**place, "placed_at": placed.first_seen_at, **_item_fields(showing, placed.item)}


def _item_fields(showing: Showing, item: KeptItem) -> Fields:
    return {**_fields(item, without=("files",)), "files": _files(showing, item.files)}


def _place(account: KeptAccount, highlight: KeptHighlight, placed: Placed) -> Fields:
    return {
        "pk": highlight.pk,
        "title": highlight.title,
        "account": account.username if highlight.user_pk == account.pk else highlight.user_pk,
        **_fields(placed, without=("item", "highlight_pk")),
    }


def _account_names(account: KeptAccount) -> Fields:
    return {"pk": account.pk, "username": account.username, "full_name": account.full_name}


def _files(showing: Showing, files: Iterable[KeptFile]) -> list[Fields]:
    return [
        {
            "role": file.role,
            "path": str(showing.path(file)),
            **_fields(file.blob),
            **_fields(file, without=("owner", "role", "blob")),
        }
        for file in files
    ]


def _answer(answers: Mapping[int, Provenance], answer_id: object) -> Fields | None:
    """Return where the answer is stored; None if it is unknown or no longer stored."""
    answer = answers.get(answer_id) if isinstance(answer_id, int) else None
    if answer is None:
        return None
    return {
        "id": answer.answer_id,
        "run_id": answer.run_id,
        "endpoint": answer.endpoint,
        **_fields(answer.location),
        "lost": answer.lost,
    }


def _fields(value: Any, without: tuple[str, ...] = ()) -> Fields:
    """Return the fields of a dataclass, except those named in ``without``."""
    return {f.name: getattr(value, f.name) for f in fields(value) if f.name not in without}
