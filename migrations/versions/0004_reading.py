"""Add what reading needs: views for the usual questions, totals that triggers maintain, ``links.domain``.

The totals are tables because counting takes too long: with a million items on SQLite, listing the accounts
with their bytes took 6 s, and ``status`` 0.7 s. Each total equals a count of the rows, even after rows were
deleted by hand.

A later revision that recreates one of these tables (batch mode, on SQLite) must drop the views first, and
create the views and triggers again afterwards.
"""

from __future__ import annotations

from urllib.parse import urlsplit

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Column

revision = "0004"
down_revision = "0003"

PK = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("links", Column("domain", PK))
    _fill_domains()
    op.create_index("ix_links_domain_item_pk", "links", ["domain", "item_pk"])
    op.create_index("ix_users_username", "users", ["username"])
    op.create_index("ix_items_first_seen_at", "items", ["first_seen_at"])
    gone = sa.text("gone_at IS NOT NULL")
    op.create_index(
        "ix_highlight_items_gone", "highlight_items", ["gone_at"], sqlite_where=gone, postgresql_where=gone
    )
    _totals("account_totals", "user_pk", "items", "files", "bytes")
    _totals("monthly_totals", "month", "items", "files", "blobs", "bytes")
    dialect = op.get_bind().dialect.name
    for name, query in VIEWS:
        op.execute(f"CREATE VIEW {name} AS {_spelt(query, dialect)}")
    op.execute(COUNT_ACCOUNTS)
    op.execute(_spelt(COUNT_MONTHS, dialect))
    for name, event, condition, *statements in TRIGGERS:
        _trigger(
            name,
            event,
            _spelt(condition, dialect),
            [_spelt(statement, dialect) for statement in statements],
            dialect,
        )


def _fill_domains() -> None:
    connection = op.get_bind()
    fill = sa.text("UPDATE links SET domain = :host WHERE item_pk = :item AND position = :place")
    some = sa.text(
        "SELECT item_pk, position, url FROM links WHERE (item_pk, position) > (:item, :place)"
        " ORDER BY item_pk, position LIMIT 5000"
    )
    last = {"item": "", "place": -1}
    while rows := connection.execute(some, last).all():  # in batches: a million rows take a gigabyte
        known = [
            {"item": row.item_pk, "place": row.position, "host": host}
            for row in rows
            if (host := _domain(row.url)) is not None
        ]
        if known:
            connection.execute(fill, known)
        last = {"item": rows[-1].item_pk, "place": rows[-1].position}


