"""What is kept, as ``archiver show --json`` tells it: every field, and where the files are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, fields
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
    """What is shown: its fields, the name of its one long list, and what stands in that."""
    shown = showing.shown
    if isinstance(shown, ShownAccount):
        return _account(showing, shown), "highlights", (_part(showing, part) for part in shown.parts)
    if isinstance(shown, ShownHighlight):
        return _highlight(showing, shown), "items", (_placed(showing, one) for one in showing.contents())
    return _item(showing, shown), "highlights", (_place(shown.account, *place) for place in shown.places)


def _account(showing: Showing, shown: ShownAccount) -> Fields:
    return {
        "kind": "account",
        **_plain(shown.account, but=("usernames", "avatars")),
        "listed_at": shown.held.listed_at,
        "verdict": shown.held.verdict.value if shown.held.verdict is not None else None,
        "verdict_at": shown.held.verdict_at,
        "verdict_due_at": shown.held.verdict_due_at,
        **_extent(shown.extent),
        "usernames": [asdict(name) for name in shown.names],
        "renamings": [asdict(renaming) for renaming in shown.renamings],
        "avatars": _files(showing, shown.account.avatars),
    }


def _highlight(showing: Showing, shown: ShownHighlight) -> Fields:
    return {
        "kind": "highlight",
        "account": _brief(shown.account),
        **_part(showing, shown.part),
        "renamings": [asdict(renaming) for renaming in shown.renamings],
    }


def _item(showing: Showing, shown: ShownItem) -> Fields:
    return {
        "kind": "item",
        "account": _brief(shown.account),
        **_carried(showing, shown.item),
        "answer": _answer(shown.answers, shown.item.answer_id),
        "files": [
            {**file, "answer": _answer(shown.answers, file["answer_id"])}
            for file in _files(showing, shown.item.files)
        ],
    }


def _part(showing: Showing, part: Part) -> Fields:
    return {
        **_plain(part.highlight, but=("covers",)),
        **_extent(part.extent),
        "open_failures": part.open_failures,
        "due": part.due,
        "due_at": part.due_at,
        "covers": _files(showing, part.highlight.covers),
    }


def _extent(extent: ContentSize) -> Fields:
    return {
        "items_total": extent.items,
        "items_gone": extent.gone,
        "blobs": extent.blobs,
        "bytes": extent.bytes,
        "lost": extent.lost,
    }


def _placed(showing: Showing, placed: Placed) -> Fields:
    place = _plain(placed, but=("item", "highlight_pk", "first_seen_at"))
    return {**place, "placed_at": placed.first_seen_at, **_carried(showing, placed.item)}


def _carried(showing: Showing, item: KeptItem) -> Fields:
    return {**_plain(item, but=("files",)), "files": _files(showing, item.files)}


def _place(account: KeptAccount, highlight: KeptHighlight, placed: Placed) -> Fields:
    return {
        "pk": highlight.pk,
        "title": highlight.title,
        "account": account.username if highlight.user_pk == account.pk else highlight.user_pk,
        **_plain(placed, but=("item", "highlight_pk")),
    }


def _brief(account: KeptAccount) -> Fields:
    return {"pk": account.pk, "username": account.username, "full_name": account.full_name}


def _files(showing: Showing, files: Iterable[KeptFile]) -> list[Fields]:
    return [
        {
            "role": file.role.value,
            "path": str(showing.path(file)),
            **asdict(file.blob),
            **_plain(file, but=("owner", "role", "blob")),
        }
        for file in files
    ]


def _answer(answers: Mapping[int, Provenance], answer_id: object) -> Fields | None:
    """None for one that is not kept any more."""
    answer = answers.get(answer_id) if isinstance(answer_id, int) else None
    if answer is None:
        return None
    return {
        "id": answer.answer_id,
        "run_id": answer.run_id,
        "endpoint": answer.endpoint,
        **asdict(answer.location),
        "lost": answer.lost,
    }


def _plain(value: Any, but: tuple[str, ...] = ()) -> Fields:
    """The fields of a value; those that are lists of values as lists of objects."""
    found: Fields = {}
    for field in fields(value):
        if field.name not in but:
            inner = getattr(value, field.name)
            found[field.name] = [asdict(one) for one in inner] if isinstance(inner, tuple) else inner
    return found
