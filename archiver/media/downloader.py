"""Downloads from the CDN, with repeated attempts. No key, cookie or referrer is sent."""

from __future__ import annotations

import logging
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import count
from urllib.parse import urljoin

import httpx
from msgspec import Struct

import archiver
from archiver import retry, signed_url
from archiver.closeable import Closeable
from archiver.errors import ConfigError, DownloadFailed, Reason, install_command
from archiver.http.connection import BODY_READ, HttpResponse
from archiver.http.sockets import HttpFailure, ProtocolViolated
from archiver.media.checked_writer import CheckedWriter, DownloadedFile, Sink, parse_checksums
from archiver.media.direct_transport import Dialer, DirectTransport
from archiver.media.egress import CheckedUrl, DownloadRules, Egress
from archiver.media.formats import MediaKind
from archiver.media.speed_limits import Clock, DownloadStalled, HostPauses, SpeedWatchdog, TokenBucket
from archiver.model.identity import Role, utcnow
from archiver.model.upstream import Link
from archiver.work import StopFlag

Response = HttpResponse | httpx.Response
"""An answer of the direct connection, or of a proxy."""

MAX_PAUSE = 60.0
"""Seconds. If a host asks for a longer pause, its files are left to the next run."""

_MAX_REDIRECTS = 5
_MAX_HOST_PAUSE = 900.0  # seconds: a single odd Retry-After must not close a host for the whole run
_EXPIRY_MARGIN = timedelta(seconds=5)  # for a signature that would expire before the request arrives
_MAX_DETAIL = 1024  # bytes read of the body of a refusal

_EXPIRED = b"URL signature expired"
_ALTERED = b"URL signature mismatch"
_RETRYABLE = frozenset({408, 425, 429})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")
_STRONG_ETAG = re.compile(r'"[\x21\x23-\x7e]*"')

_ATTEMPTS = 3
_FORBIDDEN_ATTEMPTS = 2  # another attempt rarely helps against a 403


class TransferContext(Struct, frozen=True):
    """What all transfers share. ``proxied`` replaces ``direct`` for all hosts except loopback ones."""

    egress: Egress
    direct: DirectTransport
    proxied: httpx.BaseTransport | None
    headers: tuple[tuple[str, str], ...]
    timeout: float
    rate_limit: TokenBucket | None
    pauses: HostPauses
    now: Callable[[], datetime]


class ResumePoint(Struct, frozen=True):
    """Where an interrupted file continues: after ``start`` bytes of ``total`` (None: not stated)."""

    start: int
    total: int | None
    etag: str

    def headers(self) -> list[tuple[str, str]]:
        """Return headers that request the rest if the file is unchanged (RFC 9110, 13.1.5 and 14.2)."""
        return [("range", f"bytes={self.start}-"), ("if-range", self.etag)]


