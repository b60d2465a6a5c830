"""Record paged trays and the balance of units.

``users.paged_at``: when the tray of the account was last listed page by page. ``runs.balance_before`` and
``runs.balance_after``: the units that were left according to the API, before and after the run.
"""

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
