"""Units promised to accounts in progress, and the turns in which accounts begin while few units are left.

The ledger enforces the limits. Promises make sure that an account is finished before another begins: all its
highlights have their units before the next account is listed. So a run that ends at its limit leaves one
account unfinished, not many, and no unit is spent on a tray whose highlights cannot be paid for.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import nullcontext

from archiver.catalog import ledger
from archiver.hiker.endpoints import HIGHLIGHT_UNITS
from archiver.model.api_calls import AnswerLocation, Call, Limits
from archiver.model.identity import Pk
from archiver.model.upstream import TrayNumbers
from archiver.runner.context import RunContext

ACCOUNTS_AT_MOST = 8
"""How many accounts a run visits at a time."""
_ROOM = ACCOUNTS_AT_MOST * 250
"""With more units left than this, accounts need no turns: all that run at a time cost less."""


class Turn:
    """The right to begin a target, while few units are left (``is_tight``).

    It ends once units are promised to the target's jobs.
    """

    def __init__(self, lock: threading.Lock | None) -> None:
        self._lock = lock
        self.is_tight = lock is not None

    def end(self) -> None:
        """Let the next target begin. A second call does nothing."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None


class Promise:
    """The price of one page, which a budget sets aside for a job until it is spent or the job ends.

    Only its budget changes it. An attempt takes ``units`` out; if the attempt was free, they are put back.
    """

    def __init__(self) -> None:
        self.units = HIGHLIGHT_UNITS


class Budget:
    """Reserves units and keeps promises. Thread-safe. Without a limit it only reserves."""

    def __init__(self, context: RunContext, limits: Limits) -> None:
        self._catalog, self._run_id, self._clock = context.catalog, context.run_id, context.work.clock
        self._limits = limits
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._promised = 0
        self.is_limited = limits != Limits()

    def prepare(self) -> None:
        """Raise ArchiveDamaged if the limits would not hold: the sums of the database are wrong."""
        if self.is_limited:
            with self._catalog.snapshot() as rows:
                rows.read(ledger.require_right_sums, self._run_id, self._clock(), self._limits)

    def units_left(self) -> int | None:
        """Return the units that are neither spent nor promised; None without a limit."""
        with self._lock:
            return self._count_units_left()

    def take_turn(self) -> Turn:
        """Wait until units are promised to the previous target, unless there are enough for all.

        The caller must end the turn.
        """
        left = self.units_left()
        if left is None or left > _ROOM:
            return Turn(None)
        self._turn.acquire()
        return Turn(self._turn)

    def promise(self, pks: Sequence[Pk]) -> dict[Pk, Promise]:
        """Set the price of a page aside for each of these highlights, in this order, while units last.

        Only for a run with a limit. ``release`` ends a promise.
        """
        with self._lock:
            pages = (self._count_units_left() or 0) // HIGHLIGHT_UNITS
            promises = {pk: Promise() for pk in pks[:pages]}
            self._promised += len(promises) * HIGHLIGHT_UNITS
            return promises

    def release(self, promise: Promise | None) -> None:
        """End a promise, so that others may use its units. A second call does nothing."""
        if promise is not None:
            with self._lock:
                self._set(promise, 0)

    def renew(self, promise: Promise) -> None:
        """Set a unit aside again for a job whose attempt was billed without an answer, if one is left."""
        with self._lock:
            if not promise.units and self._count_units_left():
                self._set(promise, HIGHLIGHT_UNITS)

    def reserve(self, call: Call, promise: Promise | None = None) -> int:
        """Reserve a call in the ledger and return the id of its row, for ``settle``.

        The units come out of ``promise``, if there is one.

        Raises BudgetReached if the call would exceed a limit, or use units promised to others.
        """
        if not self.is_limited or not call.units:  # free calls are not limited
            return self._catalog.write_last(ledger.reserve, self._run_id, call, self._clock(), Limits())
        with self._lock:  # no promise can be made between this check and the row
            own = min(call.units, promise.units) if promise is not None else 0
            reserved = self._catalog.write_last(
                ledger.reserve, self._run_id, call, self._clock(), self._limits, self._promised - own
            )
            if promise is not None:
                self._set(promise, promise.units - own)
            return reserved

    def settle(
        self,
        call_id: int,
        status: int | None,
        units: int,
        location: AnswerLocation | None = None,
        numbers: TrayNumbers | None = None,
        *,
        promise: Promise | None = None,
    ) -> int | None:
        """Record in the ledger what a reserved call cost; return the id of its answer, if one is stored.

        A free attempt returns its unit to its promise in the same step, so that no other call can take it
        between two attempts of one job.
        """
        with nullcontext() if promise is None else self._lock:
            answer_id = self._catalog.write_without_lease(
                ledger.settle, call_id, status, units, self._clock(), location, numbers
            )
            if promise is not None and not units:
                self._set(promise, HIGHLIGHT_UNITS)
            return answer_id

    def _set(self, promise: Promise, units: int) -> None:
        self._promised += units - promise.units
        promise.units = units

    def _count_units_left(self) -> int | None:
        if not self.is_limited:
            return None
        left = self._catalog.read(ledger.units_left, self._run_id, self._clock(), self._limits)
        return None if left is None else max(0, left - self._promised)
