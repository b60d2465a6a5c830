"""What upstream showed: accounts, highlights, and which item is in which."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import BigInteger, Boolean, Column, Float, ForeignKey, Index, Integer, Table, Text

from archiver.catalog.columns import PkText, UtcTime
from archiver.catalog.tables.base import metadata, partial

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
    Column("pages_failed_at", UtcTime),
    Index(None, "username"),
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
    Column("tried_at", UtcTime),
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
    Index(None, "code"),
    Index(None, "taken_at"),
    Index(None, "first_seen_at"),
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
partial(
    "ix_highlight_items_gone", highlight_items.c.gone_at.is_not(None), highlight_items.c.gone_at, unique=False
)
