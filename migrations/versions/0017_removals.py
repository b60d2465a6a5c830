"""Add what ``archiver forget`` records: removals, files that are still to be deleted, and a request."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"

PK = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.Text().with_variant(sa.TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "removals",
        sa.Column("id", ID, primary_key=True),
        sa.Column("at", TIME, nullable=False),
        sa.Column("reason", sa.Text()),
    )
    op.create_table("deletions", sa.Column("name", PK, primary_key=True))
    op.create_table(
        "removal_requests",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("user_pk", PK),
        sa.Column("names", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text()),
    )
