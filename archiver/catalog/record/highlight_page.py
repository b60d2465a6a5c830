"""A highlight's own page: the highlight, its items and their entries, and which items are gone.

Entries (mentions, links, hashtags, locations, stickers, reshares, sponsors) are never removed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from types import SimpleNamespace
from typing import NamedTuple

from sqlalchemy import Connection

from archiver.catalog.entry_kinds import ENTRY_KINDS, Entry, EntryKind
from archiver.catalog.record import accounts, adopted_files, changes
from archiver.catalog.record.changes import Change, StoredRow, dates_before, find_moved, update_row
from archiver.catalog.record.stored_files import date_files
from archiver.catalog.sql import Command, Query
from archiver.model.identity import Pk, Subject
from archiver.model.upstream import Highlight, HighlightPage, Item, TrayNumbers


class _Member(NamedTuple):
    """An item of the highlight, as it is stored."""

    item_pk: Pk
    last_seen_at: datetime
    gone_at: datetime | None


class _File(NamedTuple):
    """A file of an item."""

    id: int
    item_pk: Pk
    role: str
    last_seen_at: datetime


_HISTORY_FIELDS = ("title", "is_pinned", "cover_name")
_NUMBERS = ("latest_reel_media", "media_count")
_HIGHLIGHT_COLUMNS = (
    "pk", *_HISTORY_FIELDS, "created_at", *_NUMBERS, "last_seen_at", "fetched_at", "gone_at", "source"
)  # fmt: skip
_STORED_HIGHLIGHT = Query(
    f"SELECT {', '.join(_HIGHLIGHT_COLUMNS)} FROM highlights WHERE pk = :highlight",
    changes.as_row(*_HIGHLIGHT_COLUMNS),
)
_ITEM_FIELDS = ("user_pk", "code", "taken_at", "media_type", "product_type", "video_duration")
_ITEM_COLUMNS = (*_ITEM_FIELDS, "first_seen_at", "answer_id", "source")
_STORED_ITEMS = Query(
    f"SELECT pk, {', '.join(_ITEM_COLUMNS)} FROM items WHERE pk IN :pks",
    changes.as_row("pk", *_ITEM_COLUMNS),
)
_INSERT_ITEM = Command(
    f"""
    INSERT INTO items (pk, {", ".join(_ITEM_COLUMNS)})
    VALUES (:pk, {", ".join(f":{name}" for name in _ITEM_COLUMNS)})
    """
)
_UPDATE_ITEM = Command(
    f"UPDATE items SET {', '.join(f'{name} = :{name}' for name in _ITEM_COLUMNS)} WHERE pk = :pk"
)
_STORED_MEMBERS = Query(
    """
    SELECT item_pk, last_seen_at, gone_at FROM highlight_items WHERE highlight_pk = :highlight
    ORDER BY position
    """,
    _Member,
)
_INSERT_MEMBER = Command(
    """
    INSERT INTO highlight_items (highlight_pk, item_pk, position, first_seen_at, last_seen_at)
    VALUES (:highlight, :item, :position, :now, :now)
    """
)
_UPDATE_MEMBER = Command(
    """
    UPDATE highlight_items SET position = :position, last_seen_at = :now, gone_at = NULL, source = NULL,
        first_seen_at = CASE WHEN source IS NULL THEN first_seen_at ELSE :now END
    WHERE highlight_pk = :highlight AND item_pk = :item
    """
)
_LEAVE = Command(
    "UPDATE highlight_items SET gone_at = :now WHERE highlight_pk = :highlight AND item_pk IN :items"
)
_FILES_OF_ITEMS = Query(
    "SELECT id, item_pk, role, last_seen_at FROM files WHERE item_pk IN :pks ORDER BY last_seen_at, id", _File
)


def record_page(
    connection: Connection,
    run_id: int,
    answer_id: int | None,
    page: HighlightPage,
    numbers: TrayNumbers,
    now: datetime,
    *,
    gone: tuple[Pk, ...] = (),
    shrunk_to: str | None = None,
    fetched_at: datetime | None = None,
) -> int:
    """Record a page; return how many of its items are new. ``numbers``: those of the tray at the time.

    ``fetched_at``: when it was fetched, if that is not ``now``; the sweep counts from then, its items were
    seen then, and what a newer answer said about the account or the highlight stays. ``gone``: items that are
    gone because the page lacks them. ``shrunk_to`` is stored as given. The same transaction marks the
    highlight as neither complete nor tried until ``record_completion``: files that the page offers may be
    missing, and a run that is killed in between must not hide that. Adopted files that wait for one of its
    items are recorded, so that they are not downloaded.
    """
    highlight, seen_at = page.highlight, fetched_at or now
    accounts.upsert_user(connection, run_id, highlight.user, now, seen_at=seen_at)
    loss = changes.loss_columns(run_id, shrunk_to)
    before, found = _write_highlight(connection, highlight, numbers, now, seen_at, loss)
    new_count, adopted, edits = _write_items(connection, page, answer_id, now)
    found += edits
    fetched_before = before["fetched_at"] if before is not None else None
    member_changes = _write_members(connection, highlight.pk, page.items, gone, seen_at, fetched_before)
    if fetched_before is not None:
        found += member_changes
    _write_entries(connection, page.items)
    adopted_files.settle_shown(connection, adopted, now)
    adopted_files.settle_waiting(connection, run_id, [item.pk for item in page.items], now)
    _touch_files(connection, page.items, seen_at, now)
    changes.write(connection, run_id, now, found)
    return new_count


def _write_highlight(
    connection: Connection,
    highlight: Highlight,
    numbers: TrayNumbers,
    now: datetime,
    fetched_at: datetime,
    loss: Mapping[str, object],
) -> tuple[StoredRow | None, list[Change]]:
    """Write the row of the highlight itself; return the row before, and what changed.

    Its numbers are those of the tray, which decide whether it is fetched. The page's own numbers count
    something else, and are stored only if no tray gave any.
    """
    fetched = {
        "last_seen_at": fetched_at,
        "fetched_at": fetched_at,
        "fetched_latest_reel_media": numbers.latest_reel_media,
        "fetched_media_count": numbers.media_count,
        "completed_at": None,
        "tried_at": None,
        **loss,
    }
    answer: dict[str, object] = {
        field: getattr(highlight, field) for field in (*_HISTORY_FIELDS, "created_at")
    }
    own_facts = {name: getattr(highlight.numbers, name) for name in _NUMBERS}
    row = _STORED_HIGHLIGHT.first(connection, highlight=highlight.pk)
    if row is None:
        own = {"pk": highlight.pk, "user_pk": highlight.user.pk, "first_seen_at": fetched_at}
        accounts.insert_highlights(connection, [{**own, **answer, **own_facts, **fetched}])
        return None, []
    answer |= {name: value for name, value in own_facts.items() if row[name] is None}
    if row["source"] is not None:  # so far, only another tool has seen it
        own = {"user_pk": highlight.user.pk, **changes.shown_first(fetched_at)}
        values = {**changes.find_new_values(row, answer), **own, **fetched}
        update_row(connection, "highlights", row["pk"], values)
        return None, []
    values = changes.find_new_values(row, answer)
    found = changes.find_edits(Subject.HIGHLIGHT, highlight.pk, row, values, _HISTORY_FIELDS)
    if changes.is_outdated(fetched_at, now, row["last_seen_at"]):
        del fetched["last_seen_at"]
    if row["gone_at"] is not None and not changes.is_outdated(fetched_at, now, row["gone_at"]):
        values["gone_at"] = None
        found.append(changes.presence_change(Subject.HIGHLIGHT, highlight.pk, "returned"))
    update_row(connection, "highlights", row["pk"], {**values, **fetched})
    return row, found


def _write_items(
    connection: Connection, page: HighlightPage, answer_id: int | None, now: datetime
) -> tuple[int, list[Pk], list[Change]]:
    """Write the items; return how many are new, which of them were adopted, and what changed in others."""
    pks = [item.pk for item in page.items]
    stored = {row["pk"]: row for row in _STORED_ITEMS.all_of(connection, "pks", pks)}
    new: list[dict[str, object]] = []
    altered: list[dict[str, object]] = []
    adopted: list[Pk] = []
    found: list[Change] = []
    for item in page.items:
        answer = {field: getattr(item, field) for field in _ITEM_FIELDS}
        # An item whose answer names no owner belongs to the owner of the highlight.
        first = {
            "user_pk": item.user_pk or page.highlight.user.pk,
            "first_seen_at": now,
            "answer_id": answer_id,
            "source": None,
        }
        row = stored.get(item.pk)
        if row is None:
            new.append({"pk": item.pk, **answer, **first})
            continue
        values = changes.find_new_values(row, answer)
        if row["source"] is not None:  # so far, only another tool has seen it
            adopted.append(item.pk)
            values |= first
        else:
            found += changes.find_edits(Subject.ITEM, item.pk, row, values, _ITEM_FIELDS)
        if values:
            altered.append({"pk": item.pk, **{name: row[name] for name in _ITEM_COLUMNS}, **values})
    _INSERT_ITEM.run_each(connection, new)
    _UPDATE_ITEM.run_each(connection, altered)
    return len(new) + len(adopted), adopted, found


def _write_members(
    connection: Connection,
    pk: Pk,
    items: Sequence[Item],
    gone: Sequence[Pk],
    now: datetime,
    fetched_before: datetime | None,
) -> list[Change]:
    """Write which items the highlight has, and their order; return what changed.

    An item that the last page left out, but that is not gone, keeps its position on an older page, which says
    nothing about the order now.
    """
    stored = {member.item_pk: member for member in _STORED_MEMBERS.all(connection, highlight=pk)}
    order = [item.pk for item in items]
    known: list[dict[str, object]] = []
    new: list[dict[str, object]] = []
    for position, item_pk in enumerate(order):
        place = {"highlight": pk, "item": item_pk, "position": position, "now": now}
        (known if item_pk in stored else new).append(place)
    _UPDATE_MEMBER.run_each(connection, known)
    _INSERT_MEMBER.run_each(connection, new)
    present = [member.item_pk for member in stored.values() if member.gone_at is None]
    leaving = [item_pk for item_pk in present if item_pk in gone]
    if leaving:
        _LEAVE.run(connection, highlight=pk, items=leaving, now=now)
    was_present = set(present)
    found = [
        Change(Subject.HIGHLIGHT, pk, "items", None, item_pk)
        for item_pk in order
        if item_pk not in was_present
    ]
    found += [Change(Subject.HIGHLIGHT, pk, "items", item_pk, None) for item_pk in leaving]
    last_order = [member.item_pk for member in stored.values() if member.last_seen_at == fetched_before]
    return found + _order_changes(pk, last_order, order)


def _order_changes(pk: Pk, before: Sequence[Pk], after: Sequence[Pk]) -> list[Change]:
    """Return a Change if the items on both pages are in another order."""
    if not find_moved(before, after):
        return []
    old_pks, new_pks = set(before), set(after)
    old = ",".join(item_pk for item_pk in before if item_pk in new_pks)
    new = ",".join(item_pk for item_pk in after if item_pk in old_pks)
    return [Change(Subject.HIGHLIGHT, pk, "item_order", old, new)]


def _touch_files(connection: Connection, items: Sequence[Item], seen_at: datetime, now: datetime) -> None:
    """Record that upstream offered the current file of each (item, role) that the page links to."""
    offered = {(item.pk, link.role.value) for item in items for link in item.links}
    in_order: dict[tuple[Pk, str], list[tuple[int, datetime]]] = defaultdict(list)
    for row in _FILES_OF_ITEMS.all_of(connection, "pks", sorted({pk for pk, _ in offered})):
        in_order[row.item_pk, row.role].append((row.id, row.last_seen_at))
    touched: list[tuple[int, datetime]] = []
    for key, files in in_order.items():
        (current, current_at), others = files[-1], files[:-1]
        if key in offered and not changes.is_outdated(seen_at, now, current_at):
            touched += [(current, seen_at), *dates_before(others, seen_at)]
    date_files(connection, touched)


# --- the entries of its items

EntryValues = tuple[object, ...]
_STORED_ENTRIES = {
    kind.table: Query(
        f"""
        SELECT {", ".join(("item_pk", "position", *kind.columns))} FROM {kind.table} WHERE item_pk IN :pks
        ORDER BY item_pk, position
        """,
        lambda *values, names=("item_pk", "position", *kind.columns): SimpleNamespace(
            **dict(zip(names, values, strict=True))
        ),
    )
    for kind in ENTRY_KINDS
}
_WRITE_ENTRY = {
    kind.table: Command(
        f"""
        INSERT INTO {kind.table} (item_pk, position, {", ".join(kind.columns)})
        VALUES (:item_pk, :position, {", ".join(f":{name}" for name in kind.columns)})
        ON CONFLICT (item_pk, position) DO UPDATE
        SET {", ".join(f"{name} = excluded.{name}" for name in kind.columns)}
        """
    )
    for kind in ENTRY_KINDS
}


def _write_entries(connection: Connection, items: Sequence[Item]) -> None:
    """Add the entries of these items to the stored ones."""
    for kind in ENTRY_KINDS:
        entries = {item.pk: found for item in items if (found := getattr(item, kind.field))}
        if entries:
            _write_entries_of_kind(connection, kind, entries)


def fill_missing(
    connection: Connection, table: str, entries: Mapping[Pk, Sequence[Entry]]
) -> tuple[int, int]:
    """Add missing entries of items and fill empty columns of stored ones; alter nothing else.

    Return how many entries were added, and how many filled.
    """
    kind = next(kind for kind in ENTRY_KINDS if kind.table == table)
    return _write_entries_of_kind(connection, kind, entries, fill_only=True)


def merge_entries(
    stored: Sequence[tuple[object, EntryValues]],
    new: Sequence[tuple[object, EntryValues]],
    *,
    positions: Sequence[int] | None = None,
    fill_only: bool = False,
) -> Iterator[tuple[int, EntryValues]]:
    """Yield the rows to write, by position, so that the stored entries include the new ones. Pure.

    Stored entries keep their ``positions`` (from 0 by default). A new one gets the position that it has in
    the answer if that is free, or follows the last. A stored value is replaced only by an answer with at
    least as many entries; a shorter answer, or ``fill_only``, only fills what is empty.
    """
    may_replace = len(new) >= len(stored) and not fill_only
    positions = range(len(stored)) if positions is None else positions
    by_key = {key: (position, old) for position, (key, old) in zip(positions, stored, strict=True)}
    taken = set(positions)
    for own_position, (key, values) in enumerate(new):
        if key not in by_key:
            position = own_position if own_position not in taken else max(taken) + 1
            taken.add(position)
            yield position, values
            continue
        position, old = by_key[key]
        merged = tuple(_merge_value(was, now, may_replace) for was, now in zip(old, values, strict=True))
        if merged != old:
            yield position, merged


def _write_entries_of_kind(
    connection: Connection,
    kind: EntryKind,
    entries: Mapping[Pk, Sequence[Entry]],
    *,
    fill_only: bool = False,
) -> tuple[int, int]:
    """Write what the entries add to the stored ones.

    Return how many rows are new, and how many were altered.
    """
    stored: dict[Pk, list[Entry]] = defaultdict(list)
    for row in _STORED_ENTRIES[kind.table].all_of(connection, "pks", entries):
        stored[row.item_pk].append(row)
    added = 0
    rows = []
    for item_pk, new in entries.items():
        old = stored[item_pk]
        positions = [entry.position for entry in old]
        known = _with_keys(old, kind)
        merged = merge_entries(
            known, _with_stored_keys(old, known, new, kind), positions=positions, fill_only=fill_only
        )
        for position, values in merged:
            columns = dict(zip(kind.columns, values, strict=True))
            rows.append({"item_pk": item_pk, "position": position, **columns})
            added += position not in positions
    _WRITE_ENTRY[kind.table].run_each(connection, rows)
    return added, len(rows) - added


def _with_keys(entries: Iterable[Entry], kind: EntryKind) -> list[tuple[object, EntryValues]]:
    """Return the values of each entry under a key: its identity, and how many entries before it share it."""
    counts: Counter[object] = Counter()
    keyed: list[tuple[object, EntryValues]] = []
    for entry in entries:
        identity = kind.identify(entry)
        keyed.append(((identity, counts[identity]), tuple(getattr(entry, column) for column in kind.columns)))
        counts[identity] += 1
    return keyed


def _with_stored_keys(
    stored: Sequence[Entry],
    known: Sequence[tuple[object, EntryValues]],
    new: Sequence[Entry],
    kind: EntryKind,
) -> list[tuple[object, EntryValues]]:
    """Return the new entries under the keys of the stored ones, which are those of ``known``.

    An entry stored without its id matches by its name.
    """
    keyed, stored_keys = _with_keys(new, kind), [key for key, _ in known]
    new_keys = {key for key, _ in keyed}
    unmatched = [(key, entry) for key, entry in zip(stored_keys, stored, strict=True) if key not in new_keys]
    result: list[tuple[object, EntryValues]] = []
    for (key, values), entry in zip(keyed, new, strict=True):
        match = None
        if key not in stored_keys:
            match = next((pair for pair in unmatched if kind.may_be_same(pair[1], entry)), None)
        if match is not None:
            unmatched.remove(match)
        result.append((key if match is None else match[0], values))
    return result


def _merge_value(old: object, new: object, may_replace: bool) -> object:
    if new is None or new == "":
        return old
    return new if may_replace or old is None or old == "" else old
