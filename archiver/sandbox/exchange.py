"""One request on one connection: what it would truly be answered, and the ways to answer it. What a fault's action gets to work with."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Protocol

from archiver.sandbox.log import Asked, Log, Subject
from archiver.sandbox.wire import Pace, Reply, Request, Wire

_JOINED = 1 << 16  # up to here one packet more costs more than one copy more


class Service(Protocol):
    """What stands behind a listener."""

    def subject(self, request: Request) -> Subject: ...
    def bill(self, request: Request, status: int) -> int: ...
    def answer(self, request: Request) -> tuple[Reply, int]: ...


class Exchange:
    """Logs its request exactly once, before the first byte of the answer leaves: a client that has an answer finds it in the log."""

    def __init__(
        self, request: Request, subject: Subject, wire: Wire, service: Service, log: Log, pace: Pace
    ) -> None:
        self.request = request
        self.wire = wire
        self.released = threading.Event()
        self._subject = subject
        self._service = service
        self._log = log
        self._pace = pace
        self._at = datetime.now(UTC)
        self._reply: Reply | None = None
        self._units = 0
        self._logged = False

    def reply(self) -> Reply:
        """The true answer. The first call works it out and bills it."""
        if self._reply is None:
            self._reply, self._units = self._service.answer(self.request)
        return self._reply

    def bill(self, status: int) -> None:
        """Bills as upstream bills an answer of this status."""
        self._units = self._service.bill(self.request, status)

    def record(self, status: int) -> None:
        """Puts the request into the log. Only the first call counts."""
        if not self._logged:
            self._logged = True
            self._log.append(
                Asked(
                    self.request.listener,
                    self.request.method,
                    self.request.path,
                    self.request.query,
                    self.request.params,
                    self.request.headers,
                    self.request.address,
                    self._subject,
                    status,
                    self._units,
                    self._at,
                )
            )

    def deliver(self, reply: Reply | None = None, pace: Pace | None = None) -> None:
        """Sends an answer whole: the true one, at the listener's own pace, unless told otherwise."""
        reply = reply or self.reply()
        pace = pace or self._pace
        self.wire.wait(pace.first_byte_delay)
        self.record(reply.status)
        body = b"" if self.request.method == "HEAD" else reply.body
        if len(body) > _JOINED:
            self.wire.send(reply.head())
            self.wire.send(body, pace)
        else:
            self.wire.send(reply.head() + body, pace)

    def begin(self, headers: Mapping[str, str] | None = None, *, sized: bool = True) -> bytes:
        """Sends only the head of the true answer, with some headers added or changed, and returns its body."""
        true = self.reply()
        head = Reply(true.status, true.body, {**true.headers, **(headers or {})}, sized)
        self.record(head.status)
        self.wire.send(head.head())
        return true.body
