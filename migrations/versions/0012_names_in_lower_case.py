"""Find an account by its name in any case without a scan: one index on each table of names."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    for table in ("users", "usernames"):
        op.create_index(f"ix_{table}_lower_username", table, [sa.text("lower(username)")])
