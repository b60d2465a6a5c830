"""Stored answers that can be used again, so that nothing is paid for twice after a killed run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from functools import cached_property
from typing import TypeVar

from msgspec import Struct

from archiver.answers.answer_store import AnswerStore
from archiver.catalog import Catalog
from archiver.catalog.query.account_state import AccountState, HighlightState, highlight_state
from archiver.catalog.query.holdings import paid_highlight, plans_since, unused_list
from archiver.durable import is_data_loss
from archiver.errors import AnswerMalformed, StorageError
from archiver.hiker import endpoints, wire
from archiver.model.api_calls import AnswerLocation, StoredPage
from archiver.model.identity import Pk
from archiver.model.upstream import HighlightPage, Tray, User
from archiver.model.values import replace
from archiver.runner.absence import LIST_AGE
from archiver.runner.context import RunOptions
from archiver.runner.downloads import missing_downloads
from archiver.runner.due_highlights import Job, Why, is_swept

_MARGIN = timedelta(seconds=60)
_JUST_NOW = timedelta(hours=1)
_LISTING = (*endpoints.WHOLE_TRAYS, endpoints.PAGED_TRAY)
_READS_AT_ONCE = 4

T = TypeVar("T")


class PageAnswer(Struct, frozen=True):
    """A highlight's page, with the answer that it was read from.

    ``is_paid`` is False if it comes from a stored answer, received at ``answered_at``. ``is_news`` is False
    if its rows are already recorded.
    """

    page: HighlightPage
    answer_id: int | None
    is_paid: bool = True
    answered_at: datetime | None = None
    is_news: bool = True


class AnswerCache:
    """Finds stored answers that can be used again. It only reads."""

    def __init__(
        self,
        catalog: Catalog,
        answers: AnswerStore,
        clock: Callable[[], datetime],
        *,
        options: RunOptions,
        run_id: int | None = None,
    ) -> None:
        """``run_id``: the run that uses the pages; None for a plan."""
        self._catalog = catalog
        self._answers = answers
        self._clock = clock
        self._options = options
        self._run_id = run_id
        self._reads = threading.BoundedSemaphore(_READS_AT_ONCE)  # so many answers in memory

    def find_usable(self, jobs: Iterable[Job]) -> frozenset[Pk]:
        """Return the highlights of these jobs that a stored answer can serve."""
        return frozenset(job.pk for job in jobs if self.find(job) is not None)

    def find(self, job: Job) -> PageAnswer | None:
        """Return the stored page that serves a job: it has the same tray numbers, and its links are valid.

        A page that this run has paid for serves all its jobs. Of the pages of earlier runs, a sweep and the
        second fetch after a loss accept only one that has no rows yet: one that a killed run paid for, or
        that a restored database does not know. ``--full`` accepts none. None is used after the next sweep,
        because it cannot show what the sweep looks for. Raises StorageError if the page cannot be
        read now: it is paid for, and must not be fetched again.
        """
        known = self._catalog.read(paid_highlight, job.pk, endpoints.HIGHLIGHT)
        if known is None or known.numbers.differs(job.numbers):
            return None
        stored = self._catalog.read(highlight_state, job.pk)
        is_recorded = (
            stored is not None and stored.fetched_at is not None and stored.fetched_at >= known.finished_at
        )
        is_of_this_run = known.run_id == self._run_id
        if not is_of_this_run and self._is_outdated(job, known, stored, is_recorded=is_recorded):
            return None
        read = self._read(known.location, lambda document: wire.parse_highlight_page(document, job.pk))
        if read is None:
            return None  # a page that is lost is fetched again
        listed_at = stored.listed_at if stored is not None else None
        if listed_at is not None and (not is_of_this_run or listed_at > known.finished_at):
            read = _without_tray_values(read)  # between two runs the dates do not count: a clock may be wrong
        is_news = not is_recorded or bool(read.rejected)
        page = PageAnswer(
            read, known.answer_id, is_paid=False, answered_at=known.finished_at, is_news=is_news
        )
        now = self._clock() + _MARGIN
        links = (download.link for download in missing_downloads(self._catalog, read, known.answer_id))
        return page if all(link.expires_at is None or link.expires_at > now for link in links) else None

    def find_tray(self, state: AccountState) -> Tray | None:
        """Return the tray that ``plan --list`` has just paid for, if the options let a run use it.

        It is less than an hour old, every entry of it can be read, and no run has listed the account since or
        has used it. Raises StorageError if it cannot be read now.
        """
        options, now = self._options, self._clock()
        lists_again = options.full or options.is_asked_for or options.list_only or options.repair is not None
        if lists_again or state.pk is None or state.listed_at is None or not self._plans:
            return None
        stored = self._catalog.read(
            unused_list,
            [state.pk, *filter(None, [state.target.username])],
            _LISTING,
            self._plans,
            listed_at=state.listed_at,
            since=now - LIST_AGE,
            until=now,
        )
        if stored is None:
            return None
        path, locations = stored
        if path == endpoints.PAGED_TRAY:
            tray = self._read_pages(locations, state.pk)
        else:
            tray = self._read(locations[-1], lambda document: wire.parse_tray(document, state.pk))
        if tray is None or tray.rejected or (path in endpoints.BY_NAME and tray.user is None):
            return None
        return tray

    @cached_property
    def _plans(self) -> frozenset[int]:
        """Return the runs that may have paid for lists: none takes a day. Most nights have none."""
        return self._catalog.read(plans_since, self._clock() - timedelta(days=1))

    def _read_pages(self, locations: Iterable[AnswerLocation], pk: Pk) -> Tray | None:
        """Return the tray that was read page by page; None if a page is lost, or the last one is missing."""
        pages = [self._read(one, lambda document: wire.parse_tray_page(document, pk)) for one in locations]
        whole = [page for page in pages if page is not None]
        if len(whole) < len(pages) or whole[-1].next_page_id is not None:
            return None
        return wire.join_pages([page.tray for page in whole])

    def _read(self, location: AnswerLocation, parse: Callable[[wire.Document], T]) -> T | None:
        """Return the content of a stored answer; None if its bytes are lost. Raises StorageError."""
        try:
            with self._reads:
                answer = self._answers.read(location)
                with wire.PARSE_LOCK:
                    return parse(wire.read_document(answer))
        except AnswerMalformed:
            return None
        except StorageError as error:
            if not is_data_loss(error):
                raise
            return None

    def _is_outdated(
        self, job: Job, known: StoredPage, stored: HighlightState | None, *, is_recorded: bool
    ) -> bool:
        """Return whether the page of an earlier run is not what this job asks for."""
        now = self._clock()
        match job.reason:
            case Why.FULL:
                return True
            case Why.ASKED:  # without a tray only a page that a killed run has just paid for is current
                is_complete = stored is not None and stored.completed_at is not None
                return is_complete or known.finished_at + _JUST_NOW < now
            case Why.SHRUNK | Why.SWEEP if is_recorded:
                return True
            case Why.LOST:
                return False
        return stored is not None and is_swept(stored, known.finished_at, self._options, now)


def _without_tray_values(page: HighlightPage) -> HighlightPage:
    """Return the page without what a newer tray has stated.

    An older title or cover would replace a newer one.
    """
    shown = page.highlight
    known = replace(shown, user=User(shown.user.pk), title=None, is_pinned=None, cover=None, cover_name=None)
    return replace(page, highlight=known)
