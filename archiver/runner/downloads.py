"""Downloads of files, from a link to a committed row: download → durable blob → row → event."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial

from msgspec import Struct

from archiver import signed_url
from archiver.blobs.store import BlobStore
from archiver.catalog import Catalog, record
from archiver.catalog.query.holdings import stored_roles
from archiver.catalog.record import FileRecorded, StoredFile
from archiver.errors import GAPS, DownloadFailed, Reason
from archiver.media.downloader import Downloader
from archiver.model.archived import Blob, Failure, File, Owner
from archiver.model.events import FileStored
from archiver.model.identity import Role, Subject
from archiver.model.upstream import HighlightPage, Link
from archiver.runner.context import RunContext


class Download(Struct, frozen=True):
    """A file that is offered and not stored. ``answer_id`` is the answer that offers it."""

    owner: Owner
    link: Link
    answer_id: int | None


def missing_downloads(
    catalog: Catalog, page: HighlightPage, answer_id: int | None, *, with_adopted: bool = False
) -> list[Download]:
    """Return the files that a page offers and the archive lacks. ``answer_id``: the answer with the page.

    ``with_adopted``: also those that the archive has only from another tool.
    """
    stored = catalog.read(stored_roles, tuple(item.pk for item in page.items), with_adopted=not with_adopted)
    return [
        Download(Owner(Subject.ITEM, item.pk), link, answer_id)
        for item in page.items
        for link in item.links
        if (item.pk, link.role) not in stored
    ]


class FailedDownload(Struct, frozen=True):
    """A file that could not be downloaded, and why. Not recorded yet: its link may be renewed first."""

    download: Download
    error: DownloadFailed

    @property
    def failure(self) -> Failure:
        """Return the failure to record."""
        owner, error = self.download.owner, self.error
        role = self.download.link.role
        return Failure(owner.subject, owner.pk, role, error.reason, str(error), error.host, error.size)


class Claims:
    """The downloads of one account, running or done, so that an item in two highlights is downloaded once.

    Each account has its own, so that memory does not grow with the number of accounts.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._futures: dict[tuple[Owner, Role], Future[FailedDownload | None]] = {}
        self._reported: set[tuple[Owner, Role]] = set()

    def claim(
        self,
        download: Download,
        submit: Callable[[], Future[FailedDownload | None]],
        *,
        is_renewed: bool,
    ) -> Future[FailedDownload | None]:
        """Return the future of this (owner, role): the existing one, or a new one.

        ``is_renewed``: the link is new, so a failed download is tried again.
        """
        key = (download.owner, download.link.role)
        with self._lock:
            future = self._futures.get(key)
            if future is None or (is_renewed and _has_failed(future)):
                future = self._futures[key] = submit()
            return future

    def must_report(self, failed: FailedDownload) -> bool:
        """Return whether a failure was not reported before, and no renewed link has succeeded since."""
        key = (failed.download.owner, failed.download.link.role)
        with self._lock:
            future = self._futures.get(key)
            first = key not in self._reported and (future is None or not future.done() or _has_failed(future))
            self._reported.add(key)
            return first


class FileDownloader:
    """Downloads files on its own bounded threads, which the threads that make calls never use."""

    def __init__(
        self,
        context: RunContext,
        downloader: Downloader,
        store: BlobStore,
        *,
        threads: int,
    ) -> None:
        self._context, self._work = context, context.work
        self._catalog = context.catalog
        self._downloader = downloader
        self._store = store
        self._record = partial(record.record_files, run_id=context.run_id)
        self._running: set[Future[FailedDownload | None]] = set()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="cdn")

    def close(self) -> None:
        """End the threads.

        Queued downloads are dropped; running ones are finished and reported before this returns.
        """
        self._pool.shutdown(wait=True, cancel_futures=True)
        wait(tuple(self._running))

    def start(
        self, downloads: Iterable[Download], claims: Claims, *, is_renewed: bool = False
    ) -> list[Future[FailedDownload | None]]:
        """Queue files, soonest expiry first. A file that is already claimed is not downloaded twice."""
        return [
            claims.claim(download, partial(self._submit, download), is_renewed=is_renewed)
            for download in sorted(downloads, key=_urgency)
        ]

    def download_all(
        self, downloads: Iterable[Download], claims: Claims, *, is_renewed: bool = False
    ) -> list[FailedDownload]:
        """Download all files and return those that failed. Raises errors that stop the run."""
        results = [future.result() for future in self.start(downloads, claims, is_renewed=is_renewed)]
        return [failed for failed in results if failed is not None]

    def record_failed(self, failed: FailedDownload, claims: Claims) -> None:
        """Record a failed download with its back-off and report it, once even if several highlights share it.

        A file whose host is not allowed is reported at the end of the visit, with those of earlier runs.
        """
        if not claims.must_report(failed):
            return
        failure = failed.failure
        self._catalog.write(record.record_failure, failure, self._work.clock())
        if failure.reason is not Reason.HOST_NOT_ALLOWED:
            self._context.report_failure(failure, is_trouble=failure.reason not in GAPS)

    def _submit(self, download: Download) -> Future[FailedDownload | None]:
        future: Future[FailedDownload | None] = Future()
        self._pool.submit(self._download, download, future)
        return future

    def _download(self, download: Download, future: Future[FailedDownload | None]) -> None:
        """Download one file, make it durable and queue its row; the future is done when the row is committed.

        This thread does not wait for the commit; it goes on to the next file.
        """
        self._running.add(future)
        future.add_done_callback(self._running.discard)
        try:
            self._work.stop.check()
            self._context.require_space()
            with self._store.draft() as draft:
                received = self._downloader.download(download.link, draft, self._work.stop)
                digest, size = self._store.put(draft)
            blob = Blob(digest, size, received.mime, received.width, received.height)
            file = File(download.owner, download.link.role, blob, signed_url.without_query(download.link.url))
            stored = StoredFile(file, download.answer_id, self._work.clock())
            row = self._catalog.submit_each(self._record, stored)
        except DownloadFailed as error:
            future.set_result(FailedDownload(download, error))
        except BaseException as error:
            self._fail(future, error)
        else:
            row.add_done_callback(lambda done: self._finish(file, done, future))

    def _finish(self, file: File, row: Future[FileRecorded], future: Future[FailedDownload | None]) -> None:
        """Report the file, now that its row is durable or has failed."""
        try:
            recorded = row.result()
            size = file.blob.size
            self._context.tally.add(
                files_new=recorded.is_new_file, bytes_new=size if recorded.is_new_blob else 0
            )
            self._work.observe(FileStored(file.owner, file.role, size, recorded.is_new_blob))
        except BaseException as error:
            self._fail(future, error)
        else:
            future.set_result(None)

    def _fail(self, future: Future[FailedDownload | None], error: BaseException) -> None:
        """Stop the run at once: another thread may be waiting for an earlier file."""
        self._work.stop.fail(error)
        future.set_exception(error)


def _urgency(download: Download) -> tuple[bool, float]:
    expires = download.link.expires_at
    return (expires is None, expires.timestamp() if expires is not None else 0.0)


def _has_failed(future: Future[FailedDownload | None]) -> bool:
    return future.done() and (
        future.cancelled() or future.exception() is not None or future.result() is not None
    )
