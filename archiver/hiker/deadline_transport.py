"""An httpx transport for the API, limited by the current attempt. Use it in ``begin_attempt``."""

from __future__ import annotations

import base64
import socket
import ssl
from collections.abc import Iterator

import httpx

from archiver.hiker.attempt import DeadlinePassed, current_attempt
from archiver.http import sockets
from archiver.http.connection import ConnectionPool, HttpConnection, HttpResponse
from archiver.http.sockets import Address, ConnectionBroken

_KEEP = 100  # idle connections: more than the number of threads of a run that call the API
_KEEP_FOR = 4.0  # seconds that an idle connection is kept: the API closes them early (HIKERAPI.md)


class DeadlineTransport(httpx.BaseTransport):
    """Sends requests to one origin, for many threads. Raises HttpFailure, which never holds the key.

    ``context``: for an https origin. ``proxy``: provides a tunnel to the origin.
    """

    def __init__(
        self, origin: httpx.URL, *, context: ssl.SSLContext | None = None, proxy: httpx.Proxy | None = None
    ) -> None:
        self._host = origin.raw_host.decode("ascii")
        self._port = origin.port or (443 if context is not None else 80)
        self._context = context
        self._proxy = proxy
        self._pool = ConnectionPool(keep=_KEEP, keep_for=_KEEP_FOR)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Return the answer to a request. No retry, no redirect."""
        attempt = current_attempt()
        connection = self._pool.take(self._host) or self._new_connection()
        try:
            head = connection.send_request(
                request.method, request.url.raw_path, request.headers.raw, attempt, attempt.note_sent
            )
        except BaseException:
            connection.close()
            raise
        response = self._pool.respond(self._host, connection, head, attempt)
        return httpx.Response(
            response.status_code, headers=response.raw_headers, stream=_BodyStream(response)
        )

    def close(self) -> None:
        """Close every connection."""
        self._pool.close()

    def _new_connection(self) -> HttpConnection:
        if self._proxy is not None:
            sock = _tunnel(self._proxy, self._host, self._port)
        else:
            sock = _connect(self._host, self._port)
        if self._context is not None:
            sock = sockets.start_tls(sock, self._context, self._host, current_attempt())
        return HttpConnection(sock)


class _BodyStream(httpx.SyncByteStream):
    def __init__(self, response: HttpResponse) -> None:
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        return self._response.iter_raw()

    def close(self) -> None:
        self._response.close()


def _connect(host: str, port: int) -> socket.socket:
    """Return a TCP connection to the first address of a host that accepts one.

    Raises ConnectionBroken, DeadlinePassed.
    """
    addresses, attempt = _resolve(host, port), current_attempt()
    error: OSError | None = None
    for index, (family, address) in enumerate(addresses):
        # Each address gets an equal share of the time: one that never answers must not use it up.
        seconds = attempt.seconds_left() / (len(addresses) - index)
        try:
            return sockets.connect(family, address, seconds, attempt)
        except OSError as exc:
            error = exc
    if isinstance(error, TimeoutError):
        raise DeadlinePassed from error
    raise ConnectionBroken(str(error or f"{host} has no address")) from error


def _resolve(host: str, port: int) -> list[tuple[int, Address]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ConnectionBroken(f"the name {host} cannot be resolved: {error}") from error
    return list(dict.fromkeys((family, address) for family, *_, address in found))


def _tunnel(proxy: httpx.Proxy, host: str, port: int) -> socket.socket:
    """Return a connection through a proxy, which sees only the host and port. Raises HttpFailure."""
    connection = HttpConnection(_connect(proxy.url.raw_host.decode("ascii"), proxy.url.port or 80))
    target = (f"[{host}]:{port}" if ":" in host else f"{host}:{port}").encode("ascii")
    headers = [(b"host", target), (b"accept", b"*/*")]
    if proxy.raw_auth is not None:
        headers.append((b"proxy-authorization", b"Basic " + base64.b64encode(b":".join(proxy.raw_auth))))
    try:
        head = connection.send_request(
            "CONNECT", target, headers, current_attempt()
        )  # does not count as a request sent to the API
        if not 200 <= head.status_code < 300:
            reason = head.reason.decode("ascii", "replace")
            raise ConnectionBroken(f"the proxy refused a tunnel: {head.status_code} {reason}")
        if not connection.is_exact():
            raise ConnectionBroken("the proxy sent more than its answer")
    except BaseException:
        connection.close()
        raise
    return connection.sock
