"""Make an archive of many quiet accounts in the time that a few take.

The stand-in's accounts differ only in their names and ids. So the rows of those that were archived are copied
for the others, with the names and ids that the stand-in has for them. The copies share the files on disk.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import cycle, islice
from pathlib import Path

from million import inserting

from archiver.sandbox import item_factory
from archiver.sandbox.world import GeneratedWorld
from archiver.sandbox.world_objects import SandboxAccount

_OF_HIGHLIGHT = "highlight_pk IN (SELECT pk FROM highlights WHERE user_pk = ?1)"
_OF_ITEM = "item_pk IN (SELECT pk FROM items WHERE user_pk = ?1)"
_ROWS = {
    "users": "pk = ?1",
    "usernames": "user_pk = ?1",
    "targets": "user_pk = ?1",
    "highlights": "user_pk = ?1",
    "items": "user_pk = ?1",
    "highlight_items": _OF_HIGHLIGHT,
    "files": f"user_pk = ?1 OR {_OF_HIGHLIGHT} OR {_OF_ITEM}",
}
"""The tables of an account, and which of their rows are its own."""


def copy_accounts(database: Path, archived: int, accounts: int, highlights: int, items: int) -> None:
    """Copy the rows of the first ``archived`` accounts for all others of a world of so many accounts."""
    world = list(GeneratedWorld(accounts, highlights, items).accounts())
    with closing(sqlite3.connect(database)) as connection:
        templates = [_Template(connection, account) for account in world[:archived]]
    with inserting(database) as rows:
        for template, account in zip(cycle(templates), islice(world, archived, None), strict=False):
            for table, values in template.rows_for(account):
                rows.add(table, **values)


class _Template:
    def __init__(self, connection: sqlite3.Connection, account: SandboxAccount) -> None:
        connection.row_factory = sqlite3.Row
        self._names = list(_names(account))
        self._rows: list[tuple[str, dict[str, object]]] = []
        for table, condition in _ROWS.items():
            for row in connection.execute(f"SELECT * FROM {table} WHERE {condition}", [account.pk]):
                values = dict(row)
                values.pop("id", None)  # it gets its own
                self._rows.append((table, values))

    def rows_for(self, account: SandboxAccount) -> Iterator[tuple[str, dict[str, object]]]:
        """Yield the rows with the names of another account."""
        renamed = dict(zip(self._names, _names(account), strict=True))
        for table, values in self._rows:
            yield table, {column: renamed.get(value, value) for column, value in values.items()}


def _names(account: SandboxAccount) -> Iterator[object]:
    """Yield everything in the rows of an account that no other account has, always in the same order."""
    yield from (account.pk, account.username, account.full_name)
    yield account.avatar and account.avatar.name
    for highlight in account.highlights:
        yield highlight.pk
        yield highlight.cover and highlight.cover.name
        for item in highlight.items:
            yield item.pk
            yield item_factory.code(item.pk)
