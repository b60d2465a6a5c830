"""The tray of an account: by which endpoint it is asked for tonight, whether it shows all that there is, and what it says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from archiver.catalog import Catalog, record
from archiver.catalog.query import account_state
from archiver.errors import AnswerMalformed, CallFailed, Reason
from archiver.hiker import endpoints, wire
from archiver.model.archived import HeldHighlight, HeldUser
from archiver.model.billing import Meaning
from archiver.model.events import Notice
from archiver.model.identity import Pk
from archiver.model.upstream import Highlight, Tray
from archiver.runner import plan
from archiver.runner.context import RunContext
from archiver.runner.metered_api import MeteredApi
from archiver.runner.standing import Account, hidden

_PAGES_MOST = 100
"""A paged tray that is longer than this never ends: an account has some hundred highlights at most."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A tray as it came tonight. ``came_by``: the path that brought it; ``endpoint``: the one by which the account is listed from
    now on. ``whole``: read to the last page, so that nothing is cut. ``paged``: the paged tray was asked for, and what that cost was
    paid. ``unseen``: what the tray in one answer cannot show of this account. ``cut``: known to show less than the account has.
    """

    tray: Tray
    came_by: str = endpoints.TRAY
    endpoint: str = endpoints.TRAY
    whole: bool = False
    paged: bool = False
    unseen: frozenset[Pk] = frozenset()
    cut: bool = False


class Trays:
    """Asks for trays and records them; many threads may."""

    def __init__(
        self, paid: MeteredApi, catalog: Catalog, *, context: RunContext, sweep_days: int, full: bool
    ) -> None:
        self._paid = paid
        self._catalog = catalog
        self._context = context
        self._sweep_days = sweep_days
        self._full = full
        self._longest = catalog.read(account_state.longest_tray)

    def by_name(self, username: str) -> Listing | Reason:
        """Return the tray of a user whose pk is not known, or why it is not shown.

        Raises as ``standing.hidden``, and AnswerMalformed where it is not the tray of an account of that
        name.
        """
        reply = self._paid.list_highlights_by_username(username)
        return hidden(reply) or Listing(reply.content())

    def by_pk(self, account: Account) -> Listing | Reason:
        """The tray of a user, or why it is not shown; page by page on its turn, or where the other is known to be cut.

        Whatever keeps the paged tray from its last page, the tray in one answer serves: it decides whether the account is private
        or gone, and counts as possibly cut. A vain attempt that was billed waits for the next turn, a free one for the next night.
        """
        assert account.pk is not None
        held = account.held
        turn = plan.is_paged(held, self._sweep_days, self._context.clock(), full=self._full)
        lacks = held is not None and held.tray_endpoint == endpoints.PAGED_TRAY
        if held is None or not turn:
            return self._in_one_answer(account.pk, lacks)
        tray, billed = self._pages(account.pk) if self._has_room_for_pages(account.pk) else (None, False)
        if tray is not None:
            unseen = self._unseen(held, tray.highlights)
            stays = endpoints.PAGED_TRAY if unseen or lacks else endpoints.TRAY
            return Listing(tray, endpoints.PAGED_TRAY, stays, whole=True, paged=True, unseen=unseen)
        self._context.observe(
            Notice(f"{account.target.text}: the paged tray cannot be had; the first page serves")
        )
        return self._in_one_answer(account.pk, lacks, paged=billed)

    def record(self, account: Account, pk: Pk, listing: Listing) -> None:
        """Commit what a tray says, and what its silence says where that is evidence."""
        tray = listing.tray
        held = {h.pk: h for h in self._catalog.read(account_state.held, pk)}
        present = [h.pk for h in held.values() if h.gone_at is None]
        gone: tuple[Pk, ...] = ()
        shrunk_to = None
        # Shorter than the longest tray ever seen: not cut at its first page, so absence is evidence, unless it lacked something before.
        known_whole = listing.whole or (tray.length < self._longest and not listing.cut)
        if known_whole and not tray.rejected:
            before = account.held.shrunk_to if account.held is not None else None
            gone, shrunk_to = plan.believed_gone(present, [h.pk for h in tray.highlights], before)
        if not listing.whole:
            self._longest = max(self._longest, tray.length)
        self._catalog.write(
            record.tray,
            self._context.run_id,
            pk,
            tray,
            self._context.clock(),
            gone=gone,
            shrunk_to=shrunk_to,
            came_by=listing.came_by,
            endpoint=listing.endpoint,
            paged=listing.paged,
            unseen=listing.unseen,
        )

    def _in_one_answer(self, pk: Pk, lacks: bool, *, paged: bool = False) -> Listing | Reason:
        """The tray of ``/v1``; ``lacks``: it is known to show less than the account has, which stays with its pages."""
        reply = self._paid.list_highlights(pk)
        endpoint = endpoints.PAGED_TRAY if lacks else endpoints.TRAY
        return hidden(reply) or Listing(reply.content(), endpoint=endpoint, paged=paged, cut=lacks)

    def _has_room_for_pages(self, pk: Pk) -> bool:
        """Whether more units are left than its pages came to the last time, to the end or to a limit: one that is lower than the price
        of all pages would else be spent on the first of them, run after run.
        """
        left = self._paid.budget.left()
        return left is None or left > self._catalog.read(
            account_state.units_of_pages, pk, endpoints.PAGED_TRAY
        )

    def _pages(self, pk: Pk) -> tuple[Tray | None, bool]:
        """The paged tray, read to its last page, else None; and whether what was tried was billed."""
        pages: list[Tray] = []
        page_id: str | None = None
        asked: set[str | None] = set()
        billed = False
        try:
            while page_id not in asked and len(pages) < _PAGES_MOST:
                asked.add(page_id)
                reply = self._paid.list_highlights_page(pk, page_id)
                billed = billed or reply.verdict.units > 0
                if reply.verdict.meaning is not Meaning.OK:
                    return None, billed
                page = reply.content()
                pages.append(page.tray)
                page_id = page.next_page_id
                if page_id is None:
                    return wire.join_pages(pages), True
        except AnswerMalformed:
            return None, True
        except CallFailed as error:
            return None, billed or error.sent
        return None, True

    def _unseen(self, held: HeldUser, shown: Iterable[Highlight]) -> frozenset[Pk]:
        known = {h.pk: h for h in self._catalog.read(account_state.held, held.pk)}
        return frozenset(h.pk for h in shown if _is_unseen(h, known.get(h.pk), held))


def _is_unseen(highlight: Highlight, known: HeldHighlight | None, held: HeldUser) -> bool:
    """Whether the last tray in one answer should have shown this highlight and did not: it was there, and is neither new nor back."""
    if held.tray_endpoint == endpoints.PAGED_TRAY or held.listed_at is None:
        return False
    if known is not None and known.listed_at is not None:
        return known.gone_at is None and known.listed_at != held.listed_at
    return highlight.created_at is not None and highlight.created_at <= held.listed_at
