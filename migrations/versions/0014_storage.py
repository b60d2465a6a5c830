"""Record where the blobs, the answers and the journal of an archive are, if not in its directory."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.add_column("archive", sa.Column("storage", sa.Text()))
