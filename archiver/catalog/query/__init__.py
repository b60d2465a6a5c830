"""Every read: rows in, values of the model out."""

from __future__ import annotations

from archiver.catalog.query.accounts import (
    OpenFailure,
    bound,
    held,
    highlight,
    longest_tray,
    once_called,
    open_failure,
    user,
    user_pk_by_name,
)
from archiver.catalog.query.files import (
    blobs,
    digests_of_highlight,
    held_digests,
    held_items,
    members,
    paid_highlight,
)
from archiver.catalog.query.history import changes, last_run, usernames
from archiver.catalog.query.losses import answers, losses, standing_answers
from archiver.catalog.query.progress import Progress, progress, units_of_pages
from archiver.catalog.query.totals import damage, status

__all__ = [
    "OpenFailure",
    "Progress",
    "answers",
    "blobs",
    "bound",
    "changes",
    "damage",
    "digests_of_highlight",
    "held",
    "held_digests",
    "held_items",
    "highlight",
    "last_run",
    "longest_tray",
    "losses",
    "members",
    "once_called",
    "open_failure",
    "paid_highlight",
    "progress",
    "standing_answers",
    "status",
    "units_of_pages",
    "user",
    "user_pk_by_name",
    "usernames",
]
