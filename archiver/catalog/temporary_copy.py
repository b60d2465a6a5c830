"""A temporary copy of a database's rows: a dry run writes into it what the command itself would write."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from archiver.catalog import journal_triggers
from archiver.catalog.catalog import Catalog
from archiver.catalog.rebuilt_database import copy_rows
from archiver.temporary import temporary_directory


@contextmanager
def open_copy(catalog: Catalog, root: Path, check: Callable[[], None]) -> Iterator[Catalog]:
    """Open a copy for writing, and remove it after the block. It has no journal.

    ``root``: the directory of the archive. ``check`` is called often while the rows are copied, and may raise
    to stop. Raises DatabaseError, DiskFull, StorageError.
    """
    with temporary_directory(root) as place:
        path = place / "copy.db"
        with catalog.snapshot() as snapshot:
            copy_rows(snapshot, path, check)
        with Catalog.open(path, write=True) as copy:
            copy.write(journal_triggers.drop)
            yield copy
