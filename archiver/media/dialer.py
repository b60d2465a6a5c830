"""From a checked name to a connected socket: resolve once, vet every address, connect to one that was vetted.

Nothing resolves the name a second time, so a name server cannot show a public address to the check and a private one to the
connection. TLS asks for and verifies the name, not the address.
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
"""(host, port) → addresses in the order to be tried. Raises OSError."""

Connector = Callable[[str, int, float], socket.socket]
"""(address, port, seconds) → a connected TCP socket. Raises OSError."""

_TRIED = 4  # addresses of one name: a CDN gives one or two of each family


def resolve(host: str, port: int) -> Sequence[str]:
    """What the system's resolver says, in its order."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


def connect(address: str, port: int, seconds: float) -> socket.socket:
    """A TCP connection to an address that needs no resolving."""
    return socket.create_connection((address, port), seconds)


class Dialer:
    """Makes connections, for any number of threads. ``timeout``: seconds for each address, and again for TLS.

    ``tls`` defaults to what httpx verifies with: certifi's roots, or those that SSL_CERT_FILE or SSL_CERT_DIR name.
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

    def dial(self, place: CheckedUrl, tick: Callable[[], None] = lambda: None) -> socket.socket:
        """A connected socket. ``tick`` is called before each address and may raise anything.

        Raises DownloadFailed(NETWORK): not retryable where an address or the certificate is refused.
        """
        raw = self._connect(place, self._vetted(place), tick)
        try:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if place.scheme == "http":
                return raw
            raw.settimeout(self._timeout)
            return self._context().wrap_socket(raw, server_hostname=place.host)
        except ssl.SSLCertVerificationError as exc:
            raw.close()
            raise _unreachable(
                place, f"its certificate is refused ({exc.verify_message})", retryable=False
            ) from exc
        except OSError as exc:
            raw.close()
            raise _unreachable(place, "no TLS connection") from exc

    def _vetted(self, place: CheckedUrl) -> Sequence[str]:
        try:
            addresses = self._resolver(place.host, place.port)
        except (OSError, UnicodeError) as exc:
            raise _unreachable(place, "its name cannot be resolved") from exc
        may_be = is_loopback if place.loopback else is_public
        refused = next((address for address in addresses if not may_be(address)), None)
        if refused is not None:
            where = "this machine" if place.loopback else "the public internet"
            raise _unreachable(place, f"its name means {refused}, which is not on {where}", retryable=False)
        return addresses

    def _connect(
        self, place: CheckedUrl, addresses: Sequence[str], tick: Callable[[], None]
    ) -> socket.socket:
        failed: OSError | None = None
        for address in addresses[:_TRIED]:
            tick()
            try:
                return self._connector(address, place.port, self._timeout)
            except OSError as exc:
                failed = exc
        raise _unreachable(place, "no connection") from failed

    def _context(self) -> ssl.SSLContext:
        """Made at the first https connection: reading the roots takes longer than many a command."""
        with self._tls_lock:
            if self._tls is None:
                self._tls = httpx.create_ssl_context()
                self._tls.set_alpn_protocols(["http/1.1"])
            return self._tls


def _unreachable(place: CheckedUrl, why: str, *, retryable: bool = True) -> DownloadFailed:
    return DownloadFailed(Reason.NETWORK, f"{place.host} cannot be reached: {why}", retryable=retryable)
