"""From Link to committed row: download → accept → durable Blob → row → event. Each (owner, role) in flight is claimed once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial

from archiver import signed_url
from archiver.blobs.store import BlobStore
from archiver.catalog import Catalog, record
from archiver.catalog.record import FileRecorded
from archiver.errors import GAPS, DownloadFailed, Reason
from archiver.media.downloader import Downloader
from archiver.model.archived import Blob, Failure, File, Owner
from archiver.model.events import FileStored
from archiver.model.identity import Role
from archiver.model.upstream import Link
from archiver.runner.context import RunContext


@dataclass(frozen=True, slots=True)
class Download:
    """A File that is offered and not held. ``answer_id`` is the answer that offers it."""

    owner: Owner
    link: Link
    answer_id: int | None


@dataclass(frozen=True, slots=True)
class FailedDownload:
    """A File that could not be had, and why. Not recorded yet: its link may be renewed first."""

    wanted: Download
    error: DownloadFailed

    @property
    def failure(self) -> Failure:
        """What is recorded of it."""
        owner, error = self.wanted.owner, self.error
        role = self.wanted.link.role
        return Failure(owner.subject, owner.pk, role, error.reason, str(error), error.host, error.size)


class Claims:
    """What is in flight or done for one account: an item in two of its highlights is downloaded once, and fails once.

    One account's worth, so that memory does not grow with the number of accounts; an item belongs to one account.
    """

    def __init__(self, account: str) -> None:
        """``account``: its pk, or what else stands for it where it is not known."""
        self.account = account
        self._lock = threading.Lock()
        self._futures: dict[tuple[Owner, Role], Future[FailedDownload | None]] = {}
        self._told: set[tuple[Owner, Role]] = set()

    def claim(
        self, wanted: Download, submit: Callable[[], Future[FailedDownload | None]], *, anew: bool
    ) -> Future[FailedDownload | None]:
        """The future of this (owner, role): the one under way or done, or a new one. ``anew``: one that failed is tried again."""
        key = (wanted.owner, wanted.link.role)
        with self._lock:
            future = self._futures.get(key)
            if future is None or (anew and _failed(future)):
                future = self._futures[key] = submit()
            return future

    def tell(self, missed: FailedDownload) -> bool:
        """Whether this is the first time that this file is told as missed, and no renewed link has brought it since."""
        key = (missed.wanted.owner, missed.wanted.link.role)
        with self._lock:
            future = self._futures.get(key)
            first = key not in self._told and (future is None or not future.done() or _failed(future))
            self._told.add(key)
            return first


class FileDownloader:
    """Downloads on its own bounded threads, which the paid workers never use."""

    def __init__(
        self,
        downloader: Downloader,
        store: BlobStore,
        catalog: Catalog,
        *,
        context: RunContext,
        may_write: Callable[[], None],
        threads: int,
    ) -> None:
        """``may_write`` is called before each download and raises what forbids it (a disk below its reserve)."""
        self._downloader = downloader
        self._store = store
        self._catalog = catalog
        self._context = context
        self._may_write = may_write
        self._begun: set[Future[FailedDownload | None]] = set()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="cdn")

    def close(self) -> None:
        """End the threads; what is queued and not begun is dropped, what is begun is told of before this returns."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        wait(tuple(self._begun))

    def begin(
        self, wanted: Iterable[Download], claims: Claims, *, anew: bool = False
    ) -> list[Future[FailedDownload | None]]:
        """Queue files, soonest expiry first; one that was claimed before is not fetched twice."""
        return [claims.claim(w, partial(self._submit, w), anew=anew) for w in sorted(wanted, key=_urgency)]

    def keep(self, wanted: Iterable[Download], claims: Claims, *, anew: bool = False) -> list[FailedDownload]:
        """Download all and return those that could not be had. ``anew``: the links are renewed. Raises what stops the run."""
        missed = [future.result() for future in self.begin(wanted, claims, anew=anew)]
        return [m for m in missed if m is not None]

    def record_missed(self, missed: FailedDownload, claims: Claims) -> None:
        """Commit the failure with its back-off, and count and tell it; once, however many highlights share the item.

        One whose host is not allowed is counted when the account ends (``Accounts._report_hosts``), with those that
        earlier runs recorded.
        """
        if not claims.tell(missed):
            return
        failure = missed.failure
        self._catalog.write(record.failure, failure, self._context.clock())
        if failure.reason is not Reason.HOST_NOT_ALLOWED:
            self._context.report_failure(failure, trouble=failure.reason not in GAPS)

    def _submit(self, wanted: Download) -> Future[FailedDownload | None]:
        future: Future[FailedDownload | None] = Future()
        self._pool.submit(self._keep_one, wanted, future)
        return future

    def _keep_one(self, wanted: Download, future: Future[FailedDownload | None]) -> None:
        """Download one file and make it durable; its row is queued, and the future ends when that is committed.

        This thread does not wait for the commit: it has the next file to fetch.
        """
        self._begun.add(future)
        future.add_done_callback(self._begun.discard)
        try:
            self._context.stop.check()
            self._may_write()
            with self._store.writer() as writer:
                received = self._downloader.download(
                    wanted.link, writer, check=self._context.stop.check, wait=self._context.stop.wait
                )
                digest, size = writer.commit()
            blob = Blob(digest, size, received.mime, received.width, received.height)
            file = File(wanted.owner, wanted.link.role, blob, signed_url.without_query(wanted.link.url))
            row = self._catalog.submit(
                record.file, self._context.run_id, file, wanted.answer_id, self._context.clock()
            )
        except DownloadFailed as error:
            future.set_result(FailedDownload(wanted, error))
        except BaseException as error:
            self._fail(future, error)
        else:
            row.add_done_callback(lambda done: self._committed(file, done, future))

    def _committed(
        self, file: File, row: Future[FileRecorded], future: Future[FailedDownload | None]
    ) -> None:
        """The row is durable, or failed: only now is the file told of."""
        try:
            recorded = row.result()
            size = file.blob.size
            self._context.tally.add(files_new=recorded.new_file, bytes_new=size if recorded.new_blob else 0)
            self._context.observe(FileStored(file.owner, file.role, size, recorded.new_blob))
        except BaseException as error:
            self._fail(future, error)
        else:
            future.set_result(None)

    def _fail(self, future: Future[FailedDownload | None], error: BaseException) -> None:
        """End the run at once: whoever waits may be waiting for a file before this one."""
        self._context.stop.fail(error)
        future.set_exception(error)


def _urgency(wanted: Download) -> tuple[bool, float]:
    expires = wanted.link.expires_at
    return (expires is None, expires.timestamp() if expires is not None else 0.0)


def _failed(future: Future[FailedDownload | None]) -> bool:
    return future.done() and (
        future.cancelled() or future.exception() is not None or future.result() is not None
    )
