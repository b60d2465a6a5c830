"""Who may look: whoever knows the token. A cookie that scripts cannot read shows that somebody does.

The cookie is signed with a key of this process, so that a restart ends all logins. Nothing is stored.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Mapping
from urllib.parse import parse_qs, quote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from archiver.pages import html_pages
from archiver.web.archive_views import FEED_PATH
from archiver.web.request_guard import LOGIN_PATH, header_values

_OPEN_PATHS = (LOGIN_PATH, "/healthz")
_LIFETIME = 7 * 24 * 3600
"""Seconds after which somebody has to log in again."""
_ATTEMPTS = 10
"""How many attempts may follow each other at once."""
_SECONDS_PER_ATTEMPT = 6.0
_SECONDS_FOR_BODY = 10.0
_TOO_MANY = "Too many attempts: wait a minute, then try again."
_NO_STORE = {"cache-control": "no-store"}
_TRY_AGAIN = {**_NO_STORE, "retry-after": str(int(_ATTEMPTS * _SECONDS_PER_ATTEMPT))}
"""With 429. All attempts are back by then, if nobody else tries."""


class AttemptLimit:
    """Limits how often the token may be tried, by everybody together: an address can be one of many."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left, self._at = float(_ATTEMPTS), clock()

    def take(self) -> bool:
        """Use up one attempt; return whether there was one."""
        now = self._clock()
        self._left = min(float(_ATTEMPTS), self._left + (now - self._at) / _SECONDS_PER_ATTEMPT)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def give_back(self) -> None:
        """Return an attempt that succeeded."""
        self._left += 1


class Login:
    """Checks tokens and cookies.

    ``token_digest``: the SHA-256 of the token. ``is_secure``: browsers reach the server over TLS.
    """

    def __init__(self, token_digest: bytes, *, is_secure: bool) -> None:
        self._token = token_digest
        self._key = secrets.token_bytes(32)
        self._limit = AttemptLimit()
        self._is_secure = is_secure
        self._cookie = "__Host-archiver" if is_secure else "archiver"

    def is_logged_in(self, scope: Scope) -> bool:
        """Return whether the request has a cookie of this process that has not expired."""
        # Other servers on this host name may have cookies in any form, of which http.cookies reads nothing.
        cookies = (cookie for header in header_values(scope, b"cookie") for cookie in header.split(";"))
        pairs = (cookie.strip().partition("=") for cookie in cookies)
        return any(name == self._cookie and self._is_valid(value) for name, _, value in pairs)

    def _is_valid(self, value: str) -> bool:
        expiry, _, signature = value.partition(".")
        if not hmac.compare_digest(self._sign(expiry).encode(), signature.encode("utf-8", "replace")):
            return False
        return int(expiry) > time.time()  # signed, so it is a number

    def _sign(self, expiry: str) -> str:
        return hmac.new(self._key, expiry.encode("utf-8", "replace"), hashlib.sha256).hexdigest()

    async def answer(self, request: Request) -> Response:
        """Answer GET and POST of the login page."""
        if request.method != "POST":
            return _page(None)
        try:
            form = await asyncio.wait_for(request.body(), _SECONDS_FOR_BODY)
        except (TimeoutError, ClientDisconnect):
            return PlainTextResponse("The form did not arrive.\n", 408, headers={"connection": "close"})
        # After the form: what has not been read keeps a connection open.
        if not self._is_same_origin(request):
            return PlainTextResponse("This form was not sent by this server's own page.\n", 403)
        if not self._limit.take():
            return _page(_TOO_MANY, 429, _TRY_AGAIN)
        given = parse_qs(form.decode("utf-8", "replace")).get("token", [""])[0]
        if not self._is_token(given):
            return _page("This is not the token.", 403)
        self._limit.give_back()
        response = Response(status_code=303, headers={"location": _next_path(request)})
        self._set_cookie(response)
        return response

    def refuse_reader(self, scope: Scope) -> Response | None:
        """Return the answer to a feed reader, which has no cookie; None if it has the token.

        It sends the token as the password of HTTP Basic (RFC 7617), with any name. A wrong one uses up an
        attempt.
        """
        given = _read_password(scope)
        if given is not None and not self._limit.take():
            return PlainTextResponse(f"{_TOO_MANY}\n", 429, _TRY_AGAIN)
        if given is None or not self._is_token(given):
            headers = {**_NO_STORE, "www-authenticate": 'Basic realm="archiver", charset="UTF-8"'}
            return PlainTextResponse("The token is the password, with any name.\n", 401, headers)
        self._limit.give_back()
        return None

    def _is_token(self, given: str) -> bool:
        digest = hashlib.sha256(given.strip().encode("utf-8", "replace")).digest()
        return hmac.compare_digest(digest, self._token)

    def _set_cookie(self, response: Response) -> None:
        expiry = str(int(time.time()) + _LIFETIME)
        response.set_cookie(
            self._cookie,
            f"{expiry}.{self._sign(expiry)}",
            max_age=_LIFETIME,
            path="/",
            secure=self._is_secure,
            httponly=True,
            samesite="strict",
        )

    def _is_same_origin(self, request: Request) -> bool:
        """Return whether a page of this server sent the form, by what only a browser can say.

        A browser sends ``Origin: null`` if the page's referrer policy hides it; then it says so elsewhere.
        """
        origins = header_values(request.scope, b"origin")
        if origins and origins != ["null"]:
            scheme = "https" if self._is_secure else "http"
            return origins == [f"{scheme}://{header_values(request.scope, b'host')[0]}"]
        return header_values(request.scope, b"sec-fetch-site") == ["same-origin"]


