"""An index of items by their code, by which ``archiver show`` and ``Archive.item`` look for one: a million rows were read for one."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_index("ix_items_code", "items", ["code"])
