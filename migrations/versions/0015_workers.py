"""Add the tables of runs whose accounts are visited by several workers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Column

revision = "0015"
down_revision = "0014"

PK = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
TIME = sa.Text().with_variant(sa.TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
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
            sa.ForeignKey("runs.id", name="fk_shared_runs_run_id"),
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
            sa.ForeignKey("shared_runs.run_id", name="fk_visits_run_id", ondelete="CASCADE"),
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
            sa.ForeignKey("workers.id", name="fk_visits_worker_id", ondelete="SET NULL"),
            index=True,
        ),
        Column("attempts", sa.Integer(), nullable=False),
        Column("ended_at", TIME),
        sa.UniqueConstraint("run_id", "user_pk", name="uq_visits_run_id_user_pk"),
    )
    unfinished = sa.text("ended_at IS NULL")
    op.create_index(
        "ix_visits_unfinished",
        "visits",
        ["run_id", "position"],
        postgresql_where=unfinished,
        sqlite_where=unfinished,
    )
    op.create_table(
        "run_reports",
        Column(
            "run_id",
            sa.BigInteger(),
            sa.ForeignKey("shared_runs.run_id", name="fk_run_reports_run_id", ondelete="CASCADE"),
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
            sa.ForeignKey("workers.id", name="fk_journal_lease_worker_id", ondelete="SET NULL"),
        ),
        Column("shipped_at", TIME),
    )