class LoginGate:
    """Passes requests on to ``app`` if they are logged in, and leads others to the login page.

    The feed, and the files that it names, may be asked for with the token instead. Feed readers and download
    programs send it only after a challenge (401). A browser would show a password prompt for each picture of
    a page whose login has ended, so it gets no challenge for files.
    """

    def __init__(self, app: ASGIApp, login: Login) -> None:
        self._app, self._login = app, login

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path = scope["path"]
        is_open = path in _OPEN_PATHS or path.startswith("/assets/")
        if is_open or self._login.is_logged_in(scope):
            await self._app(scope, receive, send)
            return
        is_file = path.startswith("/media/")
        if is_file or path == FEED_PATH:
            refusal = self._login.refuse_reader(scope)
            has_challenge = refusal is not None and "www-authenticate" in refusal.headers
            if not (has_challenge and is_file and _is_from_browser(scope)):
                await (refusal or self._app)(scope, receive, send)
                return
        query = scope["query_string"].decode("latin-1")
        wanted = quote(path.removeprefix("/") + (f"?{query}" if query else ""), safe="")
        up = "../" * min(path.count("/") - 1, 8)
        headers = {"location": f"{up}login?next={wanted}", **_NO_STORE}
        await Response(status_code=303, headers=headers)(scope, receive, send)


def _is_from_browser(scope: Scope) -> bool:
    """Return whether a browser sent the request: only browsers state what they will do with the answer."""
    if header_values(scope, b"sec-fetch-dest") or header_values(scope, b"sec-fetch-mode"):
        return True
    return any("text/html" in value.lower() for value in header_values(scope, b"accept"))


def _read_password(scope: Scope) -> str | None:
    """Return the password of HTTP Basic; None if there is none, or it cannot be read."""
    for header in header_values(scope, b"authorization"):
        scheme, _, encoded = header.partition(" ")
        try:
            if scheme.lower() == "basic":
                return base64.b64decode(encoded, validate=True).decode().partition(":")[2]
        except ValueError:  # neither base64 nor UTF-8
            return None
    return None


def _next_path(request: Request) -> str:
    """Return where to go after the login: a path relative to it, which never leads to another host."""
    path, mark, query = request.query_params.get("next", "").partition("?")
    return f"./{quote(path)}{mark}{quote(query, safe='=&%+')}"


def _page(problem: str | None, status: int = 200, headers: Mapping[str, str] = _NO_STORE) -> Response:
    page = html_pages.live_page("login.html", up="", problem=problem)
    return HTMLResponse(page, status, {"referrer-policy": "same-origin", **headers})
