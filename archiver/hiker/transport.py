"""httpx's transport for the API: httpcore's HTTP/1.1 over sockets of our own. Use only inside ``attempt``."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Iterator

import httpcore
import httpx

from archiver.hiker.sockets import Backend

_KEEPALIVE = 4.0
"""Seconds. The API closes idle connections early (HIKERAPI.md): one that has been idle longer is not used again."""


class DeadlineTransport(httpx.BaseTransport):
    """Carries requests of an httpx client; raises httpcore's exceptions, which hold no request and so no key.

    ``tls``: whether the API is reached by https. ``proxy``: through which proxy, or None. Use only inside ``attempt``.
    """

    def __init__(
        self, *, tls: bool, ssl_context: ssl.SSLContext | None = None, proxy: httpx.Proxy | None = None
    ) -> None:
        backend = Backend(counts=not tls)
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
