"""What is held: blobs, and whose files they are."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import BigInteger, Column, ForeignKey, Integer, Table, Text

from archiver.catalog.columns import Id, PkText, UtcTime
from archiver.catalog.tables.base import metadata, partial
from archiver.catalog.tables.paid import runs
from archiver.catalog.tables.shown import highlights, items, users

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
partial("ix_blobs_lost", blobs.c.lost_at.is_not(None), blobs.c.sha256, unique=False)

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
    partial(f"uq_files_{_owner.name}", _owner.is_not(None), _owner, files.c.role, files.c.sha256)
