"""What every request has to pass, and the headers of every response.

A web page can make its own host name lead to this machine (DNS rebinding). So only requests that name a known
host are answered.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from archiver.pages.html_pages import LIVE_POLICY

LOGIN_PATH = "/login"
MAX_FORM_BYTES = 4096
MAX_HEAD_BYTES = 16_384
HEADERS = {
    "content-security-policy": LIVE_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
"""Headers of every response, unless it has its own."""
IS_GONE = "is_gone"
"""In the state of each request: a function that returns whether its client is gone."""
_ENCODED = [(name.encode(), value.encode()) for name, value in HEADERS.items()]

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::[0-9]{1,5})?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def host_name(text: str) -> str | None:
    """Return the name in a Host header, in lower case and without its port; None if it is malformed."""
    match = _HOST.fullmatch(text.lower())
    return match[1] if match is not None else None


def header_values(scope: Scope, name: bytes) -> list[str]:
    """Return the values of a header; uvicorn gives its name in lower case."""
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


class RequestGuard:
    """Passes requests on to ``app`` if host, method and body are as they must be.

    ``report`` is called with an exception that ``app`` did not expect; the response says nothing about it.
    """

    def __init__(
        self, app: ASGIApp, hosts: Iterable[str], *, has_login: bool, report: Callable[[Exception], None]
    ) -> None:
        self._app = app
        self._hosts = frozenset(hosts)
        self._has_login = has_login
        self._report = report

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        is_started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal is_started
            if message["type"] == "http.response.start":
                is_started = True
                message = {**message, "headers": _with_defaults(message["headers"])}
            await send(message)

        refusal = self._refusal(scope)
        try:
            await (refusal or self._app)(scope, receive, send_with_headers)
        except Exception as exc:
            self._report(exc)
            if is_started:
                raise  # uvicorn breaks the connection, so that no part passes for the whole
            await _refuse(500, "The server made a mistake.")(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        """Return the answer to a request that is not passed on."""
        if scope["http_version"] not in ("1.0", "1.1"):
            return _refuse(505, "This server speaks HTTP/1.1.")
        if _head_size(scope) > MAX_HEAD_BYTES:  # uvicorn counts only what has not arrived at once
            return _refuse(431, "The head of the request is too long.")
        hosts = header_values(scope, b"host")
        name = host_name(hosts[0]) if len(hosts) == 1 else None
        if name is None:
            return _refuse(400, "The request names no host, or not one.")
        if name not in self._hosts:
            return _refuse(421, "This server does not answer for this host name (see --allow-host).")
        path, method = scope["path"], scope["method"]
        if not path.startswith("/") or _CONTROL.search(path):
            return _refuse(400, "The address cannot be understood.")
        is_login = method == "POST" and path == LOGIN_PATH and self._has_login
        if method not in ("GET", "HEAD") and not is_login:
            allowed = "GET, HEAD, POST" if path == LOGIN_PATH and self._has_login else "GET, HEAD"
            return _refuse(405, "This server only shows.", allow=allowed)
        return _body_refusal(scope, MAX_FORM_BYTES if is_login else 0)


def _head_size(scope: Scope) -> int:
    fields = sum(len(name) + len(value) for name, value in scope["headers"])
    return fields + len(scope["raw_path"]) + len(scope["query_string"])


def _body_refusal(scope: Scope, limit: int) -> Response | None:
    """Return the answer to a request with a body that is too long, or whose length is not stated."""
    lengths = header_values(scope, b"content-length")
    if header_values(scope, b"transfer-encoding") or (limit and not lengths):
        return _refuse(411, "The request does not state the length of its body.")
    if any(not length.isdigit() or len(length) > 9 for length in lengths):
        return _refuse(400, "The length of the body cannot be understood.")
    return _refuse(413, "The body is too long.") if any(int(length) > limit for length in lengths) else None


def _refuse(status: int, text: str, **headers: str) -> Response:
    # The rest of the request is not read, so the connection ends.
    return PlainTextResponse(f"{text}\n", status, headers={"connection": "close", **headers})


def _with_defaults(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    own = list(headers)
    names = {name.lower() for name, _ in own}
    return own + [field for field in _ENCODED if field[0] not in names]
