"""The API over HTTP: one attempt at a call returns one answer.

The key is sent in one header of one request to one origin. Redirects are never followed, as httpx would send
the header to any host. Cookies are neither stored nor sent.

The environment has two effects only. ``HTTPS_PROXY`` or ``ALL_PROXY`` (with ``NO_PROXY``) name a proxy for an
https API; it provides a tunnel and sees neither key nor answer. A plain http API is on loopback and never
goes through a proxy, which could read the key. ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` replace the trusted
certificates. ``.netrc`` is not read.
"""

from __future__ import annotations

import ctypes
import logging
import math
import re
import threading
import urllib.request
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import TracebackType
from typing import Self

import httpx

import archiver
from archiver.errors import CallFailed, ConfigError
from archiver.hiker import endpoints
from archiver.hiker.deadline_transport import (
    Attempt,
    AttemptInterrupted,
    DeadlinePassed,
    DeadlineTransport,
    begin_attempt,
)
from archiver.hosts import is_this_machine
from archiver.http.sockets import CertificateRefused, HttpFailure
from archiver.model.api_calls import Answer, Call
from archiver.model.identity import utcnow
from archiver.secret import Secret
from archiver.signed_url import excerpt

ACCEPTED_CODING = "gzip"
"""What the requests' ``accept-encoding`` offers. An answer in any other coding is refused."""

LARGE_SIZE = 256 * 1024
"""Bytes of a decoded body.

Genuine answers are smaller: the largest known one, of 100 items, has about 200 kB. Parsed, a hostile body
takes 24 times its size.
"""

_M_MMAP_THRESHOLD = -3  # from malloc.h
_PIECE = 64 * 1024
_GZIP_ONLY = 16 + zlib.MAX_WBITS

BODY_LIMIT = 16 * 1024 * 1024
"""Bytes of a decoded body. The largest known genuine answer, a highlight of 100 items, has about 200 kB."""
_KEY_HEADER = "x-access-key"
_OS_ERROR = re.compile(r"\[Errno -?[0-9]+\] (?P<why>.+)")
_COOKIES = frozenset({"set-cookie", "set-cookie2"})


class BodyUnusable(Exception):
    """A body is too large, cut short inside its gzip stream, or in a coding that was not requested."""

    status: int | None = None  # of the answer; the client sets it


class LargeBodySlot:
    """Permission for one call to hold a large body. Leave it (``with``) once the answer is stored and parsed.

    Bodies up to ``LARGE_SIZE`` need no permission. A larger one waits until no other call holds one, so that
    the memory of a run does not grow with the number of calls.
    """

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        self._is_held = False

    def acquire(self, attempt: Attempt) -> None:
        """Wait for the permission. The wait does not count against the deadline. Raises Interrupted."""
        if not self._is_held:
            attempt.acquire(self._lock)
            self._is_held = True
            _return_large_blocks()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_held:
            self._is_held = False
            self._lock.release()


@cache
def _return_large_blocks() -> None:
    """Make glibc return blocks of more than 256 KiB to the system when they are freed.

    By default, once a large block was freed, glibc keeps such blocks for each thread: 16 threads that hold
    one body after the other then keep 16.
    """
    with suppress(AttributeError, OSError):  # another C library, which has no such setting and needs none
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, LARGE_SIZE)


def read_body(
    chunks: Iterable[bytes], coding: str, limit: int, *, before_large: Callable[[], None] = lambda: None
) -> bytes:
    """Return the decoded bytes of a body. ``coding``: its ``content-encoding``, '' if none was stated.

    httpx's decoder is not used: it accepts a truncated gzip stream, and inflates a whole chunk before its
    size can be checked. Here at most ``limit`` + 1 bytes are inflated. ``before_large`` is called when more
    than ``LARGE_SIZE`` bytes have come, before any more are read. Raises BodyUnusable.
    """
    coding = coding.strip().lower()
    if coding in ("", "identity"):
        parts = iter(chunks)
    elif coding in ("gzip", "x-gzip"):
        parts = _inflate(_limit_size(chunks, limit), limit)
    else:
        raise BodyUnusable("the answer is in a content encoding that was not requested")
    content = bytearray()  # one block that grows: glibc would keep the parts of a large body for the thread
    for part in _limit_size(parts, limit, before_large):
        content += part
    return bytes(content)


