"""The stand-in whose answers may be faulty, and what the action of a fault works with."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Mapping
from typing import cast

from archiver.sandbox.http_server import HttpReply, LoggedRequest, Pace, RequestLog, StandInSettings
from archiver.sandbox.standin import Exchange, StandIn
from archiver.sandbox.world import World
from tests.support.standin.fault_rules import Faults
from tests.support.standin.world_edits import EditableWorld


class FaultyExchange:
    """An exchange that can be answered in other ways than truly and whole. ``released`` ends a silence."""

    def __init__(self, true: Exchange, released: threading.Event) -> None:
        self.request = true.request
        self.connection = true.connection
        self.released = released
        self._true = true

    def reply(self) -> HttpReply:
        """Return the true answer. The first call makes and bills it."""
        return self._true.reply()

    def bill(self, status: int) -> None:
        """Bill the call as upstream bills an answer of this status."""
        self._true.units = self._true.service.bill(self.request, status)

    def record(self, status: int) -> None:
        """Log the request with this status. Later calls do nothing."""
        self._true.record(status)

    def deliver(self, reply: HttpReply | None = None, pace: Pace | None = None) -> None:
        """Send a whole answer; by default the true one, at the pace of the listener."""
        self._true.deliver(reply, pace)

    def begin(self, headers: Mapping[str, str] | None = None, *, states_length: bool = True) -> bytes:
        """Send only the head of the true answer, with some headers added or changed, and return its body."""
        true = self.reply()
        head = HttpReply(true.status, true.body, {**true.headers, **(headers or {})}, states_length)
        self.record(head.status)
        self.connection.send(head.head())
        return true.body

    def hold(self, limit: float | None = None) -> None:
        """Stay silent until the fault is released or ``limit`` seconds have passed.

        Raises ``ConnectionError`` when the peer has gone, or the stand-in closes.
        """
        end = None if limit is None else time.monotonic() + limit
        while not self.released.wait(0.02):
            if end is not None and time.monotonic() >= end:
                return
            if self._peer_is_gone():  # or the stand-in closes, which shuts the socket down
                raise ConnectionAbortedError("the silent connection ended")

    def _peer_is_gone(self) -> bool:
        sock = self.connection.sock
        sock.setblocking(False)
        try:
            return sock.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False
        finally:
            sock.setblocking(True)

    def reset(self) -> None:
        """End the connection with RST: the peer may lose what was sent and not yet read."""
        self.connection.is_open = False
        self.connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.sock.close()


class FaultyStandIn(StandIn):
    """A stand-in with ``faults``, which may be changed at any time, and with a world that can be edited."""

    def __init__(
        self,
        world: EditableWorld | None = None,
        *,
        key: str | None = None,
        balance: int = 1_000_000,
        port: int = 0,
        cdn_origin: str | None = None,
        settings: StandInSettings | None = None,
    ) -> None:
        world = EditableWorld.seed() if world is None else world
        super().__init__(world, key=key, balance=balance, port=port, cdn_origin=cdn_origin, settings=settings)
        self.faults = Faults()

    @property
    def world(self) -> EditableWorld:
        return cast(EditableWorld, self._api.world)

    @world.setter
    def world(self, world: World) -> None:
        self._api.world = world

    def close(self) -> None:
        """End all faults and connections."""
        self.faults.clear()
        super().close()

    def answer(self, exchange: Exchange) -> None:
        """Answer one request: as the first fault says that it meets, else truly."""
        fault = self.faults.take(exchange.request, exchange.subject)
        if fault is None:
            exchange.deliver()
            return
        fault.reached.set()
        if fault.before is not None:
            fault.before(exchange.request)
        if fault.action is None:
            exchange.deliver()
        else:
            fault.action(FaultyExchange(exchange, fault.released))


def paid_calls(log: RequestLog) -> list[LoggedRequest]:
    """Return the requests to the API that cost units if they are answered: all but those for the balance."""
    return [call for call in log.api_calls() if call.path != "/sys/balance"]


def requests_with(log: RequestLog, text: str) -> list[LoggedRequest]:
    """Return the CDN requests in whose path, query or headers the text appears: none, if it is the API
    key.
    """
    return [
        request
        for request in log.cdn_requests()
        if text in request.path
        or text in request.query
        or any(text in f"{name}: {value}" for name, value in request.headers.items())
    ]
