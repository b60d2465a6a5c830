"""The API over HTTP: one call, one attempt, one Answer.

The key travels in one header of one request to one origin. Redirects are never followed: httpx would carry the header along to any
host. Cookies are neither kept nor sent.

The environment counts in two ways only. ``HTTPS_PROXY`` or ``ALL_PROXY`` (with ``NO_PROXY``) names a proxy for an https API: it is
asked for a tunnel and sees neither key nor answer. A plain http API is on loopback and never goes through a proxy, which would read
the key. ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` replace the certificates that are trusted. ``.netrc`` is not read.
"""

from __future__ import annotations

import ipaddress
import logging
import math
import threading
import urllib.request
from collections.abc import Callable
from datetime import datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx

import archiver
from archiver.errors import CallFailed, ConfigError
from archiver.hiker import endpoints, response_body
from archiver.hiker.attempt import (
    Attempt,
    CertificateRefused,
    DeadlinePassed,
    ExchangeBroken,
    Interrupted,
    begin_attempt,
)
from archiver.hiker.deadline_transport import DeadlineTransport
from archiver.model.billing import Answer, Call
from archiver.model.identity import utcnow
from archiver.secret import Secret
from archiver.signed_url import excerpt

BODY_LIMIT = 16 * 1024 * 1024
"""Bytes of a decoded body. The largest honest answer, a highlight of 100 items, has some 200 kB."""

_KEY_HEADER = "x-access-key"
_COOKIES = frozenset({"set-cookie", "set-cookie2"})
_KEY_WORTH_HIDING = 8
_BROKEN = (ExchangeBroken, response_body.BodyUnusable)


class HikerClient:
    """Sends calls to the API. Safe for many threads at once. ``close`` it when done.

    ``base_url``: https, or http to a loopback host. ``timeout``: seconds for a whole call. ``clock`` dates the answers, UTC.
    Raises ConfigError if the URL, the timeout, the proxy or the certificates of the environment cannot be used.
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
        self._one_large = threading.Lock()
        _quiet_loggers()
        self._http = httpx.Client(
            base_url=origin,
            transport=_transport(origin),
            headers={
                "user-agent": f"archiver/{archiver.__version__}",
                "accept": "application/json",
                "accept-encoding": response_body.ACCEPTED,
            },
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
            timeout=timeout,
            follow_redirects=False,
            trust_env=False,
        )

    def __repr__(self) -> str:
        return f"HikerClient({self._host})"

    def share(self) -> response_body.LargeBodySlot:
        """A share of the memory for bodies, for one call: given back when its answer is let go."""
        return response_body.LargeBodySlot(self._one_large)

    def send(
        self,
        call: Call,
        *,
        stopped: Callable[[], bool] = lambda: False,
        share: response_body.LargeBodySlot | None = None,
    ) -> Answer:
        """Make one attempt, and return what the API answered, whatever its status.

        ``stopped`` is asked about ten times a second: once it says yes nothing is sent any more, and an
        answer that is awaited has half a second to come. ``share``: what a large body is held on, from before
        it is read until the caller gives it back; without one, until this returns. Raises CallFailed if no
        whole answer of at most 16 MiB came within the timeout, or before the stop. Its ``sent`` is False only
        where the API cannot have seen the request: no connection, or one that was closed before the request
        was out.
        """
        started_at = self._clock()
        with begin_attempt(self._timeout, stopped) as current, self.share() as own:
            try:
                return self._exchange(call, started_at, current, share or own)
            except _BROKEN as error:
                failure = self._failure(call, error, current)
        # Raised out here so that the foreign error, whose frames hold the request and its key, is no context of it.
        raise failure

    def close(self) -> None:
        """Close every connection."""
        self._http.close()

    def _exchange(
        self, call: Call, started_at: datetime, current: Attempt, share: response_body.LargeBodySlot
    ) -> Answer:
        request = self._http.build_request(
            "GET", call.path, params=list(call.params), headers={_KEY_HEADER: self._secret.reveal()}
        )
        response = self._http.send(request, stream=True)
        try:
            content = response_body.read_body(
                response.iter_raw(),
                response.headers.get("content-encoding", ""),
                BODY_LIMIT,
                before_large=lambda: share.grow(current),
            )
            current.left()
        except response_body.BodyUnusable as error:
            error.status = response.status_code
            raise
        finally:
            response.close()
        return Answer(
            call=call,
            url=str(request.url),
            status=response.status_code,
            headers=tuple(
                (name, self._without_key(value))
                for name, value in response.headers.multi_items()
                if name not in _COOKIES
            ),
            body=self._without_key_bytes(content),
            started_at=started_at,
            finished_at=self._clock(),
        )

    def _failure(self, call: Call, error: Exception, current: Attempt) -> CallFailed:
        certificate = isinstance(error, CertificateRefused)
        if isinstance(error, DeadlinePassed):
            why = f"no whole answer within {self._timeout:g} seconds"
        elif isinstance(error, Interrupted):
            why = "the run was stopped before the answer came"
        elif certificate:
            why = f"its certificate is not trusted ({error})"
        else:
            why = str(error) or type(error).__name__
        told = excerpt(self._without_key(f"{self._host}: {why}"))
        status = error.status if isinstance(error, response_body.BodyUnusable) else None
        billed = status is not None and endpoints.settled_units(call, status) > 0
        return CallFailed(told, sent=current.sent, permanent=certificate or billed, status=status)

    # An answer may quote the key that it rejects; nothing that is kept or told may hold it.

    def _without_key(self, text: str) -> str:
        key = self._secret.reveal()
        return text.replace(key, "***") if len(key) >= _KEY_WORTH_HIDING else text

    def _without_key_bytes(self, content: bytes) -> bytes:
        key = self._secret.reveal().encode("ascii")
        return content.replace(key, b"***") if len(key) >= _KEY_WORTH_HIDING else content


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
    if url.scheme == "http" and not _is_loopback(url.host):
        raise ConfigError(
            f"api.base_url is http:// to {url.host}: the key would travel in the clear", "write https://"
        )
    return url


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


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
    """The proxy that the environment names for https. Its URL may hold a password and stands in no message."""
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
            "name an http:// proxy, or except the API's host in NO_PROXY",
        )
    return proxy


def _quiet_loggers() -> None:
    """httpx logs every URL at INFO, httpcore every header of an answer at DEBUG: nobody but us writes about calls."""
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
