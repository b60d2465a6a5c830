"""What can go wrong with an answer: each function returns an action for ``Faults.add``.

Those that let the true answer through in part have it worked out and billed first, as upstream would:
``truncated``, ``stall``, ``reset(after=n)``, ``lose`` and the like. ``hang_up``, ``raw`` and ``reset()``
answer before anything was done and cost nothing.
"""

from __future__ import annotations

import gzip
import json
import socket
import sys
from collections.abc import Callable, Mapping

from archiver.sandbox import media_files
from archiver.sandbox.http_server import HttpReply, Pace
from archiver.sandbox.world_objects import Json
from tests.support.standin.faulty_standin import FaultyExchange

Action = Callable[[FaultyExchange], None]

HTML = (
    b"<!DOCTYPE html>\n<html><head><title>Just a "
    b"moment...</title></head><body>Checking your browser</body></html>\n"
)
ELF = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\x3e\x00" + bytes(400)


def jpeg() -> bytes:
    """A real JPEG, for where a video is expected."""
    return media_files.base(media_files.PHOTOS[0])


def respond(
    status: int,
    body: bytes | str | Json = b"",
    headers: Mapping[str, str] | None = None,
    *,
    billed: bool = True,
) -> Action:
    """Another answer.

    What is not bytes or text is sent as JSON. Billed as upstream bills this status, or not at all.
    """
    if isinstance(body, bytes):
        content, kind = body, "application/octet-stream"
    elif isinstance(body, str):
        content, kind = body.encode(), "text/plain"
    else:
        content, kind = json.dumps(body).encode(), "application/json"

    def act(exchange: FaultyExchange) -> None:
        if billed:
            exchange.bill(status)
        exchange.deliver(HttpReply(status, content, {"content-type": kind, **(headers or {})}))

    return act


def html(status: int = 200, body: bytes = HTML) -> Action:
    """A page of whoever stands in front of the service, such as a challenge. Never billed."""
    return respond(status, body, {"content-type": "text/html; charset=utf-8"}, billed=False)


def redirect(location: str | None, status: int = 302) -> Action:
    """Elsewhere; None leaves the ``Location`` out."""
    return respond(status, b"", {} if location is None else {"location": location})


def raw(data: bytes) -> Action:
    """Exactly these bytes and then the end, HTTP or not."""

    def act(exchange: FaultyExchange) -> None:
        exchange.record(0)
        exchange.connection.send(data)
        exchange.connection.close()

    return act


def hang_up() -> Action:
    """The connection ends without an answer, and nothing was done."""
    return raw(b"")


def lose() -> Action:
    """The call is carried out and billed, and its answer never comes."""

    def act(exchange: FaultyExchange) -> None:
        exchange.reply()
        exchange.record(0)
        exchange.connection.close()

    return act


def reset(after: int | None = None) -> Action:
    """RST: before anything was done, or after so many bytes of the body."""

    def act(exchange: FaultyExchange) -> None:
        if after is None:
            exchange.record(0)
        else:
            exchange.connection.send(exchange.begin()[:after])
        exchange.reset()

    return act


def truncated(after: int) -> Action:
    """The true length is stated; so many bytes come, then the end."""

    def act(exchange: FaultyExchange) -> None:
        exchange.connection.send(exchange.begin()[:after])
        exchange.connection.close()

    return act


def wrong_length(by: int) -> Action:
    """The stated length is off by so many bytes (negative: too small); the whole body comes, then the end."""

    def act(exchange: FaultyExchange) -> None:
        length = max(0, len(exchange.reply().body) + by)
        exchange.connection.send(exchange.begin({"content-length": str(length)}))
        exchange.connection.close()

    return act


def unsized(after: int | None = None) -> Action:
    """No length is stated, only the end tells it; ``after`` cuts the body there, which HTTP cannot notice."""

    def act(exchange: FaultyExchange) -> None:
        exchange.connection.send(exchange.begin({"connection": "close"}, states_length=False)[:after])
        exchange.connection.close()

    return act


def stall(after: int | None = 0, seconds: float | None = None) -> Action:
    """Silence after so many bytes of the body (None: before the head), until ``Fault.release``, the peer's
    end or so many seconds.

    Then the rest comes. With None the call is carried out and billed before the silence.
    """

    def act(exchange: FaultyExchange) -> None:
        if after is None:
            exchange.reply()
            exchange.hold(seconds)
            exchange.deliver()
            return
        body = exchange.begin()
        exchange.connection.send(body[:after])
        exchange.hold(seconds)
        exchange.connection.send(body[after:])

    return act


