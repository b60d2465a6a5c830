"""Every unit is spent here: reserve → send → keep → settle, one ledger row an attempt; what was not billed is tried again.

``list_*`` and ``fetch_*`` are the only functions of the program that cost units.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

from archiver import retry
from archiver.answers.answer_writer import AnswerWriter
from archiver.catalog import Catalog, record
from archiver.errors import (
    AnswerMalformed,
    ArchiverError,
    BudgetReached,
    CallFailed,
    KeyRejected,
    OutOfUnits,
    UpstreamDown,
)
from archiver.hiker import endpoints, wire
from archiver.hiker.client import HikerClient
from archiver.hiker.response_body import LargeBodySlot
from archiver.model.billing import Answer, Call, Limits, Meaning, Verdict
from archiver.model.events import Pause, UnitsSpent
from archiver.model.identity import Pk
from archiver.model.upstream import Balance, HighlightPage, Tray, TrayFacts, TrayPage, User
from archiver.runner.budget import Budget, Promise
from archiver.runner.context import RunContext
from archiver.runner.workers import StopFlag

_TRIES = 3
_PATIENT_TRIES = 6
_FAILED_IN_A_ROW = 5
_REFUSED_IN_A_ROW = 3


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reply(Generic[T]):
    """A stored and settled Answer, read: its bytes are let go, since many at once would fill the memory.

    ``answer_id`` is None where nothing was stored (an answer that was not billed). ``found`` is what an
    answer that is OK says, or why it cannot be read; None for any other.
    """

    status: int
    verdict: Verdict
    answer_id: int | None
    found: T | AnswerMalformed | None

    def content(self) -> T:
        """What the answer says. Raises AnswerMalformed if it is not what its endpoint promises."""
        if self.found is None:
            raise AnswerMalformed(self.verdict.detail or self.verdict.meaning.value)
        if isinstance(self.found, AnswerMalformed):
            raise self.found
        return self.found


class MeteredApi:
    """The API as a run uses it: through the ledger, kept before parsed, at the pace that the account allows."""

    def __init__(
        self,
        client: HikerClient,
        catalog: Catalog,
        answers: AnswerWriter,
        *,
        context: RunContext,
        limits: Limits,
        privacy_check: bool,
    ) -> None:
        self._client = client
        self._catalog = catalog
        self._answers = answers
        self._context = context
        self._privacy_check = privacy_check
        self.budget = Budget(catalog, context.run_id, limits, context.clock)
        self._gate = RateLimiter(1.0, context.stop)
        self._closed: ArchiverError | None = None
        self._health = _Health()
        self._reading = threading.Lock()

    @property
    def closed(self) -> ArchiverError | None:
        """Why nothing more is paid for in this run, or None while the API may be asked."""
        return self._closed

    def open_gate(self, per_second: float | None) -> int | None:
        """Set the pace: so many calls a second, or as many as ``/sys/balance`` (free) states, or one.

        Returns the units left before anything is paid, None where the API does not say.
        """
        if per_second is not None:
            self._gate = RateLimiter(per_second, self._context.stop)
            return self.units_left()
        balance = self.balance()
        per_second = float(balance.rate) if balance is not None and balance.rate else 1.0
        self._gate = RateLimiter(per_second, self._context.stop)
        return balance.units if balance is not None else None

    def units_left(self) -> int | None:
        """The units left, by one free attempt that no limit forbids; None where the API does not say so at once. Ends no run."""
        if isinstance(self._closed, KeyRejected | UpstreamDown) or self._gate.paused:
            return None
        try:
            self._gate.enter()  # where the run was stopped this raises
            return self._send(endpoints.balance(), wire.parse_balance).content().units
        except ArchiverError:
            return None

    def balance(self) -> Balance | None:
        """Units left and calls a second, by a free call; None where the API does not say. Raises KeyRejected."""
        try:
            return self._pay(endpoints.balance(), wire.parse_balance).content()
        except (KeyRejected, OutOfUnits):
            raise
        except ArchiverError:
            self._context.stop.check()
            return None

    def list_highlights(self, user_pk: Pk) -> Reply[Tray]:
        """The tray of a user, by pk. Raises CallFailed if no answer came, or why nothing more is paid for."""
        call = endpoints.list_highlights(user_pk, privacy_check=self._privacy_check)
        return self._pay(call, lambda answer: wire.parse_tray(answer, user_pk), tray=True)

    def list_highlights_by_username(self, username: str) -> Reply[Tray]:
        """The tray of a user whose pk is not known."""
        call = endpoints.list_highlights_by_username(username, privacy_check=self._privacy_check)
        return self._pay(call, lambda answer: wire.parse_tray(answer, username=username), tray=True)

    def list_highlights_page(self, user_pk: Pk, page_id: str | None) -> Reply[TrayPage]:
        """One page of the paged tray of a user, the first where ``page_id`` is None."""
        call = endpoints.list_highlights_page(user_pk, page_id, privacy_check=self._privacy_check)
        return self._pay(call, lambda answer: wire.parse_tray_page(answer, user_pk), tray=True)

    def fetch_highlight(
        self, pk: Pk, facts: TrayFacts, *, account: str, promise: Promise | None = None
    ) -> Reply[HighlightPage]:
        """One highlight with its items, of this ``account`` (its pk, or the highlight's where that is not known).

        ``facts`` are the tray's, kept with the answer so that a killed run need not pay again. With a
        ``promise`` the Budget keeps its unit back, so that it is paid for even after a limit was reached.
        """
        call = endpoints.fetch_highlight(pk)
        return self._pay(
            call,
            lambda answer: wire.parse_highlight_page(answer, pk),
            facts=facts,
            account=account,
            promise=promise,
        )

    def fetch_user(self, user_pk: Pk) -> Reply[User]:
        """One account, by pk: what tells private, gone and empty apart."""
        return self._pay(endpoints.fetch_user(user_pk), lambda answer: wire.parse_user(answer, user_pk))

    def fetch_user_by_username(self, username: str, pk: Pk | None = None) -> Reply[User]:
        """One account by its name. ``pk``: the one that it must have, where something else told it."""
        call = endpoints.fetch_user_by_username(username)
        return self._pay(call, lambda answer: wire.parse_user(answer, pk, username=username))

    def price_of_tray(self, user_pk: Pk) -> int:
        """The units of one look at the tray of a known account."""
        return endpoints.list_highlights(user_pk, privacy_check=self._privacy_check).units

    def lacks_room_for(self, username: str) -> bool:
        """Whether a first look by name takes all that is left, or more, while a look at the account, which costs less, does not.

        An empty tray must be looked behind, and a limit would keep that off in every run.
        """
        left = self.budget.left()
        price = endpoints.list_highlights_by_username(username, privacy_check=self._privacy_check).units
        return left is not None and endpoints.fetch_user_by_username(username).units <= left <= price

    def _pay(
        self,
        call: Call,
        read: Callable[[Answer], T],
        *,
        tray: bool = False,
        facts: TrayFacts | None = None,
        account: str | None = None,
        promise: Promise | None = None,
    ) -> Reply[T]:
        tries = lost = 0
        while True:
            tries += 1
            if tries > 1 and promise is not None:
                self.budget.renew(promise)
            try:
                reply = self._attempt(call, read, tray=tray, facts=facts, promise=promise)
            except CallFailed as error:
                self._context.stop.check()
                lost += error.sent
                # A call that may have reached the API may have been billed: it is asked once more, not twice.
                if error.permanent or tries >= _TRIES or lost > 1:
                    self._note(call, account, Meaning.TRANSIENT)
                    raise
                self._context.stop.wait(retry.backoff(tries, random.random))
                continue
            wait = self._wait_for(reply, tries)
            if wait is None:
                self._note(call, account, reply.verdict.meaning)
                if reply.verdict.meaning is Meaning.RETIRED:
                    # Not a fact about what was asked for: taken for one, every highlight would seem to be gone.
                    told = f"the API has retired {call.path}; a newer archiver may know its successor"
                    raise CallFailed(told, sent=True, permanent=True, status=reply.status)
                return reply
            self._context.observe(Pause(wait, reply.verdict.detail))
            if reply.verdict.meaning is Meaning.RATE_LIMITED:
                self._gate.pause(wait)
            else:
                self._context.stop.wait(wait)

    def _attempt(
        self,
        call: Call,
        read: Callable[[Answer], T],
        *,
        tray: bool,
        facts: TrayFacts | None,
        promise: Promise | None,
    ) -> Reply[T]:
        """One attempt, one ledger row, settled whatever comes back. Raises CallFailed if nothing does."""
        promised = promise is not None and promise.units > 0
        if self._closed is not None and not (promised and isinstance(self._closed, BudgetReached)):
            raise self._closed
        self._gate.enter()
        try:
            return self._send(call, read, tray=tray, facts=facts, promise=promise)
        except BudgetReached as error:
            raise self._close(error) from None

    def _send(
        self,
        call: Call,
        read: Callable[[Answer], T],
        *,
        tray: bool = False,
        facts: TrayFacts | None = None,
        promise: Promise | None = None,
    ) -> Reply[T]:
        call_id = self.budget.reserve(call, promise)
        with self._client.large_body_slot() as slot:  # held until the answer is read
            answer = self._answer(call, call_id, slot, promise)
            return self._keep(call_id, answer, read, tray=tray, facts=facts, promise=promise)

    def _answer(self, call: Call, call_id: int, slot: LargeBodySlot, promise: Promise | None) -> Answer:
        try:
            return self._client.send(call, is_stopped=self._stopped, slot=slot)
        except CallFailed as error:
            units = (
                endpoints.lost_units(call, sent=error.sent)
                if error.status is None
                else endpoints.settled_units(call, error.status)
            )
            self.budget.settle(call_id, error.status, units, promise=promise)
            self._settled(call, units)
            raise

    def _stopped(self) -> bool:
        return self._context.stop.cause is not None

    def _keep(
        self,
        call_id: int,
        answer: Answer,
        read: Callable[[Answer], T],
        *,
        tray: bool,
        facts: TrayFacts | None,
        promise: Promise | None,
    ) -> Reply[T]:
        billed = endpoints.settled_units(answer.call, answer.status) > 0
        kept = self._answers.keep(answer, tray=tray) if billed else None
        with self._reading:
            verdict = wire.parse_verdict(answer)
        answer_id = self.budget.settle(call_id, answer.status, verdict.units, kept, facts, promise=promise)
        self._settled(answer.call, verdict.units)
        found = self._found(answer, read) if verdict.meaning is Meaning.OK else None
        return Reply(answer.status, verdict, answer_id, found)

    def _found(self, answer: Answer, read: Callable[[Answer], T]) -> T | AnswerMalformed:
        """What an answer says, read while no other thread reads one: what JSON takes in memory is taken
        once."""
        with self._reading:
            try:
                return read(answer)
            except AnswerMalformed as error:
                return AnswerMalformed(str(error))  # a new one: that one's frames hold the answer

    def _note(self, call: Call, account: str | None, meaning: Meaning) -> None:
        # A free call says nothing about accounts, nor does the paged tray where it fails: the other one, asked for next, does.
        if call.units and (call.path != endpoints.PAGED_TRAY or meaning is Meaning.OK):
            self._health.note(account or call.subject, meaning, self._close)

    def _settled(self, call: Call, units: int) -> None:
        self._context.tally.add(units=units, api_calls=call.units > 0)
        self._context.observe(UnitsSpent(units))

    def _wait_for(self, reply: Reply[T], tries: int) -> float | None:
        """Seconds until the next attempt, or None: this reply is final."""
        meaning, asked = reply.verdict.meaning, reply.verdict.retry_after
        if meaning is Meaning.OUT_OF_UNITS:
            raise self._close(OutOfUnits("the API account has no units left", "top it up, then run again"))
        if meaning is Meaning.KEY_REJECTED:
            raise self._close(
                KeyRejected(f"the API rejected the key: {reply.verdict.detail}", "check HIKERAPI_TOKEN")
            )
        if meaning is Meaning.RATE_LIMITED:
            if tries >= _PATIENT_TRIES or (asked or 0) > retry.MAX_WAIT:
                raise self._close(
                    UpstreamDown("the API keeps refusing calls (429)", "lower api.requests_per_second")
                )
            return max(1.0, asked if asked is not None else retry.backoff(tries, random.random, 2.0))
        # What was billed is not asked again tonight: a broken answer with status 200 would be paid for twice.
        if meaning in (Meaning.TRANSIENT, Meaning.BLOCKED) and not reply.verdict.units and tries < _TRIES:
            pause = asked if asked is not None else retry.backoff(tries, random.random)
            return pause if pause <= retry.MAX_WAIT else None
        return None

    def _close(self, cause: ArchiverError) -> ArchiverError:
        if self._closed is None:
            self._closed = cause
        return self._closed


class _Health:
    """Notices when asking on is useless: so many different accounts in a row failed, or were refused, with no success between."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failed: set[str] = set()
        self._refused: set[str] = set()
        self._succeeded = False

    def note(self, subject: str, meaning: Meaning, close: Callable[[ArchiverError], object]) -> None:
        with self._lock:
            if meaning in (Meaning.TRANSIENT, Meaning.BLOCKED, Meaning.REDIRECTED, Meaning.RETIRED):
                self._failed.add(subject)
            elif meaning is Meaning.REFUSED:
                self._refused.add(subject)
            else:
                self._failed.clear()
                self._succeeded = self._succeeded or meaning is Meaning.OK
            refused = len(self._refused) >= _REFUSED_IN_A_ROW and not self._succeeded
            down = len(self._failed) >= _FAILED_IN_A_ROW
        if refused:
            close(
                KeyRejected(
                    f"the API refused the first {_REFUSED_IN_A_ROW} accounts asked for",
                    "check the key and what its plan allows",
                )
            )
        elif down:
            close(
                UpstreamDown(
                    f"the API failed for {_FAILED_IN_A_ROW} different accounts in a row", "run again later"
                )
            )


class RateLimiter:
    """Lets ``per_second`` calls through, evenly spaced. Time is monotonic, so a clock that jumps changes nothing."""

    def __init__(
        self, per_second: float, stop: StopFlag, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._interval = 1.0 / per_second
        self._stop = stop
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._next = self._closed_until = monotonic()

    @property
    def paused(self) -> bool:
        """Whether a pause that was asked for is not over yet."""
        with self._lock:
            return self._monotonic() < self._closed_until

    def enter(self) -> None:
        """Wait for this caller's turn. Raises the cause of the stop flag if the run ends meanwhile."""
        while True:
            with self._lock:
                turn = max(self._next, self._monotonic())
                self._next = turn + self._interval
            while (left := turn - self._monotonic()) > 0:
                self._stop.wait(left)
            if turn >= self._closed_until:
                break  # else a pause has begun meanwhile: another turn, so that not all who waited go through at its end together
        self._stop.check()

    def pause(self, seconds: float) -> None:
        """Let nobody through for so many seconds, also who has drawn a turn before."""
        with self._lock:
            self._closed_until = max(self._closed_until, self._monotonic() + seconds)
            self._next = max(self._next, self._closed_until)


class BalanceCheck:
    """Asks before the first paid call and after the last one, both free, and records both. What is not told is null."""

    def __init__(self, paid: MeteredApi, catalog: Catalog, run_id: int) -> None:
        self._paid = paid
        self._catalog = catalog
        self._run_id = run_id
        self._before: int | None = None
        self._fall: int | None = None

    def begin(self, per_second: float | None) -> None:
        """Open the gate at this pace, and note what is left. Raises as ``MeteredApi.balance``, where the pace must be asked for."""
        self._before = self._paid.open_gate(per_second)
        if self._before is not None:
            self._catalog.write(record.balance_before, self._run_id, self._before)

    def end(self, api_calls: int) -> None:
        """Note what is left, where so many calls were paid for. It never fails a run."""
        if not api_calls or self._before is None:
            return
        after = self._paid.units_left()
        if after is None:
            return
        self._fall = self._before - after
        with suppress(ArchiverError):  # a database that is gone is told by whoever records the end of the run
            self._catalog.write(record.balance_after, self._run_id, after)

    def mismatch(self, units: int) -> int | None:
        """How many units more than these the balance fell by, negative for fewer; None where that is not known."""
        return None if self._fall is None else self._fall - units
