"""The API over HTTP: one attempt at a call returns one answer.

The key is sent in one header of one request to one origin. Redirects are never followed, as httpx would send
the header to any host. Cookies are neither stored nor sent.

The environment has two effects only. ``HTTPS_PROXY`` or ``ALL_PROXY`` (with ``NO_PROXY``) name a proxy for an
https API; it provides a tunnel and sees neither key nor answer. A plain http API is on loopback and never
goes through a proxy, which could read the key. ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` replace the trusted
certificates. ``.netrc`` is not read.
"""

from __future__ import annotations

import logging
import math
import re
import threading
import urllib.request
from collections.abc import Callable
from datetime import datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx

import archiver
from archiver.errors import CallFailed, ConfigError
from archiver.hiker import endpoints
from archiver.hiker.attempt import Attempt, AttemptInterrupted, DeadlinePassed, begin_attempt
from archiver.hiker.deadline_transport import DeadlineTransport
from archiver.hiker.response_body import ACCEPTED_CODING, BodyUnusable, LargeBodySlot, read_body
from archiver.http.sockets import CertificateRefused, HttpFailure
from archiver.ip_addresses import is_loopback
from archiver.model.api_calls import Answer, Call
from archiver.model.identity import utcnow
from archiver.secret import Secret
from archiver.signed_url import excerpt

BODY_LIMIT = 16 * 1024 * 1024
"""Bytes of a decoded body. The largest known genuine answer, a highlight of 100 items, has about 200 kB."""

_KEY_HEADER = "x-access-key"
_OS_ERROR = re.compile(r"\[Errno -?[0-9]+\] (?P<why>.+)")
_COOKIES = frozenset({"set-cookie", "set-cookie2"})


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
    if url.scheme == "http" and not (is_loopback(url.host) or url.host == "localhost"):
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
