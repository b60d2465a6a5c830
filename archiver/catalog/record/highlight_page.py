"""A highlight's own page: the highlight, its items, what they carry, and which of them are gone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, RowMapping, bindparam, select, update

from archiver.catalog import tables
from archiver.catalog.record import changes, item_entries, users
from archiver.catalog.record.changes import Change, find_moved
from archiver.model.identity import Pk, Subject
from archiver.model.upstream import Highlight, HighlightPage, Item, TrayFacts

_highlights, _items, _members, _files = tables.highlights, tables.items, tables.highlight_items, tables.files

_TOLD = ("title", "is_pinned", "cover_name")
_ITEM_SAID = ("user_pk", "code", "taken_at", "media_type", "product_type", "video_duration")
_ITEMS_BEFORE = select(_items).where(_items.c.pk.in_(bindparam("pks", expanding=True)))
_ALTER_ITEM = (
    update(_items)
    .where(_items.c.pk == bindparam("key"))
    .values({name: bindparam(name) for name in _ITEM_SAID})
)
_MEMBERS_BEFORE = (
    select(_members.c.item_pk, _members.c.position, _members.c.last_seen_at, _members.c.gone_at)
    .where(_members.c.highlight_pk == bindparam("highlight"))
    .order_by(_members.c.position)
)
_ALTER_MEMBER = (
    update(_members)
    .where(_members.c.highlight_pk == bindparam("highlight"), _members.c.item_pk == bindparam("item"))
    .values(position=bindparam("position"), last_seen_at=bindparam("now"), gone_at=None)
)
_OFFERED = select(_files.c.id, _files.c.item_pk, _files.c.role, _files.c.last_seen_at).where(
    _files.c.item_pk.in_(bindparam("pks", expanding=True))
)
_TOUCH = update(_files).where(_files.c.id == bindparam("file")).values(last_seen_at=bindparam("now"))


def page(
    connection: Connection,
    run_id: int,
    answer_id: int | None,
    page: HighlightPage,
    facts: TrayFacts,
    now: datetime,
    *,
    gone: tuple[Pk, ...] = (),
    shrunk_to: str | None = None,
    fetched_at: datetime | None = None,
) -> int:
    """Record a page that was fetched under these tray facts; returns how many of its items are new to the archive.

    ``fetched_at``: when that was, if not just now: the sweep is counted from then, and its items were seen then.
    ``gone`` are the items whose absence from it is evidence. ``shrunk_to`` is kept as it is given. The highlight is neither complete nor tried,
    in the same transaction: what the page offers may be missing, and a run that is killed before ``files_tried`` must not hide that.
    """
    highlight = page.highlight
    users.upsert_user(connection, run_id, highlight.user, now)
    before, found = _highlight(connection, highlight, facts, now, fetched_at or now, shrunk_to)
    new, edited = _write_items(connection, page, answer_id, now)
    found += edited
    fetched_before = before["fetched_at"] if before is not None else None
    joined = _write_members(connection, highlight.pk, page.items, gone, fetched_at or now, fetched_before)
    if fetched_before is not None:
        found += joined
    item_entries.write(connection, page.items)
    _touch_files(connection, page.items, now)
    changes.write(connection, run_id, now, found)
    return new


def _highlight(
    connection: Connection,
    highlight: Highlight,
    facts: TrayFacts,
    now: datetime,
    fetched_at: datetime,
    shrunk_to: str | None,
) -> tuple[RowMapping | None, list[Change]]:
    """Record the highlight itself; returns its row as it was and what changed.

    Its numbers are the tray's, which decide on fetching; the page's own count something else and fill them only where no tray did.
    """
    fetched = {
        "last_seen_at": now,
        "fetched_at": fetched_at,
        "fetched_latest_reel_media": facts.latest_reel_media,
        "fetched_media_count": facts.media_count,
        "completed_at": None,
        "tried_at": None,
        "shrunk_to": shrunk_to,
    }
    said: dict[str, object] = {field: getattr(highlight, field) for field in (*_TOLD, "created_at")}
    own = {
        "latest_reel_media": highlight.facts.latest_reel_media,
        "media_count": highlight.facts.media_count,
    }
    row = connection.execute(select(_highlights).where(_highlights.c.pk == highlight.pk)).mappings().first()
    if row is None:
        born = {"pk": highlight.pk, "user_pk": highlight.user.pk, "first_seen_at": now}
        connection.execute(_highlights.insert().values(**born, **said, **own, **fetched))
        return None, []
    after = changes.find_new_values(row, {**said, **{name: own[name] for name in own if row[name] is None}})
    found = changes.find_edits(Subject.HIGHLIGHT, highlight.pk, row, after, _TOLD)
    if row["gone_at"] is not None:
        after["gone_at"] = None
        found.append(changes.presence_change(Subject.HIGHLIGHT, highlight.pk, "returned"))
    connection.execute(update(_highlights).where(_highlights.c.pk == row["pk"]).values(**after, **fetched))
    return row, found


def _write_items(
    connection: Connection, page: HighlightPage, answer_id: int | None, now: datetime
) -> tuple[int, list[Change]]:
    """Record the items; returns how many are new, and what changed in the others."""
    if not page.items:
        return 0, []
    rows = connection.execute(_ITEMS_BEFORE, {"pks": [item.pk for item in page.items]}).mappings()
    before = {row["pk"]: row for row in rows}
    new: list[dict[str, object]] = []
    altered: list[dict[str, object]] = []
    found: list[Change] = []
    for item in page.items:
        said = {field: getattr(item, field) for field in _ITEM_SAID}
        row = before.get(item.pk)
        if row is None:
            # Whose highlight it is, that one's item it is, where the answer does not say.
            owner = item.user_pk or page.highlight.user.pk
            new.append(
                {"pk": item.pk, **said, "user_pk": owner, "first_seen_at": now, "answer_id": answer_id}
            )
        elif after := changes.find_new_values(row, said):
            altered.append({"key": item.pk, **{field: row[field] for field in _ITEM_SAID}, **after})
            found += changes.find_edits(Subject.ITEM, item.pk, row, after, _ITEM_SAID)
    if new:
        connection.execute(_items.insert(), new)
    if altered:
        connection.execute(_ALTER_ITEM, altered)
    return len(new), found


def _write_members(
    connection: Connection,
    pk: Pk,
    items: Sequence[Item],
    gone: Sequence[Pk],
    now: datetime,
    fetched_before: datetime | None,
) -> list[Change]:
    """Record which items the highlight has and in what order; returns what changed in that.

    One that the last page left out without being gone has the place of an older one: it tells nothing of the order.
    """
    rows = connection.execute(_MEMBERS_BEFORE, {"highlight": pk}).mappings()
    before = {row["item_pk"]: row for row in rows}
    present = [item_pk for item_pk, row in before.items() if row["gone_at"] is None]
    order = [item.pk for item in items]
    places = [{"item": item_pk, "position": position} for position, item_pk in enumerate(order)]
    known = [{"highlight": pk, "now": now, **place} for place in places if place["item"] in before]
    new = [
        {
            "highlight_pk": pk,
            "item_pk": place["item"],
            "position": place["position"],
            "first_seen_at": now,
            "last_seen_at": now,
        }
        for place in places
        if place["item"] not in before
    ]
    if known:
        connection.execute(_ALTER_MEMBER, known)
    if new:
        connection.execute(_members.insert(), new)
    leaving = [item_pk for item_pk in present if item_pk in gone]
    if leaving:
        left = _members.c.highlight_pk == pk, _members.c.item_pk.in_(leaving)
        connection.execute(update(_members).where(*left).values(gone_at=now))
    was = set(present)
    found = [Change(Subject.HIGHLIGHT, pk, "items", None, item_pk) for item_pk in order if item_pk not in was]
    found += [Change(Subject.HIGHLIGHT, pk, "items", item_pk, None) for item_pk in leaving]
    shown_before = [item_pk for item_pk, row in before.items() if row["last_seen_at"] == fetched_before]
    return found + _order(pk, shown_before, order)


def _order(pk: Pk, before: Sequence[Pk], after: Sequence[Pk]) -> list[Change]:
    """A Change if the items that both looks show stand in another order."""
    if not find_moved(before, after):
        return []
    old, new = set(before), set(after)
    return [
        Change(
            Subject.HIGHLIGHT,
            pk,
            "item_order",
            ",".join(item_pk for item_pk in before if item_pk in new),
            ",".join(item_pk for item_pk in after if item_pk in old),
        )
    ]


def _touch_files(connection: Connection, items: Sequence[Item], now: datetime) -> None:
    """Note that upstream still offers the current file of each (item, role) that the page has a link of."""
    offered = {(item.pk, link.role.value) for item in items for link in item.links}
    if not offered:
        return
    current: dict[tuple[Pk, str], RowMapping] = {}
    for row in connection.execute(_OFFERED, {"pks": sorted({pk for pk, _ in offered})}).mappings():
        owner = row["item_pk"], row["role"]
        best = current.get(owner)
        if best is None or (row["last_seen_at"], row["id"]) > (best["last_seen_at"], best["id"]):
            current[owner] = row
    touched = [{"file": row["id"], "now": now} for owner, row in current.items() if owner in offered]
    if touched:
        connection.execute(_TOUCH, touched)
