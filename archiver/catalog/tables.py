"""The tables, as SQLAlchemy sees them. They are made by ``migrations/`` alone; a test holds both against each other.

What each column means stands in docs/schema.md. ``answer_id`` columns are no foreign keys: an answer whose segment is dropped
(``keep_answers = "fetched"``) takes its row along, and what came from it stays.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import BigInteger, Boolean, Column, Float, ForeignKey, Index, Integer, Table, Text

from archiver.catalog.columns import Id, PkText, UtcTime

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    }
)


def _partial(name: str, where: sa.ColumnElement[bool], *columns: Column[Any], unique: bool = True) -> Index:
    return Index(name, *columns, unique=unique, sqlite_where=where, postgresql_where=where)


archive = Table(
    "archive",
    metadata,
    Column("id", PkText, primary_key=True),
    Column("format", Integer, nullable=False),
    Column("created_at", UtcTime, nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("id", Id, primary_key=True),
    Column("command", Text, nullable=False),
    Column("started_at", UtcTime, nullable=False),
    Column("finished_at", UtcTime),
    Column("outcome", Text),
    Column("exit_code", Integer),
    Column("units", Integer, nullable=False),
    Column("balance_before", BigInteger),
    Column("balance_after", BigInteger),
)

api_calls = Table(
    "api_calls",
    metadata,
    Column("id", Id, primary_key=True),
    Column("run_id", ForeignKey(runs.c.id), nullable=False),
    Column("path", Text, nullable=False),
    Column("subject", PkText, nullable=False),
    Column("status", Integer),
    Column("units", Integer, nullable=False),
    Column("started_at", UtcTime, nullable=False),
    Column("finished_at", UtcTime),
    # Both cover the sums that a reserve checks, so that those never read the table itself.
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
    Column("offset", BigInteger, nullable=False),
    Column("length", BigInteger, nullable=False),
    Column("latest_reel_media", BigInteger),
    Column("media_count", BigInteger),
    Column("lost_at", UtcTime),
    Index(None, "segment"),
    sqlite_autoincrement=True,  # rows are dropped, and an id must never mean two answers
)

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
    Column("tray_length", Integer),
    Column("tray_longest", Integer),
    Column("tray_endpoint", Text),
    Column("avatar_name", Text),
    Column("avatar_held", Text),
    Column("shrunk_to", Text),
    Column("verdict", Text),
    Column("verdict_checks", Integer, nullable=False, server_default="0"),
    Column("verdict_at", UtcTime),
    Column("verdict_due_at", UtcTime),
    Column("paged_at", UtcTime),
)

usernames = Table(
    "usernames",
    metadata,
    Column("user_pk", ForeignKey(users.c.pk), nullable=False),
    Column("username", Text, nullable=False),
    Column("first_seen_at", UtcTime, nullable=False),
    Column("last_seen_at", UtcTime, nullable=False),
    sa.PrimaryKeyConstraint("user_pk", "username"),
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
    Column("position", Integer),
    Column("created_at", UtcTime),
    Column("latest_reel_media", BigInteger),
    Column("media_count", BigInteger),
    Column("is_pinned", Boolean),
    Column("cover_name", Text),
    Column("cover_held", Text),
    Column("first_seen_at", UtcTime, nullable=False),
    Column("last_seen_at", UtcTime, nullable=False),
    Column("listed_at", UtcTime),
    Column("fetched_at", UtcTime),
    Column("fetched_latest_reel_media", BigInteger),
    Column("fetched_media_count", BigInteger),
    Column("completed_at", UtcTime),
    Column("shrunk_to", Text),
    Column("gone_at", UtcTime),
)

items = Table(
    "items",
    metadata,
    Column("pk", PkText, primary_key=True),
    Column("user_pk", PkText, nullable=False),
    Column("code", Text),
    Column("taken_at", UtcTime),
    Column("media_type", BigInteger),
    Column("product_type", Text),
    Column("video_duration", Float(53)),
    Column("first_seen_at", UtcTime, nullable=False),
    Column("answer_id", BigInteger),
    Index(None, "user_pk", "pk"),
    Index(None, "taken_at"),
)

highlight_items = Table(
    "highlight_items",
    metadata,
    Column("highlight_pk", ForeignKey(highlights.c.pk), nullable=False),
    Column("item_pk", ForeignKey(items.c.pk), nullable=False, index=True),
    Column("position", Integer, nullable=False),
    Column("first_seen_at", UtcTime, nullable=False),
    Column("last_seen_at", UtcTime, nullable=False),
    Column("gone_at", UtcTime),
    sa.PrimaryKeyConstraint("highlight_pk", "item_pk"),
)

blobs = Table(
    "blobs",
    metadata,
    Column("sha256", PkText, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("mime", Text, nullable=False),
    Column("width", Integer),
    Column("height", Integer),
    Column("stored_at", UtcTime, nullable=False),
    Column("verified_at", UtcTime),
    Column("lost_at", UtcTime),
)
_partial("ix_blobs_lost", blobs.c.lost_at.is_not(None), blobs.c.sha256, unique=False)

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
    Column("answer_id", BigInteger),
    Column("source_url", Text, nullable=False),
    Column("kept_at", UtcTime, nullable=False),
    Column("last_seen_at", UtcTime, nullable=False),
    sa.CheckConstraint(
        "CASE WHEN user_pk IS NULL THEN 0 ELSE 1 END + CASE WHEN highlight_pk IS NULL THEN 0 ELSE 1 END"
        " + CASE WHEN item_pk IS NULL THEN 0 ELSE 1 END = 1",
        name="one_owner",
    ),
)
for _owner in (files.c.user_pk, files.c.highlight_pk, files.c.item_pk):
    _partial(f"uq_files_{_owner.name}", _owner.is_not(None), _owner, files.c.role, files.c.sha256)


def _entries(name: str, *columns: Column[Any]) -> Table:
    """A table of what an item carries, one row an entry in the order of the answer."""
    return Table(
        name,
        metadata,
        Column("item_pk", ForeignKey(items.c.pk), nullable=False),
        Column("position", Integer, nullable=False),
        *columns,
        sa.PrimaryKeyConstraint("item_pk", "position"),
    )


mentions = _entries(
    "mentions",
    Column("user_pk", PkText, index=True),
    Column("username", Text, index=True),
    Column("full_name", Text),
    Column("x", Float(53)),
    Column("y", Float(53)),
    Column("width", Float(53)),
    Column("height", Float(53)),
    Column("rotation", Float(53)),
)
links = _entries(
    "links",
    Column("url", Text, nullable=False),
    Column("title", Text),
    Column("display_url", Text),
    Column("source", Text, nullable=False),
)
hashtags = _entries("hashtags", Column("hashtag_pk", PkText), Column("name", Text, index=True))
locations = _entries(
    "locations",
    Column("location_pk", PkText, index=True),
    Column("name", Text),
    Column("lat", Float(53)),
    Column("lng", Float(53)),
)
stickers = _entries("stickers", Column("kind", Text, nullable=False), Column("extra", Text, nullable=False))
reshares = _entries(
    "reshares",
    Column("media_pk", PkText),
    Column("media_code", Text),
    Column("user_pk", PkText),
    Column("product_type", Text),
)
sponsors = _entries("sponsors", Column("user_pk", PkText), Column("username", Text))

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
    Column("attempts", Integer, nullable=False),
    Column("first_at", UtcTime, nullable=False),
    Column("last_at", UtcTime, nullable=False),
    Column("next_try_at", UtcTime),
    Column("resolved_at", UtcTime),
)
# Two, since a unique index takes one null to differ from another.
_what = (failures.c.subject, failures.c.subject_pk)
_open = failures.c.resolved_at.is_(None)
_partial("uq_failures_open_role", _open, *_what, failures.c.role)
_partial("uq_failures_open", _open & failures.c.role.is_(None), *_what)
