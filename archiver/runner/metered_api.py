"""The API as a run uses it: every unit is spent here, through the ledger.

Each attempt is reserved, sent, stored and settled, with one row in the ledger. Attempts that were not billed
are repeated. Only ``list_*`` and ``fetch_*`` of ``MeteredApi`` spend units.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, Protocol, TypeVar

from msgspec import Struct

from archiver import retry
from archiver.answers.answer_storage import AnswerWriter
from archiver.catalog import Catalog, record
from archiver.errors import (
    AnswerMalformed,
    ArchiverError,
    BudgetReached,
    CallFailed,
    DatabaseError,
    KeyRejected,
    OutOfUnits,
    Reason,
    StorageError,
    UpstreamDown,
)
from archiver.hiker import endpoints, wire
from archiver.hiker.client import HikerClient
from archiver.hiker.response_body import LargeBodySlot
from archiver.hiker.wire import Document
from archiver.model.api_calls import Answer, Call, Limits, Meaning, Verdict
from archiver.model.events import Pause, UnitsSpent
from archiver.model.identity import Pk
from archiver.model.upstream import Balance, HighlightPage, Tray, TrayFacts, User
from archiver.runner.budget import Budget, Promise
from archiver.runner.context import RunContext
from archiver.runner.workers import Pool, StopFlag

_TRIES = 3
_PATIENT_TRIES = 6
_FAILED_IN_A_ROW = 5
_PAGES_MAX = 100  # a longer tray would be an endless loop: accounts have a few hundred highlights at most
_REFUSED_IN_A_ROW = 3
_LEAD = 0.1  # seconds that the first paid calls wait for the balance; it has usually come by then


T = TypeVar("T")


class Reply(Struct, Generic[T], frozen=True):
    """The parsed content of a stored and settled answer.

    The bytes are dropped to save memory.

    ``answer_id`` is None if the answer was not stored, because it was not billed. ``parsed``: the content of
    an answer that is OK, or why it cannot be read; None for any other answer.
    """

    status: int
    verdict: Verdict
    answer_id: int | None
    parsed: T | AnswerMalformed | None

    def content(self) -> T:
        """Return what the answer says. Raises AnswerMalformed if it is not what its endpoint promises."""
        if self.parsed is None:
            raise AnswerMalformed(self.verdict.detail or self.verdict.meaning.value)
        if isinstance(self.parsed, AnswerMalformed):
            raise self.parsed
        return self.parsed


def verdict_of(reply: Reply[T]) -> Reason | None:
    """Return the verdict of a reply about an account: private, gone, or None if it is shown.

    Raises AnswerMalformed for an answer that cannot be read, CallFailed for an error of the API itself.
    """
    meaning = reply.verdict.meaning
    if meaning is Meaning.PRIVATE:
        return Reason.PRIVATE
    if meaning is Meaning.NOT_FOUND:
        return Reason.GONE
    detail = reply.verdict.detail or f"the API answers {meaning.value}"
    if meaning is Meaning.MALFORMED:
        raise AnswerMalformed(detail)
    if meaning is not Meaning.OK:
        raise CallFailed(detail, was_sent=True, is_permanent=True, status=reply.status)
    return None


class MeteredApi:
    """The API of a run, at the allowed rate.

    Each call is in the ledger, and each answer is stored before it is parsed.

    Methods that make a call raise CallFailed if no answer came, or the error that ended all paid calls.
    """

    def __init__(
        self,
        client: HikerClient,
        catalog: Catalog,
        answers: AnswerWriter,
        *,
        context: RunContext,
        limits: Limits,
        rate: CallRate | None = None,
    ) -> None:
        """``rate``: the rate of calls; if None, it is one call a second until ``set_rate``."""
        self._client = client
        self._catalog = catalog
        self._answers = answers
        self._context = context
        self.budget = Budget(catalog, context.run_id, limits, context.clock)
        self._rate: CallRate = rate or RateLimiter(1.0, context.stop)
        self._closing_error: ArchiverError | None = None
        self._health = _Health()
        self._parse_lock = threading.Lock()

    @property
    def closing_error(self) -> ArchiverError | None:
        """Return the error that ended all paid calls of this run; None while calls may be made."""
        return self._closing_error

    def set_rate(self, per_second: float) -> None:
        """Set the number of calls per second."""
        self._rate.set_rate(per_second)

    def ask_units_left(self) -> int | None:
        """Return the units left, by one free attempt; None if that fails. Never ends a run."""
        return self.reserve_units_left()()

    def reserve_units_left(self) -> Callable[[], int | None]:
        """Reserve the call of ``ask_units_left``, and return the function that makes it."""
        if isinstance(self._closing_error, KeyRejected | UpstreamDown) or self._rate.is_paused:
            return lambda: None
        call = endpoints.balance_call()
        try:
            self._rate.wait_turn()  # raises if the run was stopped
            call_id = self.budget.reserve(call)
        except ArchiverError:
            return lambda: None

        def ask() -> int | None:
            try:
                return self._exchange(call, call_id, wire.parse_balance).content().units
            except ArchiverError:
                return None

        return ask

    def ask_balance(self) -> Balance | None:
        """Return units left and calls per second, by a free call; None if the API does not say.

        Raises KeyRejected, OutOfUnits.
        """
        try:
            return self._pay(endpoints.balance_call(), wire.parse_balance).content()
        except (KeyRejected, OutOfUnits):
            raise
        except ArchiverError:
            self._context.stop.check()
            return None

    def fetch_account(
        self, call: Call, pk: Pk | None, username: str | None
    ) -> tuple[Reason | None, User | None]:
        """Fetch an account; return its verdict (private, gone, or None), and the account if it was shown.

        ``pk``, ``username``: those of the account, if known. Raises AnswerMalformed if the answer is about
        another account, and what ``verdict_of`` raises.
        """
        expected_name = username if call.path == endpoints.USER_BY_NAME else None
        reply = self._pay(call, lambda document: wire.parse_user(document, pk, username=expected_name))
        verdict = verdict_of(reply)
        if verdict is not None:
            return verdict, None
        user = reply.content()
        return (Reason.PRIVATE if user.is_private else None), user

    def list_tray(self, call: Call, pk: Pk | None, username: str | None) -> Tray | Reason:
        """List a tray in one answer: return it, or why it is not shown.

        Raises AnswerMalformed if it is not the tray of that pk or username, and what ``verdict_of`` raises.
        """
        if pk is not None:
            reply = self._pay(call, lambda document: wire.parse_tray(document, pk), is_tray=True)
        else:
            reply = self._pay(
                call, lambda document: wire.parse_tray(document, username=username), is_tray=True
            )
        return verdict_of(reply) or reply.content()

    def list_pages(self, first_page: Call, pk: Pk) -> tuple[Tray | None, bool]:
        """List a tray page by page: return it if its last page was read, and whether anything was billed."""
        pages: list[Tray] = []
        call, calls, is_billed = first_page, {first_page}, False
        try:
            while len(pages) < _PAGES_MAX:
                reply = self._pay(call, lambda document: wire.parse_tray_page(document, pk), is_tray=True)
                is_billed = is_billed or reply.verdict.units > 0
                if reply.verdict.meaning is not Meaning.OK:
                    return None, is_billed
                page = reply.content()
                pages.append(page.tray)
                if page.next_page_id is None:
                    return wire.join_pages(pages), True
                call = endpoints.next_page_call(first_page, page.next_page_id)
                if call in calls:
                    return None, True
                calls.add(call)
        except AnswerMalformed:
            return None, True
        except CallFailed as error:
            return None, is_billed or error.was_sent
        return None, True

    def fetch_highlight(
        self, pk: Pk, facts: TrayFacts, *, account: str, promise: Promise | None = None
    ) -> Reply[HighlightPage]:
        """Fetch one highlight with its items.

        ``account``: the pk of its account, or the highlight's own if unknown. ``facts``: the tray's, stored
        with the answer so that it can be used again after a kill. ``promise``: a unit set aside for this
        call, which may be spent even after a limit was reached.
        """
        return self._pay(
            endpoints.highlight_call(pk),
            lambda document: wire.parse_highlight_page(document, pk),
            facts=facts,
            account=account,
            promise=promise,
        )

    def _pay(
        self,
        call: Call,
        read: Callable[[Document], T],
        *,
        is_tray: bool = False,
        facts: TrayFacts | None = None,
        account: str | None = None,
        promise: Promise | None = None,
    ) -> Reply[T]:
        tries = attempts_lost = 0
        while True:
            tries += 1
            if tries > 1 and promise is not None:
                self.budget.renew(promise)
            try:
                reply = self._attempt(call, read, is_tray=is_tray, facts=facts, promise=promise)
            except CallFailed as error:
                self._context.stop.check()
                attempts_lost += error.was_sent
                # A call that may have reached the API may have been billed: it is repeated once, not twice.
                if error.is_permanent or tries >= _TRIES or attempts_lost > 1:
                    self._watch(call, account, Meaning.TRANSIENT)
                    raise
                self._context.stop.wait(retry.backoff(tries, random.random))
                continue
            wait = self._wait_for(reply, tries)
            if wait is None:
                self._watch(call, account, reply.verdict.meaning)
                if reply.verdict.meaning is Meaning.RETIRED:
                    # This says nothing about the subject: otherwise every highlight would seem to be gone.
                    detail = f"the API has retired {call.path}; a newer archiver may know its successor"
                    raise CallFailed(detail, was_sent=True, is_permanent=True, status=reply.status)
                return reply
            self._context.observe(Pause(wait, reply.verdict.detail))
            if reply.verdict.meaning is Meaning.RATE_LIMITED:
                self._rate.pause(wait)
            else:
                self._context.stop.wait(wait)

    def _attempt(
        self,
        call: Call,
        read: Callable[[Document], T],
        *,
        is_tray: bool,
        facts: TrayFacts | None,
        promise: Promise | None,
    ) -> Reply[T]:
        """Make one attempt, with one row in the ledger that is settled in any case.

        Raises CallFailed if no answer came.
        """
        is_promised = promise is not None and promise.units > 0
        if self._closing_error is not None and not (
            is_promised and isinstance(self._closing_error, BudgetReached)
        ):
            raise self._closing_error
        self._rate.wait_turn()
        try:
            return self._send(call, read, is_tray=is_tray, facts=facts, promise=promise)
        except BudgetReached as error:
            raise self._close(error) from None

    def _send(
        self,
        call: Call,
        read: Callable[[Document], T],
        *,
        is_tray: bool,
        facts: TrayFacts | None,
        promise: Promise | None,
    ) -> Reply[T]:
        call_id = self.budget.reserve(call, promise)
        return self._exchange(call, call_id, read, is_tray=is_tray, facts=facts, promise=promise)

    def _exchange(
        self,
        call: Call,
        call_id: int,
        read: Callable[[Document], T],
        *,
        is_tray: bool = False,
        facts: TrayFacts | None = None,
        promise: Promise | None = None,
    ) -> Reply[T]:
        """Make a reserved call, store its answer and settle it. Raises CallFailed if no answer came."""
        with self._client.large_body_slot() as slot:  # held until the answer is read
            answer = self._answer(call, call_id, slot, promise)
            return self._keep(call_id, answer, read, is_tray=is_tray, facts=facts, promise=promise)

    def _answer(self, call: Call, call_id: int, slot: LargeBodySlot, promise: Promise | None) -> Answer:
        try:
            return self._client.send(call, is_stopped=self._is_stopped, slot=slot)
        except CallFailed as error:
            units = (
                endpoints.unanswered_units(call, was_sent=error.was_sent)
                if error.status is None
                else endpoints.settled_units(call, error.status)
            )
            self.budget.settle(call_id, error.status, units, promise=promise)
            self._count(call, units)
            raise

    def _is_stopped(self) -> bool:
        """Return whether pending answers are given up.

        They are paid for: a failure of the store or the database does not give them up.
        """
        cause = self._context.stop.cause
        return cause is not None and not isinstance(cause, StorageError | DatabaseError)

    def _keep(
        self,
        call_id: int,
        answer: Answer,
        read: Callable[[Document], T],
        *,
        is_tray: bool,
        facts: TrayFacts | None,
        promise: Promise | None,
    ) -> Reply[T]:
        billed = endpoints.settled_units(answer.call, answer.status) > 0
        location = self._answers.keep(answer, is_tray=is_tray) if billed else None
        with self._parse_lock:
            document = wire.read_document(answer)
            verdict = wire.parse_verdict(document)
        answer_id = self.budget.settle(
            call_id, answer.status, verdict.units, location, facts, promise=promise
        )
        self._count(answer.call, verdict.units)
        if billed:
            self._stop_if_store_failed()
        # The call is settled first: what goes wrong in reading an answer must not make it be paid for again.
        parsed = self._read(document, read) if verdict.meaning is Meaning.OK else None
        return Reply(answer.status, verdict, answer_id, parsed)

    def _stop_if_store_failed(self) -> None:
        """End the run if no more answers can be stored. This one can still be recorded: it is paid for."""
        try:
            self._answers.check()
        except StorageError as error:
            self._context.stop.fail(error)

    def _read(self, document: Document, read: Callable[[Document], T]) -> T | AnswerMalformed:
        """Return the content of an answer, or why it cannot be read. One thread at a time, to save memory."""
        with self._parse_lock:
            try:
                return read(document)
            except AnswerMalformed as error:
                # A copy: the traceback of the original keeps the answer in memory.
                return AnswerMalformed(str(error))

    def _watch(self, call: Call, account: str | None, meaning: Meaning) -> None:
        # A free call says nothing about accounts. A failed page of a tray does not count: the tray is then
        # listed in one answer, and that counts.
        if call.units and (call.path != endpoints.PAGED_TRAY or meaning is Meaning.OK):
            self._health.watch(account or call.subject, meaning, self._close)

    def _count(self, call: Call, units: int) -> None:
        self._context.tally.add(units=units, api_calls=call.units > 0)
        self._context.observe(UnitsSpent(units))

    def _wait_for(self, reply: Reply[T], tries: int) -> float | None:
        """Return the seconds until the next attempt; None: this reply is final."""
        meaning, seconds = reply.verdict.meaning, reply.verdict.retry_after
        if meaning is Meaning.OUT_OF_UNITS:
            raise self._close(OutOfUnits("the API account has no units left", "top it up, then run again"))
        if meaning is Meaning.KEY_REJECTED:
            raise self._close(
                KeyRejected(f"the API rejected the key: {reply.verdict.detail}", "check HIKERAPI_TOKEN")
            )
        if meaning is Meaning.RATE_LIMITED:
            if tries >= _PATIENT_TRIES or (seconds or 0) > retry.MAX_WAIT:
                raise self._close(
                    UpstreamDown("the API keeps refusing calls (429)", "lower api.requests_per_second")
                )
            return max(1.0, seconds if seconds is not None else retry.backoff(tries, random.random, 2.0))
        # A billed call is not repeated tonight: a broken answer with status 200 would be paid for twice.
        if meaning in (Meaning.TRANSIENT, Meaning.BLOCKED) and not reply.verdict.units and tries < _TRIES:
            pause = seconds if seconds is not None else retry.backoff(tries, random.random)
            return pause if pause <= retry.MAX_WAIT else None
        return None

    def _close(self, cause: ArchiverError) -> ArchiverError:
        if self._closing_error is None:
            self._closing_error = cause
        return self._closing_error


class _Health:
    """Ends all paid calls when several accounts in a row failed, or the first ones were refused."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failed: set[str] = set()
        self._refused: set[str] = set()
        self._has_succeeded = False

    def watch(self, subject: str, meaning: Meaning, close: Callable[[ArchiverError], object]) -> None:
        with self._lock:
            if meaning in (Meaning.TRANSIENT, Meaning.BLOCKED, Meaning.REDIRECTED, Meaning.RETIRED):
                self._failed.add(subject)
            elif meaning is Meaning.REFUSED:
                self._refused.add(subject)
            else:
                self._failed.clear()
                self._has_succeeded = self._has_succeeded or meaning is Meaning.OK
            is_refused = len(self._refused) >= _REFUSED_IN_A_ROW and not self._has_succeeded
            is_down = len(self._failed) >= _FAILED_IN_A_ROW
        if is_refused:
            close(
                KeyRejected(
                    f"the API refused the first {_REFUSED_IN_A_ROW} accounts requested",
                    "check the key and what its plan allows",
                )
            )
        elif is_down:
            close(
                UpstreamDown(
                    f"the API failed for {_FAILED_IN_A_ROW} different accounts in a row", "run again later"
                )
            )


