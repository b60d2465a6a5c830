"""Add what the journal needs (its outbox and its head), and the files that other tools downloaded.

The triggers that fill the outbox follow from the tables. ``archiver.catalog.journal_triggers`` creates them
at the end of every upgrade.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Column

revision = "0010"
down_revision = "0009"

PK = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
TIME = sa.Text().with_variant(sa.TIMESTAMP(timezone=True), "postgresql")
ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "journal_outbox",
        Column("id", ID, primary_key=True),
        Column("txn", sa.BigInteger(), nullable=False),
        Column("table_name", sa.Text(), nullable=False),
        Column("row_key", sa.Text(), nullable=False),
        Column("row_values", sa.Text()),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_journal_outbox_txn_id", "journal_outbox", ["txn", "id"])
    op.create_table(
        "journal_commits",
        Column("position", ID, primary_key=True),
        Column("txn", sa.BigInteger(), nullable=False, unique=True),
        Column("at", TIME, nullable=False),
        Column("run_id", sa.BigInteger()),
        Column("seq", sa.BigInteger()),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "journal_head",
        Column("seq", sa.BigInteger(), primary_key=True, autoincrement=False),
        Column("hash", PK, nullable=False),
        Column("file", sa.Text(), nullable=False),
        Column("length", sa.BigInteger(), nullable=False),
        Column("snapshot_bytes", sa.BigInteger(), nullable=False),
        Column("entry_bytes", sa.BigInteger(), nullable=False),
    )
    op.add_column("files", Column("source", sa.Text()))
    op.create_table(
        "adopted",
        Column("id", ID, primary_key=True),
        Column("item_pk", PK, nullable=False),
        Column("highlight_pk", PK),
        Column("role", sa.Text(), nullable=False),
        Column("sha256", PK, sa.ForeignKey("blobs.sha256", name="fk_adopted_sha256"), nullable=False),
        Column("username", sa.Text()),
        Column("source", sa.Text(), nullable=False),
        Column("adopted_at", TIME, nullable=False),
        Column("reason", sa.Text()),
        sa.UniqueConstraint("item_pk", "role", "sha256", name="uq_adopted_item_pk_role_sha256"),
    )
