"""The Budget of a run: what of its limits is promised to jobs that are planned and not paid for yet.

The ledger checks the sums of what is spent; the promises see to it that what is begun is finished before more is begun. All of an
account's jobs are promised before the next account is listed: a run that ends at its limit then leaves one account unfinished, not many,
and no unit is spent on a tray whose highlights nobody could pay for.
"""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from statistics import median

from archiver.catalog import Catalog, ledger
from archiver.model.billing import AnswerLocation, Call, Limits
from archiver.model.identity import Pk
from archiver.model.upstream import TrayFacts

_ROOM = 1_000
"""Units beyond which accounts need not take turns: four at a time, with more highlights than any account has, cost less."""


class Turn:
    """An account's right to be looked at while few units are left, until ``end``: its jobs are promised then. Again is nothing."""

    def __init__(self, lock: threading.Lock | None) -> None:
        self._lock = lock

    def end(self) -> None:
        """Let the next account begin."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None


class Promise:
    """The unit that a Budget keeps back for one job, until it is spent or the job ends.

    Only the Budget that made it changes it. An attempt takes ``units`` out; one that turns out to be free
    puts them back.
    """

    def __init__(self, units: int) -> None:
        self.units = units


class Budget:
    """Reserves units and keeps promises; many threads may. Without a limit it only reserves."""

    def __init__(self, catalog: Catalog, run_id: int, limits: Limits, clock: Callable[[], datetime]) -> None:
        self._catalog = catalog
        self._run_id = run_id
        self._limits = limits
        self._clock = clock
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._promised = 0
        self.limited = limits != Limits()

    def left(self) -> int | None:
        """The units that are neither spent nor promised; None without a limit."""
        with self._lock:
            return self._left()

    def turn(self) -> Turn:
        """Wait for the account before to have its jobs promised, unless there is room for all. Whoever gets a turn must end it."""
        left = self.left()
        if left is None or left > _ROOM:
            return Turn(None)
        self._turn.acquire()
        return Turn(self._turn)

    def promise(self, jobs: Sequence[Pk]) -> dict[Pk, Promise]:
        """Keep one unit back for each of these jobs, in this order, as far as the units go; ``release`` ends
        a promise.

        For a run with a limit.
        """
        with self._lock:
            promises = {pk: Promise(1) for pk, _ in zip(jobs, range(self._left() or 0), strict=False)}
            self._promised += len(promises)
            return promises

    def release(self, promise: Promise | None) -> None:
        """End a promise: what is left of it is free for others. Again is nothing."""
        if promise is not None:
            with self._lock:
                self._set(promise, 0)

    def renew(self, promise: Promise) -> None:
        """Keep a unit back again for a job whose attempt was billed and brought no answer, if one is left."""
        with self._lock:
            if not promise.units and self._left():
                self._set(promise, 1)

    def reserve(self, call: Call, promise: Promise | None = None) -> int:
        """Reserve a call in the ledger, out of its promise if it has one; returns the id of its row, which
        ``settle`` needs.

        Raises BudgetReached if the call would pass a limit, or take what others were promised.
        """
        if not self.limited or not call.units:  # a limit forbids nothing that is free
            return self._catalog.write(ledger.reserve, self._run_id, call, self._clock(), Limits())
        with self._lock:  # no promise is made between the look at them and the row
            own = min(call.units, promise.units) if promise is not None else 0
            reserved = self._catalog.write(
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
        kept: AnswerLocation | None = None,
        facts: TrayFacts | None = None,
        *,
        promise: Promise | None = None,
    ) -> int | None:
        """Note in the ledger what a reserved call cost; returns the id of its answer, if one is kept.

        An attempt that turned out to be free gives its unit back to the promise it came from, in the same
        step: between two attempts of one job no other call can take it.
        """
        if promise is None:
            return self._catalog.write(ledger.settle, call_id, status, units, self._clock(), kept, facts)
        with self._lock:
            answer_id = self._catalog.write(ledger.settle, call_id, status, units, self._clock(), kept, facts)
            if not units:
                self._set(promise, 1)
            return answer_id

    def _set(self, promise: Promise, units: int) -> None:
        self._promised += units - promise.units
        promise.units = units

    def _left(self) -> int | None:
        if not self.limited:
            return None
        left = self._catalog.read(ledger.units_left, self._run_id, self._clock(), self._limits)
        return None if left is None else max(0, left - self._promised)


RECENT = timedelta(days=30)


def units_per_night(runs: Iterable[tuple[datetime, int]], now: datetime) -> int | None:
    """The recent rate: the median of what was spent on each UTC day of the last 30 on which a run began, rounded up.

    ``runs``: when each began, and its units. None where there was none: then nobody knows. A first night, which is dear, or one with
    ``--full`` moves a median little.
    """
    days: Counter[date] = Counter()
    for started_at, units in runs:
        if now - RECENT <= started_at <= now:
            days[started_at.astimezone(UTC).date()] += units
    return math.ceil(median(days.values())) if days else None


def nights_left(units: int, per_night: int | None) -> int | None:
    """How many whole nights so many units last at that rate; None where there is no rate, or nothing is spent."""
    return max(0, units) // per_night if per_night else None
