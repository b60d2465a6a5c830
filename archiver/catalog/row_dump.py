"""Tables row by row for exports: all rows, or those of a part of the archive."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from msgspec import Struct, field
from sqlalchemy import Connection, Row, select

from archiver.catalog import tables
from archiver.catalog.entry_kinds import ENTRY_KINDS
from archiver.catalog.query.content import walk
from archiver.model.archived import KeptAccount, KeptHighlight, Selection
from archiver.model.identity import Pk, Subject

_BATCH = 1000


class ArchivePart(Struct):
    """The accounts, highlights and items whose rows are dumped.

    Dumping files adds the digests of their blobs.
    """

    user_pks: set[Pk] = field(default_factory=set)
    highlight_pks: set[Pk] = field(default_factory=set)
    item_pks: set[Pk] = field(default_factory=set)
    digests: set[str] = field(default_factory=set)

    def has(self, subject: str, pk: Pk | None) -> bool:
        """Return whether a subject belongs to the part."""
        return pk is not None and pk in _PK_SETS[subject](self)


_PK_SETS: Mapping[str, Callable[[ArchivePart], set[Pk]]] = {
    Subject.USER: lambda part: part.user_pks,
    Subject.HIGHLIGHT: lambda part: part.highlight_pks,
    Subject.ITEM: lambda part: part.item_pks,
    Subject.TARGET: lambda part: set(),
}


def _has_file(part: ArchivePart, row: Row[Any]) -> bool:
    owners = ((Subject.USER, row.user_pk), (Subject.HIGHLIGHT, row.highlight_pk), (Subject.ITEM, row.item_pk))
    belongs = any(part.has(subject, pk) for subject, pk in owners)
    if belongs:
        part.digests.add(row.sha256)
    return belongs


def _has_item(part: ArchivePart, row: Row[Any]) -> bool:
    return row.item_pk in part.item_pks


def _has_subject(part: ArchivePart, row: Row[Any]) -> bool:
    return part.has(row.subject, row.subject_pk)


_IS_IN_PART: Mapping[str, Callable[[ArchivePart, Row[Any]], bool]] = {
    "users": lambda part, row: row.pk in part.user_pks,
    "usernames": lambda part, row: row.user_pk in part.user_pks,
    "highlights": lambda part, row: row.pk in part.highlight_pks,
    "items": lambda part, row: row.pk in part.item_pks,
    "highlight_items": lambda part, row: (
        row.highlight_pk in part.highlight_pks and row.item_pk in part.item_pks
    ),
    **dict.fromkeys((kind.table for kind in ENTRY_KINDS), _has_item),
    "files": _has_file,
    "blobs": lambda part, row: row.sha256 in part.digests,
    "changes": _has_subject,
    "failures": _has_subject,
}

TABLES = (*_IS_IN_PART, "adopted", "targets", "runs", "api_calls", "answers", "archive", "removals")
"""All tables. Files come before blobs, as dumping files finds the blobs of a part."""
PART_TABLES = tuple(_IS_IN_PART)
"""The tables whose rows belong to accounts, highlights or items; others belong to the archive as a whole."""


def column_names(table: str) -> tuple[str, ...]:
    """Return the names of the columns of a table, in order."""
    return tuple(column.name for column in tables.metadata.tables[table].columns)


def selected_part(connection: Connection, selection: Selection) -> Iterator[ArchivePart]:
    """Yield one ArchivePart: everything in the selection. An iterator, so that ``Catalog.stream`` can read
    it.
    """
    part = ArchivePart()
    for step in walk(connection, selection, with_entries=False):
        if isinstance(step, KeptAccount):
            part.user_pks.add(step.pk)
        elif isinstance(step, KeptHighlight):
            part.highlight_pks.add(step.pk)
        else:
            part.item_pks.add(step.item.pk)
    yield part


def part_rows(connection: Connection, table: str, part: ArchivePart | None) -> Iterator[tuple[object, ...]]:
    """Yield the rows of a table in the order of its primary key; with a part only its rows. Streamed.

    With a part, ``table`` must be one of PART_TABLES, and files must be dumped before blobs.
    """
    rows_of = tables.metadata.tables[table]
    query = select(rows_of).order_by(*rows_of.primary_key.columns)
    belongs = _IS_IN_PART[table] if part is not None else None
    with connection.execution_options(yield_per=_BATCH).execute(query) as rows:
        for row in rows:
            if belongs is None or part is None or belongs(part, row):
                yield tuple(row)
