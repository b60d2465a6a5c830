"""An account, highlight or item as ``archiver show --json`` shows it: all fields, and paths of files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct
from msgspec.structs import asdict

from archiver.archive.archive import Archive
from archiver.archive.subject_details import (
    AccountDetails,
    Details,
    HighlightDetails,
    HighlightSummary,
    ItemDetails,
)
from archiver.model.archived import (
    ContentSize,
    KeptAccount,
    KeptFile,
    KeptHighlight,
    KeptItem,
    Placed,
    Provenance,
)
from archiver.model.foreign_files import WaitingFile

Fields = dict[str, object]


def describe_details(archive: Archive, details: Details) -> tuple[Fields, str, Iterator[Fields]]:
    """Return the fields of ``details``, the name of its one long list, and the entries of that list."""
    if isinstance(details, AccountDetails):
        return (
            _account(archive, details),
            "highlights",
            (_summary(archive, summary) for summary in details.highlights),
        )
    if isinstance(details, HighlightDetails):
        items = (
            _placed_item(archive, placed) for placed in archive.contents(highlights=details.summary.highlight)
        )
        return _highlight(archive, details), "items", items
    return (
        _item(archive, details),
        "highlights",
        (_place(details.account, *place) for place in details.places),
    )


def describe_waiting(archive: Archive, file: WaitingFile) -> Fields:
    """Return the fields of an adopted file that waits for its item."""
    fields_of_file = _fields(file, without=("blob",))
    return {**fields_of_file, "path": archive.location(file), **_fields(file.blob)}


def _account(archive: Archive, details: AccountDetails) -> Fields:
    return {
        "kind": "account",
        **_fields(details.account, without=("usernames", "avatars")),
        "listed_at": details.state.listed_at,
        "verdict": details.state.verdict,
        "verdict_at": details.state.verdict_at,
        "verdict_due_at": details.state.verdict_due_at,
        **_content_size(details.extent),
        "gaps": details.gaps,
        "usernames": details.names,
        "renamings": details.name_changes,
        "avatars": _files(archive, details.account.avatars),
    }


def _highlight(archive: Archive, details: HighlightDetails) -> Fields:
    return {
        "kind": "highlight",
        "account": _account_names(details.account),
        **_summary(archive, details.summary),
        "renamings": details.name_changes,
    }


def _item(archive: Archive, details: ItemDetails) -> Fields:
    files = _files(archive, details.item.files)
    return {
        "kind": "item",
        "account": _account_names(details.account),
        **_item_fields(archive, details.item),
        "answer": _answer(details.answers, details.item.answer_id),
        "files": [{**file, "answer": _answer(details.answers, file["answer_id"])} for file in files],
    }


def _summary(archive: Archive, summary: HighlightSummary) -> Fields:
    return {
        **_fields(summary.highlight, without=("covers",)),
        **_content_size(summary.extent),
        "open_failures": summary.open_failures,
        "gaps": summary.gaps,
        "due": summary.due,
        "due_at": summary.due_at,
        "covers": _files(archive, summary.highlight.covers),
    }


def _content_size(size: ContentSize) -> Fields:
    return {
        "items_total": size.items,
        "items_gone": size.gone,
        "blobs": size.blobs,
        "bytes": size.bytes,
        "lost": size.lost,
    }


def _placed_item(archive: Archive, placed: Placed) -> Fields:
    place = _fields(placed, without=("item", "highlight_pk", "first_seen_at"))
    return {**place, "placed_at": placed.first_seen_at, **_item_fields(archive, placed.item)}


def _item_fields(archive: Archive, item: KeptItem) -> Fields:
    return {**_fields(item, without=("files",)), "files": _files(archive, item.files)}


def _place(account: KeptAccount, highlight: KeptHighlight, placed: Placed) -> Fields:
    return {
        "pk": highlight.pk,
        "title": highlight.title,
        "account": account.username if highlight.user_pk == account.pk else highlight.user_pk,
        **_fields(placed, without=("item", "highlight_pk")),
    }


def _account_names(account: KeptAccount) -> Fields:
    return {"pk": account.pk, "username": account.username, "full_name": account.full_name}


def _files(archive: Archive, files: Iterable[KeptFile]) -> list[Fields]:
    return [
        {
            "role": file.role,
            "path": archive.location(file),
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
        "lost": answer.is_lost,
    }


def _fields(value: Struct, without: tuple[str, ...] = ()) -> Fields:
    """Return the fields of a value, except those named in ``without``."""
    return {name: field for name, field in asdict(value).items() if name not in without}
