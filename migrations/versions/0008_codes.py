"""An index of items by their code, for ``archiver show`` and ``Archive.item``: they read a million rows for one."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_index("ix_items_code", "items", ["code"])
