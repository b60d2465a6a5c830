"""Runs, their calls and the answers to these; which archive it is."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, Table, Text

from archiver.catalog.columns import Id, PkText, UtcTime
from archiver.catalog.tables.base import metadata

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