def drip(count: int = 1, interval: float = 0.05) -> Action:
    """The body in pieces of ``count`` bytes, ``interval`` seconds apart."""

    def act(exchange: FaultyExchange) -> None:
        body = exchange.begin()
        for offset in range(0, len(body), count):
            exchange.connection.send(body[offset : offset + count])
            exchange.connection.wait(interval)

    return act


def endless(length: int | None = None) -> Action:
    """The body comes over and over until the peer has enough; ``length`` states a length, but keeps no
    promise.
    """

    def act(exchange: FaultyExchange) -> None:
        headers = {"connection": "close"} if length is None else {"content-length": str(length)}
        body = exchange.begin(headers, states_length=False)
        block = (body or b"\0") * (65_536 // max(1, len(body)) + 1)
        while True:
            exchange.connection.send(block)

    return act


def gzipped(keep: int | None = None, *, expands_to: int | None = None) -> Action:
    """The body under ``content-encoding: gzip``: cut after ``keep`` bytes with a length that fits the cut, or
    a bomb of zeros.
    """

    def act(exchange: FaultyExchange) -> None:
        true = exchange.reply()
        packed = _bomb(expands_to) if expands_to else gzip.compress(true.body)
        exchange.deliver(HttpReply(true.status, packed[:keep], {**true.headers, "content-encoding": "gzip"}))

    return act


def _bomb(size: int) -> bytes:
    member = gzip.compress(bytes(1 << 20))
    return member * (size >> 20) + gzip.compress(bytes(size % (1 << 20)))


def other_bytes(body: bytes, content_type: str | None = None) -> Action:
    """Other bytes under the true headers: ``HTML`` called image/jpeg, ``jpeg()`` for a video, ``ELF``, a few
    bytes or none.
    """

    def act(exchange: FaultyExchange) -> None:
        true = exchange.reply()
        kind = {} if content_type is None else {"content-type": content_type}
        exchange.deliver(HttpReply(true.status, body, {**_plain(true), **kind}))

    return act


def headers(changed: Mapping[str, str]) -> Action:
    """The true answer with some headers added or changed: a cookie, a lying ``content-digest``, a weak
    ETag.
    """

    def act(exchange: FaultyExchange) -> None:
        true = exchange.reply()
        exchange.deliver(HttpReply(true.status, true.body, {**true.headers, **changed}))

    return act


def wrong_range(start: int = 0, total: int | None = None) -> Action:
    """206 with the true body, whatever was asked, said to start at ``start`` of ``total`` bytes."""

    def act(exchange: FaultyExchange) -> None:
        true = exchange.reply()
        end = start + len(true.body) - 1
        size = end + 1 if total is None else total
        content_range = {"content-range": f"bytes {start}-{end}/{size}"}
        exchange.deliver(HttpReply(206, true.body, {**_plain(true), **content_range}))

    return act


def _plain(true: HttpReply) -> dict[str, str]:
    """The headers that stay right for another body or status."""
    return {k: v for k, v in true.headers.items() if k not in ("etag", "content-digest", "content-range")}


def chunked(size: int = 1000, *, cut: int | None = None) -> Action:
    """Chunked transfer; ``cut`` ends the connection after so many chunks, without the last one."""

    def act(exchange: FaultyExchange) -> None:
        body = exchange.begin({"transfer-encoding": "chunked"}, states_length=False)
        parts = [body[offset : offset + size] for offset in range(0, len(body), size)]
        for part in parts[:cut]:
            exchange.connection.send(b"%x\r\n%s\r\n" % (len(part), part))
        if cut is None:
            exchange.connection.send(b"0\r\n\r\n")
        else:
            exchange.connection.close()

    return act


def slow_head(interval: float = 0.05) -> Action:
    """The head byte by byte, ``interval`` seconds apart, then the body at once."""

    def act(exchange: FaultyExchange) -> None:
        true = exchange.reply()
        exchange.record(true.status)
        for byte in true.head():
            exchange.connection.send(bytes((byte,)))
            exchange.connection.wait(interval)
        exchange.connection.send(true.body)

    return act


def pace(first_byte_delay: float = 0.0, bytes_per_second: float = 0.0) -> Action:
    """The true answer, late and slowly."""

    def act(exchange: FaultyExchange) -> None:
        exchange.deliver(pace=Pace(first_byte_delay, bytes_per_second))

    return act


def close_after() -> Action:
    """The true answer; then the kept-alive connection ends without a word of it.

    On Linux the end arrives with the last bytes of the answer, however busy the machine is.
    """

    def act(exchange: FaultyExchange) -> None:
        if sys.platform == "linux":
            exchange.connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        exchange.deliver()
        exchange.connection.close()

    return act
