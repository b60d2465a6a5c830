"""What was otherwise before, and what could not be had."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, Table, Text

from archiver.catalog.columns import Id, PkText, UtcTime
from archiver.catalog.tables.base import metadata, partial
from archiver.catalog.tables.paid import runs

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
    Column("host", Text),
    Column("size", BigInteger),
)
# Two, since a unique index takes one null to differ from another.
_what = (failures.c.subject, failures.c.subject_pk)
_open = failures.c.resolved_at.is_(None)
partial("uq_failures_open_role", _open, *_what, failures.c.role)
partial("uq_failures_open", _open & failures.c.role.is_(None), *_what)