def _limit_size(
    parts: Iterable[bytes], limit: int, before_large: Callable[[], None] = lambda: None
) -> Iterator[bytes]:
    size = 0
    for part in parts:
        if size <= LARGE_SIZE < size + len(part):
            before_large()
        size += len(part)
        if size > limit:
            raise BodyUnusable(f"the answer is larger than {limit} bytes")
        yield part


def _inflate(chunks: Iterable[bytes], limit: int) -> Iterator[bytes]:
    """Yield the content of gzip members in pieces: a few bytes may inflate to more than memory can hold."""
    member, size, has_begun = zlib.decompressobj(_GZIP_ONLY), 0, False
    try:
        for chunk in chunks:
            rest = chunk
            while rest and size <= limit:
                has_begun = True
                if member.eof:
                    member = zlib.decompressobj(_GZIP_ONLY)
                for part in _pieces(member, rest, limit + 1 - size):
                    size += len(part)
                    yield part
                rest = member.unused_data or member.unconsumed_tail
    except zlib.error:
        raise BodyUnusable("the answer's gzip stream is damaged") from None
    if has_begun and not member.eof:
        raise BodyUnusable("the answer's gzip stream ends too early")


def _pieces(member: zlib._Decompress, content: bytes, limit: int) -> Iterator[bytes]:
    """Yield what these bytes of a gzip member inflate to, up to ``limit`` bytes."""
    while limit:
        size = min(_PIECE, limit)
        part = member.decompress(content, size)
        yield part
        limit -= len(part)
        content = member.unconsumed_tail
        if member.eof or len(part) < size:
            return


class HikerClient:
    """Sends calls to the API, for many threads at once. Close it at the end.

    ``base_url``: https, or http to a loopback host. ``timeout``: seconds for a whole call. ``clock`` dates
    the answers (UTC). Raises ConfigError if the URL, the timeout, or the proxy or the certificates that the
    environment names cannot be used.
    """

    def __init__(
        self, secret: Secret, *, base_url: str, timeout: float, clock: Callable[[], datetime] = utcnow
    ) -> None:
        if not (math.isfinite(timeout) and timeout > 0):
            raise ConfigError("api.timeout must be a number of seconds above 0")
        origin = _origin(base_url)
        self._secret = secret
        self._timeout = timeout
        self._clock = clock
        self._host = origin.host
        self._large_body_lock = threading.Lock()
        _quiet_loggers()
        self._http = httpx.Client(
            base_url=origin,
            transport=_transport(origin),
            headers={
                "user-agent": f"archiver/{archiver.__version__}",
                "accept": "application/json",
                "accept-encoding": ACCEPTED_CODING,
            },
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
            timeout=timeout,
            follow_redirects=False,
            trust_env=False,
        )

    def __repr__(self) -> str:
        return f"HikerClient({self._host})"

    def large_body_slot(self) -> LargeBodySlot:
        """Return a slot for the body of one call. Leave it when the answer is no longer needed."""
        return LargeBodySlot(self._large_body_lock)

    def send(
        self,
        call: Call,
        *,
        is_stopped: Callable[[], bool] = lambda: False,
        slot: LargeBodySlot | None = None,
    ) -> Answer:
        """Make one attempt and return the answer, whatever its status.

        ``is_stopped`` is called about ten times a second. Once it returns True, nothing more is sent, and a
        pending answer has half a second to arrive. ``slot``: the slot for a large body, which the caller
        leaves; without one, a slot is held only until this returns.

        Raises CallFailed if no complete answer of at most 16 MiB arrived before the timeout or the stop. Its
        ``was_sent`` is False only if the API cannot have seen the request: there was no connection, or it was
        closed before the request was out.
        """
        started_at = self._clock()
        with begin_attempt(self._timeout, is_stopped) as attempt, self.large_body_slot() as own_slot:
            try:
                return self._exchange(call, started_at, attempt, slot or own_slot)
            except (HttpFailure, BodyUnusable) as error:
                failure = self._failure(call, error, attempt)
        # Raised outside the handler, so that it has no context: the frames of that error hold the request and
        # its key.
        raise failure

    def close(self) -> None:
        """Close every connection."""
        self._http.close()

    def _exchange(self, call: Call, started_at: datetime, attempt: Attempt, slot: LargeBodySlot) -> Answer:
        request = self._http.build_request(
            "GET", call.path, params=list(call.params), headers={_KEY_HEADER: self._secret.reveal()}
        )
        response = self._http.send(request, stream=True)
        try:
            content = read_body(
                response.iter_raw(),
                response.headers.get("content-encoding", ""),
                BODY_LIMIT,
                before_large=lambda: slot.acquire(attempt),
            )
            attempt.seconds_left()
        except BodyUnusable as error:
            error.status = response.status_code
            raise
        finally:
            response.close()
        # An answer may quote the key that it rejects. Nothing that is stored or shown may contain it.
        return Answer(
            call=call,
            url=str(request.url),
            status=response.status_code,
            headers=tuple(
                (name, self._secret.redact(value))
                for name, value in response.headers.multi_items()
                if name not in _COOKIES
            ),
            body=self._secret.redact_bytes(content),
            started_at=started_at,
            finished_at=self._clock(),
        )

    def _failure(self, call: Call, error: Exception, attempt: Attempt) -> CallFailed:
        is_certificate = isinstance(error, CertificateRefused)
        if isinstance(error, DeadlinePassed):
            why = f"no complete answer within {self._timeout:g} seconds"
        elif isinstance(error, AttemptInterrupted):
            why = "the run was stopped before the answer came"
        elif is_certificate:
            why = f"its certificate is not trusted ({error})"
        elif (refusal := _OS_ERROR.fullmatch(str(error))) and not attempt.was_sent:
            why = f"cannot be reached ({refusal['why']})"
        else:
            why = str(error) or type(error).__name__
        message = excerpt(self._secret.redact(f"{self._host}: {why}"))
        status = error.status if isinstance(error, BodyUnusable) else None
        is_charged = status is not None and endpoints.settled_units(call, status) > 0
        return CallFailed(
            message, was_sent=attempt.was_sent, is_permanent=is_certificate or is_charged, status=status
        )


