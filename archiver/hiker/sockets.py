"""Sockets that wait in turns of the current Attempt, and know whether any of the request was sent.

Only a name look-up cannot be cut short: the system's resolver decides how long it takes.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import ssl
import time
from collections.abc import Iterable
from typing import Any

import httpcore

from archiver.hiker.attempt import current


class CertificateRefused(httpcore.ConnectError):
    """The server's certificate is not trusted, or is another host's."""


class Backend(httpcore.NetworkBackend):
    """``counts``: whether what is written to a bare socket is the request itself, and not a CONNECT to a proxy."""

    def __init__(self, *, counts: bool) -> None:
        self._counts = counts

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        addresses = _resolved(host, port)
        failed: OSError | None = None
        for tried, (family, address) in enumerate(addresses):
            # Each address gets a fair part of the time, or a black hole at the first would use it up for all.
            share = current().left() / (len(addresses) - tried)
            try:
                return _Socket(_connected(family, address, share), counts=self._counts)
            except OSError as error:
                failed = error
        if isinstance(failed, TimeoutError):
            raise httpcore.ConnectTimeout from failed
        raise httpcore.ConnectError(str(failed or f"{host} has no address")) from failed


_Address = tuple[Any, ...]  # as getaddrinfo gives it and connect takes it


def _resolved(host: str, port: int) -> list[tuple[int, _Address]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise httpcore.ConnectError(f"the name {host} cannot be resolved: {error}") from error
    return list(dict.fromkeys((family, sockaddr) for family, *_, sockaddr in found))


def _connected(family: int, address: _Address, seconds: float) -> socket.socket:
    """A TCP connection, waited for in turns: socket.connect cannot be taken up again after a timeout. Raises OSError."""
    now, until = current(), time.monotonic() + seconds
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


class _Socket(httpcore.NetworkStream):
    """Owns ``sock``. The timeouts that httpcore hands on are not looked at: the Attempt's own time counts."""

    def __init__(self, sock: socket.socket, *, counts: bool) -> None:
        self._sock = sock
        self._counts = counts

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        while True:
            self._sock.settimeout(current().turn())
            try:
                return self._sock.recv(max_bytes)
            except TimeoutError:
                continue
            except OSError as error:
                raise httpcore.ReadError(str(error)) from error

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        now, rest = current(), memoryview(buffer)
        while rest:
            self._sock.settimeout(now.turn())
            try:
                rest = rest[self._sock.send(rest) :]
            except TimeoutError:
                continue
            except OSError as error:
                # The head of a request leaves in one write: if that broke, as on a stale keep-alive, the API never saw a whole one.
                raise httpcore.WriteError(str(error)) from error
            now.sent = now.sent or self._counts

    def close(self) -> None:
        self._sock.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        try:
            tls = ssl_context.wrap_socket(
                self._sock, server_hostname=server_hostname, do_handshake_on_connect=False
            )
        except OSError as error:
            self.close()
            raise httpcore.ConnectError(str(error)) from error
        try:
            _shake_hands(tls)
        except BaseException:
            tls.close()
            raise
        return _Socket(tls, counts=True)

    def get_extra_info(self, info: str) -> Any:
        if info == "ssl_object":
            return self._sock if isinstance(self._sock, ssl.SSLSocket) else None
        if info == "is_readable":  # whether an idle connection has ended
            return _ready(self._sock, select.POLLIN, 0.0)
        return None


def _shake_hands(tls: ssl.SSLSocket) -> None:
    while True:
        tls.settimeout(current().turn())
        try:
            return tls.do_handshake()
        except TimeoutError:
            continue
        except ssl.SSLCertVerificationError as error:
            raise CertificateRefused(error.verify_message) from error
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
