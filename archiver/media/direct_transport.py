"""GET requests to the CDN without a proxy: checked addresses, reused connections, no other state.

A checked host name is resolved once, every address is checked, and one of them is connected to. The name is
not resolved again, so a name server cannot show a public address to the check and a private one to the
connection. TLS requests and verifies the name, not the address.
"""

from __future__ import annotations

import math
import socket
import ssl
import threading
from collections.abc import Callable, Sequence

import httpx

from archiver.errors import DownloadFailed, Reason
from archiver.hosts import is_loopback, is_public
from archiver.http import sockets
from archiver.http.connection import BODY_READ, ConnectionPool, HttpConnection, HttpResponse, ResponseHead
from archiver.http.sockets import (
    CertificateRefused,
    ConnectionBroken,
    HttpFailure,
    ProtocolViolated,
    TimeLimit,
    start_tls,
)
from archiver.media.egress import CheckedUrl
from archiver.media.speed_limits import Patience

NameResolver = Callable[[str, int], Sequence[str]]
"""(host, port) → addresses in the order in which they are tried. Raises OSError."""

Connector = Callable[[str, int, float, TimeLimit], socket.socket]
"""(address, port, seconds, limit) → a connected TCP socket. Raises OSError."""

_MAX_ADDRESSES = 4  # addresses tried for one name: a CDN has one or two of each family

KEEP_FOR = 15.0
"""Seconds that an idle connection is kept: servers close idle connections early."""


def resolve(host: str, port: int) -> Sequence[str]:
    """Return the addresses of a host from the system's resolver, in its order. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


def connect(address: str, port: int, seconds: float, limit: TimeLimit) -> socket.socket:
    """Return a TCP connection to an IP address. Raises OSError."""
    found = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    family, _, _, _, target = found[0]
    return sockets.connect(family, target, seconds, limit)


class Dialer:
    """Makes connections, for any number of threads. ``timeout``: seconds for each address, and again for TLS.

    ``tls``: by default the context of httpx, with certifi's roots or those that SSL_CERT_FILE or SSL_CERT_DIR
    name.
    """

    def __init__(
        self,
        *,
        timeout: float,
        tls: ssl.SSLContext | None = None,
        resolver: NameResolver = resolve,
        connector: Connector = connect,
    ) -> None:
        self._timeout = timeout
        self._tls = tls
        self._tls_lock = threading.Lock()
        self._resolver = resolver
        self._connector = connector

    def dial(self, url: CheckedUrl, tick: Callable[[], None] = lambda: None) -> socket.socket:
        """Return a connected socket. ``tick`` is called about twice a second and may raise anything.

        Raises DownloadFailed (NETWORK), which is not retryable if an address or the certificate is refused.
        """
        raw = self._connect(url, self._checked_addresses(url), tick)
        if url.scheme == "http":
            return raw
        try:
            context = self._tls_context()
        except OSError as error:
            raw.close()
            raise _unreachable(
                url, "no TLS connection, as the trusted certificates cannot be read"
            ) from error
        try:
            return start_tls(raw, context, url.host, Patience(self._timeout, tick))
        except CertificateRefused as error:
            raise _unreachable(url, f"its certificate is refused ({error})", is_retryable=False) from error
        except HttpFailure as error:
            raise _unreachable(url, "no TLS connection") from error

    def _checked_addresses(self, url: CheckedUrl) -> Sequence[str]:
        try:
            addresses = self._resolver(url.host, url.port)
        except (OSError, UnicodeError) as exc:
            raise _unreachable(url, "its name cannot be resolved") from exc
        is_allowed = is_loopback if url.is_loopback else is_public
        refused = next((address for address in addresses if not is_allowed(address)), None)
        if refused is not None:
            where = "this machine" if url.is_loopback else "the public internet"
            raise _unreachable(
                url, f"its name resolves to {refused}, which is not on {where}", is_retryable=False
            )
        return addresses

    def _connect(self, url: CheckedUrl, addresses: Sequence[str], tick: Callable[[], None]) -> socket.socket:
        error: OSError | None = None
        limit = Patience(math.inf, tick)  # the connector has its own limit, for each address
        for address in addresses[:_MAX_ADDRESSES]:
            tick()
            try:
                return self._connector(address, url.port, self._timeout, limit)
            except OSError as exc:
                error = exc
        raise _unreachable(url, "no connection") from error

    def _tls_context(self) -> ssl.SSLContext:
        """Return the TLS context, made at the first https connection because loading the roots is slow."""
        with self._tls_lock:
            if self._tls is None:
                self._tls = httpx.create_ssl_context()
                self._tls.set_alpn_protocols(["http/1.1"])
            return self._tls


def _unreachable(url: CheckedUrl, why: str, *, is_retryable: bool = True) -> DownloadFailed:
    return DownloadFailed(Reason.NETWORK, f"{url.host} cannot be reached: {why}", is_retryable=is_retryable)


class DirectTransport:
    """Makes GET requests, for many threads at once.

    ``keep``: how many idle connections stay open. ``body_read``: bytes of a body that are read at once.
    """

    def __init__(self, dialer: Dialer, *, keep: int, body_read: int = BODY_READ) -> None:
        self._dialer = dialer
        self._body_read = body_read
        self._pool = ConnectionPool(keep=keep, keep_for=KEEP_FOR)

    def get(
        self, url: CheckedUrl, headers: list[tuple[str, str]], *, patience: float, tick: Callable[[], None]
    ) -> HttpResponse:
        """Return the answer to a GET, whose body is still to be read. Close it.

        ``patience``: seconds to wait for the head, and then for each further byte. ``tick`` is called about
        twice a second and may raise anything. Raises HttpFailure, and DownloadFailed if there is no
        connection.
        """
        limit = Patience(patience, tick)
        raw_headers = [
            (name.encode("ascii"), value.encode("ascii"))
            for name, value in (("host", url.host_header), *headers)
        ]

        def ask(connection: HttpConnection) -> ResponseHead:
            try:
                return connection.send_request("GET", url.target.encode("ascii"), raw_headers, limit)
            except BaseException:
                connection.close()
                raise

        kept = self._pool.take(url.origin)
        if kept is not None:
            try:
                return self._pool.respond(url.origin, kept, ask(kept), limit)
            except (ConnectionBroken, ProtocolViolated):
                # The server may just have closed it: repeat the request on a new one (RFC 9112, 9.3.1).
                if kept.has_answered:
                    raise
        new = HttpConnection(self._dialer.dial(url, tick), self._body_read)
        return self._pool.respond(url.origin, new, ask(new), limit)

    def close(self) -> None:
        """Close every idle connection, and keep none from now on."""
        self._pool.close()
