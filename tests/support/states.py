"""Builders of stored states. Each returns a quiet value, in which a test changes only what it is about."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from archiver.catalog import Catalog
from archiver.catalog.query.account_state import AccountState, FailureState, HighlightState, account_state
from archiver.errors import Reason
from archiver.model.identity import Pk, Role
from archiver.model.target import Target
from archiver.model.upstream import TrayNumbers
from archiver.model.values import replace

NOW = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
YESTERDAY = NOW - DAY
FACTS = TrayNumbers(latest_reel_media=1_766_242_839, media_count=12)
OTHER_FACTS = TrayNumbers(latest_reel_media=1, media_count=12)
TARGET = Target("natgeo", username="natgeo")


def highlight(**changes: Any) -> HighlightState:
    """Return a highlight that was listed and completed yesterday and has not changed since."""
    quiet = HighlightState("1", "BOTW", FACTS, FACTS, listed_at=YESTERDAY)
    return replace(replace(quiet, fetched_at=YESTERDAY, completed_at=YESTERDAY), **changes)


def lacking(*failures: FailureState, **changes: Any) -> HighlightState:
    """Return a highlight whose page was worked through yesterday and that lacks files."""
    return highlight(**({"completed_at": None, "tried_at": YESTERDAY, "failures": failures} | changes))


def failed_file(next_try_at: datetime | None) -> FailureState:
    """Return the failure of a video that could not be downloaded."""
    return FailureState(Role.VIDEO, Reason.NETWORK, next_try_at)


def missing_page(next_try_at: datetime | None) -> FailureState:
    """Return the failure of a page that was not found."""
    return FailureState(None, Reason.NOT_FOUND, next_try_at)


def account(*highlights: HighlightState, **changes: Any) -> AccountState:
    """Return an account that was listed yesterday and shows these highlights."""
    quiet = AccountState(TARGET, pk="787132", username="natgeo", first_seen_at=NOW - 100 * DAY)
    base = replace(quiet, listed_at=YESTERDAY, paged_at=YESTERDAY, highlights=highlights)
    return replace(base, **changes)


def unresolved(**changes: Any) -> AccountState:
    """Return the state of a name that nobody has asked for yet."""
    return replace(AccountState(TARGET), **changes)


def stored_account(catalog: Catalog, pk: Pk, paged_tray: str = "") -> AccountState:
    """Read what a catalog stores of an account, which must be there."""
    state = catalog.read(account_state, Target(pk, user_pk=pk), paged_tray=paged_tray)
    assert state.is_archived
    return state
