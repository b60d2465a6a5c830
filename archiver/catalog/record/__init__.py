"""Functions that record facts.

Each records one fact, in the transaction of its caller (the writer), and may be repeated. Use it as
``catalog.write(record.record_page, ...)``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection

from archiver.catalog.record.accounts import (
    bind_target,
    end_bindings,
    order_names,
    record_tray,
    record_user,
    tray_use,
    verdict,
)
from archiver.catalog.record.adopted_files import adopt, adopted_row, settle_all_waiting
from archiver.catalog.record.highlight_page import record_page
from archiver.catalog.record.removal import Rewriting, deleted_files, removal, removal_request
from archiver.catalog.record.runs import (
    balance_after,
    balance_before,
    drop_trays,
    finish_run,
    found_answers,
    lost_answers,
    recovered_answers,
    start_run,
    storage,
)
from archiver.catalog.record.stored_files import (
    FileRecorded,
    StoredFile,
    completion,
    drop_targets,
    found_blobs,
    lost_blobs,
    record_failure,
    record_files,
    resolution,
    show_pictures,
    verified_blobs,
)

T = TypeVar("T")
Fact = Callable[[Connection], object]
"""A fact with its arguments."""

__all__ = [
    "Fact",
    "FileRecorded",
    "Rewriting",
    "StoredFile",
    "adopt",
    "adopted_row",
    "balance_after",
    "balance_before",
    "bind_target",
    "completion",
    "deleted_files",
    "drop_targets",
    "drop_trays",
    "end_bindings",
    "finish_run",
    "found_answers",
    "found_blobs",
    "lost_answers",
    "lost_blobs",
    "order_names",
    "record_failure",
    "record_files",
    "record_page",
    "record_tray",
    "record_user",
    "recovered_answers",
    "removal",
    "removal_request",
    "resolution",
    "settle_all_waiting",
    "show_pictures",
    "start_run",
    "storage",
    "together",
    "tray_use",
    "verdict",
    "verified_blobs",
]


def together(connection: Connection, fact: Callable[[Connection], T], *others: Fact) -> T:
    """Record several facts in one transaction, in their order; return the value of the first, ``fact``."""
    value = fact(connection)
    for other in others:
        other(connection)
    return value
