"""A visit to a target: what is stored about it, all that the visit has learned, and what visits share."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from datetime import date

from msgspec import Struct, field

from archiver.catalog import Catalog
from archiver.catalog.query.account_state import AccountState, account_state, longest_tray
from archiver.errors import PayingEnded, Reason
from archiver.hiker import endpoints
from archiver.model.api_calls import Meaning
from archiver.model.identity import Pk
from archiver.model.target import Target
from archiver.model.upstream import Tray
from archiver.model.values import replace
from archiver.runner.absence import Doubt, Listing
from archiver.runner.answer_cache import AnswerCache
from archiver.runner.context import RunOptions
from archiver.runner.downloads import Download, FailedDownload


class Visit(Struct, frozen=True):
    """A target while it is visited: what is stored, and what this visit has learned so far.

    Each step takes a visit and returns the next one. Progress is kept in flags, not derived from stored
    times: if the clock is set back during a visit, a step derived from times would be paid for again and
    again.

    ``before``: what was stored when the visit began; ``state``: what is stored now. ``run_id``: the run that
    makes the visit; None for a plan. ``stored_tray``: the one that ``plan --list`` has just paid for.
    ``free_pks``: highlights for which a usable stored answer was found. ``is_duplicate``: another target of
    the run has named this account before.

    ``listing``: the tray that was read; ``doubt``: why it is not recorded yet. ``verdict`` ends the visit.
    ``are_pages_paid``: whether the pages were billed, if ``pages_failed``. ``blobs_checked``: the account
    whose blobs were looked for, and on which day (UTC); ``has_lost_blobs``: whether any was missing.

    ``pictures``: the covers and the avatar that the tray offers and the archive lacks, with their downloads,
    which have begun. ``meanings``: how the pages of the highlights were answered, once ``has_fetched``.
    ``paying_ended``: what left some of them for the next run.
    """

    before: AccountState
    state: AccountState
    run_id: int | None = None
    stored_tray: Tray | None = None
    free_pks: frozenset[Pk] = frozenset()
    is_duplicate: bool = False
    listing: Listing | None = None
    doubt: Doubt | None = None
    verdict: Reason | None = None
    has_looked: bool = False
    pages_failed: bool = False
    are_pages_paid: bool = False
    is_listed: bool = False
    blobs_checked: tuple[Pk, date] | None = None
    has_lost_blobs: bool = False
    pictures: tuple[Download, ...] = ()
    picture_downloads: tuple[Future[FailedDownload | None], ...] = ()
    has_fetched: bool = False
    meanings: tuple[Meaning, ...] = ()
    paying_ended: PayingEnded | None = None

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do."""
        return self.is_duplicate or self.has_fetched


def begin_visit(
    catalog: Catalog, answers: AnswerCache, target: Target, options: RunOptions, run_id: int | None = None
) -> Visit:
    """Return a new visit, with what is stored about the target. ``run_id``: the run; None for a plan."""
    state = catalog.read(
        account_state,
        target,
        from_config=options.from_config,
        paged_tray=endpoints.PAGED_TRAY,
        run_id=run_id,
    )
    return Visit(before=state, state=state, run_id=run_id, stored_tray=answers.find_tray(state))


def read_visit(visit: Visit, catalog: Catalog, *, highlights_unchanged: bool = False) -> Visit:
    """Return the visit with its stored state read again.

    ``highlights_unchanged``: this visit has recorded a tray that changed no highlight, so the stored
    highlights are not read again.
    """
    before = visit.state
    state = catalog.read(
        account_state,
        before.target,
        before.pk,
        paged_tray=endpoints.PAGED_TRAY,
        known=before.highlights if highlights_unchanged else None,
        run_id=visit.run_id,
    )
    if highlights_unchanged and visit.listing is not None:
        listed = {highlight.pk for highlight in visit.listing.tray.highlights}
        again = (replace(h, listed_at=state.listed_at) if h.pk in listed else h for h in state.highlights)
        state = replace(state, highlights=tuple(again))
    return replace(visit, state=state, free_pks=frozenset())


class AccountRegister(Struct):
    """What the visits of one run share: the accounts visited, and the longest tray in one answer."""

    longest_tray: int
    _visited: dict[Pk, Target] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def read(cls, catalog: Catalog) -> AccountRegister:
        """Return the register for a new run."""
        return cls(catalog.read(longest_tray))

    def register(self, pk: Pk, target: Target) -> Target:
        """Return the target under which this run visits an account: the first one that named it."""
        with self._lock:
            return self._visited.setdefault(pk, target)
