"""One file being fetched: requests, redirects, resuming. Each ``attempt`` is one try; who repeats it is ``download``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urljoin

import httpx

from archiver import retry
from archiver.errors import DownloadFailed, Reason
from archiver.media.checked_writer import CheckedWriter, DownloadedFile
from archiver.media.checksum import parse_checksums
from archiver.media.egress import CheckedUrl, Egress
from archiver.media.speed_limits import HostPauses, SpeedWatchdog, TokenBucket
from archiver.model.upstream import Link

MAX_REDIRECTS = 5

LONGEST_WAIT = 60.0
"""Seconds that a file waits for a host that asked to be left alone; if it is longer, the file is left for the next run."""

_QUIET = 900.0  # seconds of a Retry-After that are believed: one odd answer must not close a host for the whole night

_MARGIN = timedelta(seconds=5)  # a signature that would expire on the way


@dataclass(frozen=True, slots=True)
class TransferContext:
    """What all fetches share: who may be reached, and through what."""

    egress: Egress
    direct: httpx.BaseTransport
    proxied: httpx.BaseTransport | None
    headers: tuple[tuple[str, str], ...]
    timeout: float
    bucket: TokenBucket | None
    quiet: HostPauses
    now: Callable[[], datetime]


class Transfer:
    """One Link on its way into one Intake. ``check`` and ``wait`` may raise to stop it; that passes through."""

    def __init__(
        self,
        road: TransferContext,
        link: Link,
        intake: CheckedWriter,
        watchdog: SpeedWatchdog,
        *,
        check: Callable[[], None],
        wait: Callable[[float], None],
    ) -> None:
        self._road = road
        self._link = link
        self._intake = intake
        self._watchdog = watchdog
        self._check = check
        self._wait = wait
        self._etag: str | None = None  # set while the bytes taken in may be continued

    def attempt(self) -> DownloadedFile:
        """One try, continuing what an earlier one left where both sides can prove that it is the same file."""
        expires = self._link.expires_at
        if expires is not None and expires <= self._road.now() + _MARGIN:
            raise DownloadFailed(Reason.EXPIRED, "the URL's signature has expired; it was not asked")
        place = self._road.egress.check(self._link.url)
        part = None
        if self._etag is not None and self._intake.size:
            part = ResumePoint(self._intake.size, self._intake.total, self._etag)
        self._watchdog.begin()
        for _ in range(MAX_REDIRECTS + 1):
            self._check()
            self._keep_quiet(place.host)
            response = self._send(place, part)
            try:
                if not is_redirect(response.status_code):
                    return self._read(response, part, place.host)
                place = self._next(place, response.headers.get("location"))
            finally:
                response.close()
        raise DownloadFailed(Reason.REDIRECT, f"more than {MAX_REDIRECTS} redirects")

    def _keep_quiet(self, host: str) -> None:
        left = self._road.quiet.left(host)
        if left > LONGEST_WAIT:
            raise DownloadFailed(
                Reason.HTTP_STATUS, f"{host} asked for no requests for {left:.0f} s more", retry_after=left
            )
        self.pause(left)

    def pause(self, seconds: float) -> None:
        """Wait on purpose: the watchdog does not count it."""
        if seconds > 0:
            self._wait(seconds)
            self._watchdog.excuse(seconds)

    def _send(self, place: CheckedUrl, part: ResumePoint | None) -> httpx.Response:
        headers = [*self._road.headers, *(part.headers() if part else [])]
        with _as_failures(broken=Reason.NETWORK, stalled=Reason.NETWORK):
            if self._road.proxied is not None and not place.loopback:
                # httpx's own transport: it writes some odd characters of a target in another way, and it cannot be stopped
                # while it waits. Its extension ``target`` would be sent to the proxy instead of the host's name.
                limits = httpx.Timeout(self._road.timeout).as_dict()
                request = httpx.Request(
                    "GET", place.origin + place.target, headers=headers, extensions={"timeout": limits}
                )
                return self._road.proxied.handle_request(request)
            ours = {"place": place, "tick": self._tick, "patience": self._road.timeout}
            request = httpx.Request("GET", place.origin, headers=headers, extensions=ours)
            return self._road.direct.handle_request(request)

    def _next(self, place: CheckedUrl, location: str | None) -> CheckedUrl:
        if not location:
            raise DownloadFailed(Reason.REDIRECT, "a redirect that names no place")
        try:
            there = self._road.egress.check(urljoin(place.origin + place.target, location))
        except ValueError:
            raise DownloadFailed(Reason.REDIRECT, "a redirect to what is no URL") from None
        except DownloadFailed as exc:
            raise DownloadFailed(Reason.REDIRECT, f"a redirect that must not be followed: {exc}") from exc
        if there.loopback and not place.loopback:  # listed, but not for the internet to point at
            raise DownloadFailed(Reason.REDIRECT, f"a redirect from {place.host} into this machine")
        return there

    def _read(self, response: httpx.Response, part: ResumePoint | None, host: str) -> DownloadedFile:
        status, headers = response.status_code, response.headers
        if status == 200:
            check_coding(headers)
            self._etag = strong_etag(headers)
            self._intake.begin(stated_length(headers), parse_checksums(headers))
        elif status == 206 or (status == 416 and part):
            self._continue(part, status, headers)
        else:
            raise self._refusal(response, host)
        with _as_failures(broken=Reason.TRUNCATED, stalled=Reason.TOO_SLOW):
            for chunk in response.iter_raw():
                self._take(chunk)
        self._etag = None  # if this is not accepted, more of the same would not be either
        return self._intake.finish()

    def _continue(self, part: ResumePoint | None, status: int, headers: httpx.Headers) -> None:
        """Accept a 206 that is exactly the rest; after any other answer to a range the next attempt begins from 0."""
        total = total_if_continued(part, headers) if part and status == 206 else None
        if total is None:
            self._etag = None
            raise DownloadFailed(
                Reason.HTTP_STATUS,
                f"the CDN answers {status}, which does not continue the file",
                retryable=True,
            )
        check_coding(headers)
        self._intake.expect(total)

    def _take(self, chunk: bytes) -> None:
        self._check()
        self._intake.write(chunk)
        self._watchdog.saw(len(chunk))
        if self._road.bucket is not None:
            self.pause(self._road.bucket.take(len(chunk)))

    def _tick(self) -> None:
        self._check()
        self._watchdog.check()

    def _refusal(self, response: httpx.Response, host: str) -> DownloadFailed:
        detail = b""
        with _as_failures(broken=Reason.NETWORK, stalled=Reason.NETWORK):
            for chunk in response.iter_raw():
                detail += chunk
                if len(detail) >= DETAIL:
                    break
        failed = refusal_failure(response.status_code, response.headers, detail, self._road.now())
        if failed.retry_after is not None:
            self._road.quiet.ask(host, min(failed.retry_after, _QUIET))
        return failed


@contextmanager
def _as_failures(*, broken: Reason, stalled: Reason) -> Iterator[None]:
    """httpx's errors in our words. ``broken``: the peer broke HTTP's framing; ``stalled``: nothing came for too long."""
    try:
        yield
    except httpx.TimeoutException as exc:
        raise DownloadFailed(stalled, "nothing came for too long", retryable=True) from exc
    except httpx.RemoteProtocolError as exc:
        raise DownloadFailed(broken, "the answer broke off, or breaks HTTP's rules", retryable=True) from exc
    except httpx.TransportError as exc:
        raise DownloadFailed(Reason.NETWORK, "the connection broke", retryable=True) from exc


_EXPIRED = b"URL signature expired"
_ALTERED = b"URL signature mismatch"
_RETRYABLE = frozenset({408, 425, 429})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")
_STRONG = re.compile(r'"[\x21\x23-\x7e]*"')

DETAIL = 1024
"""Bytes of a refusal's body that ``refusal_failure`` looks at."""


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """Where an interrupted file can be taken up again: ``start`` bytes are held of ``total`` (None if never said)."""

    start: int
    total: int | None
    etag: str

    def headers(self) -> list[tuple[str, str]]:
        """RFC 9110, 13.1.5 and 14.2: the rest, but only of the very same bytes; else all of it."""
        return [("range", f"bytes={self.start}-"), ("if-range", self.etag)]


