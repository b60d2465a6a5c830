"""Record which host or size a setting refused, so that a changed setting is noticed.

``failures.host`` and ``failures.size`` contain what was refused. ``highlights.tried_at`` means that all files
of the page were tried, even if some are missing; ``completed_at`` means that none is missing. Before this
revision ``completed_at`` was also set if our own rules had refused a file, and a host that was not allowed
was recorded as a bad link.
"""

from __future__ import annotations

import re
from ipaddress import ip_address

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Column

revision = "0009"
down_revision = "0008"

TIME = sa.Text().with_variant(sa.TIMESTAMP(timezone=True), "postgresql")
HOST = re.compile(r"(\S+) is not among the allowed hosts\Z")
SIZE = re.compile(r"the file has (\d{1,18}) bytes, over max_file_size")

OPEN = sa.text(
    "SELECT id, reason, detail FROM failures"
    " WHERE resolved_at IS NULL AND reason IN ('refused', 'too_large') AND role IS NOT NULL"
)
REFUSE = sa.text("UPDATE failures SET reason = 'host_not_allowed', host = :host WHERE id = :id")
MEASURE = sa.text("UPDATE failures SET size = :size WHERE id = :id")
FAILED = """
    SELECT 1 FROM highlight_items AS m JOIN failures AS f ON f.subject_pk = m.item_pk AND f.subject = 'item'
    WHERE m.highlight_pk = highlights.pk AND m.gone_at IS NULL AND f.resolved_at IS NULL AND f.role IS NOT NULL
"""
TRIED = f"""
    UPDATE highlights SET tried_at = COALESCE(completed_at, fetched_at)
    WHERE completed_at IS NOT NULL OR (fetched_at IS NOT NULL AND EXISTS ({FAILED}))
"""
INCOMPLETE = f"UPDATE highlights SET completed_at = NULL WHERE completed_at IS NOT NULL AND EXISTS ({FAILED})"


def is_address(host: str) -> bool:
    """Return whether a host is an IP address: a link to one is unsafe, whatever the settings allow."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def upgrade() -> None:
    op.add_column("failures", Column("host", sa.Text()))
    op.add_column("failures", Column("size", sa.BigInteger()))
    op.add_column("highlights", Column("tried_at", TIME))
    connection = op.get_bind()
    for row in connection.execute(OPEN).all():
        if row.reason == "refused" and (host := HOST.search(row.detail)) and not is_address(host[1]):
            connection.execute(REFUSE, {"id": row.id, "host": host[1]})
        elif row.reason == "too_large" and (size := SIZE.search(row.detail)):
            connection.execute(MEASURE, {"id": row.id, "size": int(size[1])})
    op.execute(TRIED)
    op.execute(INCOMPLETE)
