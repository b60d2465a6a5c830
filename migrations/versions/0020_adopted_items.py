"""Add what other tools say of the items that they saved: owner, time, title, and their metadata files.

``source`` of a highlight, an item or a place names the tool until an answer shows it. The view
``gone_upstream`` leaves such rows out: nothing has shown when they were removed.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"

PK = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
TIME = sa.Text().with_variant(sa.TIMESTAMP(timezone=True), "postgresql")

# As revision 0004 creates it, without rows that have a source.
GONE = """
    SELECT 'user' AS subject, u.pk AS subject_pk, u.pk AS user_pk, u.username,
        CAST(NULL AS text) AS highlight_pk, CAST(NULL AS text) AS title, u.gone_at
    FROM users u WHERE u.gone_at IS NOT NULL
    UNION ALL
    SELECT 'highlight', h.pk, u.pk AS user_pk, u.username, h.pk, h.title, h.gone_at
    FROM highlights h JOIN users u ON u.pk = h.user_pk WHERE h.gone_at IS NOT NULL AND h.source IS NULL
    UNION ALL
    SELECT 'item', m.item_pk, u.pk AS user_pk, u.username, h.pk, h.title, m.gone_at
    FROM highlight_items m JOIN highlights h ON h.pk = m.highlight_pk JOIN users u ON u.pk = h.user_pk
    WHERE m.gone_at IS NOT NULL AND m.source IS NULL AND NOT EXISTS (
        SELECT 1 FROM highlight_items o WHERE o.item_pk = m.item_pk AND o.source IS NULL
        AND (o.gone_at IS NULL OR o.gone_at > m.gone_at
            OR (o.gone_at = m.gone_at AND o.highlight_pk > m.highlight_pk))
    )
"""


def upgrade() -> None:
    for column in (
        sa.Column("user_pk", PK),
        sa.Column("title", sa.Text()),
        sa.Column("taken_at", TIME),
        sa.Column("file_name", sa.Text()),
    ):
        op.add_column("adopted", column)
    for table in ("highlights", "items", "highlight_items"):
        op.add_column(table, sa.Column("source", sa.Text()))
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    if is_sqlite:
        op.execute("DROP VIEW gone_upstream")
    op.execute(f"CREATE {'' if is_sqlite else 'OR REPLACE '}VIEW gone_upstream AS {GONE}")
