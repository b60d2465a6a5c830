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
from archiver.catalog.query.costs import costs, run_costs, spending
from archiver.catalog.query.dump import NARROWED, TABLES, Part, columns_of, dump, part_of
from archiver.catalog.query.files import (
    blobs,
    digests_of_highlight,
    held_digests,
    held_items,
    members,
    paid_highlight,
)
from archiver.catalog.query.gaps import gaps
from archiver.catalog.query.history import changes, former_titles, last_run, usernames
from archiver.catalog.query.kept import answers_in, count_answers, is_named, paid_answers
from archiver.catalog.query.losses import answers, losses, standing_answers
from archiver.catalog.query.owned import files
from archiver.catalog.query.portrait import coded, extent, extents, names, provenance, renamings
from archiver.catalog.query.progress import Progress, progress, units_of_pages
from archiver.catalog.query.search import search
from archiver.catalog.query.shelf import accounts, contents, highlights, items, walk
from archiver.catalog.query.totals import damage, status

__all__ = [
    "NARROWED",
    "TABLES",
    "OpenFailure",
    "Part",
    "Progress",
    "accounts",
    "answers",
    "answers_in",
    "blobs",
    "bound",
    "changes",
    "coded",
    "columns_of",
    "contents",
    "costs",
    "count_answers",
    "damage",
    "digests_of_highlight",
    "dump",
    "extent",
    "extents",
    "files",
    "former_titles",
    "gaps",
    "held",
    "held_digests",
    "held_items",
    "highlight",
    "highlights",
    "is_named",
    "items",
    "last_run",
    "longest_tray",
    "losses",
    "members",
    "names",
    "once_called",
    "open_failure",
    "paid_answers",
    "paid_highlight",
    "part_of",
    "progress",
    "provenance",
    "renamings",
    "run_costs",
    "search",
    "spending",
    "standing_answers",
    "status",
    "units_of_pages",
    "user",
    "user_pk_by_name",
    "usernames",
    "walk",
]
