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
    record_tray_use,
    record_user,
    record_verdict,
)
from archiver.catalog.record.adopted_files import adopt, record_adopted_row, settle_all_waiting
from archiver.catalog.record.highlight_page import record_page
from archiver.catalog.record.removal import (
    Rewriting,
    record_deleted_files,
    record_removal_request,
    remove_account,
)
from archiver.catalog.record.runs import (
    drop_trays,
    finish_run,
    record_balance_after,
    record_balance_before,
    record_found_answers,
    record_lost_answers,
    record_recovered_answers,
    record_storage,
    start_run,
)
from archiver.catalog.record.stored_files import (
    FileRecorded,
    StoredFile,
    drop_targets,
    record_completion,
    record_failure,
    record_files,
    record_found_blobs,
    record_lost_blobs,
    record_verified_blobs,
    resolve_failure,
    show_pictures,
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
    "bind_target",
    "drop_targets",
    "drop_trays",
    "end_bindings",
    "finish_run",
    "order_names",
    "record_adopted_row",
    "record_balance_after",
    "record_balance_before",
    "record_completion",
    "record_deleted_files",
    "record_failure",
    "record_files",
    "record_found_answers",
    "record_found_blobs",
    "record_lost_answers",
    "record_lost_blobs",
    "record_page",
    "record_recovered_answers",
    "record_removal_request",
    "record_storage",
    "record_tray",
    "record_tray_use",
    "record_user",
    "record_verdict",
    "record_verified_blobs",
    "remove_account",
    "resolve_failure",
    "settle_all_waiting",
    "show_pictures",
    "start_run",
    "together",
]


def together(connection: Connection, fact: Callable[[Connection], T], *others: Fact) -> T:
    """Record several facts in one transaction, in their order; return the value of the first, ``fact``."""
    value = fact(connection)
    for other in others:
        other(connection)
    return value
