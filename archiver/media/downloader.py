"""SEAM 2: bytes from the free CDN. No key, no cookie, no referrer, no browser's name ever goes there."""

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
from archiver.media.checked_writer import CheckedWriter, DownloadedFile, Sink
from archiver.media.dialer import Dialer
from archiver.media.direct_transport import DirectTransport
from archiver.media.egress import DownloadRules
from archiver.media.formats.media_format import MediaKind
from archiver.media.speed_limits import Clock, HostPauses, SpeedWatchdog, TokenBucket
from archiver.media.transfer import LONGEST_WAIT, Transfer, TransferContext
from archiver.model.identity import Role, utcnow
from archiver.model.upstream import Link

ATTEMPTS = 3
"""Tries at one file in one run; a 403 gets two, since it is seldom a mood of the CDN."""

# httpx writes whole URLs to its log at INFO, httpcore whole requests at DEBUG.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)


class Downloader:
    """Downloads Links, for any number of threads at once. Close it at the end.

    ``allowed_hosts``: see Egress. ``max_file_size`` in bytes. Both are kept in ``rules``. ``timeout``: seconds for a connection (10 at most), for the head of an answer, and
    without a byte. ``min_speed``: bytes a second in each ``speed_window`` seconds. ``total_deadline``: seconds for one file with all
    its attempts, waits on purpose not counted. ``limit_rate``: bytes a second over all threads. ``concurrency``: connections kept.
    ``proxy``: an http, https or socks5 URL. With one, names are vetted here as ever, but addresses are the proxy's to resolve and to
    vet; listed loopback hosts are asked directly. The environment's proxies are not looked at.
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
        self._road = TransferContext(
            egress=self.rules.egress,
            direct=DirectTransport(dialer or Dialer(timeout=min(timeout, 10.0)), keep=concurrency),
            proxied=_through(proxy, concurrency) if proxy else None,
            headers=(
                ("user-agent", f"archiver/{archiver.__version__}"),
                ("accept", "*/*"),
                ("accept-encoding", "identity"),
            ),
            timeout=timeout,
            bucket=TokenBucket(limit_rate, clock) if limit_rate else None,
            quiet=HostPauses(clock),
            now=now,
        )
        self._min_speed, self._speed_window, self._total = min_speed, speed_window, total_deadline
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
        """Stream the Link's bytes into ``sink``, which holds exactly the file when this returns; the caller makes it durable.

        ``check`` is called for every chunk and twice a second while nothing comes, ``wait(seconds)`` for every pause: what they raise,
        or what the sink raises, passes through. Raises DownloadFailed after the last attempt; the sink's bytes are then worthless.
        """
        wanted = MediaKind.VIDEO if link.role is Role.VIDEO else MediaKind.PICTURE
        intake = CheckedWriter(sink, wanted, self.rules.max_file_size)
        watchdog = SpeedWatchdog(
            min_speed=self._min_speed, window=self._speed_window, total=self._total, clock=self._clock
        )
        fetch = Transfer(self._road, link, intake, watchdog, check=check, wait=wait)
        for attempt in count(1):
            try:
                return fetch.attempt()
            except DownloadFailed as failed:
                asked = failed.retry_after or 0.0
                last = 2 if failed.reason is Reason.FORBIDDEN else ATTEMPTS
                if not failed.retryable or attempt >= last or asked > LONGEST_WAIT:
                    raise _told(failed, link) from failed
                fetch.pause(max(asked, retry.backoff(attempt, self._jitter)))
        raise AssertionError("unreachable")

    def close(self) -> None:
        """Close every connection that is not in use; one in use closes when its answer has been read."""
        self._road.direct.close()
        if self._road.proxied is not None:
            self._road.proxied.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _told(failed: DownloadFailed, link: Link) -> DownloadFailed:
    """The failure with the place it is about, fit for a row and a log."""
    return DownloadFailed(
        failed.reason,
        f"{signed_url.redacted(link.url)}: {failed}",
        retryable=failed.retryable,
        retry_after=failed.retry_after,
        host=failed.host,
        size=failed.size,
    )


def _through(proxy: str, concurrency: int) -> httpx.BaseTransport:
    """httpx's own transport, which speaks to proxies. The proxy's URL may hold a password: no message quotes it."""
    try:
        return httpx.HTTPTransport(
            proxy=proxy,
            limits=httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency),
        )
    except ImportError as exc:
        raise ConfigError(
            "download.proxy is a SOCKS proxy, which needs one more package",
            f"install it: {install_command('httpx[socks]')}",
        ) from exc
    except (ValueError, httpx.InvalidURL):
        raise ConfigError("download.proxy is no proxy's URL", "write it as http://host:port") from None
