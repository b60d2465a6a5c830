"""All rows of the journaled tables, as a snapshot of the journal holds them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sqlalchemy import Connection, Float, Integer, Table, Text, func, select, type_coerce
from sqlalchemy.types import NullType

from archiver.catalog.column_types import CheckedNumber, UtcTime, time_text, to_finite
from archiver.catalog.dialects import dialect_of
from archiver.catalog.tables import JOURNALED
from archiver.model.journal_entries import RowKey, RowValue

DumpedRow = tuple[RowKey, Mapping[str, RowValue]]


def all_rows(connection: Connection, at_once: int) -> Iterator[tuple[str, list[DumpedRow]]]:
    """Yield the rows of each table by ascending key, at most ``at_once`` at a time."""
    for table in JOURNALED:
        for rows in table_rows(connection, table, at_once):
            yield table.name, rows


def count_rows(connection: Connection) -> int:
    """Return how many rows ``all_rows`` yields."""
    return sum(connection.scalar(select(func.count()).select_from(table)) or 0 for table in JOURNALED)


def table_rows(connection: Connection, table: Table, at_once: int) -> Iterator[list[DumpedRow]]:
    """Yield the rows of a table by ascending key, at most ``at_once`` at a time."""
    sort_by_bytes = dialect_of(connection).sort_by_bytes
    order = [
        sort_by_bytes(column) if isinstance(column.type, Text) else column for column in table.primary_key
    ]
    names = [column.name for column in table.columns]
    keys = [names.index(column.name) for column in table.primary_key]
    times = [place for place, column in enumerate(table.columns) if isinstance(column.type, UtcTime)]
    numbers = [
        place for place, column in enumerate(table.columns) if isinstance(column.type, Float | Integer)
    ]
    stored = [  # odd values too: verify names the row in which one is
        type_coerce(column, NullType()) if isinstance(column.type, CheckedNumber) else column
        for column in table.columns
    ]
    result = connection.execution_options(yield_per=at_once).execute(select(*stored).order_by(*order))
    for rows in result.partitions():
        values = [list(row) for row in rows]
        for place in times:
            for row in values:
                row[place] = None if row[place] is None else time_text(row[place])
        for place in numbers:
            for row in values:
                if isinstance(row[place], float):
                    row[place] = to_finite(row[place])
        yield [(tuple(row[place] for place in keys), dict(zip(names, row, strict=True))) for row in values]


def sequences(connection: Connection) -> dict[str, int]:
    """Return the greatest id that each table with ascending ids has ever assigned, even to removed rows."""
    greatest: dict[str, int] = {}
    for table in _tables_with_ids():
        greatest[table.name] = connection.scalar(select(func.max(table.c.id))) or 0
    for name, last in dialect_of(connection).given_ids(connection, tuple(greatest)):
        greatest[name] = max(greatest[name], last or 0)
    return {name: last for name, last in sorted(greatest.items()) if last}


def set_sequences(connection: Connection, greatest: Mapping[str, int]) -> None:
    """Make every table assign new ids above all that it has or had. ``greatest``: as from ``sequences``."""
    present = sequences(connection)  # an older copy may have assigned ids whose rows were removed since
    for table in _tables_with_ids():
        last = max(greatest.get(table.name, 0), present.get(table.name, 0))
        dialect_of(connection).set_last_id(connection, table, last)


def _tables_with_ids() -> list[Table]:
    return [
        table
        for table in JOURNALED
        if [column.name for column in table.primary_key] == ["id"] and table.name != "archive"
    ]
