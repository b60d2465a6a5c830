"""Every read: rows in, values of the model out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from archiver import lazily

if TYPE_CHECKING:
    from archiver.catalog.query.digests import (
        blobs,
        digests_of_highlight,
        held_digests,
        held_items,
        members,
        paid_highlight,
    )
    from archiver.catalog.query.found import search, stale
    from archiver.catalog.query.history import changes, former_titles, last_run, usernames
    from archiver.catalog.query.kept import answers_in, count_answers, is_named, paid_answers
    from archiver.catalog.query.known import (
        OpenFailure,
        bound,
        files_of_hosts,
        held,
        highlight,
        longest_tray,
        once_called,
        open_failure,
        user,
        user_pk_by_name,
    )
    from archiver.catalog.query.lacking import gaps
    from archiver.catalog.query.lost import answers, losses, standing_answers
    from archiver.catalog.query.owned import files
    from archiver.catalog.query.paid import costs, run_costs, spending
    from archiver.catalog.query.portrait import coded, extent, extents, names, provenance, renamings
    from archiver.catalog.query.rows import NARROWED, TABLES, Part, columns_of, dump, part_of
    from archiver.catalog.query.shelf import accounts, contents, highlights, items, walk, walk_files
    from archiver.catalog.query.standing import Progress, progress, units_of_pages
    from archiver.catalog.query.totals import damage, refused_hosts, status

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
    "files_of_hosts",
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
    "refused_hosts",
    "renamings",
    "run_costs",
    "search",
    "spending",
    "stale",
    "standing_answers",
    "status",
    "units_of_pages",
    "user",
    "user_pk_by_name",
    "usernames",
    "walk",
    "walk_files",
]

if not TYPE_CHECKING:  # a type checker must know what is not there
    __getattr__ = lazily.parts(
        __name__,
        {
            "known": (
                "OpenFailure",
                "bound",
                "held",
                "highlight",
                "files_of_hosts",
                "longest_tray",
                "once_called",
                "open_failure",
                "user",
                "user_pk_by_name",
            ),
            "digests": (
                "blobs",
                "digests_of_highlight",
                "held_digests",
                "held_items",
                "members",
                "paid_highlight",
            ),
            "found": ("search", "stale"),
            "history": (
                "changes",
                "former_titles",
                "last_run",
                "usernames",
            ),
            "kept": (
                "answers_in",
                "count_answers",
                "is_named",
                "paid_answers",
            ),
            "lacking": ("gaps",),
            "lost": (
                "answers",
                "losses",
                "standing_answers",
            ),
            "owned": ("files",),
            "paid": (
                "costs",
                "run_costs",
                "spending",
            ),
            "portrait": (
                "coded",
                "extent",
                "extents",
                "names",
                "provenance",
                "renamings",
            ),
            "rows": (
                "NARROWED",
                "Part",
                "TABLES",
                "columns_of",
                "dump",
                "part_of",
            ),
            "shelf": (
                "accounts",
                "contents",
                "highlights",
                "items",
                "walk",
                "walk_files",
            ),
            "standing": (
                "Progress",
                "progress",
                "units_of_pages",
            ),
            "totals": (
                "damage",
                "refused_hosts",
                "status",
            ),
        },
    )
