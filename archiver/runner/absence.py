"""When a missing highlight or item counts as gone, and when a tray must be confirmed first. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from datetime import timedelta
from enum import StrEnum

from msgspec import Struct

from archiver.catalog.query.account_state import AccountState
from archiver.errors import Reason
from archiver.model.identity import Pk
from archiver.model.upstream import Highlight, Tray

LIST_AGE = timedelta(hours=1)
"""A run may use a tray that ``plan --list`` has listed, if it is not older than this."""


class Doubt(StrEnum):
    """Why a tray is not recorded until the account itself has been checked."""

    NOT_FOUND = "tray_not_found"  # a private account may answer this too
    EMPTY = "tray_empty"
    HALVED = "tray_halved"
    NAMELESS = "tray_nameless"  # requested by name, and the answer does not state that name


class Listing(Struct, frozen=True):
    """A tray, and how it was read.

    ``is_whole``: it was read page by page to the end. ``is_cut``: it came in one answer, which is known to
    omit highlights of this account.
    """

    tray: Tray
    is_whole: bool = False
    is_cut: bool = False


def doubt_about(listing: Listing, before: AccountState, pk: Pk | None) -> Doubt | None:
    """Return why a tray must be confirmed by a look at the account, or None if it can be recorded.

    A private account may show an empty or a short tray. ``before`` is what was stored before this visit;
    ``pk`` is the account's, if it is known without this tray.
    """
    tray = listing.tray
    if tray.length == 0:
        return None if before.is_archived and before.verdict is Reason.EMPTY else Doubt.EMPTY
    if pk is None:
        return Doubt.NAMELESS if tray.user is not None and tray.user.username is None else None
    is_halved = tray.length * 2 < (before.tray_length or 0)
    return Doubt.HALVED if is_halved and not listing.is_cut and before.shrunk_to is None else None


def highlights_gone(
    listing: Listing, state: AccountState, shrunk_to: str | None, longest_tray: int
) -> tuple[tuple[Pk, ...], str | None]:
    """Return the highlights that this tray proves gone, and the fingerprint to remember.

    The API truncates a tray in one answer at an unknown length. A tray shorter than the longest such tray
    of any account was not truncated. ``shrunk_to``: the fingerprint that an earlier run stored.
    """
    tray = listing.tray
    is_evidence = listing.is_whole or (tray.length < longest_tray and not listing.is_cut)
    if not is_evidence or tray.rejected:
        return (), None
    present = [highlight.pk for highlight in state.highlights if highlight.gone_at is None]
    return believed_gone(present, [highlight.pk for highlight in tray.highlights], shrunk_to)


def believed_gone(
    present: Collection[Pk], listed: Collection[Pk], shrunk_to: str | None
) -> tuple[tuple[Pk, ...], str | None]:
    """Return which of ``present`` are gone, and the fingerprint of a loss to remember.

    ``listed`` is what a complete list shows.

    A loss of more than half counts only when a second run sees the same loss. The first run returns nothing
    as gone, only a fingerprint of the loss.
    """
    absent = tuple(sorted(set(present) - set(listed)))
    if not absent:
        return (), None
    if len(absent) * 2 > len(present):
        fingerprint = hashlib.sha256(",".join(absent).encode()).hexdigest()
        if fingerprint != shrunk_to:
            return (), fingerprint
    return absent, None


def missing_in_one_answer(listing: Listing, state: AccountState) -> frozenset[Pk]:
    """Return the highlights of a paged tray that the last tray in one answer omitted."""
    if not listing.is_whole or state.needs_pages or state.listed_at is None:
        return frozenset()
    return frozenset(h.pk for h in listing.tray.highlights if _was_not_shown(h, state))


def _was_not_shown(highlight: Highlight, state: AccountState) -> bool:
    """Return whether a highlight existed when the last tray was listed, and was not in it.

    ``listed_at`` may be later than that, by ``LIST_AGE`` at most.
    """
    assert state.listed_at is not None
    stored = state.highlight(highlight.pk)
    if stored is not None and stored.listed_at is not None:
        return stored.gone_at is None and stored.listed_at != state.listed_at
    return highlight.created_at is not None and highlight.created_at <= state.listed_at - LIST_AGE
