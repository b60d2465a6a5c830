"""What a selection asks of titles, highlights and items, as the conditions of a question."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from sqlalchemy import ColumnElement, exists, or_

from archiver.catalog import tables
from archiver.model.archived import Selection

_highlights, _items = tables.highlights, tables.items
_late = tables.files.alias("late")


def titled(title: str | None, globs: Sequence[str]) -> bool:
    """Whether the title is one of those: globs, which no database knows alike."""
    return not globs or any(fnmatchcase(title or "", glob) for glob in globs)


def shown_by(selection: Selection) -> Iterator[ColumnElement[bool]]:
    """What the highlight must be that shows an item; of a question that joins both."""
    if selection.user_pks:
        yield _highlights.c.user_pk.in_(selection.user_pks)
    if selection.highlight_pks:
        yield _highlights.c.pk.in_(selection.highlight_pks)


def narrowed(selection: Selection) -> Iterator[ColumnElement[bool]]:
    """What the item itself must be."""
    if selection.item_pks:
        yield _items.c.pk.in_(selection.item_pks)
    if selection.taken_from is not None:
        yield _items.c.taken_at >= selection.taken_from
    if selection.taken_before is not None:
        yield _items.c.taken_at < selection.taken_before
    if selection.media_types:
        yield _items.c.media_type.in_(sorted(selection.media_types))
    if selection.new_since is not None:
        late = _late.c.item_pk == _items.c.pk, _late.c.kept_at >= selection.new_since
        yield or_(_items.c.first_seen_at >= selection.new_since, exists().where(*late))
