"""What is counted already: small tables that the triggers of revision 0004 keep, and nobody else writes."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, Table

from archiver.catalog.columns import PkText
from archiver.catalog.tables.base import metadata


def _number(name: str) -> Column[Any]:
    return Column(name, BigInteger, nullable=False, server_default="0")


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
    *map(_number, ("items", "files", "blobs", "bytes")),
)
