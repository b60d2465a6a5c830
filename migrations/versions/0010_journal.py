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
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    for name, query in VIEWS:
        if is_sqlite:
            op.execute(f"DROP VIEW {name}")
        op.execute(f"CREATE {'' if is_sqlite else 'OR REPLACE '}VIEW {name} AS {query}")


# The two views of files, as revision 0004 creates them, with the column ``source`` after all others.
PATH = "'blobs/' || substr(f.sha256, 1, 2) || '/' || f.sha256"
FILE = f"f.id AS file_id, f.role, f.sha256, {PATH} AS path, b.mime, b.size, b.width, b.height, f.kept_at"
MOVED = "(n.last_seen_at > f.last_seen_at OR (n.last_seen_at = f.last_seen_at AND n.id > f.id))"
OWN = "u.pk AS user_pk, u.username"
FIRST_OF_ACCOUNT = """NOT EXISTS (
    SELECT 1 FROM highlight_items o CROSS JOIN highlights oh
    WHERE o.item_pk = m.item_pk AND o.highlight_pk < m.highlight_pk
    AND oh.pk = o.highlight_pk AND oh.user_pk = h.user_pk
)"""
VIEWS = (
    (
        "current_files",
        f"""
        SELECT f.user_pk, f.highlight_pk, f.item_pk, {FILE}, f.source_url, f.source
        FROM files f JOIN blobs b ON b.sha256 = f.sha256
        WHERE b.lost_at IS NULL
        AND NOT EXISTS (SELECT 1 FROM files n WHERE n.item_pk = f.item_pk AND n.role = f.role AND {MOVED})
        AND NOT EXISTS (
            SELECT 1 FROM files n WHERE n.highlight_pk = f.highlight_pk AND n.role = f.role AND {MOVED})
        AND NOT EXISTS (SELECT 1 FROM files n WHERE n.user_pk = f.user_pk AND n.role = f.role AND {MOVED})
        """,
    ),
    (
        "account_files",
        f"""
        SELECT {OWN}, CAST(NULL AS text) AS highlight_pk, CAST(NULL AS text) AS item_pk, {FILE}, b.lost_at,
            f.source
        FROM files f JOIN users u ON u.pk = f.user_pk JOIN blobs b ON b.sha256 = f.sha256
        UNION ALL
        SELECT {OWN}, h.pk, CAST(NULL AS text), {FILE}, b.lost_at, f.source
        FROM files f JOIN highlights h ON h.pk = f.highlight_pk JOIN users u ON u.pk = h.user_pk
        JOIN blobs b ON b.sha256 = f.sha256
        UNION ALL
        SELECT {OWN}, h.pk, f.item_pk, {FILE}, b.lost_at, f.source
        FROM files f JOIN highlight_items m ON m.item_pk = f.item_pk
        JOIN highlights h ON h.pk = m.highlight_pk JOIN users u ON u.pk = h.user_pk
        JOIN blobs b ON b.sha256 = f.sha256
        WHERE {FIRST_OF_ACCOUNT}
        """,
    ),
)
