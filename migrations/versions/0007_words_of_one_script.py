"""Mark documents as stale if their words may have changed.

A word now has one script, and small capitals are letters. Stale documents are written again in the
transaction of the upgrade. Words that are pure ASCII have not changed.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

WORDS = ("names", "tags", "mentions", "links")
DOCUMENTS = sa.table("search_documents", *map(sa.column, ("at", *WORDS, "filters")))


def upgrade() -> None:
    said = [DOCUMENTS.c[name] for name in WORDS]
    if op.get_bind().dialect.name == "sqlite":
        beyond_ascii = [sa.func.length(sa.cast(text, sa.LargeBinary)) > sa.func.length(text) for text in said]
    else:
        beyond_ascii = [sa.func.octet_length(text) > sa.func.length(text) for text in said]
    stale = {column.name: sa.null() for column in DOCUMENTS.c}
    op.execute(DOCUMENTS.update().where(sa.or_(*beyond_ascii)).values(stale))
