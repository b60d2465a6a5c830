"""HTTP/1.1 connections of uvicorn, with limits on what a client may do to them.

uvicorn itself waits without end for a client that does not finish its request, or does not read its answer.
How many there may be is decided when they are accepted (``server``).
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from archiver.web.request_guard import HEADERS

MAX_CONNECTIONS = 200
IS_GONE = "is_gone"
"""In the state of each request: a function that returns whether its client is gone."""
SENDING_SECONDS = 10.0
"""In which a client must end its TLS handshake; send the head of a request, and the body after it."""
_STALL_SECONDS = 60.0
"""In which a client must read what is waiting for it: about 256 kB."""
_CLOSING_SECONDS = 30.0
IDLE_SECONDS = 15
"""After which a connection without a request is closed."""
_LATE = {
    "closing": _CLOSING_SECONDS,
    "reading": _STALL_SECONDS,
    "sending": SENDING_SECONDS,
    "idle": IDLE_SECONDS,
}

_BARE_LF = re.compile(rb"(?<!\r)\n")
"""Some servers take it for the end of a line, others do not. No request that is allowed here contains it."""


class LimitedConnection(H11Protocol):
    """A connection that is dropped when its client is too slow; see ``drop_if_late``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._last = b""
        self._waiting_for: tuple[str | None, object] = "sending", None
        self._since = self.loop.time()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection."""
        super().connection_made(transport)
        self.app_state = {IS_GONE: transport.is_closing}

    def data_received(self, data: bytes) -> None:
        """Take what a client has sent."""
        if self.transport.is_closing():
            return
        if _BARE_LF.search(self._last + data, len(self._last)):
            self.send_400_response("The request has a line end without CR.")
            return
        self._last = data[-1:]
        super().data_received(data)

    def send_400_response(self, msg: str) -> None:
        """Answer a request that is not HTTP, and end the connection."""
        if getattr(self, "cycle", None) is not None:
            self.cycle.disconnected = True  # no answer of the application may follow
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.abort()
            return
        headers = {**HEADERS, "content-type": "text/plain; charset=utf-8", "connection": "close"}
        fields = [(name.encode(), value.encode()) for name, value in headers.items()]
        events = (
            h11.Response(status_code=400, headers=fields, reason=b"Bad Request"),
            h11.Data(data=msg.encode()),
            h11.EndOfMessage(),
        )
        self.transport.write(b"".join(self.conn.send(event) or b"" for event in events))
        self.transport.close()

    def drop_if_late(self, now: float) -> None:
        """Drop the connection if it has waited too long for its client; called about once a second.

        Each thing that a client has to do has its time: as a whole, however often a part of it arrives.
        """
        waiting_for = self._state(), (self.cycle, self.conn.their_state)
        if waiting_for != self._waiting_for:
            self._waiting_for, self._since = waiting_for, now
        elif waiting_for[0] is not None and now - self._since > _LATE[waiting_for[0]]:
            self.transport.abort()

    def resume_writing(self) -> None:
        """Note that the client has read what was waiting."""
        self._since = self.loop.time()
        super().resume_writing()

    def _state(self) -> str | None:
        """Return what the connection waits for its client to do; None while it waits for this program."""
        if self.transport.is_closing():
            return "closing"
        if self.flow.write_paused:
            return "reading"
        if self.conn.their_state is h11.SEND_BODY:  # also if it has its answer already
            return "sending"
        if self.conn.their_state is not h11.IDLE:
            return None
        is_first = getattr(self, "cycle", None) is None  # whatever uvicorn says of its type
        return "sending" if is_first or self.conn.trailing_data[0] else "idle"
