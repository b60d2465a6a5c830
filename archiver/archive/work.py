"""How a piece of work on an archive is done: what every layer below a method of ``Archive`` may need."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from msgspec import Struct, field

from archiver.errors import MarkerMismatch
from archiver.model.identity import utcnow
from archiver.runner.threads import StopFlag

if TYPE_CHECKING:
    from archiver.model.events import Event


class Work(Struct, frozen=True, kw_only=True):
    """How a piece of work is done.

    ``clock``: the time, aware and in UTC. ``stop`` ends the work early. ``wait``: wait for the lock until it
    is free or ``stop`` is set. ``progress`` gets how much is done; the function that takes the work says in
    which numbers. ``observe`` gets each event of a run. ``archive_id``: of the archive that the work is for,
    if one was open before: another may have taken its place since.
    """

    clock: Callable[[], datetime] = utcnow
    stop: StopFlag = field(default_factory=StopFlag)
    wait: bool = False
    progress: Callable[..., None] = lambda *numbers: None
    observe: Callable[[Event], None] = lambda event: None
    archive_id: str | None = None

    def require(self, archive_id: str, place: object) -> None:
        """Raise MarkerMismatch if the archive at ``place``, with this id, is not the one of this work."""
        if self.archive_id not in (None, archive_id):
            raise MarkerMismatch(
                f"another archive has taken the place of the one that was opened: {place}",
                "put the right one back, or open this one again",
            )

    @property
    def waiting(self) -> Callable[[float], None] | None:
        """Return what waits for a lock, as ``run_lock`` takes it; None if this does not wait."""
        return self.stop.wait if self.wait else None