def read_balance(client: HikerClient) -> Balance:
    """Return the units left at the API, by one free call outside of any run.

    Raises KeyRejected, UpstreamDown if the API answers with an error, CallFailed if it does not answer,
    AnswerMalformed.
    """
    answer = client.send(endpoints.balance_call())
    document = wire.read_document(answer)
    verdict = wire.parse_verdict(document)
    if verdict.meaning is Meaning.KEY_REJECTED:
        raise KeyRejected(f"the API rejected the key: {verdict.detail}", "check HIKERAPI_TOKEN")
    if verdict.meaning is not Meaning.OK:
        raise UpstreamDown(f"the API did not return the balance: {verdict.detail or verdict.meaning.value}")
    return wire.parse_balance(document)


class CallRate(Protocol):
    """The rate of the API calls of a run."""

    @property
    def is_paused(self) -> bool:
        """Return whether a pause is not over yet."""

    def wait_turn(self) -> None:
        """Wait for this caller's turn. Raises the cause of the stop flag if the run ends meanwhile."""

    def set_rate(self, per_second: float) -> None:
        """Set the number of calls per second."""

    def pause(self, seconds: float) -> None:
        """Make no call for some seconds, not even calls whose turn has come."""


class RateLimiter:
    """Spaces calls evenly, at ``per_second``. It uses monotonic time, so clock changes do not matter."""

    def __init__(
        self, per_second: float, stop: StopFlag, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._interval = 1.0 / per_second
        self._stop = stop
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._next = self._closed_until = monotonic()

    @property
    def is_paused(self) -> bool:
        with self._lock:
            return self._monotonic() < self._closed_until

    def wait_turn(self) -> None:
        while True:
            with self._lock:
                turn = max(self._next, self._monotonic())
                self._next = turn + self._interval
            while (left := turn - self._monotonic()) > 0:
                self._stop.wait(left)
            if turn >= self._closed_until:
                break  # else a pause has begun: take another turn, so that calls stay spaced after it
        self._stop.check()

    def set_rate(self, per_second: float) -> None:
        with self._lock:
            self._interval = 1.0 / per_second
            self._next = min(self._next, self._monotonic())

    def pause(self, seconds: float) -> None:
        with self._lock:
            self._closed_until = max(self._closed_until, self._monotonic() + seconds)
            self._next = max(self._next, self._closed_until)


class BalanceCheck:
    """Records the API's balance before and after the paid calls of a run.

    Both calls for the balance are free; a missing answer is null. ``RunCost.mismatch`` compares the balance
    with the ledger.
    """

    def __init__(self, api: MeteredApi, catalog: Catalog, run_id: int, *, is_known: bool = False) -> None:
        """``is_known``: the balance before the run is recorded already."""
        self._api = api
        self._catalog = catalog
        self._run_id = run_id
        self.is_known = is_known
        """Whether the balance before the run is recorded."""

    def begin(self, per_second: float | None, jobs: Pool) -> None:
        """Set the rate of calls and record the units left.

        If ``per_second`` is None, the rate is what the API states with the balance, or 1: then this waits for
        its answer, and raises the errors of ``MeteredApi.ask_balance``. Otherwise a job waits for it, while
        the first paid calls are made, which then raise such errors themselves.
        """
        if per_second is None:
            balance = self._api.ask_balance()
            self._api.set_rate(float(balance.rate) if balance is not None and balance.rate else 1.0)
            self._record_before(balance.units if balance is not None else None)
            return
        self._api.set_rate(per_second)
        ask = self._api.reserve_units_left()
        with suppress(TimeoutError):
            jobs.submit(lambda: self._record_before(ask())).result(_LEAD)

    def _record_before(self, units: int | None) -> None:
        if units is not None:
            self._catalog.write(record.balance_before, self._run_id, units)
            self.is_known = True

    def end(self, api_calls: int) -> None:
        """Record the units left, if any of ``api_calls`` were paid for. Never fails a run.

        The jobs of the run must have ended.
        """
        if not api_calls or not self.is_known:
            return
        units = self._api.ask_units_left()
        if units is not None:
            # An unusable database is reported when the run is recorded as ended.
            with suppress(ArchiverError):
                self._catalog.write(record.balance_after, self._run_id, units)