def _origin(base_url: str) -> httpx.URL:
    try:
        url = httpx.URL(base_url)
    except (httpx.InvalidURL, UnicodeError):
        raise ConfigError("api.base_url is not a URL", "leave it out: the default is right") from None
    if url.scheme not in ("https", "http") or not url.host or url.userinfo or url.query or url.fragment:
        raise ConfigError(
            "api.base_url must be https://HOST, without user, query or fragment",
            "leave it out: the default is right",
        )
    if url.scheme == "http" and not is_this_machine(url.host):
        raise ConfigError(
            f"api.base_url is http:// to {url.host}: the key would be sent unencrypted", "write https://"
        )
    return url


def _transport(origin: httpx.URL) -> DeadlineTransport:
    if origin.scheme == "http":
        return DeadlineTransport(origin)
    try:
        context = httpx.create_ssl_context()
    except OSError as error:
        raise ConfigError(
            f"the certificates that SSL_CERT_FILE or SSL_CERT_DIR name cannot be read: {error.strerror}"
        ) from error
    context.set_alpn_protocols(["http/1.1"])
    return DeadlineTransport(origin, context=context, proxy=_proxy(origin.host))


def _proxy(host: str) -> httpx.Proxy | None:
    """Return the proxy that the environment names for https.

    No message quotes its URL, which may hold a password.
    """
    named = urllib.request.getproxies()
    url = named.get("https") or named.get("all")
    if not url or urllib.request.proxy_bypass(host):
        return None
    try:
        proxy = httpx.Proxy(url if "://" in url else f"http://{url}")
    except (httpx.InvalidURL, ValueError):
        proxy = None
    if proxy is None or proxy.url.scheme != "http":
        raise ConfigError(
            "the proxy that HTTPS_PROXY or ALL_PROXY names cannot be used",
            "use an http:// proxy, or add the API's host to NO_PROXY",
        )
    return proxy


def _quiet_loggers() -> None:
    """Keep httpx from logging URLs (at INFO) and httpcore from logging headers of answers (at DEBUG)."""
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
