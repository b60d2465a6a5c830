"""Add an index of items by their code.

``archiver show`` and ``Archive.item`` look for items by code; without the index they read all rows for one.
"""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_index("ix_items_code", "items", ["code"])
