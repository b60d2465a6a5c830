"""Faults, injected per request: which requests they meet, how often, and what then happens. Thread-safe."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from archiver.sandbox.http_server import HttpRequest, RequestSubject

if TYPE_CHECKING:
    from tests.support.standin.actions import Action

Hook = Callable[[HttpRequest], None]


@dataclass(slots=True, eq=False)
class Fault:
    """One fault.

    ``seen`` counts the requests that match, ``acted`` those it was applied to. ``reached`` is set when it
    first acts.
    """

    action: Action | None
    listener: str | None = None
    path: str | None = None
    user: str | None = None
    highlight: str | None = None
    item: str | None = None
    role: str | None = None
    nth: int = 1
    count: int | None = 1
    before: Hook | None = None
    seen: int = 0
    acted: int = 0
    reached: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def matches(self, request: HttpRequest, subject: RequestSubject) -> bool:
        """Whether the request is one of those meant; whatever is None does not narrow."""
        return (
            self.listener in (None, request.listener)
            and (self.path is None or self.path in request.path)
            and self.user in (None, subject.user)
            and self.highlight in (None, subject.highlight)
            and self.item in (None, subject.item)
            and self.role in (None, subject.role)
        )

    def release(self) -> None:
        """Lets stalled connections go on."""
        self.released.set()


class Faults:
    """The faults in force.

    A request meets the first that matches and is not used up, in the order in which they were added.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []

    def add(
        self,
        action: Action | None = None,
        *,
        listener: str | None = None,
        path: str | None = None,
        user: str | None = None,
        highlight: str | None = None,
        item: str | None = None,
        role: str | None = None,
        nth: int = 1,
        count: int | None = 1,
        before: Hook | None = None,
    ) -> Fault:
        """Adds a fault for the ``nth`` matching request and those after it, ``count`` in all (None: always).

        ``listener``: "api" or "cdn". ``path``: a part of the path. ``user``, ``highlight``, ``item``: pks;
        ``role``: of a file. At the CDN a request belongs to the item, highlight and user in whose answer its
        URL stood last. ``before`` runs before the answer is worked out; alone it leaves the answer as it is.
        """
        fault = Fault(action, listener, path, user, highlight, item, role, nth, count, before)
        with self._lock:
            self._faults.append(fault)
        return fault

    def remove(self, fault: Fault) -> None:
        """Ends one fault, and lets go whom it holds. Raises ``ValueError`` if it is not in force."""
        with self._lock:
            self._faults.remove(fault)
        fault.release()

    def clear(self) -> None:
        """Ends all faults, and lets go whom they hold."""
        with self._lock:
            faults, self._faults = self._faults, []
        for fault in faults:
            fault.release()

    def take(self, request: HttpRequest, subject: RequestSubject) -> Fault | None:
        """The fault that this request meets, now counted."""
        with self._lock:
            for fault in self._faults:
                if not fault.matches(request, subject):
                    continue
                fault.seen += 1
                if fault.seen >= fault.nth and (fault.count is None or fault.acted < fault.count):
                    fault.acted += 1
                    return fault
        return None
