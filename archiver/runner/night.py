"""What everything in one run shares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from archiver.model.archived import Failure
from archiver.runner.events import Failed, Noted, Observer
from archiver.runner.tally import Tally
from archiver.runner.workers import StopFlag


@dataclass(frozen=True, slots=True)
class Night:
    """One run's id, its stop flag, its counts, who is told of its steps, and its clock (aware, UTC)."""

    run_id: int
    stop: StopFlag
    tally: Tally
    observe: Observer
    clock: Callable[[], datetime]

    def note(self, text: str) -> None:
        """Report a fact that is no failure and that somebody should know: in the log, the report and
        ``--json``."""
        self.tally.note(text)
        self.observe(Noted(text))

    def failed(self, failure: Failure, *, trouble: bool) -> None:
        """Count and tell a failure whose row is committed; ``trouble`` makes the night a partial one."""
        self.tally.failed(failure, trouble=trouble)
        self.observe(Failed(failure))
