"""The time of one attempt at a call: a deadline for all of it together, and a stop that is heard in between.

httpx's ``timeout`` counts anew for every read, so that headers or a body that drip never time out. Here every
connect, handshake, write and read asks for its turn, and gets a short part of what is left.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

GRACE = 0.4
"""Seconds that an awaited answer may still take after a stop: it is paid for, and many answers take less than
a second in all."""

_MAX_BLOCK = 0.1
"""Seconds between two looks at the stop."""


class ExchangeBroken(Exception):
    """A call has no whole answer: no connection, one that broke, or an answer that is not HTTP."""


class DeadlinePassed(ExchangeBroken):
    """The time of the attempt is over."""


class Interrupted(ExchangeBroken):
    """The caller does not wait for the answer any longer."""


class Attempt:
    """One attempt at a call: how much of its time is left, and whether any byte of the request may have left
    with a chance to be understood. Belongs to the thread that makes it. ``stopped`` says whether the answer
    is not wanted any more."""

    __slots__ = ("_ends", "_stopped", "sent")

    def __init__(self, seconds: float, stopped: Callable[[], bool]) -> None:
        self._ends = time.monotonic() + seconds
        self._stopped = stopped
        self.sent = False

    def left(self) -> float:
        """Seconds left, more than 0. Raises DeadlinePassed, or Interrupted."""
        left = self._ends - time.monotonic()
        if left <= 0:
            raise Interrupted if self._stopped() else DeadlinePassed
        return left

    def turn(self) -> float:
        """Seconds that one operation may block now, more than 0. After a stop nothing is sent any more, and
        an answer gets GRACE."""
        if self._stopped():
            if not self.sent:
                raise Interrupted
            self._ends = min(self._ends, time.monotonic() + GRACE)
        return min(_MAX_BLOCK, self.left())

    def acquire(self, lock: threading.Lock) -> None:
        """Acquire a lock of this program's own. The wait is not the API's fault: it does not count as time of
        the attempt. Raises Interrupted after a stop, as ``turn``."""
        while True:
            begun = time.monotonic()
            if lock.acquire(timeout=self.turn()):
                return
            if not self._stopped():
                self._ends += time.monotonic() - begun


_current: ContextVar[Attempt] = ContextVar("begin_attempt")


def current_attempt() -> Attempt:
    """The Attempt that this thread makes just now. Raises LookupError outside of one."""
    return _current.get()


@contextmanager
def begin_attempt(seconds: float, stopped: Callable[[], bool]) -> Iterator[Attempt]:
    """Everything that this thread sends and reads inside belongs to one new Attempt of so many seconds."""
    token = _current.set(Attempt(seconds, stopped))
    try:
        yield _current.get()
    finally:
        _current.reset(token)


class CertificateRefused(ExchangeBroken):
    """The server's certificate is not trusted, or is another host's."""


def connect(host: str, port: int) -> socket.socket:
    """Return a TCP connection to the first address of a host that takes one. Raises ExchangeBroken,
    DeadlinePassed."""
    addresses = _resolved(host, port)
    failed: OSError | None = None
    for tried, (family, address) in enumerate(addresses):
        # Each address gets a fair part of the time, or a black hole at the first would use it up for all.
        share = current_attempt().left() / (len(addresses) - tried)
        try:
            return _connected(family, address, share)
        except OSError as error:
            failed = error
    if isinstance(failed, TimeoutError):
        raise DeadlinePassed from failed
    raise ExchangeBroken(str(failed or f"{host} has no address")) from failed


def start_tls(sock: socket.socket, context: ssl.SSLContext, host: str) -> ssl.SSLSocket:
    """Return the TLS connection over ``sock``, which is closed where there is none. Raises ExchangeBroken,
    CertificateRefused."""
    try:
        tls = context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
    except OSError as error:
        sock.close()
        raise ExchangeBroken(str(error)) from error
    try:
        _shake_hands(tls)
    except BaseException:
        tls.close()
        raise
    return tls


def send_all(sock: socket.socket, content: bytes, *, counts: bool) -> None:
    """Send all of ``content``. ``counts``: whether it is the request itself, and not a CONNECT to a proxy.
    Raises ExchangeBroken."""
    now, rest = current_attempt(), memoryview(content)
    while rest:
        sock.settimeout(now.turn())
        try:
            rest = rest[sock.send(rest) :]
        except TimeoutError:
            continue
        except OSError as error:
            # The head of a request leaves in one write: if that broke, as on a stale keep-alive, the API
            # never saw a whole one.
            raise ExchangeBroken(str(error)) from error
        now.sent = now.sent or counts


def receive(sock: socket.socket, size: int) -> bytes:
    """Return what has come, at most ``size`` bytes; b'' at the end of the connection. Raises
    ExchangeBroken."""
    while True:
        sock.settimeout(current_attempt().turn())
        try:
            return sock.recv(size)
        except TimeoutError:
            continue
        except OSError as error:
            raise ExchangeBroken(str(error)) from error


def is_quiet(sock: socket.socket) -> bool:
    """Whether nothing has come that nobody asked for: neither bytes nor the end of the connection."""
    try:
        return not (isinstance(sock, ssl.SSLSocket) and sock.pending()) and not _ready(
            sock, select.POLLIN, 0.0
        )
    except (OSError, ValueError):
        return False


_Address = tuple[Any, ...]  # as getaddrinfo gives it and connect takes it


def _resolved(host: str, port: int) -> list[tuple[int, _Address]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ExchangeBroken(f"the name {host} cannot be resolved: {error}") from error
    return list(dict.fromkeys((family, sockaddr) for family, *_, sockaddr in found))


def _connected(family: int, address: _Address, seconds: float) -> socket.socket:
    """A TCP connection, waited for in turns: socket.connect cannot be taken up again after a timeout. Raises
    OSError."""
    now, until = current_attempt(), time.monotonic() + seconds
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        failed = sock.connect_ex(address)
        if failed == errno.EINPROGRESS:
            while not _ready(sock, select.POLLOUT, now.turn()):
                if time.monotonic() >= until:
                    raise TimeoutError
            failed = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if failed:
            raise OSError(failed, os.strerror(failed))
    except BaseException:
        sock.close()
        raise
    return sock


def _ready(sock: socket.socket, event: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(sock, event)
    return bool(poll.poll(1_000 * seconds))


def _shake_hands(tls: ssl.SSLSocket) -> None:
    while True:
        tls.settimeout(current_attempt().turn())
        try:
            return tls.do_handshake()
        except TimeoutError:
            continue
        except ssl.SSLCertVerificationError as error:
            raise CertificateRefused(error.verify_message) from error
        except OSError as error:
            raise ExchangeBroken(str(error)) from error
