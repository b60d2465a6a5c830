"""GET requests to the CDN without a proxy: checked addresses, reused connections, no other state."""

from __future__ import annotations

from collections.abc import Callable

from archiver.http.connection import BODY_READ, ConnectionPool, HttpConnection, HttpResponse
from archiver.http.plain_head import ResponseHead
from archiver.http.sockets import ConnectionBroken, ProtocolViolated
from archiver.media.dialer import Dialer
from archiver.media.egress import CheckedUrl
from archiver.media.speed_limits import Patience

KEEP_FOR = 15.0
"""Seconds that an idle connection is kept: servers close idle connections early."""


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
