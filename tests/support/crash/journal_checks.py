"""Whether the journal of an archive, and its outbox, say what the rows say.

They are read with Python's standard library alone, as docs/archive-format.md describes the files.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from archiver.catalog.tables import JOURNALED
from tests.support import ROOT

Rows = list[tuple[object, ...]]
_OUTBOX = "select table_name, row_key, row_values from journal_outbox order by txn, id"
_MOST = 3


def _load_reader() -> ModuleType:
    spec = importlib.util.spec_from_file_location("list_archive", ROOT / "docs" / "list_archive.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_READER = _load_reader()


def lines_of(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file of the journal, up to what a kill tore."""
    yield from _READER.lines_of(path)


def journal_differences(root: Path, rows: Callable[[str], Rows]) -> Iterator[str]:
    """Yield what the journal at ``root`` lacks or has too much, compared with the rows."""
    if not rows("select 1 from journal_head"):
        return  # it begins with a snapshot, once the archive is opened for writing
    tables: dict[str, dict[tuple[Any, ...], dict[str, Any]]]
    tables, problem = _READER.read_journal(root)
    if problem:
        yield problem
    for name, key, values in rows(_OUTBOX):
        _apply(tables.setdefault(str(name), {}), tuple(json.loads(str(key))), values)
    for table in JOURNALED:
        columns = [column.name for column in table.columns]
        key = [columns.index(column.name) for column in table.primary_key]
        names = ", ".join(f'"{column}"' for column in columns)
        stored = {
            tuple(row[place] for place in key): dict(zip(columns, row, strict=True))
            for row in rows(f"select {names} from {table.name}")
        }
        yield from _compare(table.name, tables.get(table.name, {}), stored)


def _apply(rows: dict[tuple[Any, ...], dict[str, Any]], key: tuple[Any, ...], values: object) -> None:
    if values is None:
        rows.pop(key, None)
    else:
        rows.setdefault(key, {}).update(json.loads(str(values)))


def _compare(
    table: str, journal: Mapping[tuple[Any, ...], object], stored: Mapping[tuple[Any, ...], object]
) -> Iterator[str]:
    different = [key for key in journal.keys() | stored.keys() if journal.get(key) != stored.get(key)]
    for key in different[:_MOST]:
        yield f"I16: {table} {key}: the journal says {journal.get(key)}, the row {stored.get(key)}"
