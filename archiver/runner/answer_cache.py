"""Pages that are paid for already: whether one serves again, so that a killed run does not pay twice."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from archiver.answers.answer_store import AnswerStore
from archiver.catalog import Catalog
from archiver.catalog.query import account_state, holdings
from archiver.errors import AnswerMalformed, StorageError
from archiver.hiker import wire
from archiver.model.archived import Owner
from archiver.model.identity import Subject
from archiver.model.upstream import HighlightPage, User
from archiver.runner.downloads import Download
from archiver.runner.plan import Job, Why, is_swept

_MARGIN = timedelta(seconds=60)
_JUST_NOW = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class PageAnswer:
    """A highlight's page with the answer that gave it.

    ``paid`` is False where a kept answer served, which came at ``came_at``; ``news`` is False where its rows stand already.
    """

    page: HighlightPage
    answer_id: int | None
    paid: bool = True
    came_at: datetime | None = None
    news: bool = True


class AnswerCache:
    """Looks for kept answers; reads only."""

    def __init__(
        self, catalog: Catalog, answers: AnswerStore, clock: Callable[[], datetime], *, sweep_days: int = 0
    ) -> None:
        self._catalog = catalog
        self._answers = answers
        self._clock = clock
        self._sweep_days = sweep_days
        self._reading = threading.Lock()  # one answer at a time in memory

    def page(self, job: Job) -> PageAnswer | None:
        """The kept page that makes this Job free: asked for under the same tray facts, its missing links still live. Else None.

        A sweep or a second look is served only by one whose rows never came to be: a killed run, or one that a restored database does not know, paid for it.
        None serves past the next turn of the sweep: it could not show what that is to find.
        """
        if job.reason is Why.FULL:
            return None
        known = self._catalog.read(holdings.paid_highlight, job.pk)
        if known is None or known.facts.differs(job.facts):
            return None
        if job.reason not in (Why.ASKED, Why.LOST) and self._is_swept_since(job, known.finished_at):
            return None
        if job.reason is Why.ASKED and known.finished_at + _JUST_NOW < self._clock():
            return None  # no tray tells whether it changed: only what a killed run has just paid for serves
        held = self._catalog.read(account_state.highlight, job.pk)
        if job.reason is Why.ASKED and held is not None and held.completed_at is not None:
            return None
        recorded = held is not None and held.fetched_at is not None and held.fetched_at >= known.finished_at
        if job.reason in (Why.SHRUNK, Why.SWEEP) and recorded:
            return None
        try:
            with self._reading:
                read = wire.parse_highlight_page(self._answers.read(known.location), job.pk)
        except (AnswerMalformed, StorageError):
            return None  # what cannot be read again is fetched again
        if held is not None and held.listed_at is not None and held.listed_at > known.finished_at:
            read = _of_its_items(read)
        news = not recorded or bool(read.rejected)
        page = PageAnswer(read, known.answer_id, paid=False, came_at=known.finished_at, news=news)
        now = self._clock() + _MARGIN
        links = (wanted.link for wanted in self.missing(page))
        return page if all(link.expires_at is None or link.expires_at > now for link in links) else None

    def _is_swept_since(self, job: Job, came_at: datetime) -> bool:
        return self._sweep_days > 0 and is_swept(job.pk, came_at, self._sweep_days, self._clock())

    def missing(self, page: PageAnswer) -> list[Download]:
        """What the page offers and the archive does not hold."""
        held = self._catalog.read(holdings.held_items, tuple(item.pk for item in page.page.items))
        return [
            Download(Owner(Subject.ITEM, item.pk), link, page.answer_id)
            for item in page.page.items
            for link in item.links
            if (item.pk, link.role) not in held
        ]


def _of_its_items(page: HighlightPage) -> HighlightPage:
    """The page without what a tray has told since: an older title, pin, cover or name would overwrite a newer one."""
    shown = page.highlight
    known = replace(shown, user=User(shown.user.pk), title=None, is_pinned=None, cover=None, cover_name=None)
    return replace(page, highlight=known)
