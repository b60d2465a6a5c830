"""From a checked name to a connected socket: resolve it once, check every address, connect to one of them.

The name is not resolved again, so a name server cannot show a public address to the check and a private one
to the connection. TLS requests and verifies the name, not the address.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Sequence

import httpx

from archiver.addresses import is_loopback, is_public
from archiver.errors import DownloadFailed, Reason
from archiver.media.egress import CheckedUrl

NameResolver = Callable[[str, int], Sequence[str]]
"""(host, port) → addresses in the order in which they are tried. Raises OSError."""

Connector = Callable[[str, int, float], socket.socket]
"""(address, port, seconds) → a connected TCP socket. Raises OSError."""

_MAX_ADDRESSES = 4  # that are tried for one name: a CDN has one or two of each family


def resolve(host: str, port: int) -> Sequence[str]:
    """Return the addresses of a host from the system's resolver, in its order. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


def connect(address: str, port: int, seconds: float) -> socket.socket:
    """Return a TCP connection to an IP address. Raises OSError."""
    return socket.create_connection((address, port), seconds)


class Dialer:
    """Makes connections, for any number of threads. ``timeout``: seconds for each address, and again for TLS.

    ``tls``: by default what httpx verifies with, certifi's roots or those that SSL_CERT_FILE or SSL_CERT_DIR
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
        """Return a connected socket. ``tick`` is called before each address and may raise anything.

        Raises DownloadFailed (NETWORK), which is not retryable if an address or the certificate is refused.
        """
        raw = self._connect(url, self._checked_addresses(url), tick)
        try:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if url.scheme == "http":
                return raw
            raw.settimeout(self._timeout)
            return self._tls_context().wrap_socket(raw, server_hostname=url.host)
        except ssl.SSLCertVerificationError as exc:
            raw.close()
            raise _unreachable(
                url, f"its certificate is refused ({exc.verify_message})", retryable=False
            ) from exc
        except OSError as exc:
            raw.close()
            raise _unreachable(url, "no TLS connection") from exc

    def _checked_addresses(self, url: CheckedUrl) -> Sequence[str]:
        try:
            addresses = self._resolver(url.host, url.port)
        except (OSError, UnicodeError) as exc:
            raise _unreachable(url, "its name cannot be resolved") from exc
        is_allowed = is_loopback if url.is_loopback else is_public
        refused = next((address for address in addresses if not is_allowed(address)), None)
        if refused is not None:
            where = "this machine" if url.is_loopback else "the public internet"
            raise _unreachable(url, f"its name means {refused}, which is not on {where}", retryable=False)
        return addresses

    def _connect(self, url: CheckedUrl, addresses: Sequence[str], tick: Callable[[], None]) -> socket.socket:
        error: OSError | None = None
        for address in addresses[:_MAX_ADDRESSES]:
            tick()
            try:
                return self._connector(address, url.port, self._timeout)
            except OSError as exc:
                error = exc
        raise _unreachable(url, "no connection") from error

    def _tls_context(self) -> ssl.SSLContext:
        """Return the TLS context, made at the first https connection: loading the roots takes long."""
        with self._tls_lock:
            if self._tls is None:
                self._tls = httpx.create_ssl_context()
                self._tls.set_alpn_protocols(["http/1.1"])
            return self._tls


def _unreachable(url: CheckedUrl, why: str, *, retryable: bool = True) -> DownloadFailed:
    return DownloadFailed(Reason.NETWORK, f"{url.host} cannot be reached: {why}", retryable=retryable)
