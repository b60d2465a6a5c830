"""One account, highlight or item as a person reads it: safe lines, long lists cut."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice

from archiver.archive import Part, Showing, ShownAccount, ShownHighlight, ShownItem
from archiver.cli import advice, details_text, text_table
from archiver.errors import Reason
from archiver.model.archived import (
    MEDIA_TYPE_NAMES,
    ContentSize,
    DatedUsername,
    KeptAccount,
    KeptFile,
    KeptItem,
    NameChange,
    Placed,
    Provenance,
)
from archiver.text_format import format_size, make_safe, pluralize

_HIGHLIGHTS_SHOWN, _ITEMS_SHOWN = 50, 20
_COLUMNS = ("", "highlight", "items", "bytes", "state", "next look", "pk")

Row = tuple[str, str]


def details_lines(showing: Showing, width: int | None, *, all_of_it: bool) -> Iterator[str]:
    """Everything that is known of it. ``width``: columns of the terminal, to which tables are cut; paths never are."""
    shown = showing.shown
    if isinstance(shown, ShownAccount):
        yield from _account(showing, shown, width, all_of_it)
    elif isinstance(shown, ShownHighlight):
        yield from _highlight(showing, shown, all_of_it)
    else:
        yield from _item(showing, shown)


def _account(showing: Showing, shown: ShownAccount, width: int | None, all_of_it: bool) -> Iterator[str]:
    account, extent = shown.account, shown.extent
    yield make_safe(f"{_name(account)}{f', {account.full_name}' if account.full_name else ''}")
    gone = sum(part.highlight.gone_at is not None for part in shown.parts)
    highlights = pluralize(len(shown.parts), "highlight") + (f" ({gone:,} gone)" if gone else "")
    yield from _aligned(
        ("id", account.pk),
        *((("page", f"https://www.instagram.com/{account.username}/"),) if account.username else ()),
        *(
            ("once", f"{one.username}, {_span(one.first_seen_at, one.last_seen_at)}")
            for one in _former(shown)
        ),
        *_renamed(shown.renamings, "full_name"),
        ("verified", _yes_no(account.is_verified)),
        ("state", _standing(shown)),
        ("holds", f"{highlights}, {_extent(extent)}"),
        ("complete", _complete(shown)),
        ("seen", _span(account.first_seen_at, account.last_seen_at)),
        ("listed", _at(shown.held.listed_at)),
        *(("avatar", str(showing.path(file))) for file in _one(account.avatar)),
    )
    if shown.parts:
        yield ""
        parts = shown.parts if all_of_it else shown.parts[:_HIGHLIGHTS_SHOWN]
        yield from text_table.format_table(_COLUMNS, [_part(part) for part in parts], width)
        yield from _more(len(shown.parts) - len(parts))


def _part(part: Part) -> tuple[object, ...]:
    one = part.highlight
    state = _state(part)
    title = one.title if one.title else "(no title)"
    return one.position, title, part.extent.items, format_size(part.extent.bytes), state, _due(part), one.pk


def _highlight(showing: Showing, shown: ShownHighlight, all_of_it: bool) -> Iterator[str]:
    part, one = shown.part, shown.part.highlight
    yield make_safe(one.title or "(no title)")
    yield from _aligned(
        ("highlight", one.pk),
        ("of", f"{_name(shown.account)} ({shown.account.pk})"),
        ("page", f"https://www.instagram.com/stories/highlights/{one.pk}/"),
        *_renamed(shown.renamings, "title"),
        (
            "place",
            "unknown" if one.position is None else f"{one.position}{', pinned' if one.is_pinned else ''}",
        ),
        ("state", _state(part)),
        ("next look", _due(part)),
        ("holds", _extent(part.extent)),
        ("counted", "never said" if one.media_count is None else f"{one.media_count:,} by Instagram"),
        ("made", _at(one.created_at)),
        ("seen", _span(one.first_seen_at, one.last_seen_at)),
        ("fetched", _at(one.fetched_at)),
        *(("cover", str(showing.path(file))) for file in _one(one.cover)),
    )
    contents = showing.contents()
    for placed in contents if all_of_it else islice(contents, _ITEMS_SHOWN):
        yield ""
        yield from _placed(showing, placed)
    yield from _more(0 if all_of_it else part.extent.items - _ITEMS_SHOWN)


def _placed(showing: Showing, placed: Placed) -> Iterator[str]:
    item = placed.item
    gone = f", not shown since {_at(placed.gone_at)}" if placed.gone_at is not None else ""
    yield make_safe(f"{placed.position}  {_at(item.taken_at)}  {_kind(item)}  item {item.pk}{gone}")
    told = "  ".join(details_text.brief_contents(item))
    if told:
        yield f"    {make_safe(told)}"
    for file in item.files:
        yield f"    {file.role.value:<9}  {make_safe(str(showing.path(file)))}{_lost(file)}"


def _item(showing: Showing, shown: ShownItem) -> Iterator[str]:
    item = shown.item
    yield make_safe(f"{_kind(item)} of {_name(shown.account)}")
    yield from _aligned(
        ("item", item.pk),
        *((("code", item.code),) if item.code else ()),
        *((("owner", f"{item.user_pk}, another account"),) if item.user_pk != shown.account.pk else ()),
        ("taken", _at(item.taken_at)),
        ("product", item.product_type or "never said"),
        ("first seen", _at(item.first_seen_at)),
        ("came with", _answer(shown.answers, item.answer_id)),
        *details_text.content_rows(item),
    )
    yield "\nshown in"
    for highlight, placed in shown.places:
        until = f", not since {_at(placed.gone_at)}" if placed.gone_at is not None else ""
        title = highlight.title or "(no title)"
        yield make_safe(
            f"  {title} (highlight {highlight.pk}), place {placed.position},"
            f" {_span(placed.first_seen_at, placed.last_seen_at)}{until}"
        )
    yield "\nfiles" if item.files else "\nno files"
    for file in item.files:
        yield from _file(showing, shown, file)


def _file(showing: Showing, shown: ShownItem, file: KeptFile) -> Iterator[str]:
    blob = file.blob
    pixels = f", {blob.width} x {blob.height}" if blob.width and blob.height else ""
    yield f"  {make_safe(str(showing.path(file)))}{_lost(file)}"
    yield from (
        f"    {make_safe(line)}"
        for line in (
            f"{file.role.value}: {blob.mime}{pixels}, {format_size(blob.size)} ({blob.size:,} bytes)",
            f"sha256 {blob.sha256}",
            f"kept {_at(file.kept_at)} by run {file.run_id}, offered until {_at(file.last_seen_at)}",
            f"from {file.source_url}",
            f"by {_answer(shown.answers, file.answer_id)}",
        )
    )


def _aligned(*rows: Row) -> Iterator[str]:
    """Names and values in two columns, the values safe; a name that comes again is written once."""
    last = ""
    for name, value in rows:
        yield f"  {'' if name == last else name:<11}{make_safe(value)}"
        last = name


def _name(account: KeptAccount) -> str:
    return account.username or f"account {account.pk}"


def _kind(item: KeptItem) -> str:
    word = MEDIA_TYPE_NAMES.get(item.media_type, "item of an unknown type")
    return f"{word}, {item.video_duration:g} s" if item.video_duration else word


def _former(shown: ShownAccount) -> Sequence[DatedUsername]:
    return [name for name in shown.names if name.username != shown.account.username]


def _renamed(renamings: Iterable[NameChange], field: str) -> Iterator[Row]:
    for renaming in renamings:
        if renaming.field == field:
            yield "once", f"{renaming.old or 'nothing'}, until {_at(renaming.at)}"


def _standing(shown: ShownAccount) -> str:
    held = shown.held
    if held.verdict in (Reason.PRIVATE, Reason.GONE):
        again = f", asked again {_at(held.verdict_due_at)}" if held.verdict_due_at is not None else ""
        return f"{held.verdict.value}, found {_at(held.verdict_at)}{again}"
    if shown.account.gone_at is not None:
        return f"gone since {_at(shown.account.gone_at)}"
    if held.verdict is Reason.EMPTY:
        return "public, shows no highlights"
    if shown.account.is_private:
        return "private"
    return "public" if held.listed_at is not None else "never listed"


def _complete(shown: ShownAccount) -> str:
    present = [part for part in shown.parts if part.highlight.gone_at is None]
    whole = sum(part.highlight.completed_at is not None for part in present)
    if whole == len(present) and not shown.extent.lost:
        return "everything that is offered" if present else "nothing is offered"
    gaps = advice.command_line(f"gaps {advice.quote(shown.account.username or shown.account.pk)}")
    return f"{whole:,} of {len(present):,} highlights ({gaps})"


def _state(part: Part) -> str:
    one = part.highlight
    failures = f", {pluralize(part.open_failures, 'failure')}" if part.open_failures else ""
    lost = f", {part.extent.lost:,} lost" if part.extent.lost else ""
    if one.gone_at is not None:
        return f"gone since {one.gone_at:%Y-%m-%d}{lost}"
    if one.fetched_at is None:
        return f"not fetched yet{failures}"
    return f"{'complete' if one.completed_at is not None else 'incomplete'}{failures}{lost}"


def _due(part: Part) -> str:
    if part.due_at is not None:
        return f"{part.due_at:%Y-%m-%d}"
    return "next run" if part.due else "never" if part.highlight.gone_at is not None else "when it changes"


def _extent(extent: ContentSize) -> str:
    gone = f" ({extent.gone:,} gone)" if extent.gone else ""
    lost = f", {extent.lost:,} lost" if extent.lost else ""
    return f"{pluralize(extent.items, 'item')}{gone}, {pluralize(extent.blobs, 'blob')}{lost}, {format_size(extent.bytes)}"


def _answer(answers: dict[int, Provenance], answer_id: int | None) -> str:
    answer = answers.get(answer_id or 0)
    if answer is None:
        return (
            "an answer that is not kept any more" if answer_id is not None else "an answer that nobody knows"
        )
    lost = " (lost)" if answer.lost else ""
    where = (
        f"answers/{answer.location.segment}, {answer.location.length:,} bytes from {answer.location.offset:,}"
    )
    return f"run {answer.run_id}, {answer.endpoint}: {where}{lost}"


def _lost(file: KeptFile) -> str:
    return f"  (lost since {_at(file.lost_at)})" if file.lost_at is not None else ""


def _more(left: int) -> Iterator[str]:
    if left > 0:
        yield ""
        yield f"and {left:,} more (-v shows all; --json and --paths have all)"


def _one(file: KeptFile | None) -> tuple[KeptFile, ...]:
    return (file,) if file is not None else ()


def _yes_no(value: bool | None) -> str:
    return "never said" if value is None else "yes" if value else "no"


def _span(first: datetime, last: datetime) -> str:
    return f"{first.astimezone(UTC):%Y-%m-%d %H:%M} to {_at(last)}"


def _at(moment: datetime | None) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if moment is not None else "never"


def content_rows(item: KeptItem) -> Iterator[tuple[str, str]]:
    """What an item carries, each entry as what it is and what is known of it."""
    for mention in item.mentions:
        yield (
            "mentions",
            joined(f"@{mention.username}" if mention.username else None, mention.full_name, mention.user_pk),
        )
    for link in item.web_links:
        yield "link", joined(link.url, link.title, link.display_url)
    for tag in item.hashtags:
        yield "hashtag", f"#{tag.name}"
    for place in item.locations:
        where = f"{place.lat:g} {place.lng:g}" if place.lat is not None and place.lng is not None else None
        yield "place", joined(place.name, where, place.location_pk)
    for sticker in item.stickers:
        yield "sticker", f"{sticker.kind} {sticker.extra}"
    for post in item.reshares:
        yield "reshares", joined(post.media_code, post.product_type, post.media_pk, post.user_pk)
    for sponsor in item.sponsors:
        yield "sponsor", joined(f"@{sponsor.username}" if sponsor.username else None, sponsor.user_pk)


def brief_contents(item: KeptItem) -> Iterator[str]:
    """What an item carries, in a line."""
    yield from (f"@{mention.username or mention.user_pk}" for mention in item.mentions)
    yield from (f"#{tag.name}" for tag in item.hashtags)
    yield from (f"at {place.name}" for place in item.locations)
    yield from (link.url for link in item.web_links)
    yield from (sticker.kind for sticker in item.stickers)
    yield from (f"reshares {post.media_code or post.media_pk}" for post in item.reshares)
    yield from (f"sponsored by {sponsor.username or sponsor.user_pk}" for sponsor in item.sponsors)


def joined(*parts: str | None) -> str:
    """What is known, with commas between."""
    return ", ".join(part for part in parts if part)
