"""Whether the tables, views and triggers of a SQLite file are archiver's own.

A file may come from a stranger. A view in place of a table can go on without end, and a trigger can change
rows while archiver writes. The triggers of the journal and of the sums are compared where they are made.
"""

from __future__ import annotations

import hashlib

from sqlalchemy import Connection

TABLES = frozenset(
    [
        "account_totals",
        "adopted",
        "alembic_version",
        "answers",
        "api_calls",
        "api_rate",
        "archive",
        "blobs",
        "budget_totals",
        "changes",
        "deletions",
        "failures",
        "files",
        "hashtags",
        "highlight_items",
        "highlights",
        "items",
        "journal_commits",
        "journal_head",
        "journal_lease",
        "journal_outbox",
        "links",
        "locations",
        "mentions",
        "monthly_totals",
        "removal_requests",
        "removals",
        "reshares",
        "run_reports",
        "runs",
        "search_documents",
        "search_index",
        "shared_runs",
        "sponsors",
        "stickers",
        "targets",
        "usernames",
        "users",
        "visits",
        "workers",
    ]
)
VIEWS = frozenset(
    [
        "account_files",
        "account_highlights",
        "account_items",
        "accounts",
        "current_files",
        "gone_upstream",
        "growth",
        "highlight_contents",
        "highlight_titles",
        "item_hashtags",
        "item_links",
        "item_locations",
        "item_mentions",
        "named_changes",
        "paid_calls",
        "shared_items",
    ]
)
_COMPARED = ("journal_", "counter_")
"""What the names of triggers begin with that ``journal_triggers`` and ``counters`` compare."""
_OF_SEARCH = "search_"
_SQL = (
    "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE type IN ('view', 'trigger')"
    " ORDER BY type, name"
)


def find_view_of_table(connection: Connection) -> str | None:
    """Return the name of a table of archiver in whose place there is a view; None if there is none."""
    views = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'view'").scalars()
    return next((str(name) for name in views if name in TABLES), None)


def find_foreign(connection: Connection) -> str | None:
    """Return the name of a view or trigger that archiver did not make, or made otherwise; None: none.

    The database must be at the newest revision. Views with other names, and triggers on other tables, are
    somebody's own, and no harm.
    """
    for kind, name, table, _ in connection.exec_driver_sql(_SQL):
        if kind == "trigger" and table in TABLES and not name.startswith((*_COMPARED, _OF_SEARCH)):
            return str(name)
    return None if digest(connection) == DIGEST else "a view or a trigger of the search"


def digest(connection: Connection) -> str:
    """Return the SHA-256 of the views, and of the triggers of the search."""
    own = hashlib.sha256()
    for kind, name, table, sql in connection.exec_driver_sql(_SQL):
        if name in VIEWS if kind == "view" else table in TABLES and name.startswith(_OF_SEARCH):
            own.update(f"{kind} {name} {' '.join(sql.split())}\n".encode())
    return own.hexdigest()


DIGEST = "03738496d2a192fc6dfcad7e4087a46a684ad03451b7671edf4e0681541141c2"
"""The ``digest`` of a new database; a test compares the two."""
