"""The tables, declared for SQLAlchemy. Only ``migrations/`` creates them; a test compares the two.

docs/schema.md says what each column means. Columns named ``answer_id`` are not foreign keys: when the segment
of an answer is deleted (``keep_answers = "fetched"``), its row is deleted too, and what came from it stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ColumnElement,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from archiver.catalog.column_types import Id, LargeNumber, PkText, RealNumber, SmallNumber, UtcTime

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    }
)


def _partial_index(
    name: str, where: ColumnElement[bool], *columns: Column[Any], unique: bool = True
) -> Index:
    """Return an index of the rows that meet ``where``.

    ``migrations/env.py`` passes the condition to alembic. If both dialects were named here, they would be
    imported, which takes a tenth of the startup time.
    """
    return Index(name, *columns, unique=unique, info={"where": where})


# Runs, their calls and the stored answers; which archive this is.

archive = Table(
    "archive",
    metadata,
    Column("id", PkText, primary_key=True),
    Column("format", SmallNumber, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("storage", Text),
)

runs = Table(
    "runs",
    metadata,
    Column("id", Id, primary_key=True),
    Column("command", Text, nullable=False),
    Column("started_at", UtcTime, nullable=False),
    Column("finished_at", UtcTime),
    Column("outcome", Text),
    Column("exit_code", SmallNumber),
    Column("units", SmallNumber, nullable=False),
    Column("balance_before", LargeNumber),
    Column("balance_after", LargeNumber),
)

api_calls = Table(
    "api_calls",
    metadata,
    Column("id", Id, primary_key=True),
    Column("run_id", ForeignKey(runs.c.id), nullable=False),
    Column("path", Text, nullable=False),
    Column("subject", PkText, nullable=False),
    Column("status", SmallNumber),
    Column("units", SmallNumber, nullable=False),
    Column("started_at", UtcTime, nullable=False),
    Column("finished_at", UtcTime),
    Index(None, "run_id", "units"),
    Index(None, "started_at", "units"),
    Index(None, "subject", "path"),
)

answers = Table(
    "answers",
    metadata,
    Column("id", Id, primary_key=True),
    Column("api_call_id", ForeignKey(api_calls.c.id), nullable=False, unique=True),
    Column("sha256", PkText, nullable=False),
    Column("segment", Text, nullable=False),
    Column("offset", LargeNumber, nullable=False),
    Column("length", LargeNumber, nullable=False),
    Column("latest_reel_media", LargeNumber),
    Column("media_count", LargeNumber),
    Column("lost_at", UtcTime),
    Index(None, "segment"),
    sqlite_autoincrement=True,  # rows are deleted, and an id must never be used again
)

# What upstream showed: accounts, highlights, and which item is in which.

users = Table(
    "users",
    metadata,
    Column("pk", PkText, primary_key=True),
    Column("username", Text),
    Column("full_name", Text),
    Column("is_private", Boolean),
    Column("is_verified", Boolean),
    Column("first_seen_at", UtcTime, nullable=False),
    Column("last_seen_at", UtcTime, nullable=False),
    Column("gone_at", UtcTime),
    Column("listed_at", UtcTime),
    Column("tray_length", SmallNumber),
    Column("tray_longest", SmallNumber),
    Column("tray_endpoint", Text),
    Column("avatar_name", Text),
    Column("avatar_held", Text),
    Column("shrunk_to", Text),
    Column("shrunk_run_id", LargeNumber),
    Column("verdict", Text),
    Column("verdict_checks", SmallNumber, nullable=False, server_default="0"),
    Column("verdict_at", UtcTime),
    Column("verdict_due_at", UtcTime),
    Column("paged_at", UtcTime),
    Column("pages_failed_at", UtcTime),
    Index(None, "username"),
    Index("ix_users_lower_username", text("lower(username)")),
)

usernames = Table(
    "usernames",
    metadata,
    Column("user_pk", ForeignKey(users.c.pk), nullable=False),
    Column("username", Text, nullable=False),
    Column("first_seen_at", UtcTime, nullable=False),
    Column("last_seen_at", UtcTime, nullable=False),
    PrimaryKeyConstraint("user_pk", "username"),
    Index("ix_usernames_lower_username", text("lower(username)")),
    Index(None, "username"),
)

targets = Table(
    "targets",
    metadata,
    Column("text", PkText, primary_key=True),
    Column("user_pk", PkText, nullable=False),
    Column("bound_at", UtcTime, nullable=False),
)

highlights = Table(
    "highlights",
    metadata,
    Column("pk", PkText, primary_key=True),
    Column("user_pk", ForeignKey(users.c.pk), nullable=False, index=True),
    Column("title", Text),
    Column("position", SmallNumber),
    Column("created_at", UtcTime),
    Column("latest_reel_media", LargeNumber),
    Column("media_count", LargeNumber),
    Column("is_pinned", Boolean),
    Column("cover_name", Text),
    Column("cover_held", Text),
    Column("first_seen_at", UtcTime, nullable=False),
    Column("last_seen_at", UtcTime, nullable=False),
    Column("listed_at", UtcTime),
    Column("fetched_at", UtcTime),
    Column("fetched_latest_reel_media", LargeNumber),
    Column("fetched_media_count", LargeNumber),
    Column("completed_at", UtcTime),
    Column("tried_at", UtcTime),
    Column("shrunk_to", Text),
    Column("shrunk_run_id", LargeNumber),
    Column("gone_at", UtcTime),
    Column("source", Text),
)

items = Table(
    "items",
    metadata,
    Column("pk", PkText, primary_key=True),
    Column("user_pk", PkText, nullable=False),
    Column("code", Text),
    Column("taken_at", UtcTime),
    Column("media_type", LargeNumber),
    Column("product_type", Text),
    Column("video_duration", RealNumber(53)),
    Column("first_seen_at", UtcTime, nullable=False),
    Column("answer_id", LargeNumber),
    Column("source", Text),
    Index(None, "user_pk", "pk"),
    Index(None, "code"),
    Index(None, "taken_at"),
    Index(None, "first_seen_at"),
)

highlight_items = Table(
    "highlight_items",
    metadata,
    Column("highlight_pk", ForeignKey(highlights.c.pk), nullable=False),
    Column("item_pk", ForeignKey(items.c.pk), nullable=False, index=True),
    Column("position", SmallNumber, nullable=False),
    Column("first_seen_at", UtcTime, nullable=False),
    Column("last_seen_at", UtcTime, nullable=False),
    Column("gone_at", UtcTime),
    Column("source", Text),
    PrimaryKeyConstraint("highlight_pk", "item_pk"),
)
_partial_index(
    "ix_highlight_items_gone", highlight_items.c.gone_at.is_not(None), highlight_items.c.gone_at, unique=False
)

# The entries of an item: one table for each kind, one row for each entry.


def _entry_table(name: str, *columns: Column[Any] | Index) -> Table:
    """Return a table for entries of items (mentions, links and the like), in the order of the answer."""
    return Table(
        name,
        metadata,
        Column("item_pk", ForeignKey(items.c.pk), nullable=False),
        Column("position", SmallNumber, nullable=False),
        *columns,
        PrimaryKeyConstraint("item_pk", "position"),
    )


mentions = _entry_table(
    "mentions",
    Column("user_pk", PkText, index=True),
    Column("username", Text, index=True),
    Column("full_name", Text),
    Column("x", RealNumber(53)),
    Column("y", RealNumber(53)),
    Column("width", RealNumber(53)),
    Column("height", RealNumber(53)),
    Column("rotation", RealNumber(53)),
)
links = _entry_table(
    "links",
    Column("url", Text, nullable=False),
    Column("title", Text),
    Column("display_url", Text),
    Column("source", Text, nullable=False),
    Column("domain", PkText),
    Index(None, "domain", "item_pk"),
)
hashtags = _entry_table("hashtags", Column("hashtag_pk", PkText), Column("name", Text, index=True))
locations = _entry_table(
    "locations",
    Column("location_pk", PkText, index=True),
    Column("name", Text),
    Column("lat", RealNumber(53)),
    Column("lng", RealNumber(53)),
)
stickers = _entry_table(
    "stickers", Column("kind", Text, nullable=False), Column("extra", Text, nullable=False)
)
reshares = _entry_table(
    "reshares",
    Column("media_pk", PkText),
    Column("media_code", Text),
    Column("user_pk", PkText),
    Column("product_type", Text),
)
sponsors = _entry_table("sponsors", Column("user_pk", PkText), Column("username", Text))

# Blobs, and whose files they are.

blobs = Table(
    "blobs",
    metadata,
    Column("sha256", PkText, primary_key=True),
    Column("size", LargeNumber, nullable=False),
    Column("mime", Text, nullable=False),
    Column("width", SmallNumber),
    Column("height", SmallNumber),
    Column("stored_at", UtcTime, nullable=False),
    Column("verified_at", UtcTime),
    Column("lost_at", UtcTime),
)
_partial_index("ix_blobs_lost", blobs.c.lost_at.is_not(None), blobs.c.sha256, unique=False)

files = Table(
    "files",
    metadata,
    Column("id", Id, primary_key=True),
    Column("user_pk", ForeignKey(users.c.pk)),
    Column("highlight_pk", ForeignKey(highlights.c.pk)),
    Column("item_pk", ForeignKey(items.c.pk)),
    Column("role", Text, nullable=False),
    Column("sha256", ForeignKey(blobs.c.sha256), nullable=False, index=True),
    Column("run_id", ForeignKey(runs.c.id), nullable=False, index=True),
    Column("answer_id", LargeNumber),
    Column("source_url", Text, nullable=False),
    Column("kept_at", UtcTime, nullable=False),
    Column("last_seen_at", UtcTime, nullable=False),
    Column("source", Text),
    CheckConstraint(
        "CASE WHEN user_pk IS NULL THEN 0 ELSE 1 END + CASE WHEN highlight_pk IS NULL THEN 0 ELSE 1 END"
        " + CASE WHEN item_pk IS NULL THEN 0 ELSE 1 END = 1",
        name="one_owner",
    ),
)
for _owner in (files.c.user_pk, files.c.highlight_pk, files.c.item_pk):
    _partial_index(f"uq_files_{_owner.name}", _owner.is_not(None), _owner, files.c.role, files.c.sha256)

adopted = Table(
    "adopted",
    metadata,
    Column("id", Id, primary_key=True),
    Column("item_pk", PkText, nullable=False),
    Column("highlight_pk", PkText),
    Column("role", Text, nullable=False),
    Column("sha256", ForeignKey(blobs.c.sha256), nullable=False),
    Column("username", Text),
    Column("source", Text, nullable=False),
    Column("adopted_at", UtcTime, nullable=False),
    Column("reason", Text),
    Column("user_pk", PkText),
    Column("title", Text),
    Column("taken_at", UtcTime),
    Column("file_name", Text),
    UniqueConstraint("item_pk", "role", "sha256"),
    sqlite_autoincrement=True,  # as for answers
)

# What changed, and what failed.

changes = Table(
    "changes",
    metadata,
    Column("id", Id, primary_key=True),
    Column("run_id", ForeignKey(runs.c.id), nullable=False, index=True),
    Column("at", UtcTime, nullable=False, index=True),
    Column("subject", Text, nullable=False),
    Column("subject_pk", PkText, nullable=False),
    Column("field", Text, nullable=False),
    Column("old", Text),
    Column("new", Text),
    Index(None, "subject", "subject_pk"),
    Index(None, "field", "id"),
)

failures = Table(
    "failures",
    metadata,
    Column("id", Id, primary_key=True),
    Column("subject", Text, nullable=False),
    Column("subject_pk", PkText, nullable=False),
    Column("role", Text),
    Column("reason", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("attempts", SmallNumber, nullable=False),
    Column("first_at", UtcTime, nullable=False),
    Column("last_at", UtcTime, nullable=False),
    Column("next_try_at", UtcTime),
    Column("resolved_at", UtcTime),
    Column("host", Text),
    Column("size", LargeNumber),
)
# Two indexes, because a unique index treats nulls as distinct.
_what = (failures.c.subject, failures.c.subject_pk)
_open = failures.c.resolved_at.is_(None)
_partial_index("uq_failures_open_role", _open, *_what, failures.c.role)
_partial_index("uq_failures_open", _open & failures.c.role.is_(None), *_what)

# The words of accounts, highlights and items.

search_documents = Table(
    "search_documents",
    metadata,
    Column("id", Id, primary_key=True),
    Column("subject", Text, nullable=False),
    Column("subject_pk", PkText, nullable=False),
    Column("at", UtcTime),
    Column("names", Text),
    Column("tags", Text),
    Column("mentions", Text),
    Column("links", Text),
    Column("filters", Text),
    UniqueConstraint("subject", "subject_pk"),
)
_partial_index(
    "ix_search_documents_stale", search_documents.c.at.is_(None), search_documents.c.id, unique=False
)

_POSTGRESQL_ONLY = {("column", "words"), ("index", "ix_search_documents_words")}


def is_declared(name: str | None, kind: str, parents: Mapping[Any, Any]) -> bool:
    """Return whether a part of the schema is declared here. Passed to alembic as ``include_name``.

    The search index over ``search_documents`` is not: an FTS5 table with its shadow tables on SQLite, a
    column and its index on PostgreSQL.
    """
    if kind == "table":
        return name is None or not name.startswith("search_index")
    return (kind, name) not in _POSTGRESQL_ONLY or parents.get("table_name") != search_documents.name


# Totals that the triggers of ``counters`` maintain. Nothing else writes them.


def _number(name: str) -> Column[Any]:
    return Column(name, LargeNumber, nullable=False, server_default="0")


account_totals = Table(
    "account_totals",
    metadata,
    Column("user_pk", PkText, primary_key=True),
    *map(_number, ("items", "files", "bytes")),
)

monthly_totals = Table(
    "monthly_totals",
    metadata,
    Column("month", PkText, primary_key=True),
    Column("writer", BigInteger, primary_key=True, autoincrement=False),
    *map(_number, ("items", "files", "blobs", "bytes")),
)

budget_totals = Table(
    "budget_totals",
    metadata,
    Column("period", PkText, primary_key=True),
    Column("units", LargeNumber, nullable=False),
)


# The journal: what is not yet in its files, and where they end. See ``catalog/outbox.py``.

journal_outbox = Table(
    "journal_outbox",
    metadata,
    Column("id", Id, primary_key=True),
    Column("txn", LargeNumber, nullable=False),
    Column("table_name", Text, nullable=False),
    Column("row_key", Text, nullable=False),
    Column("row_values", Text),
    Index(None, "txn", "id"),
    sqlite_autoincrement=True,
)

journal_commits = Table(
    "journal_commits",
    metadata,
    Column("position", Id, primary_key=True),
    Column("txn", LargeNumber, nullable=False, unique=True),
    Column("at", UtcTime, nullable=False),
    Column("run_id", LargeNumber),
    Column("seq", LargeNumber),
    sqlite_autoincrement=True,
)

journal_head = Table(
    "journal_head",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("hash", PkText, nullable=False),
    Column("file", Text, nullable=False),
    Column("length", LargeNumber, nullable=False),
    Column("snapshot_bytes", LargeNumber, nullable=False),
    Column("entry_bytes", LargeNumber, nullable=False),
)


# What ``archiver forget`` has removed and has still to do. See ``catalog/record/removal.py``.

removals = Table(
    "removals",
    metadata,
    Column("id", Id, primary_key=True),
    Column("at", UtcTime, nullable=False),
    Column("reason", Text),
)

deletions = Table("deletions", metadata, Column("name", PkText, primary_key=True))

removal_requests = Table(
    "removal_requests",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("at", UtcTime, nullable=False),
    Column("user_pk", PkText),
    Column("names", Text, nullable=False),
    Column("reason", Text),
)


# Runs whose accounts several workers visit. See ``catalog/leases.py`` and ``catalog/visits.py``.

workers = Table(
    "workers",
    metadata,
    Column("id", PkText, primary_key=True),
    Column("name", Text, nullable=False),
    Column("is_run", Boolean, nullable=False),
    Column("started_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime, nullable=False),
)

shared_runs = Table(
    "shared_runs",
    metadata,
    Column("run_id", LargeNumber, ForeignKey(runs.c.id), primary_key=True, autoincrement=False),
    Column("orders", Text, nullable=False),
    Column("closed_at", UtcTime),
)


def _of_shared_run() -> Column[Any]:
    of_run = ForeignKey(shared_runs.c.run_id, ondelete="CASCADE")
    return Column("run_id", LargeNumber, of_run, primary_key=True, autoincrement=False)


visits = Table(
    "visits",
    metadata,
    _of_shared_run(),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("target", Text, nullable=False),
    Column("is_account", Boolean, nullable=False),
    Column("user_pk", PkText),
    Column("worker_id", PkText, ForeignKey(workers.c.id, ondelete="SET NULL"), index=True),
    Column("attempts", SmallNumber, nullable=False),
    Column("ended_at", UtcTime),
    UniqueConstraint("run_id", "user_pk"),
)

_partial_index("ix_visits_unfinished", visits.c.ended_at.is_(None), *visits.primary_key, unique=False)

run_reports = Table(
    "run_reports",
    metadata,
    _of_shared_run(),
    Column("worker_id", PkText, primary_key=True),
    Column("report", Text, nullable=False),
)

api_rate = Table(
    "api_rate",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("per_second", RealNumber, nullable=False),
    Column("next_at", UtcTime, nullable=False),
    Column("paused_until", UtcTime, nullable=False),
)

journal_lease = Table(
    "journal_lease",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("worker_id", PkText, ForeignKey(workers.c.id, ondelete="SET NULL")),
    Column("shipped_at", UtcTime),
)

NOT_JOURNALED = frozenset(
    {
        search_documents,
        account_totals,
        monthly_totals,
        budget_totals,
        journal_outbox,
        journal_commits,
        journal_head,
        workers,
        shared_runs,
        visits,
        run_reports,
        api_rate,
        journal_lease,
    }
)
"""Tables that are computed from the others, those of the journal itself, and those of workers."""

JOURNALED = tuple(table for table in metadata.sorted_tables if table not in NOT_JOURNALED)
"""All other tables, each after the tables that it refers to. Triggers write each change of a row into
``journal_outbox``, in the transaction of the change: so no code can forget to record one, and those of other
programs are recorded too.

A change is stored as the row's key (a JSON array) and its values (a JSON object): all columns of a new row,
the changed columns of an existing one, NULL for a removed row. The two databases write JSON differently;
``outbox`` converts both to the same values. An upgrade creates the triggers again, since alembic drops those
of a table that it rebuilds.
"""
