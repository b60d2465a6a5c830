"""Downloads from the CDN, with repeated attempts. No key, cookie or referrer is sent."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import count
from types import TracebackType
from typing import Self

import httpx

import archiver
from archiver import retry, signed_url
from archiver.errors import ConfigError, DownloadFailed, Reason, install_command
from archiver.http.connection import BODY_READ
from archiver.media.checked_writer import CheckedWriter, DownloadedFile, Sink
from archiver.media.direct_transport import Dialer, DirectTransport
from archiver.media.egress import DownloadRules
from archiver.media.formats import MediaKind
from archiver.media.speed_limits import Clock, HostPauses, SpeedWatchdog, TokenBucket
from archiver.media.transfer import MAX_PAUSE, Transfer, TransferContext
from archiver.model.identity import Role, utcnow
from archiver.model.upstream import Link

_ATTEMPTS = 3
_FORBIDDEN_ATTEMPTS = 2  # another attempt rarely helps against a 403

# httpx writes whole URLs to its log at INFO, httpcore whole requests at DEBUG.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)


class Downloader:
    """Downloads links, for any number of threads at once. Close it at the end.

    ``allowed_hosts``: see Egress. ``max_file_size``: bytes. Both are available as ``rules``. ``timeout``:
    seconds to wait for a connection (10 at most), for the head of an answer, and for each further byte.
    ``min_speed``: bytes per second, measured over each ``speed_window`` (seconds). ``total_deadline``:
    seconds for all attempts at one file, not counting intended pauses. ``limit_rate``: bytes per second over
    all threads. ``concurrency``: connections that are kept open. ``proxy``: an http, https or socks5 URL.
    Host names are still checked here, but the proxy resolves them and must check the addresses. Loopback
    hosts that are allowed are reached directly. Proxies in the environment are ignored.

    Raises ConfigError for a host pattern or a proxy that cannot be used.
    """

    def __init__(
        self,
        *,
        allowed_hosts: Sequence[str],
        max_file_size: int,
        timeout: float = 20.0,
        min_speed: int = 1000,
        speed_window: float = 30.0,
        total_deadline: float = 3600.0,
        limit_rate: int | None = None,
        proxy: str | None = None,
        concurrency: int = 8,
        dialer: Dialer | None = None,
        now: Callable[[], datetime] = utcnow,
        clock: Clock = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.rules = DownloadRules.of(allowed_hosts, max_file_size)
        self._context = TransferContext(
            egress=self.rules.egress,
            direct=DirectTransport(
                dialer or Dialer(timeout=min(timeout, 10.0)),
                keep=concurrency,
                body_read=_body_read(limit_rate, concurrency),
            ),
            proxied=_proxy_transport(proxy, concurrency) if proxy else None,
            headers=(
                ("user-agent", f"archiver/{archiver.__version__}"),
                ("accept", "*/*"),
                ("accept-encoding", "identity"),
            ),
            timeout=timeout,
            rate_limit=TokenBucket(limit_rate, clock) if limit_rate else None,
            pauses=HostPauses(clock),
            now=now,
        )
        self._min_speed, self._speed_window, self._total_deadline = min_speed, speed_window, total_deadline
        self._clock = clock
        self._jitter = jitter

    def download(
        self,
        link: Link,
        sink: Sink,
        *,
        check: Callable[[], None] = lambda: None,
        wait: Callable[[float], None] = time.sleep,
    ) -> DownloadedFile:
        """Write the file of a link to ``sink``, which then holds exactly its bytes, not yet durably.

        ``check`` is called for every chunk, and twice a second while nothing arrives; ``wait(seconds)`` is
        called for every pause. Exceptions of these and of the sink are passed on. Raises DownloadFailed after
        the last attempt; the bytes in the sink are then worthless.
        """
        kind = MediaKind.VIDEO if link.role is Role.VIDEO else MediaKind.PICTURE
        writer = CheckedWriter(sink, kind, self.rules.max_file_size)
        watchdog = SpeedWatchdog(
            min_speed=self._min_speed,
            window=self._speed_window,
            total=self._total_deadline,
            clock=self._clock,
        )
        transfer = Transfer(self._context, link, writer, watchdog, check=check, wait=wait)
        for attempt in count(1):
            try:
                return transfer.attempt()
            except DownloadFailed as error:
                pause = max(error.retry_after or 0.0, retry.backoff(attempt, self._jitter))
                attempts = _FORBIDDEN_ATTEMPTS if error.reason is Reason.FORBIDDEN else _ATTEMPTS
                if not error.is_retryable or attempt >= attempts or pause > MAX_PAUSE:
                    raise _with_location(error, link) from error
                transfer.pause(pause)
        raise AssertionError("unreachable")

    def close(self) -> None:
        """Close every connection that is not in use; one in use closes when its answer has been read."""
        self._context.direct.close()
        if self._context.proxied is not None:
            self._context.proxied.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _with_location(error: DownloadFailed, link: Link) -> DownloadFailed:
    """Return the failure with the link's host and file name in its message, safe to store and log."""
    return DownloadFailed(
        error.reason,
        f"{signed_url.redact(link.url)}: {error}",
        is_retryable=error.is_retryable,
        retry_after=error.retry_after,
        host=error.host,
        size=error.size,
    )


def _body_read(limit_rate: int | None, connections: int) -> int:
    """Return how many bytes to read at once, so that no connection waits for longer than a second or two.

    All connections share ``limit_rate``, and a server closes one that takes nothing for a minute.
    """
    return BODY_READ if limit_rate is None else max(1, min(BODY_READ, limit_rate // connections))


def _proxy_transport(proxy: str, concurrency: int) -> httpx.BaseTransport:
    """Return httpx's own transport, which can use proxies.

    Errors never quote the URL: it may hold a password.
    """
    try:
        return httpx.HTTPTransport(
            proxy=proxy,
            limits=httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency),
        )
    except ImportError as exc:
        raise ConfigError(
            "download.proxy is a SOCKS proxy, which needs another package",
            f"install it: {install_command('httpx[socks]')}",
        ) from exc
    except (ValueError, httpx.InvalidURL):
        raise ConfigError("download.proxy is not a valid proxy URL", "write it as http://host:port") from None
