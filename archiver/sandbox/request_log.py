"""The log of the stand-in: one entry for each request, with its status and what it cost. Thread-safe."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from archiver.sandbox.http_server import HttpRequest


@dataclass(frozen=True, slots=True)
class RequestSubject:
    """What a request is about: pks and the role of a file, '' if the stand-in cannot tell."""

    user: str = ""
    highlight: str = ""
    item: str = ""
    role: str = ""


@dataclass(frozen=True, slots=True)
class LoggedRequest(HttpRequest):
    """A request and its answer.

    ``status``: 0 if there was no answer. ``units``: billed. ``at``: when the request arrived, in UTC.
    """

    subject: RequestSubject
    status: int
    units: int
    at: datetime


class RequestLog:
    """All requests since the start or the last ``reset``, in the order of their answers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: list[LoggedRequest] = []

    def append(self, entry: LoggedRequest) -> None:
        with self._lock:
            self._entries.append(entry)

    def reset(self) -> None:
        """Remove all entries."""
        with self._lock:
            self._entries = []

    def __iter__(self) -> Iterator[LoggedRequest]:
        with self._lock:
            return iter(list(self._entries))

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def units(self) -> int:
        """The units billed."""
        return sum(entry.units for entry in self)

    def api_calls(self, path: str | None = None) -> list[LoggedRequest]:
        """Return the requests to the API, or those to one endpoint."""
        return [entry for entry in self if entry.listener == "api" and path in (None, entry.path)]

    def cdn_requests(
        self, *, item: str | None = None, role: str | None = None, status: int | None = None
    ) -> list[LoggedRequest]:
        """Return the requests to the CDN, or those for one item, in one role, with one status."""
        return [
            entry
            for entry in self
            if entry.listener == "cdn"
            and item in (None, entry.subject.item)
            and role in (None, entry.subject.role)
            and status in (None, entry.status)
        ]

    def counts(self) -> dict[str, int | dict[str, int]]:
        """Return the units, API calls and CDN requests, and the number of API calls of each path."""
        calls = self.api_calls()
        return {
            "units": self.units,
            "api_calls": len(calls),
            "cdn_requests": len(self.cdn_requests()),
            "paths": dict(sorted(Counter(call.path for call in calls).items())),
        }
