"""When an account's tray was asked for page by page: ``users.paged_at``; what the API said of the units left, before and after a run."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Column

revision = "0003"
down_revision = "0002"

TIME = sa.Text().with_variant(sa.TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    op.add_column("users", Column("paged_at", TIME))
    op.add_column("runs", Column("balance_before", sa.BigInteger()))
    op.add_column("runs", Column("balance_after", sa.BigInteger()))
