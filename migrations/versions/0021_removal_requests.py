"""Record in the journal what ``archiver forget`` is asked for, until it is done.

The triggers of the journal are created again after each upgrade, from now on also for ``removal_requests``.
"""

from __future__ import annotations

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    """Change no table."""
