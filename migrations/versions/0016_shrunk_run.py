"""Record which run saw a loss of more than half, since only another run confirms it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    for table in ("users", "highlights"):
        op.add_column(table, sa.Column("shrunk_run_id", sa.BigInteger()))
