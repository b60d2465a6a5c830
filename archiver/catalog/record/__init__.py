"""Functions that record facts.

Each records one fact, in the transaction of its caller (the writer), and may be repeated. Use it as
``catalog.write(record.record_page, ...)``.
"""

from __future__ import annotations

from archiver.catalog.record.adopted_files import adopt, adopted_row, settle_all_waiting
from archiver.catalog.record.answer_records import drop_trays, found_answers, lost_answers, recovered_answers
from archiver.catalog.record.failures import drop_targets, record_failure, resolution
from archiver.catalog.record.highlight_page import record_page
from archiver.catalog.record.removal import (
    Rewriting,
    deleted_files,
    removal,
    removal_request,
)
from archiver.catalog.record.runs import balance_after, balance_before, finish_run, start_run
from archiver.catalog.record.storage import storage
from archiver.catalog.record.stored_files import (
    FileRecorded,
    StoredFile,
    completion,
    files,
    found_blobs,
    lost_blobs,
    record_file,
    show_pictures,
    verified_blobs,
)
from archiver.catalog.record.together import Fact, together
from archiver.catalog.record.trays import record_tray, tray_use
from archiver.catalog.record.users import bind_target, end_bindings, order_names, record_user, verdict

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
    "files",
    "finish_run",
    "found_answers",
    "found_blobs",
    "lost_answers",
    "lost_blobs",
    "order_names",
    "record_failure",
    "record_file",
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
