"""Sockets that never block for longer than their caller allows, so that a stop or a deadline takes effect.

Only a name lookup cannot be cut short: the system's resolver decides how long it takes.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import ssl
import struct
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

_GATHER = 0.5  # seconds for which bytes are gathered before they are passed on
_TIMEVAL = struct.Struct("@ll")  # seconds and microseconds

Address = tuple[Any, ...]
"""A socket address as ``socket.getaddrinfo`` returns it."""


class HttpFailure(Exception):
    """An exchange failed. The message contains neither a URL nor a header."""


class ConnectionBroken(HttpFailure):
    """There is no connection, or it broke."""


class CertificateRefused(HttpFailure):
    """The server's certificate is not trusted, or belongs to another host."""


class ProtocolViolated(HttpFailure):
    """The answer is not HTTP, or ended too early."""


class TimeLimit(Protocol):
    """How long one exchange may take. Both methods may raise anything to end it."""

    def begin_part(self) -> None:
        """Begin the head of an answer, or another piece of its body."""

    def next_timeout(self) -> float:
        """Return the seconds that the next operation may block, more than 0."""


def connect(family: int, address: Address, seconds: float, limit: TimeLimit) -> socket.socket:
    """Return a TCP connection. Raises OSError, which is a TimeoutError after ``seconds``."""
    deadline = time.monotonic() + seconds
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)  # poll instead: socket.connect cannot continue after a timeout
        error_code = sock.connect_ex(address)
        if error_code == errno.EINPROGRESS:
            while not _is_ready(sock, select.POLLOUT, limit.next_timeout()):
                if time.monotonic() >= deadline:
                    raise TimeoutError
            error_code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error_code:
            raise OSError(error_code, os.strerror(error_code))
    except BaseException:
        sock.close()
        raise
    return sock


def start_tls(sock: socket.socket, context: ssl.SSLContext, host: str, limit: TimeLimit) -> ssl.SSLSocket:
    """Return a TLS connection over ``sock``, which is closed on failure.

    Raises ConnectionBroken, CertificateRefused.
    """
    try:
        tls = context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
    except OSError as error:
        sock.close()
        raise ConnectionBroken(str(error)) from error
    try:
        _do_handshake(tls, limit)
    except BaseException:
        tls.close()
        raise
    return tls


def send_all(sock: socket.socket, content: bytes, limit: TimeLimit, note_sent: Callable[[], None]) -> None:
    """Send all bytes. ``note_sent`` is called after each write. Raises ConnectionBroken."""
    rest = memoryview(content)
    while rest:
        sock.settimeout(limit.next_timeout())
        try:
            rest = rest[sock.send(rest) :]
        except TimeoutError:
            continue
        except OSError as error:
            # A request is sent in one write. If that fails, as on a connection that the server has closed,
            # the server never saw a complete request.
            raise ConnectionBroken(str(error)) from error
        note_sent()


def receive(sock: socket.socket, size: int, limit: TimeLimit) -> bytes:
    """Return the next bytes, at most ``size``; b'' at the end of the connection. Raises ConnectionBroken."""
    while True:
        sock.settimeout(limit.next_timeout())
        try:
            return sock.recv(size)
        except TimeoutError:
            continue
        except OSError as error:
            raise ConnectionBroken(str(error)) from error


def receive_much(sock: socket.socket, size: int, limit: TimeLimit) -> bytes:
    """Return ``size`` bytes, or those that arrive within half a second; b'' at the end of the connection.

    Waits longer for the first byte. Threads that receive small pieces mostly wake each other. Raises
    ConnectionBroken.
    """
    if isinstance(sock, ssl.SSLSocket) or not sys.platform.startswith("linux"):
        # macOS applies the timeout to each wait inside one call: a slow server would extend it forever.
        return _receive_parts(sock, size, limit)
    sock.settimeout(None)  # MSG_WAITALL has no effect on a socket that does not block
    while True:
        microseconds = max(1, int(1e6 * min(_GATHER, limit.next_timeout())))
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEVAL.pack(0, microseconds))
            return sock.recv(size, socket.MSG_WAITALL)
        except BlockingIOError:
            continue
        except OSError as error:
            raise ConnectionBroken(str(error)) from error


def _receive_parts(sock: socket.socket, size: int, limit: TimeLimit) -> bytes:
    """Join what arrives: TLS returns at most 16 kB at a time."""
    chunk = receive(sock, size, limit)
    chunks, missing, until = [chunk], size - len(chunk), time.monotonic() + _GATHER
    while chunk and missing and (seconds := until - time.monotonic()) > 0:
        limit.begin_part()
        sock.settimeout(min(seconds, limit.next_timeout()))
        try:
            chunk = sock.recv(missing)
        except OSError:
            break  # the time is over, or the next call meets the error again: these bytes are good
        chunks.append(chunk)  # b'' at the end of the connection, which the next call sees, too
        missing -= len(chunk)
    return b"".join(chunks)


def is_quiet(sock: socket.socket) -> bool:
    """Return whether nothing is waiting to be read, neither bytes nor the end of the connection."""
    try:
        has_pending = isinstance(sock, ssl.SSLSocket) and sock.pending() > 0
        return not has_pending and not _is_ready(sock, select.POLLIN, 0.0)
    except (OSError, ValueError):
        return False


def _is_ready(sock: socket.socket, event: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(sock, event)
    return bool(poll.poll(1_000 * seconds))


def _do_handshake(tls: ssl.SSLSocket, limit: TimeLimit) -> None:
    while True:
        tls.settimeout(limit.next_timeout())
        try:
            return tls.do_handshake()
        except TimeoutError:
            continue
        except ssl.SSLCertVerificationError as error:
            raise CertificateRefused(error.verify_message) from error
        except OSError as error:
            raise ConnectionBroken(str(error)) from error
