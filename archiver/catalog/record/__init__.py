"""Every write. One function is one fact, in the transaction of whoever calls it (the desk), and may be repeated."""

from __future__ import annotations

from archiver.catalog.record.answers import drop_trays
from archiver.catalog.record.failures import failure, resolved
from archiver.catalog.record.files import FileRecorded, blobs_lost, file, files_tried, verified
from archiver.catalog.record.lost import answers_found, answers_lost, blobs_found
from archiver.catalog.record.pages import page
from archiver.catalog.record.recovered import recovered
from archiver.catalog.record.runs import balance_after, balance_before, finish_run, start_run
from archiver.catalog.record.trays import tray
from archiver.catalog.record.users import bind_target, user, verdict

__all__ = [
    "FileRecorded",
    "answers_found",
    "answers_lost",
    "balance_after",
    "balance_before",
    "bind_target",
    "blobs_found",
    "blobs_lost",
    "drop_trays",
    "failure",
    "file",
    "files_tried",
    "finish_run",
    "page",
    "recovered",
    "resolved",
    "start_run",
    "tray",
    "user",
    "verdict",
    "verified",
]
