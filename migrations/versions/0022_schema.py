"""The schema.

It took the place of 21 revisions, and has the id of the last of them: a database that they made is current.

The triggers of the counters and of the journal follow from the tables: ``archiver.catalog.schema`` creates
them after every upgrade.

A revision is self-contained. It never imports the current tables. Its statements never change once it is
released. A later one that recreates a table (batch mode, on SQLite) must drop the views first, and create
views and triggers of search again afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from string import Template
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Column, ForeignKey

revision = "0022"
down_revision = None

APPLICATION_ID = 0x41524348  # «ARCH»

PK = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.Text().with_variant(sa.TIMESTAMP(timezone=True), "postgresql")
FLOAT = sa.Float(53)


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    _create_paid()
    _create_accounts()
    _create_items()
    _create_entries()
    _create_history()
    _create_totals()
    _create_journal()
    _create_workers()
    _create_removals()
    _create_views()
    _create_search()


def _partial(name: str, table: str, columns: list[str], where: str, *, unique: bool = True) -> None:
    condition = sa.text(where)
    op.create_index(name, table, columns, unique=unique, sqlite_where=condition, postgresql_where=condition)


def _create_paid() -> None:
    op.create_table(
        "archive",
        Column("id", PK, primary_key=True),
        Column("format", sa.Integer(), nullable=False),
        Column("created_at", TIME, nullable=False),
        Column("storage", sa.Text()),
    )
    op.create_table(
        "runs",
        Column("id", ID, primary_key=True),
        Column("command", sa.Text(), nullable=False),
        Column("started_at", TIME, nullable=False),
        Column("finished_at", TIME),
        Column("outcome", sa.Text()),
        Column("exit_code", sa.Integer()),
        Column("units", sa.Integer(), nullable=False),
        Column("balance_before", sa.BigInteger()),
        Column("balance_after", sa.BigInteger()),
    )
    op.create_table(
        "api_calls",
        Column("id", ID, primary_key=True),
        Column("run_id", ID, ForeignKey("runs.id", name="fk_api_calls_run_id"), nullable=False),
        Column("path", sa.Text(), nullable=False),
        Column("subject", PK, nullable=False),
        Column("status", sa.Integer()),
        Column("units", sa.Integer(), nullable=False),
        Column("started_at", TIME, nullable=False),
        Column("finished_at", TIME),
    )
    op.create_index("ix_api_calls_run_id_units", "api_calls", ["run_id", "units"])
    op.create_index("ix_api_calls_started_at_units", "api_calls", ["started_at", "units"])
    op.create_index("ix_api_calls_subject_path", "api_calls", ["subject", "path"])
    op.create_table(
        "answers",
        Column("id", ID, primary_key=True),
        Column("api_call_id", ID, ForeignKey("api_calls.id", name="fk_answers_api_call_id"), nullable=False),
        Column("sha256", PK, nullable=False),
        Column("segment", sa.Text(), nullable=False),
        Column("offset", sa.BigInteger(), nullable=False),
        Column("length", sa.BigInteger(), nullable=False),
        Column("latest_reel_media", sa.BigInteger()),
        Column("media_count", sa.BigInteger()),
        Column("lost_at", TIME),
        sa.UniqueConstraint("api_call_id", name="uq_answers_api_call_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_answers_segment", "answers", ["segment"])


def _create_accounts() -> None:
    op.create_table(
        "users",
        Column("pk", PK, primary_key=True),
        Column("username", sa.Text()),
        Column("full_name", sa.Text()),
        Column("is_private", sa.Boolean()),
        Column("is_verified", sa.Boolean()),
        Column("first_seen_at", TIME, nullable=False),
        Column("last_seen_at", TIME, nullable=False),
        Column("gone_at", TIME),
        Column("listed_at", TIME),
        Column("tray_length", sa.Integer()),
        Column("tray_longest", sa.Integer()),
        Column("tray_endpoint", sa.Text()),
        Column("avatar_name", sa.Text()),
        Column("avatar_held", sa.Text()),
        Column("shrunk_to", sa.Text()),
        Column("verdict", sa.Text()),
        Column("verdict_checks", sa.Integer(), server_default="0", nullable=False),
        Column("verdict_at", TIME),
        Column("verdict_due_at", TIME),
        Column("paged_at", TIME),
        Column("pages_failed_at", TIME),
        Column("shrunk_run_id", sa.BigInteger()),
    )
    op.create_table(
        "usernames",
        Column("user_pk", PK, ForeignKey("users.pk", name="fk_usernames_user_pk"), nullable=False),
        Column("username", sa.Text(), nullable=False),
        Column("first_seen_at", TIME, nullable=False),
        Column("last_seen_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("user_pk", "username"),
    )
    op.create_index("ix_usernames_username", "usernames", ["username"])
    op.create_index("ix_users_username", "users", ["username"])
    for table in ("users", "usernames"):
        op.create_index(f"ix_{table}_lower_username", table, [sa.text("lower(username)")])
    op.create_table(
        "targets",
        Column("text", PK, primary_key=True),
        Column("user_pk", PK, nullable=False),
        Column("bound_at", TIME, nullable=False),
    )
    op.create_table(
        "highlights",
        Column("pk", PK, primary_key=True),
        Column("user_pk", PK, ForeignKey("users.pk", name="fk_highlights_user_pk"), nullable=False),
        Column("title", sa.Text()),
        Column("position", sa.Integer()),
        Column("created_at", TIME),
        Column("latest_reel_media", sa.BigInteger()),
        Column("media_count", sa.BigInteger()),
        Column("is_pinned", sa.Boolean()),
        Column("cover_name", sa.Text()),
        Column("cover_held", sa.Text()),
        Column("first_seen_at", TIME, nullable=False),
        Column("last_seen_at", TIME, nullable=False),
        Column("listed_at", TIME),
        Column("fetched_at", TIME),
        Column("fetched_latest_reel_media", sa.BigInteger()),
        Column("fetched_media_count", sa.BigInteger()),
        Column("completed_at", TIME),
        Column("shrunk_to", sa.Text()),
        Column("gone_at", TIME),
        Column("tried_at", TIME),
        Column("shrunk_run_id", sa.BigInteger()),
        Column("source", sa.Text()),
    )
    op.create_index("ix_highlights_user_pk", "highlights", ["user_pk"])


def _create_items() -> None:
    op.create_table(
        "items",
        Column("pk", PK, primary_key=True),
        Column("user_pk", PK, nullable=False),
        Column("code", sa.Text()),
        Column("taken_at", TIME),
        Column("media_type", sa.BigInteger()),
        Column("product_type", sa.Text()),
        Column("video_duration", FLOAT),
        Column("first_seen_at", TIME, nullable=False),
        Column("answer_id", sa.BigInteger()),
        Column("source", sa.Text()),
    )
    op.create_index("ix_items_code", "items", ["code"])
    op.create_index("ix_items_first_seen_at", "items", ["first_seen_at"])
    op.create_index("ix_items_taken_at", "items", ["taken_at"])
    op.create_index("ix_items_user_pk_pk", "items", ["user_pk", "pk"])
    op.create_table(
        "highlight_items",
        Column(
            "highlight_pk",
            PK,
            ForeignKey("highlights.pk", name="fk_highlight_items_highlight_pk"),
            nullable=False,
        ),
        Column("item_pk", PK, ForeignKey("items.pk", name="fk_highlight_items_item_pk"), nullable=False),
        Column("position", sa.Integer(), nullable=False),
        Column("first_seen_at", TIME, nullable=False),
        Column("last_seen_at", TIME, nullable=False),
        Column("gone_at", TIME),
        Column("source", sa.Text()),
        sa.PrimaryKeyConstraint("highlight_pk", "item_pk"),
    )
    op.create_index("ix_highlight_items_item_pk", "highlight_items", ["item_pk"])
    _partial("ix_highlight_items_gone", "highlight_items", ["gone_at"], "gone_at IS NOT NULL", unique=False)
    op.create_table(
        "blobs",
        Column("sha256", PK, primary_key=True),
        Column("size", sa.BigInteger(), nullable=False),
        Column("mime", sa.Text(), nullable=False),
        Column("width", sa.Integer()),
        Column("height", sa.Integer()),
        Column("stored_at", TIME, nullable=False),
        Column("verified_at", TIME),
        Column("lost_at", TIME),
    )
    _partial("ix_blobs_lost", "blobs", ["sha256"], "lost_at IS NOT NULL", unique=False)
    op.create_table(
        "files",
        Column("id", ID, primary_key=True),
        Column("user_pk", PK, ForeignKey("users.pk", name="fk_files_user_pk")),
        Column("highlight_pk", PK, ForeignKey("highlights.pk", name="fk_files_highlight_pk")),
        Column("item_pk", PK, ForeignKey("items.pk", name="fk_files_item_pk")),
        Column("role", sa.Text(), nullable=False),
        Column("sha256", PK, ForeignKey("blobs.sha256", name="fk_files_sha256"), nullable=False),
        Column("run_id", ID, ForeignKey("runs.id", name="fk_files_run_id"), nullable=False),
        Column("answer_id", sa.BigInteger()),
        Column("source_url", sa.Text(), nullable=False),
        Column("kept_at", TIME, nullable=False),
        Column("last_seen_at", TIME, nullable=False),
        Column("source", sa.Text()),
        sa.CheckConstraint(
            "CASE WHEN user_pk IS NULL THEN 0 ELSE 1 END + CASE WHEN highlight_pk IS NULL THEN 0 ELSE 1 END"
            " + CASE WHEN item_pk IS NULL THEN 0 ELSE 1 END = 1",
            name=op.f("ck_files_one_owner"),
        ),
    )
    op.create_index("ix_files_run_id", "files", ["run_id"])
    op.create_index("ix_files_sha256", "files", ["sha256"])
    for owner in ("user_pk", "highlight_pk", "item_pk"):
        _partial(f"uq_files_{owner}", "files", [owner, "role", "sha256"], f"{owner} IS NOT NULL")
    op.create_table(
        "adopted",
        Column("id", ID, primary_key=True),
        Column("item_pk", PK, nullable=False),
        Column("highlight_pk", PK),
        Column("role", sa.Text(), nullable=False),
        Column("sha256", PK, ForeignKey("blobs.sha256", name="fk_adopted_sha256"), nullable=False),
        Column("username", sa.Text()),
        Column("source", sa.Text(), nullable=False),
        Column("adopted_at", TIME, nullable=False),
        Column("reason", sa.Text()),
        Column("user_pk", PK),
        Column("title", sa.Text()),
        Column("taken_at", TIME),
        Column("file_name", sa.Text()),
        sa.UniqueConstraint("item_pk", "role", "sha256", name="uq_adopted_item_pk_role_sha256"),
        sqlite_autoincrement=True,
    )


def _entries(name: str, *columns: Column[Any]) -> None:
    """Create a table for one kind of entry of an item, such as mentions: one row per entry."""
    op.create_table(
        name,
        Column("item_pk", PK, ForeignKey("items.pk", name=f"fk_{name}_item_pk"), nullable=False),
        Column("position", sa.Integer(), nullable=False),
        *columns,
        sa.PrimaryKeyConstraint("item_pk", "position"),
    )


def _create_entries() -> None:
    _entries(
        "mentions",
        Column("user_pk", PK),
        Column("username", sa.Text()),
        Column("full_name", sa.Text()),
        *(Column(name, FLOAT) for name in ("x", "y", "width", "height", "rotation")),
    )
    op.create_index("ix_mentions_user_pk", "mentions", ["user_pk"])
    op.create_index("ix_mentions_username", "mentions", ["username"])
    _entries(
        "links",
        Column("url", sa.Text(), nullable=False),
        Column("title", sa.Text()),
        Column("display_url", sa.Text()),
        Column("source", sa.Text(), nullable=False),
        Column("domain", PK),
    )
    op.create_index("ix_links_domain_item_pk", "links", ["domain", "item_pk"])
    _entries("hashtags", Column("hashtag_pk", PK), Column("name", sa.Text()))
    op.create_index("ix_hashtags_name", "hashtags", ["name"])
    _entries(
        "locations",
        Column("location_pk", PK),
        Column("name", sa.Text()),
        Column("lat", FLOAT),
        Column("lng", FLOAT),
    )
    op.create_index("ix_locations_location_pk", "locations", ["location_pk"])
    _entries(
        "stickers", Column("kind", sa.Text(), nullable=False), Column("extra", sa.Text(), nullable=False)
    )
    _entries(
        "reshares",
        Column("media_pk", PK),
        Column("media_code", sa.Text()),
        Column("user_pk", PK),
        Column("product_type", sa.Text()),
    )
    _entries("sponsors", Column("user_pk", PK), Column("username", sa.Text()))


def _create_history() -> None:
    op.create_table(
        "changes",
        Column("id", ID, primary_key=True),
        Column("run_id", ID, ForeignKey("runs.id", name="fk_changes_run_id"), nullable=False),
        Column("at", TIME, nullable=False),
        Column("subject", sa.Text(), nullable=False),
        Column("subject_pk", PK, nullable=False),
        Column("field", sa.Text(), nullable=False),
        Column("old", sa.Text()),
        Column("new", sa.Text()),
    )
    op.create_index("ix_changes_at", "changes", ["at"])
    op.create_index("ix_changes_field_id", "changes", ["field", "id"])
    op.create_index("ix_changes_run_id", "changes", ["run_id"])
    op.create_index("ix_changes_subject_subject_pk", "changes", ["subject", "subject_pk"])
    op.create_table(
        "failures",
        Column("id", ID, primary_key=True),
        Column("subject", sa.Text(), nullable=False),
        Column("subject_pk", PK, nullable=False),
        Column("role", sa.Text()),
        Column("reason", sa.Text(), nullable=False),
        Column("detail", sa.Text(), nullable=False),
        Column("attempts", sa.Integer(), nullable=False),
        Column("first_at", TIME, nullable=False),
        Column("last_at", TIME, nullable=False),
        Column("next_try_at", TIME),
        Column("resolved_at", TIME),
        Column("host", sa.Text()),
        Column("size", sa.BigInteger()),
    )
    _partial(
        "uq_failures_open", "failures", ["subject", "subject_pk"], "resolved_at IS NULL AND role IS NULL"
    )
    _partial("uq_failures_open_role", "failures", ["subject", "subject_pk", "role"], "resolved_at IS NULL")


def _create_totals() -> None:
    """Create the tables of sums; counting takes too long where millions of rows are shown as one number."""
    op.create_table(
        "account_totals", Column("user_pk", PK, primary_key=True), *_sums("items", "files", "bytes")
    )
    op.create_table(
        "monthly_totals",
        Column("month", PK, primary_key=True),
        Column("writer", sa.BigInteger(), primary_key=True, autoincrement=False),
        *_sums("items", "files", "blobs", "bytes"),
    )
    op.create_table(
        "budget_totals",
        Column("period", PK, primary_key=True),
        Column("units", sa.BigInteger(), nullable=False),
    )


def _sums(*names: str) -> Iterator[Column[Any]]:
    for name in names:
        yield Column(name, sa.BigInteger(), nullable=False, server_default="0")


def _create_journal() -> None:
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


def _create_workers() -> None:
    op.create_table(
        "workers",
        Column("id", PK, primary_key=True),
        Column("name", sa.Text(), nullable=False),
        Column("is_run", sa.Boolean(), nullable=False),
        Column("started_at", TIME, nullable=False),
        Column("expires_at", TIME, nullable=False),
    )
    op.create_table(
        "shared_runs",
        Column(
            "run_id",
            sa.BigInteger(),
            ForeignKey("runs.id", name="fk_shared_runs_run_id"),
            primary_key=True,
            autoincrement=False,
        ),
        Column("orders", sa.Text(), nullable=False),
        Column("closed_at", TIME),
    )
    op.create_table(
        "visits",
        Column(
            "run_id",
            sa.BigInteger(),
            ForeignKey("shared_runs.run_id", name="fk_visits_run_id", ondelete="CASCADE"),
            primary_key=True,
            autoincrement=False,
        ),
        Column("position", sa.Integer(), primary_key=True, autoincrement=False),
        Column("target", sa.Text(), nullable=False),
        Column("is_account", sa.Boolean(), nullable=False),
        Column("user_pk", PK),
        Column(
            "worker_id",
            PK,
            ForeignKey("workers.id", name="fk_visits_worker_id", ondelete="SET NULL"),
            index=True,
        ),
        Column("attempts", sa.Integer(), nullable=False),
        Column("ended_at", TIME),
        sa.UniqueConstraint("run_id", "user_pk", name="uq_visits_run_id_user_pk"),
    )
    _partial("ix_visits_unfinished", "visits", ["run_id", "position"], "ended_at IS NULL", unique=False)
    op.create_table(
        "run_reports",
        Column(
            "run_id",
            sa.BigInteger(),
            ForeignKey("shared_runs.run_id", name="fk_run_reports_run_id", ondelete="CASCADE"),
            primary_key=True,
            autoincrement=False,
        ),
        Column("worker_id", PK, primary_key=True),
        Column("report", sa.Text(), nullable=False),
    )
    op.create_table(
        "api_rate",
        Column("id", sa.Integer(), primary_key=True, autoincrement=False),
        Column("per_second", sa.Float(), nullable=False),
        Column("next_at", TIME, nullable=False),
        Column("paused_until", TIME, nullable=False),
    )
    op.create_table(
        "journal_lease",
        Column("id", sa.Integer(), primary_key=True, autoincrement=False),
        Column(
            "worker_id",
            PK,
            ForeignKey("workers.id", name="fk_journal_lease_worker_id", ondelete="SET NULL"),
        ),
        Column("shipped_at", TIME),
    )


def _create_removals() -> None:
    op.create_table(
        "removals",
        Column("id", ID, primary_key=True),
        Column("at", TIME, nullable=False),
        Column("reason", sa.Text()),
    )
    op.create_table("deletions", Column("name", PK, primary_key=True))
    op.create_table(
        "removal_requests",
        Column("id", sa.Integer(), primary_key=True, autoincrement=False),
        Column("at", TIME, nullable=False),
        Column("user_pk", PK),
        Column("names", sa.Text(), nullable=False),
        Column("reason", sa.Text()),
    )


# An item counts once for an account, even if several of its highlights contain it: in the one with the
# smallest pk. On PostgreSQL, CROSS JOIN has the same effect as JOIN here. It makes SQLite start with the rows
# of the item instead of all highlights of the account.
FIRST_OF_ACCOUNT = """NOT EXISTS (
    SELECT 1 FROM highlight_items o CROSS JOIN highlights oh
    WHERE o.item_pk = m.item_pk AND o.highlight_pk < m.highlight_pk
    AND oh.pk = o.highlight_pk AND oh.user_pk = h.user_pk
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

# The change of a title before, or the last one: by their order, since the dates are those of clocks.
RENAMED_AT = """(
    SELECT p.at FROM changes p
    WHERE p.subject = 'highlight' AND p.subject_pk = h.pk AND p.field = 'title'{before}
    ORDER BY p.id DESC LIMIT 1
)"""

# In a UNION ALL, nulls are cast to the type of the column in the other branches. Otherwise SQLite does not
# apply a WHERE inside the branches.
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
        SELECT {OWN}, h.pk AS highlight_pk, c.old AS title,
            COALESCE({RENAMED_AT.format(before=" AND p.id < c.id")}, h.first_seen_at) AS since, c.at AS until
        FROM highlights h JOIN users u ON u.pk = h.user_pk CROSS JOIN changes c
        WHERE c.subject_pk = h.pk AND c.subject = 'highlight' AND c.field = 'title'
        UNION ALL
        SELECT u.pk, u.username, h.pk, h.title,
            COALESCE({RENAMED_AT.format(before="")}, h.first_seen_at), CAST(NULL AS moment)
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
        SELECT 'user' AS subject, u.pk AS subject_pk, {OWN},
            CAST(NULL AS text) AS highlight_pk, CAST(NULL AS text) AS title, u.gone_at
        FROM users u WHERE u.gone_at IS NOT NULL
        UNION ALL
        SELECT 'highlight', h.pk, {OWN}, h.pk, h.title, h.gone_at
        FROM highlights h JOIN users u ON u.pk = h.user_pk WHERE h.gone_at IS NOT NULL AND h.source IS NULL
        UNION ALL
        SELECT 'item', m.item_pk, {OWN}, h.pk, h.title, m.gone_at
        FROM highlight_items m JOIN highlights h ON h.pk = m.highlight_pk JOIN users u ON u.pk = h.user_pk
        WHERE m.gone_at IS NOT NULL AND m.source IS NULL AND NOT EXISTS (
            SELECT 1 FROM highlight_items o WHERE o.item_pk = m.item_pk AND o.source IS NULL
            AND (o.gone_at IS NULL OR o.gone_at > m.gone_at
                OR (o.gone_at = m.gone_at AND o.highlight_pk > m.highlight_pk))
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
        FROM (
            SELECT month, CAST(sum(items) AS bigint) AS items, CAST(sum(files) AS bigint) AS files,
                CAST(sum(blobs) AS bigint) AS blobs, CAST(sum(bytes) AS bigint) AS bytes
            FROM monthly_totals GROUP BY month
        ) AS months
        WHERE items <> 0 OR files <> 0 OR blobs <> 0
        """,
    ),
)


def _create_views() -> None:
    dialect = op.get_bind().dialect.name
    for name, query in VIEWS:
        op.execute(f"CREATE VIEW {name} AS {_spelt(query, dialect)}")


def _spelt(statement: str, dialect: str) -> str:
    """Replace ``month(x)`` (in UTC) and the type ``moment`` by the SQL of the database."""
    statement = statement.replace("AS moment)", "AS timestamptz)" if dialect == "postgresql" else "AS text)")
    before, *calls = statement.split("month(")
    spelt = "to_char({} AT TIME ZONE 'UTC', 'YYYY-MM')" if dialect == "postgresql" else "substr({}, 1, 7)"
    return before + "".join(
        spelt.format(time) + rest for time, _, rest in (call.partition(")") for call in calls)
    )


WORDS = ("names", "tags", "mentions", "links", "filters")

# For each table: the columns from which documents are made, the subject of the document (None: as the row
# says), the column with its pk, and whether a document is created if there is none. The rows of the last two
# tables have no words of their own; they only affect how the documents of others are found.
SOURCES: tuple[tuple[str, tuple[str, ...], str | None, str, bool], ...] = (
    ("users", ("pk", "username", "full_name", "first_seen_at"), "user", "pk", True),
    ("usernames", ("user_pk", "username"), "user", "user_pk", True),
    ("highlights", ("pk", "title", "user_pk", "created_at", "first_seen_at"), "highlight", "pk", True),
    ("changes", ("subject", "subject_pk", "field", "old"), None, "subject_pk", True),
    ("mentions", ("item_pk", "username", "full_name"), "item", "item_pk", True),
    ("sponsors", ("item_pk", "username"), "item", "item_pk", True),
    ("hashtags", ("item_pk", "name"), "item", "item_pk", True),
    ("locations", ("item_pk", "name"), "item", "item_pk", True),
    ("links", ("item_pk", "url", "title", "display_url"), "item", "item_pk", True),
    ("items", ("pk", "user_pk", "media_type", "taken_at", "first_seen_at"), "item", "pk", False),
    ("highlight_items", ("highlight_pk", "item_pk"), "item", "item_pk", False),
)
RENAMED = Template("$row.field IN ('title', 'full_name') AND $row.subject IN ('highlight', 'user')")

# On PostgreSQL this also locks the row of a document that is already stale, whether the condition holds or
# not. Therefore whoever writes the words of the document either sees this change or runs after it.
MADE = Template("""
    INSERT INTO search_documents (subject, subject_pk) VALUES ($subject, $pk) ON CONFLICT (subject, subject_pk)
    DO UPDATE SET at = NULL, names = NULL, tags = NULL, mentions = NULL, links = NULL, filters = NULL
    WHERE search_documents.at IS NOT NULL;""")
STALE = Template("""
    UPDATE search_documents SET at = NULL, names = NULL, tags = NULL, mentions = NULL, links = NULL, filters = NULL
    WHERE subject = $subject AND subject_pk = $pk;""")
ITEMS_OF_HIGHLIGHT = """
    UPDATE search_documents SET at = NULL, names = NULL, tags = NULL, mentions = NULL, links = NULL, filters = NULL
    WHERE subject = 'item' AND subject_pk IN (SELECT item_pk FROM highlight_items WHERE highlight_pk = new.pk);"""

# content= is spelled the way Datasette and sqlite-utils expect it.
FTS5 = """
CREATE VIRTUAL TABLE search_index USING fts5 (
    names, tags, mentions, links, filters,
    content="search_documents", content_rowid = 'id', columnsize = 0, tokenize = "ascii tokenchars '|@='"
)"""
INTO_INDEX = (
    """
CREATE TRIGGER search_documents_added AFTER INSERT ON search_documents WHEN new.at IS NOT NULL BEGIN
    INSERT INTO search_index (rowid, names, tags, mentions, links, filters)
    VALUES (new.id, new.names, new.tags, new.mentions, new.links, new.filters);
END""",
    """
CREATE TRIGGER search_documents_removed AFTER DELETE ON search_documents WHEN old.at IS NOT NULL BEGIN
    INSERT INTO search_index (search_index, rowid, names, tags, mentions, links, filters)
    VALUES ('delete', old.id, old.names, old.tags, old.mentions, old.links, old.filters);
END""",
    """
CREATE TRIGGER search_documents_altered AFTER UPDATE ON search_documents BEGIN
    INSERT INTO search_index (search_index, rowid, names, tags, mentions, links, filters)
    SELECT 'delete', old.id, old.names, old.tags, old.mentions, old.links, old.filters WHERE old.at IS NOT NULL;
    INSERT INTO search_index (rowid, names, tags, mentions, links, filters)
    SELECT new.id, new.names, new.tags, new.mentions, new.links, new.filters WHERE new.at IS NOT NULL;
END""",
)
LITE_TRIGGER = Template("CREATE TRIGGER search_${event}_$table AFTER $when BEGIN$does\nEND")

# Words are indexed unchanged, each with its position; no parser of the server splits, folds or drops them.
# Between two texts of a field, and between fields, one position is left free, so that no phrase matches
# across them. The words of filters need no position.
VECTOR = r"""
CREATE FUNCTION search_words(names text, tags text, mentions text, links text, filters text) RETURNS tsvector
LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(string_agg(
        '''' || replace(replace(word, '\', '\\'), '''', '''''') || '''' || coalesce(':' || place || weight, ''), ' '
    ), '')::tsvector
    FROM (
        SELECT word, weight, row_number() OVER (ORDER BY field, number) AS place
        FROM (VALUES (1, names, 'A'), (2, '|', ''), (3, tags, 'B'), (4, '|', ''), (5, mentions, 'C'), (6, '|', ''),
            (7, links, 'D')) AS fields (field, said, weight),
            unnest(string_to_array(said, ' ')) WITH ORDINALITY AS words (word, number)
        UNION ALL
        SELECT word, NULL, NULL FROM unnest(string_to_array(filters, ' ')) AS words (word)
    ) AS found
    WHERE word NOT IN ('', '|')
$$"""
INTO_VECTOR = """
CREATE FUNCTION search_documents_words() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    NEW.words := CASE WHEN NEW.at IS NOT NULL
        THEN search_words(NEW.names, NEW.tags, NEW.mentions, NEW.links, NEW.filters) END;
    RETURN NEW;
END
$$"""
PG_FUNCTION = Template("""
CREATE FUNCTION search_of_$table() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$$$
BEGIN
    IF TG_OP <> 'DELETE' THEN$new
    END IF;
    IF TG_OP <> 'INSERT' THEN$old
    END IF;
    RETURN NULL;
END
$$$$""")
PG_TRIGGER = Template("CREATE TRIGGER search_$event AFTER $when EXECUTE PROCEDURE search_of_$table()")


def _create_search() -> None:
    """Create the documents, their full-text index, and the triggers that update both.

    A document becomes stale (``at`` is null, and it has no words) as soon as a row changes from which it is
    made. The program writes the words again before it commits.
    """
    op.create_table(
        "search_documents",
        Column("id", ID, primary_key=True),
        Column("subject", sa.Text(), nullable=False),
        Column("subject_pk", PK, nullable=False),
        Column("at", TIME),
        *(Column(name, sa.Text()) for name in WORDS),
        sa.UniqueConstraint("subject", "subject_pk", name="uq_search_documents_subject_subject_pk"),
    )
    _partial("ix_search_documents_stale", "search_documents", ["id"], "at IS NULL", unique=False)
    connection = op.get_bind()
    is_sqlite = connection.dialect.name == "sqlite"
    for statement in _search_of_sqlite() if is_sqlite else _search_of_postgresql():
        connection.exec_driver_sql(statement)


def _search_of_sqlite() -> Iterator[str]:
    yield FTS5
    yield from INTO_INDEX
    for table, columns, subject, pk, made in SOURCES:
        marks = _marks(subject, pk, made)
        for event, when, rows in _events(table, columns, "IS NOT"):
            does = "".join(marks[row] for row in rows)
            yield LITE_TRIGGER.substitute(table=table, event=event, when=when, does=does)
    yield LITE_TRIGGER.substitute(
        table="highlights", event="moved", when=_moved("IS NOT"), does=ITEMS_OF_HIGHLIGHT
    )


def _search_of_postgresql() -> Iterator[str]:
    yield "ALTER TABLE search_documents ADD COLUMN words tsvector"
    yield "CREATE INDEX ix_search_documents_words ON search_documents USING gin (words)"
    yield VECTOR
    yield INTO_VECTOR
    yield (
        "CREATE TRIGGER search_documents_words BEFORE INSERT OR UPDATE ON search_documents"
        " FOR EACH ROW EXECUTE PROCEDURE search_documents_words()"
    )
    for table, columns, subject, pk, made in SOURCES:
        yield PG_FUNCTION.substitute(table=table, **_marks(subject, pk, made))
        for event, when, _ in _events(table, columns, "IS DISTINCT FROM"):
            yield PG_TRIGGER.substitute(table=table, event=event, when=when)
    yield PG_FUNCTION.substitute(table="moved_highlights", new=ITEMS_OF_HIGHLIGHT, old="")
    yield PG_TRIGGER.substitute(table="moved_highlights", event="moved", when=_moved("IS DISTINCT FROM"))


def _marks(subject: str | None, pk: str, made: bool) -> dict[str, str]:
    """Return the SQL that marks the document of a row as stale, for the new and for the old row."""
    statement = MADE if made else STALE
    return {
        row: statement.substitute(subject=f"'{subject}'" if subject else f"{row}.subject", pk=f"{row}.{pk}")
        for row in ("new", "old")
    }


def _events(table: str, columns: tuple[str, ...], differs: str) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yield each kind of change: its name, when the trigger fires, and which rows it uses (new, old)."""
    new, old = (RENAMED.substitute(row=row) if table == "changes" else "" for row in ("new", "old"))
    either = f"({new} OR {old}) AND " if new else ""
    altered = " OR ".join(f"old.{column} {differs} new.{column}" for column in columns)
    of = ", ".join(columns)
    yield "added", f"INSERT ON {table} FOR EACH ROW" + (f" WHEN ({new})" if new else ""), ("new",)
    yield "removed", f"DELETE ON {table} FOR EACH ROW" + (f" WHEN ({old})" if old else ""), ("old",)
    yield "altered", f"UPDATE OF {of} ON {table} FOR EACH ROW WHEN ({either}({altered}))", ("new", "old")


def _moved(differs: str) -> str:
    """Return when the trigger fires that marks the items of a highlight as stale if its account changes.

    Items are found by the accounts of their highlights.
    """
    return f"UPDATE OF user_pk ON highlights FOR EACH ROW WHEN (old.user_pk {differs} new.user_pk)"