class Transfer:
    """The file of one link on its way into a writer, until ``stop`` is set."""

    def __init__(
        self,
        context: TransferContext,
        link: Link,
        writer: CheckedWriter,
        watchdog: SpeedWatchdog,
        stop: StopFlag,
    ) -> None:
        self._context = context
        self._link = link
        self._writer = writer
        self._watchdog = watchdog
        self._stop = stop
        self._etag: str | None = None  # set while the bytes in the writer may be continued

    def attempt(self) -> DownloadedFile:
        """Fetch the file. Continue an earlier attempt if both sides can prove that it is the same file.

        Raises DownloadFailed.
        """
        expires = self._link.expires_at
        if expires is not None and expires <= self._context.now() + _EXPIRY_MARGIN:
            raise DownloadFailed(Reason.EXPIRED, "the signature of the URL has expired; no request was made")
        url = self._context.egress.check(self._link.url)
        resume = None
        if self._etag is not None and self._writer.size:
            resume = ResumePoint(self._writer.size, self._writer.total, self._etag)
        self._watchdog.begin()
        for _ in range(_MAX_REDIRECTS + 1):
            self._stop.check()
            self._respect_host_pause(url.host)
            response = self._send(url, resume)
            try:
                if response.status_code not in _REDIRECTS:
                    return self._receive(response, resume, url.host)
                url = self._follow(url, response.headers.get("location"))
            finally:
                response.close()
        raise DownloadFailed(Reason.REDIRECT, f"more than {_MAX_REDIRECTS} redirects")

    def pause(self, seconds: float) -> None:
        """Wait. The watchdog does not count this time."""
        if seconds > 0:
            self._stop.wait(seconds)
            self._watchdog.excuse(seconds)

    def _respect_host_pause(self, host: str) -> None:
        left = self._context.pauses.seconds_left(host)
        if left > MAX_PAUSE:
            raise DownloadFailed(
                Reason.HTTP_STATUS,
                f"{host} asked for a pause, which lasts {left:.0f} s more",
                retry_after=left,
            )
        self.pause(left)

    def _send(self, url: CheckedUrl, resume: ResumePoint | None) -> Response:
        headers = [*self._context.headers, *(resume.headers() if resume else [])]
        with _as_download_failed(if_broken=Reason.NETWORK, if_stalled=Reason.NETWORK):
            if self._context.proxied is None or url.is_loopback:
                return self._context.direct.get(url, headers, patience=self._context.timeout, tick=self._tick)
            # httpx's own transport encodes some odd characters of a target differently, and cannot be stopped
            # while it waits. Its extension ``target`` is no help: it would replace the host's name sent to
            # the proxy.
            limits = httpx.Timeout(self._context.timeout).as_dict()
            request = httpx.Request(
                "GET", url.origin + url.target, headers=headers, extensions={"timeout": limits}
            )
            return self._context.proxied.handle_request(request)

    def _follow(self, url: CheckedUrl, location: str | None) -> CheckedUrl:
        if not location:
            raise DownloadFailed(Reason.REDIRECT, "a redirect without a location")
        try:
            target = self._context.egress.check(urljoin(url.origin + url.target, location))
        except ValueError:
            raise DownloadFailed(Reason.REDIRECT, "a redirect to an invalid URL") from None
        except DownloadFailed as exc:
            raise DownloadFailed(Reason.REDIRECT, f"a redirect that must not be followed: {exc}") from exc
        if target.is_loopback and not url.is_loopback:  # allowed, but not if a host on the internet names it
            raise DownloadFailed(Reason.REDIRECT, f"a redirect from {url.host} to this machine")
        return target

    def _receive(self, response: Response, resume: ResumePoint | None, host: str) -> DownloadedFile:
        status, headers = response.status_code, response.headers
        if status == 200:
            _check_coding(headers)
            self._etag = _strong_etag(headers)
            self._writer.begin(_stated_length(headers), parse_checksums(headers))
        elif status == 206 or (status == 416 and resume):
            self._continue(resume, status, headers)
        else:
            raise self._refusal(response, host)
        with _as_download_failed(if_broken=Reason.TRUNCATED, if_stalled=Reason.TOO_SLOW):
            for chunk in response.iter_raw():
                self._write(chunk)
        self._etag = None  # if these bytes are refused now, more of them would be refused too
        return self._writer.finish()

    def _continue(self, resume: ResumePoint | None, status: int, headers: Mapping[str, str]) -> None:
        """Accept a 206 that is exactly the rest; after any other answer, start from byte 0 next time."""
        total = total_if_continued(resume, headers) if resume and status == 206 else None
        if total is None:
            self._etag = None
            raise DownloadFailed(
                Reason.HTTP_STATUS,
                f"the CDN answered {status}, which does not continue the file",
                is_retryable=True,
            )
        _check_coding(headers)
        self._writer.expect(total)

    def _write(self, chunk: bytes) -> None:
        self._stop.check()
        self._writer.write(chunk)
        self._watchdog.add(len(chunk))
        if self._context.rate_limit is not None:
            self.pause(self._context.rate_limit.take(len(chunk)))

    def _tick(self) -> None:
        self._stop.check()
        self._watchdog.check()

    def _refusal(self, response: Response, host: str) -> DownloadFailed:
        detail = b""
        with _as_download_failed(if_broken=Reason.NETWORK, if_stalled=Reason.NETWORK):
            for chunk in response.iter_raw():
                detail += chunk
                if len(detail) >= _MAX_DETAIL:
                    break
        error = _refusal_error(response.status_code, response.headers, detail, self._context.now())
        if error.retry_after is not None:
            self._context.pauses.begin(host, min(error.retry_after, _MAX_HOST_PAUSE))
        return error


