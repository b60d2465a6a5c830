"""How a piece of work is done: what every layer below a method of ``Archive`` may need, and what ends it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from msgspec import Struct, field

from archiver.errors import ArchiverError, MarkerMismatch
from archiver.model.events import Event
from archiver.model.identity import utcnow


class StopFlag:
    """Set once, with the error that says why; every thread sees it at its next check."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._cause: ArchiverError | None = None
        self._bug: BaseException | None = None
        self._children: list[StopFlag] = []

    def child(self) -> StopFlag:
        """Return a new flag for a part of the work: it is set together with this one, but not the reverse."""
        child = StopFlag()
        self._children = [*(each for each in self._children if each.cause is None), child]
        if self._cause is not None:
            child.stop(self._cause)
        return child

    @property
    def bug(self) -> BaseException | None:
        """Return the unexpected exception that ended the work, if any."""
        return self._bug

    @property
    def cause(self) -> ArchiverError | None:
        """Return why the work stops; None while it goes on."""
        return self._cause

    def stop(self, cause: ArchiverError) -> None:
        """Ask every thread to end; the first cause counts.

        Safe in a signal handler: it takes no lock that a thread may hold.
        """
        if self._cause is None:
            self._cause = cause
        self._event.set()
        for child in self._children:
            child.stop(cause)

    def fail(self, error: BaseException) -> None:
        """Stop because of an exception; one that is not an ArchiverError is a bug."""
        if isinstance(error, ArchiverError):
            self.stop(error)
        else:
            self._bug = self._bug or error
            self.stop(ArchiverError(f"a bug: {error!r}"))

    @contextmanager
    def stop_on_error(self) -> Iterator[None]:
        """Stop every thread at once if the block raises; the exception is raised again."""
        try:
            yield
        except BaseException as error:
            self.fail(error)
            raise

    def check(self) -> None:
        """Raise the cause if there is one."""
        if self._cause is not None:
            raise self._cause

    def wait(self, seconds: float) -> None:
        """Sleep, and raise the cause as soon as there is one."""
        if seconds > 0:
            self._event.wait(seconds)
        self.check()


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
