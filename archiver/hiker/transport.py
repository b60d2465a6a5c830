"""HTTP/1.1 over sockets that share one deadline per attempt and know whether any of the request was sent.

httpx's ``timeout`` counts anew for every read, so that headers or a body that drip never time out; here every connect, handshake,
write and read of an attempt gets what is left of the attempt's own time. Only a name look-up cannot be cut short: the system's
resolver decides how long it takes.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import httpcore
import httpx

_KEEPALIVE = 4.0
"""Seconds. The API closes idle connections early (HIKERAPI.md): one that has been idle longer is not used again."""


class DeadlinePassed(httpcore.TimeoutException):
    """The time of the attempt is over."""


class CertificateRefused(httpcore.ConnectError):
    """The server's certificate is not trusted, or is another host's."""


class Attempt:
    """One attempt at a call: how much of its time is left, and whether any byte of the request may have left with a chance to be
    understood. Belongs to the thread that makes it."""

    __slots__ = ("_ends", "sent")

    def __init__(self, seconds: float) -> None:
        self._ends = time.monotonic() + seconds
        self.sent = False

    def left(self) -> float:
        """Seconds left, more than 0. Raises DeadlinePassed."""
        left = self._ends - time.monotonic()
        if left <= 0:
            raise DeadlinePassed
        return left


_current: ContextVar[Attempt] = ContextVar("attempt")


@contextmanager
def attempt(seconds: float) -> Iterator[Attempt]:
    """Everything that this thread sends and reads inside belongs to one new Attempt of so many seconds."""
    token = _current.set(Attempt(seconds))
    try:
        yield _current.get()
    finally:
        _current.reset(token)


class DeadlineTransport(httpx.BaseTransport):
    """Carries requests of an httpx client; raises httpcore's exceptions, which hold no request and so no key.

    ``tls``: whether the API is reached by https. ``proxy``: through which proxy, or None. Use only inside ``attempt``.
    """

    def __init__(
        self, *, tls: bool, ssl_context: ssl.SSLContext | None = None, proxy: httpx.Proxy | None = None
    ) -> None:
        backend = _Backend(counts=not tls)
        if proxy is None:
            self._pool = httpcore.ConnectionPool(
                ssl_context=ssl_context,
                max_connections=None,
                keepalive_expiry=_KEEPALIVE,
                network_backend=backend,
            )
        else:
            self._pool = httpcore.HTTPProxy(
                proxy_url=_url(proxy.url),
                proxy_auth=proxy.raw_auth,
                ssl_context=ssl_context,
                max_connections=None,
                keepalive_expiry=_KEEPALIVE,
                network_backend=backend,
            )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """One exchange, no retry, no redirect."""
        answer = self._pool.handle_request(
            httpcore.Request(
                method=request.method,
                url=_url(request.url),
                headers=request.headers.raw,
                content=b"",
                extensions=request.extensions,
            )
        )
        assert isinstance(answer.stream, Iterable)
        return httpx.Response(answer.status, headers=answer.headers, stream=_Stream(answer.stream))

    def close(self) -> None:
        """Close every connection."""
        self._pool.close()


def _url(url: httpx.URL) -> httpcore.URL:
    return httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)


class _Stream(httpx.SyncByteStream):
    def __init__(self, parts: Iterable[bytes]) -> None:
        self._parts = parts

    def __iter__(self) -> Iterator[bytes]:
        yield from self._parts

    def close(self) -> None:
        close = getattr(self._parts, "close", None)
        if close is not None:
            close()


class _Backend(httpcore.NetworkBackend):
    """``counts``: whether what is written to a bare socket is the request itself, and not a CONNECT to a proxy."""

    def __init__(self, *, counts: bool) -> None:
        self._inner = httpcore.SyncBackend()
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
        failed: httpcore.ConnectError | httpcore.ConnectTimeout | None = None
        for tried, address in enumerate(addresses):
            # Each address gets a fair part of the time, or a black hole at the first would use it up for all.
            share = _current.get().left() / (len(addresses) - tried)
            try:
                found = self._inner.connect_tcp(address, port, share, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
            else:
                return _Socket(found, counts=self._counts)
        raise failed or httpcore.ConnectError(f"{host} has no address")


def _resolved(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise httpcore.ConnectError(f"the name {host} cannot be resolved: {error}") from error
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


class _Socket(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream, *, counts: bool) -> None:
        self._inner = inner
        self._counts = counts

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, _current.get().left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        now = _current.get()
        left = now.left()
        try:
            self._inner.write(buffer, left)
        except httpcore.WriteError:
            # The head of a request leaves in one write: if that broke, as on a stale keep-alive, the API never saw a whole one.
            raise
        except BaseException:
            now.sent = now.sent or self._counts
            raise
        now.sent = now.sent or (self._counts and bool(buffer))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        try:
            inner = self._inner.start_tls(ssl_context, server_hostname, _current.get().left())
        except httpcore.ConnectError as error:
            if isinstance(error.__cause__, ssl.SSLCertVerificationError):
                raise CertificateRefused(error.__cause__.verify_message) from error
            raise
        return _Socket(inner, counts=True)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)
