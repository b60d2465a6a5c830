"""Record since when paying for the pages of an account's tray has failed: ``users.pages_failed_at``.

Until the pages are due again, the account is listed with a single call, although that tray is cut off.
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