def _refusal_error(status: int, headers: Mapping[str, str], detail: bytes, now: datetime) -> DownloadFailed:
    """Return the failure for a status that is neither success nor redirect.

    ``detail``: the start of the body.
    """
    if status == 403 and _EXPIRED in detail:
        return DownloadFailed(Reason.EXPIRED, "the CDN answered that the signature of the URL has expired")
    if status == 403:
        return DownloadFailed(Reason.FORBIDDEN, "the CDN answered 403", is_retryable=_ALTERED not in detail)
    if status in (404, 410):
        return DownloadFailed(Reason.NOT_FOUND, f"the CDN answered {status}")
    return DownloadFailed(
        Reason.HTTP_STATUS,
        f"the CDN answered {status}",
        is_retryable=status in _RETRYABLE or status >= 500,
        retry_after=retry.parse_retry_after(headers.get("retry-after"), now),
    )


def _check_coding(headers: Mapping[str, str]) -> None:
    """Raise DownloadFailed for a body in a content coding.

    None was requested. If such a body is cut or endless, that only shows when it is decoded.
    """
    coding = headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("", "identity"):
        raise DownloadFailed(Reason.NOT_MEDIA, "the CDN sends a content coding that was not requested")


def _stated_length(headers: Mapping[str, str]) -> int | None:
    """Return the length of this body in bytes if the head states one that the transport enforces."""
    text = headers.get("content-length", "")
    if "transfer-encoding" in headers or not (text.isascii() and text.isdigit()):
        return None
    return int(text)


def _strong_etag(headers: Mapping[str, str]) -> str | None:
    """Return the ETag if it allows joining two answers (RFC 9110, 8.8.1).

    It must be strong, and the server must accept ranges.
    """
    etag = headers.get("etag", "").strip()
    has_ranges = headers.get("accept-ranges", "").strip().lower() == "bytes"
    return etag if has_ranges and len(etag) <= 200 and _STRONG_ETAG.fullmatch(etag) else None


def total_if_continued(resume: ResumePoint, headers: Mapping[str, str]) -> int | None:
    """Return the total length if a 206 is exactly the rest of the file; None if it must not be used.

    It must start where the received bytes end, reach to the end of the file, agree with the earlier total,
    and not name another ETag.
    """
    found = _RANGE.fullmatch(headers.get("content-range", "").strip())
    if found is None:
        return None
    first, last, total = int(found[1]), int(found[2]), int(found[3])
    is_rest = first == resume.start and last + 1 == total and resume.total in (None, total)
    is_length_right = _stated_length(headers) in (None, total - first)
    is_same_file = headers.get("etag", resume.etag).strip() == resume.etag
    return total if is_rest and is_length_right and is_same_file else None


@contextmanager
def _as_download_failed(*, if_broken: Reason, if_stalled: Reason) -> Iterator[None]:
    """Convert errors of both transports.

    ``if_broken``: the reason for an incomplete answer. ``if_stalled``: the reason if nothing arrived in time.
    """
    try:
        yield
    except (DownloadStalled, httpx.TimeoutException) as exc:
        raise DownloadFailed(if_stalled, "nothing arrived for too long", is_retryable=True) from exc
    except (ProtocolViolated, httpx.RemoteProtocolError) as exc:
        raise DownloadFailed(
            if_broken, "the answer ended early, or violates HTTP", is_retryable=True
        ) from exc
    except (HttpFailure, httpx.TransportError) as exc:
        raise DownloadFailed(Reason.NETWORK, "the connection broke", is_retryable=True) from exc


# httpx writes whole URLs to its log at INFO, httpcore whole requests at DEBUG.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)


class Downloader(Closeable):
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

    def download(self, link: Link, sink: Sink, stop: StopFlag | None = None) -> DownloadedFile:
        """Write the file of a link to ``sink``, which then holds exactly its bytes, not yet durably.

        ``stop`` is checked for every chunk, and twice a second while nothing arrives, and ends every pause.
        Its cause, and exceptions of the sink, are passed on. Raises DownloadFailed after the last attempt;
        the bytes in the sink are then worthless.
        """
        kind = MediaKind.VIDEO if link.role is Role.VIDEO else MediaKind.PICTURE
        writer = CheckedWriter(sink, kind, self.rules.max_file_size)
        watchdog = SpeedWatchdog(
            min_speed=self._min_speed,
            window=self._speed_window,
            total=self._total_deadline,
            clock=self._clock,
        )
        transfer = Transfer(self._context, link, writer, watchdog, stop or StopFlag())
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
