"""The application: which path shows what, without sockets.

A view is added to ARCHIVE_VIEWS or VIEWS with one line; what every page links to is in
``html_pages.LIVE_LINKS``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from urllib.parse import quote

from anyio import CapacityLimiter, to_thread
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from archiver.blobs.store import BlobStore
from archiver.catalog import Catalog
from archiver.catalog.query import page_contents
from archiver.errors import ArchiveDamaged, DatabaseError, JournalDiffers, NoArchive, StorageError, UsageError
from archiver.pages import html_pages, page_text
from archiver.web import content_views
from archiver.web.account_index import current_index
from archiver.web.archive_views import ARCHIVE_VIEWS
from archiver.web.login import Login, LoginGate
from archiver.web.media_response import MediaFiles
from archiver.web.page_parts import PageRequest, Redirect, View
from archiver.web.request_guard import LOGIN_PATH, RequestGuard

VIEWS: Mapping[str, View] = {
    "/accounts/{directory}/{highlight}.html": content_views.show_highlight,
    "/item/{item}": content_views.show_item,
    **ARCHIVE_VIEWS,
}
"""The views by path, besides those that need a value that is made when the server starts: ``_views``."""

_ASSET_TYPES = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_DEEPEST = 8
"""No page is in a deeper directory."""
_THREADS = 4
"""How many pages are made at once; more requests wait."""

_Endpoint = Callable[[Request], Awaitable[Response]]


class WebSite(Struct, frozen=True):
    """What the application shows, and to whom.

    ``hosts``: the host names that requests may use. ``login``: None if everybody may look. ``is_secure``:
    browsers use https. ``report`` is called with errors, from any thread. ``read_lacking`` returns at
    once what to say if the database lacks entries of the journal, and raises DatabaseError if it must not be
    shown.
    """

    catalog: Catalog
    store: BlobStore
    hosts: frozenset[str]
    login: Login | None
    is_secure: bool
    report: Callable[[Exception], None]
    read_lacking: Callable[[], JournalDiffers | None] = lambda: None


def create_app(site: WebSite) -> ASGIApp:
    """Return the application."""
    limiter = CapacityLimiter(_THREADS)
    routes = [Route(path, _page_endpoint(site, view, limiter)) for path, view in _views(site).items()]
    routes += [
        Route("/accounts/{directory}", _add_slash),
        Route("/assets/{name}", _answer_asset),
        Route("/healthz", _report_errors(site, partial(_answer_health, site, CapacityLimiter(1)))),
    ]
    if site.login is not None:
        routes.append(Route(LOGIN_PATH, site.login.answer, methods=["GET", "POST"]))
    router: ASGIApp = _MediaGate(Router(routes, redirect_slashes=False, default=_answer_unknown), site)
    if site.login is not None:
        router = LoginGate(router, site.login)
    return RequestGuard(router, site.hosts, has_login=site.login is not None, report=site.report)


class _MediaGate:
    """Answers requests for media, and passes others on to ``app``: a router would try many routes first."""

    def __init__(self, app: ASGIApp, site: WebSite) -> None:
        self._app, self._files = app, MediaFiles(site.catalog, site.store, site.report)
        self._answer = _report_errors(site, self._answer_media)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].startswith("/media/"):
            response = await self._answer(Request(scope, receive))
            await response(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _answer_media(self, request: Request) -> Response:
        return await self._files.answer(request) or _not_found(request)


def _views(site: WebSite) -> dict[str, View]:
    index = current_index(site.catalog)
    accounts, account = content_views.accounts_view(index), content_views.account_view(index)
    return {
        "/": accounts,
        "/index.html": accounts,
        "/accounts/{directory}/": account,
        "/accounts/{directory}/index.html": account,
        **VIEWS,
    }


def _report_errors(site: WebSite, answer: _Endpoint) -> _Endpoint:
    """Return the same endpoint; if it cannot read the archive, it answers 503, and the error is reported."""

    async def endpoint(request: Request) -> Response:
        try:
            return await answer(request)
        except (ArchiveDamaged, DatabaseError, JournalDiffers, NoArchive, StorageError) as exc:
            site.report(exc)
            return _message(
                request,
                503,
                "The archive cannot be read now",
                "Try again. The server's own messages say why.",
            )

    return endpoint


def _page_endpoint(site: WebSite, view: View, limiter: CapacityLimiter) -> _Endpoint:
    async def answer(request: Request) -> Response:
        page_request = _read_request(site, request)

        request.scope["lacking"] = site.read_lacking()
        try:
            found = await to_thread.run_sync(view, site.catalog, page_request, limiter=limiter)
        except UsageError as exc:
            return _message(request, 400, "This cannot be shown", str(exc))
        if found is None:
            return _not_found(request)
        if isinstance(found, Redirect):
            query = request.scope["query_string"].decode("latin-1")
            return _redirect(request, quote(found.path) + (f"?{query}" if query else ""))
        return _content(request, found.content, found.media_type)

    return _report_errors(site, answer)


def _read_request(site: WebSite, request: Request) -> PageRequest:
    # The host is one of those that the guard lets through.
    origin = f"{'https' if site.is_secure else 'http'}://{request.headers['host']}"
    query: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        query.setdefault(name, page_text.clean(value))
    path = {name: page_text.clean(value) for name, value in request.path_params.items()}
    return PageRequest(path, query, origin)


async def _answer_asset(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in html_pages.LIVE_ASSETS:
        return _not_found(request)
    return _content(request, html_pages.asset(name), _ASSET_TYPES[name.rpartition(".")[2]])


async def _answer_health(site: WebSite, limiter: CapacityLimiter, request: Request) -> Response:
    await to_thread.run_sync(site.catalog.read, page_contents.state, limiter=limiter)
    site.read_lacking()  # raises an error if pages do
    return PlainTextResponse("ok\n", headers={"cache-control": "no-store"})


async def _add_slash(request: Request) -> Response:
    return _redirect(request, f"accounts/{quote(request.path_params['directory'])}/")


async def _answer_unknown(scope: Scope, receive: Receive, send: Send) -> None:
    await _not_found(Request(scope, receive))(scope, receive, send)


def _content(request: Request, content: bytes, media_type: str) -> Response:
    """Return what a browser may keep, if it asks each time whether it has changed."""
    content = _with_bar(request, content)
    etag = f'W/"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {"etag": etag, "cache-control": "private, no-cache", "content-type": media_type}
    if etag in [tag.strip() for tag in request.headers.get("if-none-match", "").split(",")]:
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers)


def _redirect(request: Request, path: str) -> Response:
    headers = {"location": _to_top(request) + path, "cache-control": "no-store"}
    return Response(status_code=302, headers=headers)


def _not_found(request: Request) -> Response:
    return _message(request, 404, "Not in the archive", "The archive has nothing at this address.")


def _message(request: Request, status: int, title: str, text: str) -> Response:
    values = {"here": "", "title": title, "text": text, "is_missing": status == 404}
    page = html_pages.live_page("message.html", up=_to_top(request), **values)
    headers = {"cache-control": "no-store", "content-type": "text/html; charset=utf-8"}
    return Response(_with_bar(request, page.encode()), status, headers)


def _with_bar(request: Request, page: bytes) -> bytes:
    """Return the page; if the database lacks entries of the journal, it says so first."""
    lacking: JournalDiffers | None = request.scope.get("lacking")
    return page if lacking is None else html_pages.with_bar(page, f"{lacking} ({lacking.hint})")


def _to_top(request: Request) -> str:
    """Return the path from a page to the first page; relative, so that a proxy may put all below a path."""
    depth: int = request.scope["path"].count("/") - 1
    return "../" * min(depth, _DEEPEST)
