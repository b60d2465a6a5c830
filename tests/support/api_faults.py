"""What tests of a faulty API share: waits that take no time, and true answers with one change."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TypedDict

import pytest

from archiver.runner.rate import RateLimiter
from archiver.sandbox.world_objects import Json
from archiver.work import StopFlag
from tests.support.archive_harness import ArchiveHarness
from tests.support.standin import actions
from tests.support.standin.actions import Action
from tests.support.standin.faulty_standin import FaultyExchange

TRAY, PAGE = "/v1/user/highlights", "/v1/highlight/by/url"
FIRST_ACCOUNT, FIRST_HIGHLIGHT = 70_000_000_000, 17_800_000_000_000_000
REFUSED: Json = {"detail": "no"}
BROKEN: Json = {"detail": "x", "exc_type": "InternalError"}


Object = dict[str, Json]


class ApiPlace(TypedDict):
    """Keywords of ``faults.add`` that select one account or highlight of a generated world."""

    path: str
    user: str | None
    highlight: str | None


def tray(number: int) -> ApiPlace:
    """Select the tray of the n-th generated account."""
    return {"path": TRAY, "user": str(FIRST_ACCOUNT + number), "highlight": None}


def page(number: int, place: int = 0) -> ApiPlace:
    """Select the page of a highlight of the n-th generated account."""
    return {"path": PAGE, "user": None, "highlight": highlight_pk(number, place)}


def account_pk(number: int) -> str:
    return str(FIRST_ACCOUNT + number)


def everybody(count: int = 50) -> list[str]:
    return [account_pk(n) for n in range(count)]


def highlight_pk(number: int, place: int = 0) -> str:
    return str(FIRST_HIGHLIGHT + 10_000 * number + place)


def edit_answer(change: Callable[[Json], Json | bytes | None]) -> Action:
    """Return an action: the true answer, billed, after ``change`` in place or to what it returns (bytes are
    sent as they are).
    """

    def act(exchange: FaultyExchange) -> None:
        true = exchange.reply()
        tree: Json = json.loads(true.body)
        changed = change(tree)
        body = (
            changed
            if isinstance(changed, bytes)
            else json.dumps(tree if changed is None else changed).encode()
        )
        exchange.deliver(replace(true, body=body))

    return act


def edit_tray(change: Callable[[list[Json]], object]) -> Action:
    """Return the action: the true tray after this change."""

    def apply(tree: Json) -> None:
        assert isinstance(tree, list)
        change(tree)

    return edit_answer(apply)


def edit_page(change: Callable[[Object, list[Json]], object]) -> Action:
    """Return the action: the true page after this change to it and to its items."""

    def apply(tree: Json) -> None:
        assert isinstance(tree, dict)
        assert isinstance(tree["items"], list)
        change(tree, tree["items"])

    return edit_answer(apply)


def first_entry(items: list[Json]) -> Object:
    """Return the first of some items or highlights."""
    found = items[0]
    assert isinstance(found, dict)
    return found


def answer_error(status: int, body: Json, **headers: str) -> Action:
    """Return an action: an error of the API as JSON. In header names ``_`` means ``-``."""
    return actions.respond(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


def attempts(harness: ArchiveHarness, subject: str) -> list[tuple[object, ...]]:
    """Return the ledger of one subject: (status, units) of each attempt, in order."""
    return harness.rows("select status, units from api_calls where subject = ? order by id", subject)


class Waits:
    """Waits that take no time but advance the clock, and remember how long each was."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._skipped = 0.0
        self._lock = threading.Lock()

    def clock(self) -> float:
        return time.monotonic() + self._skipped

    def skip(self, seconds: float) -> None:
        with self._lock:
            self._skipped += seconds
            if seconds > 0.01:  # less is the pace of a thousand calls a second
                self.seconds.append(seconds)


def skip_waits(monkeypatch: pytest.MonkeyPatch) -> Waits:
    """Make every wait of a run take no time in this test."""
    waits = Waits()

    class Hasty(StopFlag):
        def wait(self, seconds: float) -> None:
            waits.skip(max(0.0, seconds))
            self.check()

    monkeypatch.setattr("tests.support.archive_harness.StopFlag", Hasty)
    monkeypatch.setattr(
        "archiver.runner.metered_api.RateLimiter", partial(RateLimiter, monotonic=waits.clock)
    )
    return waits
