"""What all tables share: the metadata with its names, and a kind of index."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import Column, Index

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    }
)


def partial(name: str, where: sa.ColumnElement[bool], *columns: Column[Any], unique: bool = True) -> Index:
    """An index of some rows only. The databases' own words for that are said in ``migrations/``: to say them here imports both dialects,
    a tenth of the time of a start."""
    return Index(name, *columns, unique=unique, info={"where": where})
