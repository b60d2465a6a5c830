"""Bugs that the crash tests must catch, planted into the program in a child process: ``planted.plant(NAME)``
before ``main()``.

Each replaces attributes of the program's modules. If one is not there any more, planting fails, and its point
has to be found anew.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import TypeVar

from archiver.catalog import record, sqlite
from archiver.catalog.record import FileRecorded
from archiver.hiker.client import HikerClient, LargeBodySlot
from archiver.model.api_calls import Answer, Call
from archiver.model.archived import File
from archiver.model.identity import Digest
from archiver.runner.answer_cache import PageAnswer
from archiver.runner.downloads import Download, FailedDownload, FileDownloader
from archiver.runner.due_highlights import Job
from archiver.runner.highlight import HighlightSync
from archiver.runner.metered_api import MeteredApi, PaidCall, Reply
from archiver.store import disk, growing_file, spool

F = TypeVar("F", bound=Callable[..., object])
T = TypeVar("T")


def plant(name: str) -> None:
    """Plant this bug.

    Raises KeyError for an unknown one, AttributeError or AssertionError where the program has changed.
    """
    BUGS[name]()


def _replace(owner: object, name: str, new: F) -> F:
    """Put another function in the place of an attribute, and return what was there."""
    old: F = getattr(owner, name)
    setattr(owner, name, new)
    return old


def _no_sync(fd: int) -> None:
    """In the place of what forces bytes or names to the disk."""


def _file_not_synced() -> None:
    _replace(spool, "sync", _no_sync)


def _directory_not_synced() -> None:
    _replace(disk, "sync_directory", _no_sync)


def _fan_out_not_synced() -> None:
    _replace(disk, "sync_directory", _no_sync)


def _row_before_rename() -> None:
    """A blob is put in place only when its row is committed."""
    waiting: dict[Digest, Callable[[], None]] = {}

    def later(objects: disk.Objects, name: str, draft: spool.Draft) -> None:
        waiting[draft.digest()] = lambda: put(objects, name, draft)

    def committed(
        files: FileDownloader, file: File, row: Future[FileRecorded], future: Future[FailedDownload | None]
    ) -> None:
        waiting.pop(file.blob.sha256)()
        tell(files, file, row, future)

    put = _replace(disk.Objects, "_put_in_place", later)
    tell = _replace(FileDownloader, "_finish", committed)


def _synchronous_normal() -> None:
    full, normal = "PRAGMA synchronous = FULL", "PRAGMA synchronous = NORMAL"
    assert full in sqlite._SETTINGS
    setattr(sqlite, "_SETTINGS", tuple(normal if s == full else s for s in sqlite._SETTINGS))  # noqa: B010  # Final


def _watermark_before_files() -> None:
    """A highlight is marked as complete when it is known what is missing of it."""

    def completed(highlights: HighlightSync, answer: PageAnswer, job: Job) -> list[Download]:
        now = highlights._work.clock()
        highlights._catalog.write(record.record_completion, answer.page.highlight.pk, (), now)
        return missing(highlights, answer, job)

    missing = _replace(HighlightSync, "_find_missing", completed)


def _answer_not_synced() -> None:
    _replace(growing_file, "sync", _no_sync)


def _answer_kept_late() -> None:
    """An answer stays in memory while it is parsed and recorded, and is written when the run ends."""
    waiting: dict[int | None, list[bytes]] = {}

    def hold(fd: int, chunk: bytes) -> None:
        waiting.setdefault(fd, []).append(chunk)

    def closing(kept: growing_file.GrowingFile) -> None:
        for chunk in waiting.pop(kept._fd, []):
            assert kept._fd is not None
            write_all(kept._fd, chunk)
        close(kept)

    write_all = _replace(growing_file, "write_all", hold)
    close = _replace(growing_file.GrowingFile, "close", closing)


def _call_before_ledger() -> None:
    """The API is asked first, and a call that is paid for is reserved in the ledger when it has answered."""
    answered = threading.local()

    def attempt(api: MeteredApi, paid: PaidCall[T]) -> Reply[T]:
        answered.answer = send(api._client, paid.call, is_stopped=lambda: False)
        return reserve(api, paid)

    def recall(
        client: HikerClient, call: Call, *, is_stopped: Callable[[], bool], slot: LargeBodySlot | None = None
    ) -> Answer:
        answer: Answer | None = answered.__dict__.pop("answer", None)
        if answer is None:  # the balance, which is free
            return send(client, call, is_stopped=is_stopped, slot=slot)
        return answer

    send = _replace(HikerClient, "send", recall)
    reserve = _replace(MeteredApi, "_attempt", attempt)


BUGS: Mapping[str, Callable[[], None]] = {
    "file not synced": _file_not_synced,
    "directory not synced": _directory_not_synced,
    "fan-out not synced": _fan_out_not_synced,
    "row before rename": _row_before_rename,
    "synchronous NORMAL": _synchronous_normal,
    "watermark before files": _watermark_before_files,
    "answer not synced": _answer_not_synced,
    "answer kept late": _answer_kept_late,
    "call before ledger": _call_before_ledger,
}
"""What each of them breaks is said where it is caught."""
