"""One file being fetched: requests, redirects, resuming. Each ``attempt`` is one try; who repeats it is ``download``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urljoin

import httpx

from archiver.errors import DownloadFailed, Reason
from archiver.media import reply
from archiver.media.checksum import claims
from archiver.media.egress import Egress, Place
from archiver.media.intake import Intake, Received
from archiver.media.pace import Bucket, Quiet, Watchdog
from archiver.model.upstream import Link

MAX_REDIRECTS = 5

LONGEST_WAIT = 60.0
"""Seconds that a file waits for a host that asked to be left alone; if it is longer, the file is left for the next run."""

_QUIET = 900.0  # seconds of a Retry-After that are believed: one odd answer must not close a host for the whole night

_MARGIN = timedelta(seconds=5)  # a signature that would expire on the way


@dataclass(frozen=True, slots=True)
class Road:
    """What all fetches share: who may be reached, and through what."""

    egress: Egress
    direct: httpx.BaseTransport
    proxied: httpx.BaseTransport | None
    headers: tuple[tuple[str, str], ...]
    timeout: float
    bucket: Bucket | None
    quiet: Quiet
    now: Callable[[], datetime]


class Fetch:
    """One Link on its way into one Intake. ``check`` and ``wait`` may raise to stop it; that passes through."""

    def __init__(
        self,
        road: Road,
        link: Link,
        intake: Intake,
        watchdog: Watchdog,
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

    def attempt(self) -> Received:
        """One try, continuing what an earlier one left where both sides can prove that it is the same file."""
        expires = self._link.expires_at
        if expires is not None and expires <= self._road.now() + _MARGIN:
            raise DownloadFailed(Reason.EXPIRED, "the URL's signature has expired; it was not asked")
        place = self._road.egress.check(self._link.url)
        part = None
        if self._etag is not None and self._intake.size:
            part = reply.Part(self._intake.size, self._intake.total, self._etag)
        self._watchdog.begin()
        for _ in range(MAX_REDIRECTS + 1):
            self._check()
            self._keep_quiet(place.host)
            response = self._send(place, part)
            try:
                if not reply.is_redirect(response.status_code):
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

    def _send(self, place: Place, part: reply.Part | None) -> httpx.Response:
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

    def _next(self, place: Place, location: str | None) -> Place:
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

    def _read(self, response: httpx.Response, part: reply.Part | None, host: str) -> Received:
        status, headers = response.status_code, response.headers
        if status == 200:
            reply.check_coding(headers)
            self._etag = reply.strong_etag(headers)
            self._intake.begin(reply.length(headers), claims(headers))
        elif status == 206 or (status == 416 and part):
            self._continue(part, status, headers)
        else:
            raise self._refusal(response, host)
        with _as_failures(broken=Reason.TRUNCATED, stalled=Reason.TOO_SLOW):
            for chunk in response.iter_raw():
                self._take(chunk)
        self._etag = None  # if this is not accepted, more of the same would not be either
        return self._intake.finish()

    def _continue(self, part: reply.Part | None, status: int, headers: httpx.Headers) -> None:
        """Accept a 206 that is exactly the rest; after any other answer to a range the next attempt begins from 0."""
        total = reply.continues(part, headers) if part and status == 206 else None
        if total is None:
            self._etag = None
            raise DownloadFailed(
                Reason.HTTP_STATUS,
                f"the CDN answers {status}, which does not continue the file",
                retryable=True,
            )
        reply.check_coding(headers)
        self._intake.promise(total)

    def _take(self, chunk: bytes) -> None:
        self._check()
        self._intake.take(chunk)
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
                if len(detail) >= reply.DETAIL:
                    break
        failed = reply.refusal(response.status_code, response.headers, detail, self._road.now())
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
