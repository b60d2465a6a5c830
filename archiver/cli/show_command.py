"""``archiver show``: what it asks for, and its JSON; the text is in ``details_text``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING

import click
from msgspec import Struct
from msgspec.structs import asdict

from archiver.archive.subject_details import (
    AccountDetails,
    Details,
    HighlightDetails,
    HighlightSummary,
    ItemDetails,
)
from archiver.cli import details_text, output
from archiver.cli.decorators import Result, reads
from archiver.cli.filter_options import complete_account
from archiver.cli.options import GlobalOptions
from archiver.errors import UsageError
from archiver.model.target import parse_target_or_item
from archiver.text_format import make_safe

if TYPE_CHECKING:
    from archiver.archive.archive import Archive
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

_AT_ONCE = 500
_ROLES = ("thumbnail", "video", "cover", "avatar")


Fields = dict[str, object]


class ShowResult(Result, frozen=True):
    """An account, highlight or item. ``_show_all``: long lists are not cut."""

    kind: str | None = None
    _archive: Archive | None = None
    _details: Details | None = None
    _show_all: bool = False

    def json_fields(self) -> Fields:
        """Return all fields, with the paths of files; the kind decides which."""
        if self._archive is None or self._details is None:
            return {"kind": self.kind}
        fields, name, rows = _describe_details(self._archive, self._details)
        return {**fields, name: rows}

    def lines(self, width: int | None) -> Iterator[str]:
        """Return the text."""
        assert self._archive is not None
        assert self._details is not None
        return details_text.details_lines(self._archive, self._details, width, show_all=self._show_all)


class WaitingResult(Result, frozen=True):
    """The adopted files that wait for their items. ``_show_all``: the list is not cut."""

    _archive: Archive
    _files: Iterator[WaitingFile]
    _show_all: bool

    def json_fields(self) -> Fields:
        """Return all fields, with the paths of files."""
        rows = (_describe_waiting(self._archive, file) for file in self._files)
        return {"kind": "adopted", "waiting": rows}

    def lines(self, width: int | None) -> Iterator[str]:
        """Return the text."""
        return details_text.waiting_lines(self._files, width, show_all=self._show_all)


@reads("show", json=ShowResult.blank)
@click.argument("target", metavar="[TARGET]", required=False, shell_complete=complete_account)
@click.option("--paths", is_flag=True, help="Only the absolute paths of its files, one a line.")
@click.option("-0", "--null", is_flag=True, help="Like --paths, with a NUL after each path: for xargs -0.")
@click.option(
    "--role",
    "roles",
    type=click.Choice(_ROLES),
    multiple=True,
    help="With --paths, only files of this role. May be repeated.",
)
@click.option(
    "--adopted", is_flag=True, help="Instead of TARGET: the adopted files that wait for their items."
)
def command(
    options: GlobalOptions,
    archive: Archive,
    target: str | None,
    paths: bool,
    null: bool,
    roles: tuple[str, ...],
    adopted: bool,
) -> ShowResult | WaitingResult | int:
    """Show one account, highlight or item, with the paths of its files. Reads only, also during a run; costs
    nothing.

    TARGET is an account (username, a former one, id, profile link), a highlight (highlight:<pk>, link, share
    link) or an item (item:<pk>, its code, a /p/, /reel/ or story link). A bare number is an account's id,
    else a highlight's pk, else an item's.

    Long lists are cut: -v shows all. --json has every field; for an account, the items of its highlights are
    left out. --adopted lists the files that archiver adopt has stored, but not yet assigned to an item.
    --paths lists the current files: the avatar, each highlight's cover, then the files of its items in their
    order; each file once.

    \b
    Examples:
      archiver show natgeo
      archiver show highlight:17983407089364361 -v
      archiver show natgeo -0 --role video | xargs -0 mpv
      archiver show --adopted
      archiver show natgeo --json | jq -r '.highlights[] | select(.completed_at == null) | .title'
    """
    if (paths or null) and options.blank is not None:
        option = "-0" if null else "--paths"
        raise UsageError(
            f"--json and {option} cannot be combined",
            f"leave out {option} for the object, or --json for the paths",
        )
    if roles and not (paths or null):
        raise UsageError("--role needs --paths", "see archiver show --help")
    if adopted == (target is not None):
        raise UsageError("name either a TARGET or --adopted", "see archiver show --help")
    subject = None if target is None else parse_target_or_item(target)
    if paths or null:
        files = archive.waiting_files() if subject is None else archive.current_files(subject)
        for piece in _paths(archive, files, roles, b"\0" if null else b"\n"):
            output.print_data(piece)
        return 0
    if subject is None:
        return WaitingResult(archive, archive.waiting_files(), options.verbose)
    return ShowResult(_archive=archive, _details=archive.show(subject), _show_all=options.verbose)


def _paths(
    archive: Archive, files: Iterable[KeptFile | WaitingFile], roles: tuple[str, ...], end: bytes
) -> Iterator[bytes | str]:
    """Yield the paths, many at once: exact, but safe on a terminal."""
    on_terminal = output.terminal_width() is not None
    files = (file for file in files if not roles or file.role in roles)
    while some := [archive.location(file) for file in islice(files, _AT_ONCE)]:
        if on_terminal and end == b"\n":
            yield "".join(f"{make_safe(str(path))}\n" for path in some)
        else:
            yield b"".join(os.fsencode(path) + end for path in some)


def _describe_details(archive: Archive, details: Details) -> tuple[Fields, str, Iterator[Fields]]:
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


def _describe_waiting(archive: Archive, file: WaitingFile) -> Fields:
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
