"""The API as a run uses it: every unit is spent here, through the ledger.

Each attempt is reserved, sent, stored and settled, with one row in the ledger. Attempts that were not billed
are repeated. Only ``list_*`` and ``fetch_*`` of ``MeteredApi`` spend units.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from msgspec import Struct

from archiver import retry
from archiver.answers.answer_store import AnswerWriter
from archiver.errors import (
    AnswerMalformed,
    ArchiverError,
    BudgetReached,
    CallFailed,
    DatabaseError,
    KeyRejected,
    OutOfUnits,
    PayingEnded,
    Reason,
    StorageError,
    UpstreamDown,
)
from archiver.hiker import endpoints, wire
from archiver.hiker.client import HikerClient
from archiver.hiker.wire import Document
from archiver.model.api_calls import Answer, Call, CallOutcome, Limits, Meaning
from archiver.model.events import Pause, UnitsSpent
from archiver.model.identity import Pk
from archiver.model.upstream import Balance, HighlightPage, Tray, TrayNumbers, User
from archiver.runner.context import RunContext
from archiver.runner.promises import Budget, Promise
from archiver.runner.rate import CallRate, RateLimiter

_TRIES = 3
_PATIENT_TRIES = 6
_FAILED_IN_A_ROW = 5
_PAGES_MAX = 100  # a longer tray would be an endless loop: accounts have a few hundred highlights at most
_REFUSED_IN_A_ROW = 3


T = TypeVar("T")


class Reply(Struct, Generic[T], frozen=True):
    """The parsed content of a stored and settled answer.

    The bytes are dropped to save memory.

    ``answer_id`` is None if the answer was not stored, because it was not billed. ``parsed``: the content of
    an answer that is OK, or why it cannot be read; None for any other answer.
    """

    status: int
    outcome: CallOutcome
    answer_id: int | None
    parsed: T | AnswerMalformed | None

    def content(self) -> T:
        """Return what the answer says. Raises AnswerMalformed if it is not what its endpoint promises."""
        if self.parsed is None:
            raise AnswerMalformed(self.outcome.detail or self.outcome.meaning.value)
        if isinstance(self.parsed, AnswerMalformed):
            raise self.parsed
        return self.parsed


def verdict_of(reply: Reply[T]) -> Reason | None:
    """Return the verdict of a reply about an account: private, gone, or None if it is shown.

    Raises AnswerMalformed for an answer that cannot be read, CallFailed for an error of the API itself.
    """
    meaning = reply.outcome.meaning
    if meaning is Meaning.PRIVATE:
        return Reason.PRIVATE
    if meaning is Meaning.NOT_FOUND:
        return Reason.GONE
    detail = reply.outcome.detail or f"the API answers {meaning.value}"
    if meaning is Meaning.MALFORMED:
        raise AnswerMalformed(detail)
    if meaning is not Meaning.OK:
        raise CallFailed(detail, was_sent=True, is_permanent=True, status=reply.status)
    return None


class PaidCall(Struct, Generic[T], frozen=True):
    """A call, with what its steps need: reserve, send, store, settle, read.

    ``read`` returns the content of its answer. ``is_tray``: the answer lists highlights. ``numbers``: the
    numbers of the tray, stored with the answer so that it can be used again after a kill. ``account``: whose
    call it is, to count accounts that fail; if None, its subject. ``promise``: a unit set aside for it, which
    may be spent even after a limit was reached.
    """

    call: Call
    read: Callable[[Document], T]
    is_tray: bool = False
    numbers: TrayNumbers | None = None
    account: str | None = None
    promise: Promise | None = None


class MeteredApi:
    """The API of a run, at the allowed rate.

    Each call is in the ledger, and each answer is stored before it is parsed. Once ``paying_ended`` is set,
    no more paid calls are made in this run.

    Methods that make a call raise CallFailed if no answer came, and PayingEnded.
    """

    def __init__(
        self,
        context: RunContext,
        client: HikerClient,
        answers: AnswerWriter,
        *,
        limits: Limits,
        rate: CallRate | None = None,
    ) -> None:
        """``rate``: the rate of calls; if None, it is one call a second until ``set_rate``."""
        self._context, self._work = context, context.work
        self._client = client
        self._answers = answers
        self.budget = Budget(context, limits)
        self._rate: CallRate = rate or RateLimiter(1.0, context.work.stop)
        self.paying_ended: PayingEnded | None = None
        self._health = _Health()

    def set_rate(self, per_second: float) -> None:
        """Set the number of calls per second."""
        self._rate.set_rate(per_second)

    def reserve_balance(self) -> int | None:
        """Reserve a call for ``ask_units_left``, and return its id; None if none can be made now.

        It never ends a run.
        """
        ended = self.paying_ended
        has_failed = ended is not None and isinstance(ended.cause, KeyRejected | UpstreamDown)
        if has_failed or self._rate.is_paused:
            return None
        try:
            self._rate.wait_for_slot()  # raises if the run was stopped
            return self.budget.reserve(endpoints.balance_call())
        except ArchiverError:
            return None

    def ask_units_left(self, call_id: int | None) -> int | None:
        """Return the units left, by one free attempt; None if that fails, or was not reserved."""
        if call_id is None:
            return None
        try:
            return self._exchange(_BALANCE, call_id).content().units
        except ArchiverError:
            return None

    def ask_balance(self) -> Balance | None:
        """Return units left and calls per second, by a free call; None if the API does not say.

        Raises KeyRejected, OutOfUnits.
        """
        try:
            return self._pay(_BALANCE).content()
        except PayingEnded as ended:
            if isinstance(ended.cause, KeyRejected | OutOfUnits):
                raise ended.cause from None
        except ArchiverError:
            pass
        self._work.stop.check()
        return None

    def fetch_account(
        self, call: Call, pk: Pk | None, username: str | None
    ) -> tuple[Reason | None, User | None]:
        """Fetch an account; return its verdict (private, gone, or None), and the account if it was shown.

        ``pk``, ``username``: those of the account, if known. Raises AnswerMalformed if the answer is about
        another account, and what ``verdict_of`` raises.
        """
        expected_name = username if call.path == endpoints.USER_BY_NAME else None
        reply = self._pay(
            PaidCall(call, lambda document: wire.parse_user(document, pk, username=expected_name))
        )
        verdict = verdict_of(reply)
        if verdict is not None:
            return verdict, None
        user = reply.content()
        return (Reason.PRIVATE if user.is_private else None), user

    def list_tray(self, call: Call, pk: Pk | None, username: str | None) -> Tray | Reason:
        """List a tray in one answer: return it, or why it is not shown.

        Raises AnswerMalformed if it is not the tray of that pk or username, and what ``verdict_of`` raises.
        """
        name = username if pk is None else None
        reply = self._pay(
            PaidCall(call, lambda document: wire.parse_tray(document, pk, username=name), is_tray=True)
        )
        return verdict_of(reply) or reply.content()

    def list_pages(self, first_page: Call, pk: Pk) -> tuple[Tray | None, bool]:
        """List a tray page by page: return it if its last page was read, and whether anything was billed."""
        pages: list[Tray] = []
        call, calls, is_billed = first_page, {first_page}, False
        try:
            while len(pages) < _PAGES_MAX:
                reply = self._pay(
                    PaidCall(call, lambda document: wire.parse_tray_page(document, pk), is_tray=True)
                )
                is_billed = is_billed or reply.outcome.units > 0
                if reply.outcome.meaning is not Meaning.OK:
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
        self, pk: Pk, numbers: TrayNumbers, *, account: str, promise: Promise | None = None
    ) -> Reply[HighlightPage]:
        """Fetch one highlight with its items.

        ``account``: the pk of its account, or the highlight's own if unknown. For ``numbers`` and ``promise``
        see ``PaidCall``.
        """
        return self._pay(
            PaidCall(
                endpoints.highlight_call(pk),
                lambda document: wire.parse_highlight_page(document, pk),
                numbers=numbers,
                account=account,
                promise=promise,
            )
        )

    def _pay(self, paid: PaidCall[T]) -> Reply[T]:
        """Make attempts until one has a final reply. Raises CallFailed, PayingEnded."""
        tries = attempts_lost = 0
        while True:
            tries += 1
            if tries > 1 and paid.promise is not None:
                self.budget.renew(paid.promise)
            try:
                reply = self._attempt(paid)
            except CallFailed as error:
                self._work.stop.check()
                attempts_lost += error.was_sent
                # A call that may have reached the API may have been billed: it is repeated once, not twice.
                if error.is_permanent or tries >= _TRIES or attempts_lost > 1:
                    self._watch(paid, Meaning.TRANSIENT)
                    raise
                self._work.stop.wait(retry.backoff(tries, random.random))
                continue
            seconds = self._pause_before_retry(reply, tries)
            if seconds is None:
                self._watch(paid, reply.outcome.meaning)
                if reply.outcome.meaning is Meaning.RETIRED:
                    # This says nothing about the subject: otherwise every highlight would seem to be gone.
                    detail = f"the API has retired {paid.call.path}; a newer archiver may know its successor"
                    raise CallFailed(detail, was_sent=True, is_permanent=True, status=reply.status)
                return reply
            self._work.observe(Pause(seconds, reply.outcome.detail))
            if reply.outcome.meaning is Meaning.RATE_LIMITED:
                self._rate.pause(seconds)
            else:
                self._work.stop.wait(seconds)

    def _attempt(self, paid: PaidCall[T]) -> Reply[T]:
        """Make one attempt, with one row in the ledger that is settled in any case.

        Raises CallFailed if no answer came, PayingEnded if no attempt may be made.
        """
        ended = self.paying_ended
        is_promised = paid.promise is not None and paid.promise.units > 0
        if ended is not None and not (is_promised and isinstance(ended.cause, BudgetReached)):
            raise ended
        self._rate.wait_for_slot()
        try:
            call_id = self.budget.reserve(paid.call, paid.promise)
        except BudgetReached as error:
            raise self._end_paying(error) from None
        return self._exchange(paid, call_id)

    def _exchange(self, paid: PaidCall[T], call_id: int) -> Reply[T]:
        """Make a reserved call, store its answer and settle it. Raises CallFailed if no answer came."""
        with self._client.large_body_slot() as slot:  # held until the answer is read
            try:
                answer = self._client.send(paid.call, is_stopped=self._is_stopped, slot=slot)
            except CallFailed as error:
                units = (
                    endpoints.unanswered_units(paid.call, was_sent=error.was_sent)
                    if error.status is None
                    else endpoints.settled_units(paid.call, error.status)
                )
                self.budget.settle(call_id, error.status, units, promise=paid.promise)
                self._count(paid.call, units)
                raise
            return self._keep(paid, call_id, answer)

    def _is_stopped(self) -> bool:
        """Return whether pending answers are given up.

        They are paid for: a failure of the store or the database does not give them up.
        """
        cause = self._work.stop.cause
        return cause is not None and not isinstance(cause, StorageError | DatabaseError)

    def _keep(self, paid: PaidCall[T], call_id: int, answer: Answer) -> Reply[T]:
        billed = endpoints.settled_units(paid.call, answer.status) > 0
        location = self._answers.keep(answer, is_tray=paid.is_tray) if billed else None
        with wire.PARSE_LOCK:
            document = wire.read_document(answer)
            outcome = wire.parse_outcome(document)
        answer_id = self.budget.settle(
            call_id, answer.status, outcome.units, location, paid.numbers, promise=paid.promise
        )
        self._count(paid.call, outcome.units)
        if billed:
            self._stop_if_store_failed()
        # The call is settled first: what goes wrong in reading an answer must not make it be paid for again.
        parsed = self._read(document, paid.read) if outcome.meaning is Meaning.OK else None
        return Reply(answer.status, outcome, answer_id, parsed)

    def _stop_if_store_failed(self) -> None:
        """End the run if no more answers can be stored. This one can still be recorded: it is paid for."""
        try:
            self._answers.check()
        except StorageError as error:
            self._work.stop.fail(error)

    def _read(self, document: Document, read: Callable[[Document], T]) -> T | AnswerMalformed:
        """Return the content of an answer, or why it cannot be read. One thread at a time, to save memory."""
        with wire.PARSE_LOCK:
            try:
                return read(document)
            except AnswerMalformed as error:
                # A copy: the traceback of the original keeps the answer in memory.
                return AnswerMalformed(str(error))

    def _watch(self, paid: PaidCall[T], meaning: Meaning) -> None:
        """Note what a call shows about the state of the API, and pay for nothing more if it is bad."""
        # A free call says nothing about accounts. A failed page of a tray does not count: the tray is then
        # listed in one answer, and that counts.
        call = paid.call
        if call.units and (call.path != endpoints.PAGED_TRAY or meaning is Meaning.OK):
            cause = self._health.watch(paid.account or call.subject, meaning)
            if cause is not None:
                self._end_paying(cause)

    def _count(self, call: Call, units: int) -> None:
        self._context.tally.add(units=units, api_calls=call.units > 0)
        self._work.observe(UnitsSpent(units))

    def _pause_before_retry(self, reply: Reply[T], tries: int) -> float | None:
        """Return the seconds until the next attempt; None: this reply is final. Raises PayingEnded."""
        meaning, seconds = reply.outcome.meaning, reply.outcome.retry_after
        if meaning is Meaning.OUT_OF_UNITS:
            cause = OutOfUnits("the API account has no units left", "top it up, then run again")
            raise self._end_paying(cause)
        if meaning is Meaning.KEY_REJECTED:
            raise self._end_paying(
                KeyRejected(f"the API rejected the key: {reply.outcome.detail}", "check HIKERAPI_TOKEN")
            )
        if meaning is Meaning.RATE_LIMITED:
            if tries >= _PATIENT_TRIES or (seconds or 0) > retry.MAX_WAIT:
                raise self._end_paying(
                    UpstreamDown("the API keeps refusing calls (429)", "lower api.requests_per_second")
                )
            return max(1.0, seconds if seconds is not None else retry.backoff(tries, random.random, 2.0))
        # A billed call is not repeated tonight: a broken answer with status 200 would be paid for twice.
        if meaning in (Meaning.TRANSIENT, Meaning.BLOCKED) and not reply.outcome.units and tries < _TRIES:
            pause = seconds if seconds is not None else retry.backoff(tries, random.random)
            return pause if pause <= retry.MAX_WAIT else None
        return None

    def _end_paying(self, cause: ArchiverError) -> PayingEnded:
        """Pay for nothing more in this run, and return the error to raise. The first cause counts."""
        if self.paying_ended is None:
            self.paying_ended = PayingEnded(cause)
        return self.paying_ended


_BALANCE = PaidCall(endpoints.balance_call(), wire.parse_balance)
"""The call for the balance; it is free."""


class _Health:
    """Says when all paid calls end: several accounts in a row failed, or the first ones were refused."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failed: set[str] = set()
        self._refused: set[str] = set()
        self._has_succeeded = False

    def watch(self, subject: str, meaning: Meaning) -> ArchiverError | None:
        """Note what a call about an account means; return why no more may be made, if that is so."""
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
            return KeyRejected(
                f"the API refused the first {_REFUSED_IN_A_ROW} accounts requested",
                "check the key and what its plan allows",
            )
        if is_down:
            return UpstreamDown(
                f"the API failed for {_FAILED_IN_A_ROW} different accounts in a row", "run again later"
            )
        return None
