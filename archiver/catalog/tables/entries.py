"""What an item carries, one table a kind."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import Column, Float, ForeignKey, Integer, Table, Text

from archiver.catalog.columns import PkText
from archiver.catalog.tables.base import metadata
from archiver.catalog.tables.shown import items


def _entries(name: str, *columns: Column[Any] | sa.Index) -> Table:
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
    Column("domain", PkText),
    sa.Index(None, "domain", "item_pk"),
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
