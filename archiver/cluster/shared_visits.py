"""The visits that one worker makes for a shared run, and what the processes of the run share.

What they tell each other is text in the database. It contains no keys.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TypeVar

import msgspec
from msgspec import Struct, field

from archiver.catalog import Catalog, visits
from archiver.errors import ArchiverError, BudgetReached, OutOfUnits
from archiver.model.api_calls import Limits
from archiver.model.identity import Pk
from archiver.model.target import Target
from archiver.runner.context import RunContext, SharedOptions
from archiver.runner.promises import Turn
from archiver.runner.run import Visitor
from archiver.runner.tally import TallyState
from archiver.runner.visit import AccountRegister
from archiver.work import StopFlag

T = TypeVar("T")

_CHECK_SECONDS = 1.0


class Orders(Struct, frozen=True):
    """What a run tells its workers: its options and its limits, so that all work by the same."""

    options: SharedOptions
    units: Limits


class ReportedError(Struct, frozen=True):
    """An error that ended the work of a worker, or all paid calls of the run."""

    exit_code: int
    slug: str
    message: str
    hint: str

    @classmethod
    def of(cls, error: BaseException) -> ReportedError:
        """Return what others are told of an error."""
        if isinstance(error, ArchiverError):
            return cls(error.exit_code, error.slug, str(error), error.hint)
        return cls(ArchiverError.exit_code, ArchiverError.slug, f"a bug: {error!r}", "")

    def to_error(self, worker: str) -> ArchiverError:
        """Return the error, as one of the run. ``worker``: who reports it."""
        error = ArchiverError(f"{self.message} (worker {worker})", self.hint)
        error.exit_code, error.slug = self.exit_code, self.slug
        return error


class WorkerReport(Struct, frozen=True):
    """What one worker has done for a run. ``error``: what ended its work early, if anything."""

    worker: str
    tally: TallyState
    error: ReportedError | None = None


def encode(value: Orders | WorkerReport | Target) -> str:
    """Return a value as text for the database."""
    return msgspec.json.encode(value).decode()


def decode(text: str, kind: type[T]) -> T:
    """Return a value of this kind from its text."""
    return msgspec.json.decode(text, type=kind)


class SharedRegister(AccountRegister, kw_only=True):
    """The accounts that the visits of all workers have named.

    ``positions``: the visits of this worker. ``claimed``: the accounts that they have claimed so far.
    """

    catalog: Catalog
    run_id: int
    positions: dict[Target, int] = field(default_factory=dict)
    claimed: dict[int, Pk] = field(default_factory=dict)

    def register(self, pk: Pk, target: Target) -> Target:
        """Return the target under which this run visits an account. Raises LeaseLost."""
        worker_id = self.catalog.worker_id
        assert worker_id is not None
        position = self.positions[target]
        if self.claimed.get(position) == pk:
            return target
        first = self.catalog.coordinate_at_once(visits.claim, self.run_id, position, worker_id, pk)
        if first is not None:
            return decode(first, Target)
        self.claimed[position] = pk
        return target

    def forget(self, target: Target) -> None:
        """Forget a visit that has ended."""
        self.claimed.pop(self.positions.pop(target), None)


class SharedVisits:
    """Takes visits of a run, one by one, for a ``Visitor``, and records that they have ended."""

    def __init__(self, catalog: Catalog, context: RunContext, name: str, *, longest_tray: int) -> None:
        """``name``: this worker's, for people. ``longest_tray``: see ``AccountRegister``."""
        assert catalog.worker_id is not None
        self._catalog, self._context, self._name = catalog, context, name
        self._run_id, self._worker_id = context.run_id, catalog.worker_id
        self._held: set[int] = set()
        self._lock = threading.Lock()
        self._report_lock = threading.Lock()
        self.register = SharedRegister(longest_tray=longest_tray, catalog=catalog, run_id=context.run_id)

    def feed(self, visitor: Visitor) -> Iterator[tuple[Target, Turn]]:
        """Yield visits, each with its turn in the budget, until none is left or no more calls are paid for.

        While other visits of this worker are under way, it waits for more: a highlight that comes after them,
        or what a lost worker has held.
        """
        while visitor.api.paying_ended is None:
            turn = visitor.api.budget.take_turn()
            taken = None
            try:
                taken = self._catalog.coordinate_at_once(visits.take, self._run_id, self._worker_id)
            finally:
                if taken is None:
                    turn.end()
            if taken is None:
                if not self._held:
                    return
                self._context.work.stop.wait(_CHECK_SECONDS)
                continue
            target = decode(taken.target, Target)
            with self._lock:
                self._held.add(taken.position)
                self.register.positions[target] = taken.position
            yield target, turn

    def end(self, target: Target, is_complete: bool) -> None:
        """Record the end of a visit. A visit that did not come to its end is left to others."""
        position = self.register.positions[target]
        try:
            if is_complete:
                with self._report_lock:  # else an older report of another thread could replace this one
                    report = encode(self.report())
                    self._catalog.coordinate_at_once(
                        visits.end_visit, self._run_id, position, self._worker_id, report
                    )
        finally:
            with self._lock:
                self._held.discard(position)
                self.register.forget(target)

    def report(self, error: BaseException | None = None) -> WorkerReport:
        """Return what this worker has done so far. ``error``: what ended its work."""
        reported = None if error is None else ReportedError.of(error)
        return WorkerReport(self._name, self._context.tally.state(), reported)

    def save_report(self, error: BaseException | None) -> None:
        """Record what this worker has done, at the end of its work. Raises LeaseLost, DatabaseError.

        ``error``: what ended it early. If all workers would meet it, no more visits begin.
        """
        self._catalog.write(visits.save_report, self._run_id, self._worker_id, encode(self.report(error)))
        if error is not None and is_of_run(error):
            self._catalog.coordinate(visits.close_run, self._run_id)


def is_of_run(error: BaseException) -> bool:
    """Return whether an error ends the paid calls of all workers. Another one may be this machine's alone."""
    return isinstance(error, BudgetReached | OutOfUnits)


class SharedRate:
    """A ``CallRate`` of all workers of a run: its slots and pauses are in the database."""

    def __init__(self, catalog: Catalog, stop: StopFlag) -> None:
        self._catalog, self._stop = catalog, stop

    @property
    def is_paused(self) -> bool:
        return self._catalog.coordinate_at_once(visits.pause_left) > 0

    def wait_for_slot(self) -> None:
        while True:
            seconds = self._catalog.coordinate_at_once(visits.take_slot)
            if seconds <= 0:
                break
            self._stop.wait(seconds)
            if not self.is_paused:
                break  # else a pause has begun: take another slot, so that calls stay spaced after it
        self._stop.check()

    def set_rate(self, per_second: float) -> None:
        self._catalog.coordinate(visits.set_rate, per_second)

    def pause(self, seconds: float) -> None:
        self._catalog.coordinate(visits.pause, seconds)
