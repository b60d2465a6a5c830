"""Add the table of units, and give each connection its own rows of ``monthly_totals``.

``monthly_totals`` had one row for a month, for which the transactions of several writers would have queued.
The triggers that fill both tables leave this revision: ``archiver.catalog.counters`` creates them at the end
of every upgrade, and counts anew. What remains of the triggers of revision 0004 counts for an account.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Column

revision = "0013"
down_revision = "0012"

PK = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

GROWTH = """
    SELECT month, items, files, blobs, bytes,
        CAST(sum(items) OVER (ORDER BY month) AS bigint) AS all_items,
        CAST(sum(bytes) OVER (ORDER BY month) AS bigint) AS all_bytes
    FROM (
        SELECT month, CAST(sum(items) AS bigint) AS items, CAST(sum(files) AS bigint) AS files,
            CAST(sum(blobs) AS bigint) AS blobs, CAST(sum(bytes) AS bigint) AS bytes
        FROM monthly_totals GROUP BY month
    ) AS months
    WHERE items <> 0 OR files <> 0 OR blobs <> 0
"""
MONTHS_ONLY = (
    ("count_item", "items"),
    ("count_item_earlier", "items"),
    ("uncount_item", "items"),
    ("count_blob", "blobs"),
    ("uncount_blob", "blobs"),
)
ACCOUNTS = (
    (
        "count_file",
        "INSERT ON files",
        "",
        """
        INSERT INTO account_totals (user_pk, files, bytes)
        SELECT f.user_pk, 1, CASE WHEN f.lost_at IS NULL THEN f.size ELSE 0 END
        FROM account_files f WHERE f.file_id = NEW.id
        ON CONFLICT (user_pk) DO UPDATE
        SET files = account_totals.files + 1, bytes = account_totals.bytes + excluded.bytes;
        """,
    ),
    (
        "count_lost_blob",
        "UPDATE OF lost_at ON blobs",
        "WHEN ((OLD.lost_at IS NULL) <> (NEW.lost_at IS NULL))",
        """
        UPDATE account_totals
        SET bytes = bytes + NEW.size * CASE WHEN NEW.lost_at IS NULL THEN 1 ELSE -1 END * (
            SELECT count(*) FROM account_files f
            WHERE f.sha256 = NEW.sha256 AND f.user_pk = account_totals.user_pk
        )
        WHERE user_pk IN (SELECT f.user_pk FROM account_files f WHERE f.sha256 = NEW.sha256);
        """,
    ),
    (
        "uncount_file",
        "DELETE ON files",
        "",
        """
        UPDATE account_totals SET files = files - 1, bytes = bytes - COALESCE(
            (SELECT b.size FROM blobs b WHERE b.sha256 = OLD.sha256 AND b.lost_at IS NULL), 0
        )
        WHERE user_pk = OLD.user_pk
        OR user_pk IN (SELECT h.user_pk FROM highlights h WHERE h.pk = OLD.highlight_pk)
        OR user_pk IN (SELECT h.user_pk FROM highlight_items m JOIN highlights h ON h.pk = m.highlight_pk
            WHERE m.item_pk = OLD.item_pk);
        DELETE FROM account_totals WHERE items = 0 AND files = 0;
        """,
    ),
)


def upgrade() -> None:
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    for name, table in MONTHS_ONLY:
        op.execute(f"DROP TRIGGER {name} ON {table}" if is_postgresql else f"DROP TRIGGER {name}")
        if is_postgresql:
            op.execute(f"DROP FUNCTION totals_{name}()")
    for name, event, condition, body in ACCOUNTS:
        if is_postgresql:
            op.execute(
                f"CREATE OR REPLACE FUNCTION totals_{name}() RETURNS trigger LANGUAGE plpgsql"
                f" SET search_path FROM CURRENT AS $$ BEGIN {body} RETURN NULL; END $$"
            )
        else:
            op.execute(f"DROP TRIGGER {name}")
            op.execute(f"CREATE TRIGGER {name} AFTER {event} FOR EACH ROW {condition} BEGIN {body} END")
    op.execute("DROP VIEW growth")
    op.drop_table("monthly_totals")
    op.create_table(
        "monthly_totals",
        Column("month", PK, primary_key=True),
        Column("writer", sa.BigInteger(), primary_key=True, autoincrement=False),
        *[
            Column(number, sa.BigInteger(), nullable=False, server_default="0")
            for number in ("items", "files", "blobs", "bytes")
        ],
    )
    op.execute(f"CREATE VIEW growth AS {GROWTH}")
    op.create_table(
        "budget_totals",
        Column("period", PK, primary_key=True),
        Column("units", sa.BigInteger(), nullable=False),
    )
