"""What the stand-in was asked: one line a request, for tests that ask what a run did and what it cost. Thread-safe."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Subject:
    """What a request is about, as far as it can be told; '' where it cannot."""

    user: str = ""
    highlight: str = ""
    item: str = ""
    role: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request and its answer. ``status`` 0: it got none. ``units`` is what was billed. ``at``: when it arrived, UTC."""

    listener: str
    method: str
    path: str
    query: str
    params: Mapping[str, str]
    headers: Mapping[str, str]
    address: str
    subject: Subject
    status: int
    units: int
    at: datetime


class Log:
    """All requests since the start or the last ``reset``, in the order of their answers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: list[Asked] = []

    def append(self, asked: Asked) -> None:
        with self._lock:
            self._asked.append(asked)

    def reset(self) -> None:
        """Forgets all requests."""
        with self._lock:
            self._asked = []

    def __iter__(self) -> Iterator[Asked]:
        with self._lock:
            return iter(list(self._asked))

    def __len__(self) -> int:
        return len(self._asked)

    @property
    def units(self) -> int:
        """The units billed."""
        return sum(asked.units for asked in self)

    def api_calls(self, path: str | None = None) -> list[Asked]:
        """The requests to the API, or those to one endpoint."""
        return [a for a in self if a.listener == "api" and path in (None, a.path)]

    def paid_calls(self) -> list[Asked]:
        """The requests to the API but for its balance, which is free: those that cost units where they are answered."""
        return [a for a in self.api_calls() if a.path != "/sys/balance"]

    def cdn_requests(
        self, *, item: str | None = None, role: str | None = None, status: int | None = None
    ) -> list[Asked]:
        """The requests to the CDN, or those for one item, in one role, answered with one status."""
        return [
            a
            for a in self
            if a.listener == "cdn"
            and item in (None, a.subject.item)
            and role in (None, a.subject.role)
            and status in (None, a.status)
        ]

    def leaks(self, text: str) -> list[Asked]:
        """The CDN requests in whose path, query or headers the text appears: none, if the text is the API key."""
        return [
            a
            for a in self.cdn_requests()
            if text in a.path or text in a.query or any(text in f"{k}: {v}" for k, v in a.headers.items())
        ]

    def counts(self) -> dict[str, int | dict[str, int]]:
        """Units, API calls, CDN requests, and the API calls of each path."""
        calls = self.api_calls()
        return {
            "units": self.units,
            "api_calls": len(calls),
            "cdn_requests": len(self.cdn_requests()),
            "paths": dict(sorted(Counter(a.path for a in calls).items())),
        }
