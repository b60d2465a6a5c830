"""The tables and views of an archive with their columns, as rows."""

from __future__ import annotations

from archiver.catalog import Catalog
from archiver.datasette.metadata import describe_tables
from archiver.model.query_rows import NO_LIMIT, Rows

_SECONDS = 60.0
_SQLITE = """
SELECT m.name, p.name FROM sqlite_master AS m JOIN pragma_table_info(m.name) AS p
WHERE m.type IN ('table', 'view') ORDER BY m.name, p.cid
"""
_POSTGRESQL = """
SELECT table_name, column_name FROM information_schema.columns
WHERE table_schema = current_schema() ORDER BY table_name, ordinal_position
"""


def read_schema(catalog: Catalog, *, postgresql: bool) -> Rows:
    """Return a row (table, column, meaning) for each column, and one without a column for each table.

    Tables that docs/schema.md does not describe, such as those of the search, are left out.
    """
    described = describe_tables()
    sql = _POSTGRESQL if postgresql else _SQLITE
    rows: list[tuple[str, str | None, str | None]] = []
    for table, column in catalog.run_query(sql, rows=NO_LIMIT, seconds=_SECONDS, own_process=False).rows:
        table, column = str(table), str(column)
        if table not in described:
            continue
        if not rows or rows[-1][0] != table:
            rows.append((table, None, described[table].text or None))
        rows.append((table, column, described[table].columns.get(column) or None))
    return Rows(("table", "column", "meaning"), tuple(rows))
