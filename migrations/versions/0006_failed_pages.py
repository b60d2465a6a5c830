"""``users.pages_failed_at``: since when an account's paged tray is paid for and fails.

Until the next attempt the account is listed by the tray that is cut.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Column

revision = "0006"
down_revision = "0005"

TIME = sa.Text().with_variant(sa.TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    op.add_column("users", Column("pages_failed_at", TIME))
