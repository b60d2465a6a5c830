"""Since when an account's pages are paid for in vain: ``users.pages_failed_at``. Until its next turn it is listed by a tray that is cut."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Column

revision = "0006"
down_revision = "0005"

TIME = sa.Text().with_variant(sa.TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    op.add_column("users", Column("pages_failed_at", TIME))
