"""One attempt at a call: its deadline, its stop, and sockets that keep both.

httpx's ``timeout`` starts again at every read, so that an answer that drips in never times out. Here every
connect, handshake, write and read blocks for a short part of the time that is left, and then looks at the
stop. Only a name look-up cannot be cut short: the system's resolver decides how long it takes.
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
"""Seconds that an awaited answer may still take after a stop. It is paid for, and most take less than one."""

_MAX_BLOCK = 0.1  # seconds between two looks at the stop


class ExchangeBroken(Exception):
    """A call has no complete answer: there was no connection, it broke, or the answer is not HTTP."""


class DeadlinePassed(ExchangeBroken):
    """The time of the attempt is over."""


class Interrupted(ExchangeBroken):
    """The caller stopped waiting for the answer."""


class CertificateRefused(ExchangeBroken):
    """The server's certificate is not trusted, or belongs to another host."""


class Attempt:
    """The time that one attempt has left. Belongs to the thread that makes it.

    ``is_stopped``: whether the answer is no longer wanted. ``sent``: whether a byte of the request may have
    reached the API.
    """

    __slots__ = ("_deadline", "_is_stopped", "sent")

    def __init__(self, seconds: float, is_stopped: Callable[[], bool]) -> None:
        self._deadline = time.monotonic() + seconds
        self._is_stopped = is_stopped
        self.sent = False

    def seconds_left(self) -> float:
        """Return the seconds left, more than 0. Raises DeadlinePassed, or Interrupted after a stop."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise Interrupted if self._is_stopped() else DeadlinePassed
        return left

    def next_timeout(self) -> float:
        """Return the seconds that the next operation may block, more than 0.

        Raises DeadlinePassed. After a stop raises Interrupted: at once if nothing was sent, else after GRACE.
        """
        if self._is_stopped():
            if not self.sent:
                raise Interrupted
            self._deadline = min(self._deadline, time.monotonic() + GRACE)
        return min(_MAX_BLOCK, self.seconds_left())

    def acquire(self, lock: threading.Lock) -> None:
        """Acquire a lock. The wait does not count as time of the attempt. Raises as ``next_timeout`` does."""
        while True:
            started = time.monotonic()
            if lock.acquire(timeout=self.next_timeout()):
                return
            if not self._is_stopped():
                self._deadline += time.monotonic() - started


_current: ContextVar[Attempt] = ContextVar("attempt")


def current_attempt() -> Attempt:
    """Return the attempt that this thread is making. Raises LookupError if there is none."""
    return _current.get()


@contextmanager
def begin_attempt(seconds: float, is_stopped: Callable[[], bool]) -> Iterator[Attempt]:
    """Begin an attempt of a number of seconds. All that this thread sends and reads inside belongs to it."""
    token = _current.set(Attempt(seconds, is_stopped))
    try:
        yield _current.get()
    finally:
        _current.reset(token)


def connect(host: str, port: int) -> socket.socket:
    """Return a TCP connection to the first address of a host that accepts one.

    Raises ExchangeBroken, DeadlinePassed.
    """
    addresses = _resolve(host, port)
    error: OSError | None = None
    for index, (family, address) in enumerate(addresses):
        # Each address gets an equal part of the time: one that never answers must not use it all up.
        seconds = current_attempt().seconds_left() / (len(addresses) - index)
        try:
            return _connect(family, address, seconds)
        except OSError as exc:
            error = exc
    if isinstance(error, TimeoutError):
        raise DeadlinePassed from error
    raise ExchangeBroken(str(error or f"{host} has no address")) from error


def start_tls(sock: socket.socket, context: ssl.SSLContext, host: str) -> ssl.SSLSocket:
    """Return a TLS connection over ``sock``, which is closed on failure.

    Raises ExchangeBroken, CertificateRefused.
    """
    try:
        tls = context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
    except OSError as error:
        sock.close()
        raise ExchangeBroken(str(error)) from error
    try:
        _do_handshake(tls)
    except BaseException:
        tls.close()
        raise
    return tls


def send_all(sock: socket.socket, content: bytes, *, is_request: bool) -> None:
    """Send all bytes. ``is_request``: they are a request to the API, not a CONNECT to a proxy.

    Raises ExchangeBroken.
    """
    attempt, rest = current_attempt(), memoryview(content)
    while rest:
        sock.settimeout(attempt.next_timeout())
        try:
            rest = rest[sock.send(rest) :]
        except TimeoutError:
            continue
        except OSError as error:
            # The head of a request is sent in one write. If that fails, as on a connection that the server
            # has closed, the API never saw a complete one.
            raise ExchangeBroken(str(error)) from error
        attempt.sent = attempt.sent or is_request


def receive(sock: socket.socket, size: int) -> bytes:
    """Return what came, at most ``size`` bytes; b'' at the end of the connection. Raises ExchangeBroken."""
    while True:
        sock.settimeout(current_attempt().next_timeout())
        try:
            return sock.recv(size)
        except TimeoutError:
            continue
        except OSError as error:
            raise ExchangeBroken(str(error)) from error


def is_quiet(sock: socket.socket) -> bool:
    """Return whether nothing came without a request, neither bytes nor the end of the connection."""
    try:
        has_pending = isinstance(sock, ssl.SSLSocket) and sock.pending() > 0
        return not has_pending and not _is_ready(sock, select.POLLIN, 0.0)
    except (OSError, ValueError):
        return False


_Address = tuple[Any, ...]  # as getaddrinfo gives it and connect takes it


def _resolve(host: str, port: int) -> list[tuple[int, _Address]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ExchangeBroken(f"the name {host} cannot be resolved: {error}") from error
    return list(dict.fromkeys((family, sockaddr) for family, *_, sockaddr in found))


def _connect(family: int, address: _Address, seconds: float) -> socket.socket:
    """Return a TCP connection. Raises OSError. It polls: socket.connect cannot continue after a timeout."""
    attempt, deadline = current_attempt(), time.monotonic() + seconds
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        failed = sock.connect_ex(address)
        if failed == errno.EINPROGRESS:
            while not _is_ready(sock, select.POLLOUT, attempt.next_timeout()):
                if time.monotonic() >= deadline:
                    raise TimeoutError
            failed = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if failed:
            raise OSError(failed, os.strerror(failed))
    except BaseException:
        sock.close()
        raise
    return sock


def _is_ready(sock: socket.socket, event: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(sock, event)
    return bool(poll.poll(1_000 * seconds))


def _do_handshake(tls: ssl.SSLSocket) -> None:
    while True:
        tls.settimeout(current_attempt().next_timeout())
        try:
            return tls.do_handshake()
        except TimeoutError:
            continue
        except ssl.SSLCertVerificationError as error:
            raise CertificateRefused(error.verify_message) from error
        except OSError as error:
            raise ExchangeBroken(str(error)) from error
