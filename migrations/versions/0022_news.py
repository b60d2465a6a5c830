"""Find the last items and highlights that appeared without reading all other changes."""

from __future__ import annotations

from alembic import op

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    op.create_index("ix_changes_field_id", "changes", ["field", "id"])
