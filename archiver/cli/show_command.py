"""``archiver show``: an account, highlight or item, as JSON or as lines that are safe for a terminal."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
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
from archiver.cli import advice, output
from archiver.cli.decorators import Result, reads
from archiver.cli.filter_options import complete_account
from archiver.cli.options import GlobalOptions
from archiver.errors import Reason, UsageError
from archiver.model.archived import (
    ContentSize,
    KeptAccount,
    KeptFile,
    KeptHighlight,
    KeptItem,
    NameChange,
    Placed,
    Provenance,
)
from archiver.model.foreign_files import WaitingFile
from archiver.model.identity import MEDIA_TYPE_NAMES, is_pk
from archiver.model.target import parse_target_or_item
from archiver.text_format import format_size, make_safe, pluralize
from archiver.wording import NO_GAPS

if TYPE_CHECKING:
    from archiver.archive.archive import Archive

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
        return details_lines(self._archive, self._details, width, show_all=self._show_all)


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
        return waiting_lines(self._files, width, show_all=self._show_all)


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
        **_size_fields(details.extent),
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
        **_size_fields(summary.extent),
        "open_failures": summary.open_failures,
        "gaps": summary.gaps,
        "due": summary.due,
        "due_at": summary.due_at,
        "covers": _files(archive, summary.highlight.covers),
    }


def _size_fields(size: ContentSize) -> Fields:
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


_HIGHLIGHTS_SHOWN, _ITEMS_SHOWN = 50, 20
_WAITING_SHOWN = 100
_WAITING_COLUMNS = ("folder", "highlight", "item", "role", "taken", "bytes", "from", "since", "why")
_HIGHLIGHTS = "https://www.instagram.com/stories/highlights"
_COLUMNS = ("", "highlight", "items", "bytes", "state", "next look", "pk")

Row = tuple[str, str]


def details_lines(archive: Archive, details: Details, width: int | None, *, show_all: bool) -> Iterator[str]:
    """Yield the details. ``width``: columns of the terminal. Tables are cut to it, paths are not."""
    if isinstance(details, AccountDetails):
        yield from _account_lines(archive, details, width, show_all)
    elif isinstance(details, HighlightDetails):
        yield from _highlight_lines(archive, details, show_all)
    else:
        yield from _item_lines(archive, details)


def _account_lines(
    archive: Archive, details: AccountDetails, width: int | None, show_all: bool
) -> Iterator[str]:
    account = details.account
    yield make_safe(_join(_account_name(account), account.full_name))
    gone = sum(summary.highlight.gone_at is not None for summary in details.highlights)
    highlights = pluralize(len(details.highlights), "highlight") + (f" ({gone:,} gone)" if gone else "")
    former = [name for name in details.names if name.username != account.username]
    yield from _aligned_lines(
        ("id", account.pk),
        *_optional("page", account.username and f"https://www.instagram.com/{account.username}/"),
        *(
            ("formerly", f"{name.username}, {_span(name.first_seen_at, name.last_seen_at)}")
            for name in former
        ),
        *_former_values(details.name_changes, "full_name"),
        ("verified", {None: "unknown", True: "yes", False: "no"}[account.is_verified]),
        ("state", _account_state(details)),
        ("holds", f"{highlights}, {_content_size(details.extent)}"),
        ("complete", _completeness(details)),
        ("seen", _span(account.first_seen_at, account.last_seen_at)),
        ("listed", _format_time(details.state.listed_at)),
        *_optional("avatar", _path(archive, account.avatar)),
    )
    if details.highlights:
        yield ""
        listed = details.highlights if show_all else details.highlights[:_HIGHLIGHTS_SHOWN]
        yield from output.format_table(_COLUMNS, [_summary_row(summary) for summary in listed], width)
        yield from _more_lines(len(details.highlights) - len(listed))


def _summary_row(summary: HighlightSummary) -> tuple[object, ...]:
    highlight, size = summary.highlight, summary.extent
    title = highlight.title or "(no title)"
    state, next_look = _highlight_state(summary), _next_look(summary)
    return highlight.position, title, size.items, format_size(size.bytes), state, next_look, highlight.pk


def _highlight_lines(archive: Archive, details: HighlightDetails, show_all: bool) -> Iterator[str]:
    summary, highlight = details.summary, details.summary.highlight
    pinned = ", pinned" if highlight.is_pinned else ""
    yield make_safe(highlight.title or "(no title)")
    yield from _aligned_lines(
        ("highlight", highlight.pk),
        ("account", f"{_account_name(details.account)} ({details.account.pk})"),
        *_optional("page", f"{_HIGHLIGHTS}/{highlight.pk}/" if is_pk(highlight.pk) else None),
        *_former_values(details.name_changes, "title"),
        ("position", "unknown" if highlight.position is None else f"{highlight.position}{pinned}"),
        ("state", _highlight_state(summary)),
        ("next look", _next_look(summary)),
        ("holds", _content_size(summary.extent)),
        (
            "stated",
            "unknown"
            if highlight.media_count is None
            else f"{highlight.media_count:,} items according to Instagram",
        ),
        ("created", _format_time(highlight.created_at)),
        ("seen", _when_seen(highlight)),
        ("fetched", _format_time(highlight.fetched_at)),
        *_optional("cover", _path(archive, highlight.cover)),
    )
    contents = archive.contents(highlights=details.summary.highlight)
    for placed in contents if show_all else islice(contents, _ITEMS_SHOWN):
        yield ""
        yield from _placed_item_lines(archive, placed)
    yield from _more_lines(0 if show_all else summary.extent.items - _ITEMS_SHOWN)


def _placed_item_lines(archive: Archive, placed: Placed) -> Iterator[str]:
    item = placed.item
    gone = f", not shown since {_format_time(placed.gone_at)}" if placed.gone_at is not None else ""
    if placed.source is not None:
        gone = f", seen only by {placed.source}"
    head = f"{placed.position}  {_format_time(item.taken_at)}  {_item_kind(item)}"
    yield make_safe(f"{head}  item {item.pk}{gone}")
    contents = "  ".join(_brief_contents(item))
    if contents:
        yield f"    {make_safe(contents)}"
    for file in item.files:
        path = make_safe(archive.location(file))
        tool = f"  (adopted from {file.source})" if file.source is not None else ""
        yield f"    {file.role.value:<9}  {path}{_lost_since(file)}{tool}"


def _item_lines(archive: Archive, details: ItemDetails) -> Iterator[str]:
    item = details.item
    yield make_safe(f"{_item_kind(item)} of {_account_name(details.account)}")
    is_other_owner = item.user_pk != details.account.pk
    yield from _aligned_lines(
        ("item", item.pk),
        *_optional("code", item.code),
        *_optional("owner", f"{item.user_pk}, another account" if is_other_owner else None),
        ("taken", _format_time(item.taken_at)),
        ("product", item.product_type or "unknown"),
        ("first seen", _format_time(item.first_seen_at) if item.source is None else _when_seen(item)),
        ("source", item.source or _answer_text(details.answers, item.answer_id)),
        *_content_rows(item),
    )
    yield "\nshown in"
    for highlight, placed in details.places:
        is_gone = placed.gone_at is not None and placed.source is None
        until = f", not since {_format_time(placed.gone_at)}" if is_gone else ""
        title = highlight.title or "(no title)"
        span = _when_seen(placed)
        yield make_safe(f"  {title} (highlight {highlight.pk}), position {placed.position}, {span}{until}")
    yield "\nfiles" if item.files else "\nno files"
    for file in item.files:
        blob = file.blob
        pixels = f", {blob.width} x {blob.height}" if blob.width and blob.height else ""
        offered = f", offered until {_format_time(file.last_seen_at)}" if item.source is None else ""
        yield f"  {make_safe(archive.location(file))}{_lost_since(file)}"
        for line in (
            f"{file.role.value}: {blob.mime}{pixels}, {format_size(blob.size)} ({blob.size:,} bytes)",
            f"sha256 {blob.sha256}",
            f"stored {_format_time(file.kept_at)} by run {file.run_id}{offered}",
            *_origin_lines(file, details.answers),
        ):
            yield f"    {make_safe(line)}"


def _when_seen(what: KeptHighlight | KeptItem | Placed) -> str:
    """Return when something was seen, or which other tool has seen it."""
    if what.source is not None:
        return f"only by {what.source}, adopted {_format_time(what.first_seen_at)}"
    assert not isinstance(what, KeptItem)
    return _span(what.first_seen_at, what.last_seen_at)


def _origin_lines(file: KeptFile, answers: Mapping[int, Provenance]) -> Iterator[str]:
    if file.source is not None:
        yield f"adopted from {file.source}: archiver did not download it"
        return
    yield f"from {file.source_url}"
    yield f"source: {_answer_text(answers, file.answer_id)}"


def waiting_lines(files: Iterable[WaitingFile], width: int | None, *, show_all: bool) -> Iterator[str]:
    """Yield the adopted files that wait for their items, as a table cut to ``width``."""
    listed: list[WaitingFile] = []
    remaining = 0
    for file in files:
        if show_all or len(listed) < _WAITING_SHOWN:
            listed.append(file)
        else:
            remaining += 1
    if not listed:
        yield "no adopted file is waiting"
        return
    yield from output.format_table(_WAITING_COLUMNS, [_waiting_row(file) for file in listed], width)
    yield from _more_lines(remaining)


def _waiting_row(file: WaitingFile) -> tuple[object, ...]:
    reason = "its bytes are lost" if file.lost_at is not None else file.reason or _no_place(file)
    taken = f"{file.taken_at:%Y-%m-%d}" if file.taken_at is not None else None
    return (
        *(file.username or file.user_pk, file.highlight_pk or file.title, file.item_pk, file.role),
        *(taken, format_size(file.blob.size)),
        *(file.source, f"{file.adopted_at:%Y-%m-%d}", reason),
    )


def _no_place(file: WaitingFile) -> str:
    """Return what is missing for an item that no answer has shown."""
    has_highlight = file.highlight_pk is not None or file.title is not None
    return "its account is not known" if has_highlight else "no run has found the item"


def _content_rows(item: KeptItem) -> Iterator[Row]:
    """Yield what an item shows or links to, each with its kind."""
    for mention in item.mentions:
        name = mention.username and f"@{mention.username}"
        yield "mentions", _join(name, mention.full_name, mention.user_pk)
    for link in item.web_links:
        yield "link", _join(link.url, link.title, link.display_url)
    for tag in item.hashtags:
        yield "hashtag", f"#{tag.name}"
    for place in item.locations:
        has_coordinates = place.lat is not None and place.lng is not None
        coordinates = f"{place.lat:g} {place.lng:g}" if has_coordinates else None
        yield "location", _join(place.name, coordinates, place.location_pk)
    for sticker in item.stickers:
        yield "sticker", f"{sticker.kind} {sticker.extra}"
    for post in item.reshares:
        yield "reshares", _join(post.media_code, post.product_type, post.media_pk, post.user_pk)
    for sponsor in item.sponsors:
        yield "sponsor", _join(sponsor.username and f"@{sponsor.username}", sponsor.user_pk)


def _brief_contents(item: KeptItem) -> Iterator[str]:
    """Yield what an item shows or links to, each in a word or two."""
    yield from (f"@{mention.username or mention.user_pk}" for mention in item.mentions)
    yield from (f"#{tag.name}" for tag in item.hashtags)
    yield from (f"at {place.name}" for place in item.locations)
    yield from (link.url for link in item.web_links)
    yield from (sticker.kind for sticker in item.stickers)
    yield from (f"reshares {post.media_code or post.media_pk}" for post in item.reshares)
    yield from (f"sponsored by {sponsor.username or sponsor.user_pk}" for sponsor in item.sponsors)


def _aligned_lines(*rows: Row) -> Iterator[str]:
    """Yield names and safe values in two columns; a repeated name is written once."""
    last = ""
    for name, value in rows:
        yield f"  {'' if name == last else name:<11}{make_safe(value)}"
        last = name


def _optional(name: str, value: str | None) -> Iterator[Row]:
    if value:
        yield name, value


def _path(archive: Archive, file: KeptFile | None) -> str | None:
    return None if file is None else archive.location(file)


def _join(*parts: str | None) -> str:
    """Return the parts that are known, separated by commas."""
    return ", ".join(filter(None, parts))


def _account_name(account: KeptAccount) -> str:
    return account.last_username or f"account {account.pk}"


def _item_kind(item: KeptItem) -> str:
    word = MEDIA_TYPE_NAMES.get(item.media_type, "item of an unknown type")
    return f"{word}, {item.video_duration:g} s" if item.video_duration else word


def _former_values(changes: Iterable[NameChange], field: str) -> Iterator[Row]:
    for change in changes:
        if change.field == field:
            yield "formerly", f"{change.old or 'nothing'}, until {_format_time(change.at)}"


def _account_state(details: AccountDetails) -> str:
    state = details.state
    if state.verdict in (Reason.PRIVATE, Reason.GONE):
        due_at = state.verdict_due_at
        next_check = f", next check {_format_time(due_at)}" if due_at is not None else ""
        return f"{state.verdict.value}, checked {_format_time(state.verdict_at)}{next_check}"
    if details.account.gone_at is not None:
        return f"gone since {_format_time(details.account.gone_at)}"
    if state.verdict is Reason.EMPTY:
        return "public, shows no highlights"
    if details.account.is_private:
        return "private"
    return "public" if state.listed_at is not None else "never listed"


def _completeness(details: AccountDetails) -> str:
    if not details.gaps:
        return NO_GAPS
    present = [summary for summary in details.highlights if summary.highlight.gone_at is None]
    complete = sum(summary.is_complete for summary in present)
    listed = advice.command_line(f"gaps {advice.quote(details.account.username or details.account.pk)}")
    return f"{complete:,} of {len(present):,} highlights, {pluralize(details.gaps, 'gap')} ({listed})"


def _highlight_state(summary: HighlightSummary) -> str:
    highlight = summary.highlight
    gaps = f", {pluralize(summary.gaps, 'gap')}" if summary.gaps else ""
    if highlight.source is not None:
        return f"seen only by {highlight.source}{gaps}"
    if highlight.gone_at is not None:
        return f"gone since {highlight.gone_at:%Y-%m-%d}{gaps}"
    if highlight.fetched_at is None:
        return f"not fetched yet{gaps}"
    return f"{'complete' if summary.is_complete else 'incomplete'}{gaps}"


def _next_look(summary: HighlightSummary) -> str:
    if summary.due_at is not None:
        return f"{summary.due_at:%Y-%m-%d}"
    return (
        "next run" if summary.due else "never" if summary.highlight.gone_at is not None else "when it changes"
    )


def _content_size(size: ContentSize) -> str:
    gone = f" ({size.gone:,} gone)" if size.gone else ""
    lost = f", {size.lost:,} lost" if size.lost else ""
    items, blobs = pluralize(size.items, "item"), pluralize(size.blobs, "blob")
    return f"{items}{gone}, {blobs}{lost}, {format_size(size.bytes)}"


def _answer_text(answers: Mapping[int, Provenance], answer_id: int | None) -> str:
    answer = answers.get(answer_id or 0)
    if answer is None:
        return "an unknown answer" if answer_id is None else "an answer that is no longer stored"
    lost = " (lost)" if answer.is_lost else ""
    place = answer.location
    position = f"answers/{place.segment}, {place.length:,} bytes from {place.offset:,}"
    return f"run {answer.run_id}, {answer.endpoint}: {position}{lost}"


def _lost_since(file: KeptFile) -> str:
    return f"  (lost since {_format_time(file.lost_at)})" if file.lost_at is not None else ""


def _more_lines(remaining: int) -> Iterator[str]:
    if remaining > 0:
        yield ""
        yield f"and {remaining:,} more (-v shows all; --json and --paths have all)"


def _span(first: datetime, last: datetime) -> str:
    return f"{first.astimezone(UTC):%Y-%m-%d %H:%M} to {_format_time(last)}"


def _format_time(time: datetime | None) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if time is not None else "never"