def is_redirect(status: int) -> bool:
    """Whether the status asks to go elsewhere."""
    return status in _REDIRECTS


def refusal_failure(status: int, headers: Mapping[str, str], detail: bytes, now: datetime) -> DownloadFailed:
    """The failure that a status other than success or redirect means. ``detail`` is the beginning of its body."""
    if status == 403 and _EXPIRED in detail:
        return DownloadFailed(Reason.EXPIRED, "the CDN says that the URL's signature expired")
    if status == 403:
        return DownloadFailed(Reason.FORBIDDEN, "the CDN answers 403", retryable=_ALTERED not in detail)
    if status in (404, 410):
        return DownloadFailed(Reason.NOT_FOUND, f"the CDN answers {status}")
    return DownloadFailed(
        Reason.HTTP_STATUS,
        f"the CDN answers {status}",
        retryable=status in _RETRYABLE or status >= 500,
        retry_after=retry.retry_after(headers.get("retry-after"), now),
    )


def check_coding(headers: Mapping[str, str]) -> None:
    """Raise DownloadFailed for a body in a content coding: identity was asked for, and a cut or endless coding looks whole."""
    coding = headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("", "identity"):
        raise DownloadFailed(Reason.NOT_MEDIA, "the CDN sends a content coding that was not asked for")


def stated_length(headers: Mapping[str, str]) -> int | None:
    """Bytes of this answer's body if the head promises a number that the transport enforces."""
    text = headers.get("content-length", "")
    if "transfer-encoding" in headers or not (text.isascii() and text.isdigit()):
        return None
    return int(text)


def strong_etag(headers: Mapping[str, str]) -> str | None:
    """The ETag if it may be used to splice bytes (RFC 9110, 8.8.1): strong, and of an answer that offers ranges."""
    etag = headers.get("etag", "").strip()
    ranges = headers.get("accept-ranges", "").strip().lower() == "bytes"
    return etag if ranges and len(etag) <= 200 and _STRONG.fullmatch(etag) else None


def total_if_continued(part: ResumePoint, headers: Mapping[str, str]) -> int | None:
    """The total length if a 206 is exactly the rest of what is held, else None: then nothing of it may be used.

    It must begin where the held bytes end, reach to the end of the whole, agree with the earlier total, and not name another ETag.
    """
    found = _RANGE.fullmatch(headers.get("content-range", "").strip())
    if found is None:
        return None
    first, last, total = int(found[1]), int(found[2]), int(found[3])
    same = first == part.start and last + 1 == total and part.total in (None, total)
    promised = stated_length(headers)
    fits = promised in (None, total - first)
    return total if same and fits and headers.get("etag", part.etag).strip() == part.etag else None
