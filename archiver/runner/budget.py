"""The Budget of a run: what of its limits is promised to jobs that are planned and not paid for yet.

The ledger checks the sums of what is spent; the promises see to it that what is begun is finished before more is begun. All of an
account's jobs are promised before the next account is listed: a run that ends at its limit then leaves one account unfinished, not many,
and no unit is spent on a tray whose highlights nobody could pay for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime

from archiver.catalog import Catalog, ledger
from archiver.model import Call, Limits

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

    def promise(self, units: int) -> int:
        """Keep back as many of these units as there are, and return how many; ``release`` gives back what is not spent."""
        if not self.limited:
            return units
        with self._lock:
            granted = min(units, self._left() or 0)
            self._promised += granted
            return granted

    def release(self, units: int) -> None:
        """Give up a promise."""
        if self.limited:
            with self._lock:
                self._promised -= units

    def reserve(self, call: Call, *, promised: bool = False) -> int:
        """Reserve a call in the ledger, out of its own promise if it was ``promised``; returns the id of its row.

        The promise is used up by that. Raises BudgetReached if the call would pass a limit, or take what others were promised.
        """
        if not self.limited or not call.units:  # a limit forbids nothing that is free
            return self._catalog.write(ledger.reserve, self._run_id, call, self._clock(), Limits())
        with self._lock:  # no promise is made between the look at them and the row
            own = call.units if promised else 0
            kept_back = self._promised - own
            reserved = self._catalog.write(
                ledger.reserve, self._run_id, call, self._clock(), self._limits, kept_back
            )
            self._promised -= own
            return reserved

    def _left(self) -> int | None:
        if not self.limited:
            return None
        left = self._catalog.read(ledger.left, self._run_id, self._clock(), self._limits)
        return None if left is None else max(0, left - self._promised)