def _domain(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        return (parts.hostname or "").rstrip(".") or None if parts.scheme in ("http", "https") else None
    except ValueError:
        return None


def _totals(name: str, key: str, *numbers: str) -> None:
    columns = [Column(number, sa.BigInteger(), nullable=False, server_default="0") for number in numbers]
    op.create_table(name, Column(key, PK, primary_key=True), *columns)


def _spelt(statement: str, dialect: str) -> str:
    """Replace ``month(x)`` (in UTC) and the type ``moment`` by the SQL of the database."""
    statement = statement.replace("AS moment)", "AS timestamptz)" if dialect == "postgresql" else "AS text)")
    before, *calls = statement.split("month(")
    spelt = "to_char({} AT TIME ZONE 'UTC', 'YYYY-MM')" if dialect == "postgresql" else "substr({}, 1, 7)"
    return before + "".join(
        spelt.format(time) + rest for time, _, rest in (call.partition(")") for call in calls)
    )


def _trigger(name: str, event: str, condition: str, statements: list[str], dialect: str) -> None:
    body = " ".join(f"{statement};" for statement in statements)
    when = f"WHEN ({condition})" if condition else ""
    if dialect != "postgresql":
        op.execute(f"CREATE TRIGGER {name} AFTER {event} FOR EACH ROW {when} BEGIN {body} END")
        return
    # The search_path is fixed here, because pg_restore and other programs set their own.
    op.execute(
        f"CREATE FUNCTION totals_{name}() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT"
        f" AS $$ BEGIN {body} RETURN NULL; END $$"
    )
    op.execute(f"CREATE TRIGGER {name} AFTER {event} FOR EACH ROW {when} EXECUTE PROCEDURE totals_{name}()")


# An item counts once for an account, even if several of its highlights contain it: in the one with the
# smallest pk. On PostgreSQL, CROSS JOIN has the same effect as JOIN here. It makes SQLite start with the rows
# of the item instead of all highlights of the account.
FIRST_OF_ACCOUNT = """NOT EXISTS (
    SELECT 1 FROM highlight_items o CROSS JOIN highlights oh
    WHERE o.item_pk = m.item_pk AND o.highlight_pk < m.highlight_pk AND oh.pk = o.highlight_pk AND oh.user_pk = h.user_pk
)"""
ITEM_URL = (
    "'https://www.instagram.com/stories/highlights/' || m.highlight_pk || '/?story_media_id=' || m.item_pk"
)
KIND = "CASE i.media_type WHEN 1 THEN 'photo' WHEN 2 THEN 'video' END"
PATH = "'blobs/' || substr(f.sha256, 1, 2) || '/' || f.sha256"
PICTURE = "(SELECT c.path FROM current_files c WHERE c.item_pk = m.item_pk AND c.role = 'thumbnail')"
VIDEO = "(SELECT c.path FROM current_files c WHERE c.item_pk = m.item_pk AND c.role = 'video')"
OWN = "u.pk AS user_pk, u.username"
OF_ITEM = "a.user_pk, a.username, a.highlight_pk, a.title, a.taken_at, a.url AS item_url"
FILE = f"f.id AS file_id, f.role, f.sha256, {PATH} AS path, b.mime, b.size, b.width, b.height, f.kept_at"
MOVED = "(n.last_seen_at > f.last_seen_at OR (n.last_seen_at = f.last_seen_at AND n.id > f.id))"

# In a UNION ALL, nulls are cast to the type of the column in the other branches. Otherwise SQLite does not
# apply a WHERE inside the branches.
VIEWS = (
    (
        "current_files",
        f"""
        SELECT f.user_pk, f.highlight_pk, f.item_pk, {FILE}, f.source_url
        FROM files f JOIN blobs b ON b.sha256 = f.sha256
        WHERE b.lost_at IS NULL
        AND NOT EXISTS (SELECT 1 FROM files n WHERE n.item_pk = f.item_pk AND n.role = f.role AND {MOVED})
        AND NOT EXISTS (SELECT 1 FROM files n WHERE n.highlight_pk = f.highlight_pk AND n.role = f.role AND {MOVED})
        AND NOT EXISTS (SELECT 1 FROM files n WHERE n.user_pk = f.user_pk AND n.role = f.role AND {MOVED})
        """,
    ),
    (
        "account_files",
        f"""
        SELECT {OWN}, CAST(NULL AS text) AS highlight_pk, CAST(NULL AS text) AS item_pk, {FILE}, b.lost_at
        FROM files f JOIN users u ON u.pk = f.user_pk JOIN blobs b ON b.sha256 = f.sha256
        UNION ALL
        SELECT {OWN}, h.pk, CAST(NULL AS text), {FILE}, b.lost_at
        FROM files f JOIN highlights h ON h.pk = f.highlight_pk JOIN users u ON u.pk = h.user_pk
        JOIN blobs b ON b.sha256 = f.sha256
        UNION ALL
        SELECT {OWN}, h.pk, f.item_pk, {FILE}, b.lost_at
        FROM files f JOIN highlight_items m ON m.item_pk = f.item_pk JOIN highlights h ON h.pk = m.highlight_pk
        JOIN users u ON u.pk = h.user_pk JOIN blobs b ON b.sha256 = f.sha256
        WHERE {FIRST_OF_ACCOUNT}
        """,
    ),
    (
        "accounts",
        f"""
        SELECT {OWN}, u.full_name, u.is_verified, u.is_private, u.verdict,
            (SELECT count(*) FROM highlights h WHERE h.user_pk = u.pk) AS highlights,
            COALESCE(t.items, 0) AS items, COALESCE(t.files, 0) AS files, COALESCE(t.bytes, 0) AS bytes,
            (SELECT c.path FROM current_files c WHERE c.user_pk = u.pk AND c.role = 'avatar') AS avatar_path,
            u.first_seen_at, u.last_seen_at, u.listed_at, u.gone_at
        FROM users u LEFT JOIN account_totals t ON t.user_pk = u.pk
        """,
    ),
    (
        "account_highlights",
        f"""
        SELECT {OWN}, h.pk AS highlight_pk, h.position, h.title, h.is_pinned, h.created_at,
            'https://www.instagram.com/stories/highlights/' || h.pk || '/' AS url,
            (SELECT count(*) FROM highlight_items m WHERE m.highlight_pk = h.pk) AS items,
            (SELECT CAST(COALESCE(sum(b.size), 0) AS bigint) FROM highlight_items m JOIN files f ON f.item_pk = m.item_pk
                JOIN blobs b ON b.sha256 = f.sha256 WHERE m.highlight_pk = h.pk AND b.lost_at IS NULL) AS bytes,
            (SELECT c.path FROM current_files c WHERE c.highlight_pk = h.pk AND c.role = 'cover') AS cover_path,
            h.first_seen_at, h.fetched_at, h.completed_at, h.gone_at
        FROM highlights h JOIN users u ON u.pk = h.user_pk
        """,
    ),
    (
        "highlight_contents",
        f"""
        SELECT {OWN}, m.highlight_pk, h.title, m.position, m.item_pk, i.code, {ITEM_URL} AS url, i.taken_at,
            {KIND} AS kind, i.video_duration, {PICTURE} AS picture_path, {VIDEO} AS video_path,
            m.first_seen_at, m.gone_at
        FROM highlight_items m JOIN highlights h ON h.pk = m.highlight_pk JOIN users u ON u.pk = h.user_pk
        JOIN items i ON i.pk = m.item_pk
        """,
    ),
    (
        "account_items",
        f"""
        SELECT {OWN}, i.pk AS item_pk, m.highlight_pk, h.title, i.code, {ITEM_URL} AS url, i.taken_at,
            {KIND} AS kind, i.video_duration, {PICTURE} AS picture_path, {VIDEO} AS video_path, i.first_seen_at,
            (SELECT count(*) FROM highlight_items s WHERE s.item_pk = i.pk) AS highlights,
            CASE WHEN NOT EXISTS (
                SELECT 1 FROM highlight_items s JOIN highlights sh ON sh.pk = s.highlight_pk
                WHERE s.item_pk = i.pk AND s.gone_at IS NULL AND sh.gone_at IS NULL
            ) THEN (
                SELECT max(COALESCE(s.gone_at, sh.gone_at))
                FROM highlight_items s JOIN highlights sh ON sh.pk = s.highlight_pk WHERE s.item_pk = i.pk
            ) END AS gone_at
        FROM highlight_items m JOIN highlights h ON h.pk = m.highlight_pk JOIN users u ON u.pk = h.user_pk
        JOIN items i ON i.pk = m.item_pk
        WHERE {FIRST_OF_ACCOUNT}
        """,
    ),
    (
        "shared_items",
        f"""
        SELECT {OWN}, m.item_pk, m.highlight_pk, h.title, m.position,
            (SELECT count(*) FROM highlight_items s WHERE s.item_pk = m.item_pk) AS highlights,
            m.first_seen_at, m.gone_at
        FROM highlight_items m JOIN highlights h ON h.pk = m.highlight_pk JOIN users u ON u.pk = h.user_pk
        WHERE EXISTS (
            SELECT 1 FROM highlight_items s WHERE s.item_pk = m.item_pk AND s.highlight_pk <> m.highlight_pk
        )
        """,
    ),
    (
        "item_mentions",
        f"""
        SELECT e.item_pk, e.position, e.username AS mentioned, e.user_pk AS mentioned_pk, e.full_name AS mentioned_name,
            {OF_ITEM}
        FROM mentions e JOIN account_items a ON a.item_pk = e.item_pk
        """,
    ),
    (
        "item_links",
        f"""
        SELECT e.item_pk, e.position, e.domain, e.url, e.title AS link_title, e.display_url, e.source, {OF_ITEM}
        FROM links e JOIN account_items a ON a.item_pk = e.item_pk
        """,
    ),
    (
        "item_hashtags",
        f"""
        SELECT e.item_pk, e.position, e.name AS hashtag, {OF_ITEM}
        FROM hashtags e JOIN account_items a ON a.item_pk = e.item_pk
        """,
    ),
    (
        "item_locations",
        f"""
        SELECT e.item_pk, e.position, e.location_pk, e.name AS place, e.lat, e.lng, {OF_ITEM}
        FROM locations e JOIN account_items a ON a.item_pk = e.item_pk
        """,
    ),
    (
        "highlight_titles",
        f"""
        SELECT {OWN}, h.pk AS highlight_pk, c.old AS title, COALESCE((
            SELECT max(p.at) FROM changes p
            WHERE p.subject = 'highlight' AND p.subject_pk = h.pk AND p.field = 'title' AND p.id < c.id
        ), h.first_seen_at) AS since, c.at AS until
        FROM highlights h JOIN users u ON u.pk = h.user_pk CROSS JOIN changes c
        WHERE c.subject_pk = h.pk AND c.subject = 'highlight' AND c.field = 'title'
        UNION ALL
        SELECT {OWN}, h.pk, h.title, COALESCE((
            SELECT max(p.at) FROM changes p WHERE p.subject = 'highlight' AND p.subject_pk = h.pk AND p.field = 'title'
        ), h.first_seen_at), CAST(NULL AS moment)
        FROM highlights h JOIN users u ON u.pk = h.user_pk
        """,
    ),
    (
        "named_changes",
        f"""
        SELECT c.id, c.run_id, c.at, {OWN}, CAST(NULL AS text) AS highlight_pk, CAST(NULL AS text) AS title,
            c.subject, c.subject_pk, c.field, c.old, c.new
        FROM changes c JOIN users u ON u.pk = c.subject_pk
        WHERE c.subject = 'user'
        UNION ALL
        SELECT c.id, c.run_id, c.at, {OWN}, h.pk, h.title, c.subject, c.subject_pk, c.field, c.old, c.new
        FROM changes c JOIN highlights h ON h.pk = c.subject_pk JOIN users u ON u.pk = h.user_pk
        WHERE c.subject = 'highlight'
        UNION ALL
        SELECT c.id, c.run_id, c.at, {OWN}, h.pk, h.title, c.subject, c.subject_pk, c.field, c.old, c.new
        FROM changes c JOIN highlight_items m ON m.item_pk = c.subject_pk JOIN highlights h ON h.pk = m.highlight_pk
        JOIN users u ON u.pk = h.user_pk
        WHERE c.subject = 'item' AND {FIRST_OF_ACCOUNT}
        """,
    ),
    (
        "gone_upstream",
        f"""
        SELECT 'user' AS subject, u.pk AS subject_pk, {OWN}, CAST(NULL AS text) AS highlight_pk, CAST(NULL AS text) AS title, u.gone_at
        FROM users u WHERE u.gone_at IS NOT NULL
        UNION ALL
        SELECT 'highlight', h.pk, {OWN}, h.pk, h.title, h.gone_at
        FROM highlights h JOIN users u ON u.pk = h.user_pk WHERE h.gone_at IS NOT NULL
        UNION ALL
        SELECT 'item', m.item_pk, {OWN}, h.pk, h.title, m.gone_at
        FROM highlight_items m JOIN highlights h ON h.pk = m.highlight_pk JOIN users u ON u.pk = h.user_pk
        WHERE m.gone_at IS NOT NULL AND NOT EXISTS (
            SELECT 1 FROM highlight_items o WHERE o.item_pk = m.item_pk AND (o.gone_at IS NULL
            OR o.gone_at > m.gone_at OR (o.gone_at = m.gone_at AND o.highlight_pk > m.highlight_pk))
        )
        """,
    ),
    (
        "paid_calls",
        f"""
        SELECT c.id, c.run_id, c.started_at AS at, month(c.started_at) AS month, {OWN}, c.path, c.subject, c.status, c.units
        FROM api_calls c LEFT JOIN users u ON u.pk = CASE
            WHEN c.path IN ('/v1/user/by/username', '/v1/user/highlights/by/username') THEN COALESCE(
                (SELECT t.user_pk FROM targets t WHERE t.text = c.subject),
                (SELECT n.user_pk FROM usernames n WHERE n.username = c.subject
                    ORDER BY n.last_seen_at DESC, n.user_pk LIMIT 1)
            )
            ELSE COALESCE(
                (SELECT i.pk FROM users i WHERE i.pk = c.subject),
                (SELECT h.user_pk FROM highlights h WHERE h.pk = c.subject)
            ) END
        WHERE c.path <> '/sys/balance'
        """,
    ),
    (
        "growth",
        """
        SELECT month, items, files, blobs, bytes,
            CAST(sum(items) OVER (ORDER BY month) AS bigint) AS all_items,
            CAST(sum(bytes) OVER (ORDER BY month) AS bigint) AS all_bytes
        FROM monthly_totals
        """,
    ),
)

_COUNT = """
    INSERT INTO account_totals (user_pk, items, files, bytes)
    SELECT user_pk, sum(items), sum(files), sum(bytes) FROM (
        SELECT h.user_pk, count(DISTINCT m.item_pk) AS items, 0 AS files, 0 AS bytes
        FROM highlights h JOIN highlight_items m ON m.highlight_pk = h.pk {whose} GROUP BY h.user_pk
        UNION ALL
        SELECT h.user_pk, 0, count(*), sum(CASE WHEN h.lost_at IS NULL THEN h.size ELSE 0 END)
        FROM account_files h {whose} GROUP BY h.user_pk
    ) AS counted GROUP BY user_pk
"""
COUNT_ACCOUNTS = _COUNT.format(whose="")
COUNT_MONTHS = """
    INSERT INTO monthly_totals (month, items, files, blobs, bytes)
    SELECT month, sum(items), sum(files), sum(blobs), sum(bytes) FROM (
        SELECT month(first_seen_at) AS month, count(*) AS items, 0 AS files, 0 AS blobs, 0 AS bytes FROM items GROUP BY 1
        UNION ALL
        SELECT month(kept_at), 0, count(*), 0, 0 FROM files GROUP BY 1
        UNION ALL
        SELECT month(stored_at), 0, 0, count(*), sum(size) FROM blobs WHERE lost_at IS NULL GROUP BY 1
    ) AS counted GROUP BY month
"""
_ITEM_COUNTS = """
    INSERT INTO monthly_totals (month, items) VALUES (month(NEW.first_seen_at), 1)
    ON CONFLICT (month) DO UPDATE SET items = monthly_totals.items + 1
"""
_FORGET_MONTHS = "DELETE FROM monthly_totals WHERE items = 0 AND files = 0 AND blobs = 0"
_FORGET_ACCOUNTS = "DELETE FROM account_totals WHERE items = 0 AND files = 0"
_SIGN = "CASE WHEN NEW.lost_at IS NULL THEN 1 ELSE -1 END"

TRIGGERS = (
    ("count_item", "INSERT ON items", "", _ITEM_COUNTS),
    (
        "count_item_earlier",
        "UPDATE OF first_seen_at ON items",
        "month(OLD.first_seen_at) <> month(NEW.first_seen_at)",
        "UPDATE monthly_totals SET items = items - 1 WHERE month = month(OLD.first_seen_at)",
        _ITEM_COUNTS,
        _FORGET_MONTHS,
    ),
    (
        "count_member",
        "INSERT ON highlight_items",
        "",
        """
        INSERT INTO account_totals (user_pk, items, files, bytes)
        SELECT h.user_pk, 1, count(f.id), COALESCE(sum(CASE WHEN b.lost_at IS NULL THEN b.size ELSE 0 END), 0)
        FROM highlights h LEFT JOIN files f ON f.item_pk = NEW.item_pk LEFT JOIN blobs b ON b.sha256 = f.sha256
        WHERE h.pk = NEW.highlight_pk AND NOT EXISTS (
            SELECT 1 FROM highlight_items o CROSS JOIN highlights oh
            WHERE o.item_pk = NEW.item_pk AND o.highlight_pk <> NEW.highlight_pk AND oh.pk = o.highlight_pk
            AND oh.user_pk = h.user_pk
        )
        GROUP BY h.user_pk
        ON CONFLICT (user_pk) DO UPDATE SET items = account_totals.items + 1,
            files = account_totals.files + excluded.files, bytes = account_totals.bytes + excluded.bytes
        """,
    ),
    (
        "count_file",
        "INSERT ON files",
        "",
        """
        INSERT INTO monthly_totals (month, files) VALUES (month(NEW.kept_at), 1)
        ON CONFLICT (month) DO UPDATE SET files = monthly_totals.files + 1
        """,
        """
        INSERT INTO account_totals (user_pk, files, bytes)
        SELECT f.user_pk, 1, CASE WHEN f.lost_at IS NULL THEN f.size ELSE 0 END FROM account_files f WHERE f.file_id = NEW.id
        ON CONFLICT (user_pk) DO UPDATE SET files = account_totals.files + 1, bytes = account_totals.bytes + excluded.bytes
        """,
    ),
    (
        "count_blob",
        "INSERT ON blobs",
        "NEW.lost_at IS NULL",
        """
        INSERT INTO monthly_totals (month, blobs, bytes) VALUES (month(NEW.stored_at), 1, NEW.size)
        ON CONFLICT (month) DO UPDATE SET blobs = monthly_totals.blobs + 1, bytes = monthly_totals.bytes + excluded.bytes
        """,
    ),
    (
        "count_lost_blob",
        "UPDATE OF lost_at ON blobs",
        "(OLD.lost_at IS NULL) <> (NEW.lost_at IS NULL)",
        f"""
        UPDATE monthly_totals SET blobs = blobs + {_SIGN}, bytes = bytes + NEW.size * {_SIGN}
        WHERE month = month(NEW.stored_at)
        """,
        _FORGET_MONTHS,
        f"""
        UPDATE account_totals SET bytes = bytes + NEW.size * {_SIGN} * (
            SELECT count(*) FROM account_files f WHERE f.sha256 = NEW.sha256 AND f.user_pk = account_totals.user_pk
        )
        WHERE user_pk IN (SELECT f.user_pk FROM account_files f WHERE f.sha256 = NEW.sha256)
        """,
    ),
    (
        "uncount_item",
        "DELETE ON items",
        "",
        "UPDATE monthly_totals SET items = items - 1 WHERE month = month(OLD.first_seen_at)",
        _FORGET_MONTHS,
    ),
    (
        "uncount_member",
        "DELETE ON highlight_items",
        "",
        """
        UPDATE account_totals SET items = items - 1,
            files = files - (SELECT count(*) FROM files f WHERE f.item_pk = OLD.item_pk),
            bytes = bytes - (SELECT COALESCE(sum(b.size), 0) FROM files f JOIN blobs b ON b.sha256 = f.sha256
                WHERE f.item_pk = OLD.item_pk AND b.lost_at IS NULL)
        WHERE user_pk = (SELECT h.user_pk FROM highlights h WHERE h.pk = OLD.highlight_pk) AND NOT EXISTS (
            SELECT 1 FROM highlight_items o CROSS JOIN highlights oh
            WHERE o.item_pk = OLD.item_pk AND oh.pk = o.highlight_pk AND oh.user_pk = account_totals.user_pk
        )
        """,
        _FORGET_ACCOUNTS,
    ),
    (
        "uncount_file",
        "DELETE ON files",
        "",
        "UPDATE monthly_totals SET files = files - 1 WHERE month = month(OLD.kept_at)",
        _FORGET_MONTHS,
        """
        UPDATE account_totals SET files = files - 1,
            bytes = bytes - COALESCE((SELECT b.size FROM blobs b WHERE b.sha256 = OLD.sha256 AND b.lost_at IS NULL), 0)
        WHERE user_pk = OLD.user_pk
        OR user_pk IN (SELECT h.user_pk FROM highlights h WHERE h.pk = OLD.highlight_pk)
        OR user_pk IN (SELECT h.user_pk FROM highlight_items m JOIN highlights h ON h.pk = m.highlight_pk
            WHERE m.item_pk = OLD.item_pk)
        """,
        _FORGET_ACCOUNTS,
    ),
    (
        "uncount_blob",
        "DELETE ON blobs",
        "OLD.lost_at IS NULL",
        "UPDATE monthly_totals SET blobs = blobs - 1, bytes = bytes - OLD.size WHERE month = month(OLD.stored_at)",
        _FORGET_MONTHS,
    ),
    (
        "count_moved_highlight",
        "UPDATE OF user_pk ON highlights",
        "OLD.user_pk <> NEW.user_pk",
        "DELETE FROM account_totals WHERE user_pk IN (OLD.user_pk, NEW.user_pk)",
        _COUNT.format(whose="WHERE h.user_pk IN (OLD.user_pk, NEW.user_pk)"),
    ),
)
