"""Tables as they are, row by row, for who takes them elsewhere: all rows, or those of a part of the archive."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, Table, select

from archiver.catalog import tables
from archiver.catalog.query.content import walk
from archiver.model.archived import KeptAccount, KeptHighlight, Selection
from archiver.model.identity import Pk, Subject

_AT_ONCE = 1000


@dataclass(slots=True)
class ArchivePart:
    """Whose rows are wanted: accounts, highlights and items by pk. Files add the digests of their blobs when they are dumped."""

    user_pks: set[Pk] = field(default_factory=set)
    highlight_pks: set[Pk] = field(default_factory=set)
    item_pks: set[Pk] = field(default_factory=set)
    digests: set[str] = field(default_factory=set)

    def has(self, subject: str, pk: Pk | None) -> bool:
        """Whether a thing of this kind belongs to the part."""
        return pk is not None and pk in _SETS[subject](self)


_SETS: Mapping[str, Callable[[ArchivePart], set[Pk]]] = {
    Subject.USER: lambda part: part.user_pks,
    Subject.HIGHLIGHT: lambda part: part.highlight_pks,
    Subject.ITEM: lambda part: part.item_pks,
    Subject.TARGET: lambda part: set(),
}


def _file(part: ArchivePart, row: Row[Any]) -> bool:
    owners = ((Subject.USER, row.user_pk), (Subject.HIGHLIGHT, row.highlight_pk), (Subject.ITEM, row.item_pk))
    belongs = any(part.has(subject, pk) for subject, pk in owners)
    if belongs:
        part.digests.add(row.sha256)
    return belongs


def _entry(part: ArchivePart, row: Row[Any]) -> bool:
    return row.item_pk in part.item_pks


def _told(part: ArchivePart, row: Row[Any]) -> bool:
    return part.has(row.subject, row.subject_pk)


_BELONGS: Mapping[str, Callable[[ArchivePart, Row[Any]], bool]] = {
    "users": lambda part, row: row.pk in part.user_pks,
    "usernames": lambda part, row: row.user_pk in part.user_pks,
    "highlights": lambda part, row: row.pk in part.highlight_pks,
    "items": lambda part, row: row.pk in part.item_pks,
    "highlight_items": lambda part, row: (
        row.highlight_pk in part.highlight_pks and row.item_pk in part.item_pks
    ),
    **dict.fromkeys(
        ("mentions", "links", "hashtags", "locations", "stickers", "reshares", "sponsors"), _entry
    ),
    "files": _file,
    "blobs": lambda part, row: row.sha256 in part.digests,
    "changes": _told,
    "failures": _told,
}

TABLES = (*_BELONGS, "targets", "runs", "api_calls", "answers", "archive")
"""All tables, in an order in which those that know a part come before those that need it."""
PART_TABLES = tuple(_BELONGS)
"""The tables whose rows belong to accounts, highlights or items; the others are of the archive as a whole."""


def column_names(table: str) -> tuple[str, ...]:
    """The names of the columns of a table, in order."""
    return tuple(column.name for column in _table(table).columns)


def selected_part(connection: Connection, selection: Selection) -> Iterator[ArchivePart]:
    """One Part: what a walk over the selection meets. An iterator, for ``Catalog.stream``."""
    part = ArchivePart()
    for step in walk(connection, selection, carried=False):
        if isinstance(step, KeptAccount):
            part.user_pks.add(step.pk)
        elif isinstance(step, KeptHighlight):
            part.highlight_pks.add(step.pk)
        else:
            part.item_pks.add(step.item.pk)
    yield part


def rows(connection: Connection, table: str, part: ArchivePart | None) -> Iterator[tuple[object, ...]]:
    """The rows of a table, ordered by its primary key; streamed. With a part, those of NARROWED that belong to it, files before blobs."""
    question = select(_table(table)).order_by(*_table(table).primary_key.columns)
    belongs = _BELONGS[table] if part is not None else None
    with connection.execution_options(yield_per=_AT_ONCE).execute(question) as rows:
        for row in rows:
            if belongs is None or part is None or belongs(part, row):
                yield tuple(row)


def _table(name: str) -> Table:
    return tables.metadata.tables[name]
