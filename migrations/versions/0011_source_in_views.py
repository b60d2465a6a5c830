"""Let the views of files say which tool a file comes from: the last column, ``source``.

On SQLite, the table ``adopted`` is rebuilt so that the id of a removed row is never assigned again.
"""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"

# As revision 0004 creates them, with ``source`` added.
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


def upgrade() -> None:
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    if is_sqlite:
        with op.batch_alter_table("adopted", recreate="always", table_kwargs={"sqlite_autoincrement": True}):
            pass
    for name, query in VIEWS:
        if is_sqlite:
            op.execute(f"DROP VIEW {name}")
        op.execute(f"CREATE {'' if is_sqlite else 'OR REPLACE '}VIEW {name} AS {query}")
