"""The first schema.

A revision is self-contained. It never imports the current tables. Its statements never change once it is
released.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Column, ForeignKey

revision = "0001"
down_revision = None

APPLICATION_ID = 0x41524348  # «ARCH»

PK = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.Text().with_variant(sa.TIMESTAMP(timezone=True), "postgresql")
FLOAT = sa.Float(53)


def _partial(name: str, table: str, columns: list[str], where: str, *, unique: bool = True) -> None:
    condition = sa.text(where)
    op.create_index(name, table, columns, unique=unique, sqlite_where=condition, postgresql_where=condition)


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    _create_paid()
    _create_accounts()
    _create_items()
    _create_entries()
    _create_history()


def _create_paid() -> None:
    op.create_table(
        "archive",
        Column("id", PK, primary_key=True),
        Column("format", sa.Integer(), nullable=False),
        Column("created_at", TIME, nullable=False),
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
    )
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
        sa.PrimaryKeyConstraint("highlight_pk", "item_pk"),
    )
    op.create_index("ix_highlight_items_item_pk", "highlight_items", ["item_pk"])
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
    )
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
    )
    _partial(
        "uq_failures_open", "failures", ["subject", "subject_pk"], "resolved_at IS NULL AND role IS NULL"
    )
    _partial("uq_failures_open_role", "failures", ["subject", "subject_pk", "role"], "resolved_at IS NULL")
