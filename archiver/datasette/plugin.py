"""Shows the pictures and videos of an archive in the tables of Datasette 0.65 and 1.0.

Copied out by ``archiver datasette``, it runs without archiver. Its settings are in the metadata, under
"plugins", "archiver":

- "blobs": the directory of the blobs,
- "database": the name of the database,
- "hosts": host names that requests may use, besides those of this machine.
"""

from __future__ import annotations

import asyncio
import os
import re
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from datasette import hookimpl
from datasette.utils.asgi import Response
from markupsafe import Markup

_INLINE = frozenset(
    {
        "image/avif",
        "image/gif",
        "image/heic",
        "image/jpeg",
        "image/png",
        "image/webp",
        "video/mp4",
        "video/quicktime",
    }
)
"""Types that a browser may show. All others are downloads without a type: HTML and SVG can run scripts."""
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
_DIGEST = re.compile(r"[0-9a-f]{64}")
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")
_CHUNK_SIZE = 262_144
_PICTURE_CELLS = {
    ("users", "username"): ("user_pk", "avatar", "pk"),
    ("highlights", "title"): ("highlight_pk", "cover", "pk"),
    ("items", "code"): ("item_pk", "thumbnail", "pk"),
    ("highlight_items", "item_pk"): ("item_pk", "thumbnail", "item_pk"),
}
"""Cells with a picture: table and column → owner and role of the file, and the column of the owner's pk."""
_NEWEST_FILE = {
    owner: f"""
SELECT files.sha256 FROM files JOIN blobs ON blobs.sha256 = files.sha256
WHERE files.{owner} = ? AND files.role = ? AND blobs.lost_at IS NULL
ORDER BY files.last_seen_at DESC, files.id DESC LIMIT 1
"""  # noqa: S608
    for owner in ("user_pk", "highlight_pk", "item_pk")
}
_HEADERS = {
    "x-content-type-options": "nosniff",
    "content-security-policy": (
        "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; sandbox"
    ),
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "private, max-age=31536000, immutable",
    "accept-ranges": "bytes",
}


@hookimpl
def register_routes() -> list[tuple[str, Callable[..., Any]]]:
    """Add one page: the bytes of a blob."""
    return [(r"^/-/archiver/blob/(?P<sha256>[0-9a-f]{64})$", send_blob)]


@hookimpl
def render_cell(
    row: Any, value: Any, column: str, table: str | None, database: str, datasette: Any
) -> Awaitable[Markup | None] | None:
    """Show a picture in cells with a SHA-256, in any table or query, and in some cells that name its
    owner.
    """
    if database != _settings(datasette)["database"]:
        return None
    if (table, column) == ("blobs", "mime"):
        return _render_blob(datasette, row["sha256"], str(value))
    text = value["value"] if isinstance(value, dict) else value
    if column.endswith("sha256") and isinstance(text, str) and _DIGEST.fullmatch(text):
        return _render_blob(datasette, text)
    if table is not None and (table, column) in _PICTURE_CELLS:
        return _render_owner(datasette, table, column, row, value)
    return None


@hookimpl
def asgi_wrapper(datasette: Any) -> Callable[[Any], Any]:
    """Refuse requests that name a foreign host: a web page could make its own host name point here."""
    hosts = _LOOPBACK | {str(host).lower() for host in _settings(datasette).get("hosts", ())}

    def wrap(app: Any) -> Any:
        async def check_host(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http" and _host(scope) not in hosts:
                await Response.text("unknown host name", status=403).asgi_send(send)
            else:
                await app(scope, receive, send)

        return check_host

    return wrap


async def send_blob(request: Any, send: Any, datasette: Any) -> Response | None:
    """Send the bytes of a blob, or the requested range, to users who may see the table ``blobs``."""
    settings = _settings(datasette)
    database, sha256 = settings["database"], request.url_vars["sha256"]
    await _require_permission(datasette, request.actor, database)
    if request.method not in ("GET", "HEAD"):
        return Response.text("only GET and HEAD", status=405)
    mime = await _mime(datasette, sha256)
    file = _open_file(Path(settings["blobs"], sha256[:2], sha256)) if mime is not None else None
    if mime is None or file is None:
        return Response.text("not in the archive", status=404)
    with file:
        await _send(request, send, file, mime)
    return None


async def _require_permission(datasette: Any, actor: Any, database: str) -> None:
    """Raise Forbidden for users who may not see the table ``blobs``."""
    if hasattr(datasette, "ensure_permissions"):
        wanted = [("view-table", (database, "blobs")), ("view-database", database), "view-instance"]
        await datasette.ensure_permissions(actor, wanted)
        return
    from datasette.resources import TableResource  # Datasette 1.0

    blobs = TableResource(database=database, table="blobs")
    await datasette.ensure_permission(action="view-table", resource=blobs, actor=actor)


async def _send(request: Any, send: Any, file: Any, mime: str) -> None:
    size = os.fstat(file.fileno()).st_size
    first, last, status = _requested_range(request.headers.get("range"), size)
    headers = {**_HEADERS, "content-length": str(last + 1 - first)}
    if mime in _INLINE:
        headers["content-type"] = mime
    else:
        headers |= {"content-type": "application/octet-stream", "content-disposition": "attachment"}
    if status != 200:
        headers["content-range"] = f"bytes {first}-{last}/{size}" if status == 206 else f"bytes */{size}"
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    left = last + 1 - first if request.method == "GET" else 0
    file.seek(first)
    while left and (piece := await asyncio.to_thread(file.read, min(left, _CHUNK_SIZE))):
        left -= len(piece)
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def _requested_range(header: str | None, size: int) -> tuple[int, int, int]:
    """Return first byte, last byte and status (RFC 9110, 14). If the header is invalid, return all bytes."""
    match = _RANGE.fullmatch(header.strip()) if header is not None else None
    if match is None or match.groups() == ("", ""):
        return 0, size - 1, 200
    first, last = match.groups()
    start = int(first) if first else max(0, size - int(last))
    end = min(int(last), size - 1) if first and last else size - 1
    if first and last and int(last) < start:
        return 0, size - 1, 200
    return (start, end, 206) if start < size else (0, -1, 416)


def _open_file(path: Path) -> Any:
    """Open a file for reading; None if there is none, or something that is not a regular file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    return None


async def _render_owner(datasette: Any, table: str, column: str, row: Any, value: Any) -> Markup | None:
    """Return the cell as Datasette would show it, with the picture below."""
    owner, role, key = _PICTURE_CELLS[table, column]
    pk = row[key]["value"] if isinstance(row[key], dict) else row[key]
    newest = (await _database(datasette).execute(_NEWEST_FILE[owner], [pk, role])).first()
    picture = await _render_blob(datasette, newest["sha256"]) if newest is not None else None
    if picture is None:
        return None
    if not isinstance(value, dict):
        return Markup("{}<br>{}").format("" if value is None else value, picture)
    page = datasette.urls.row(_settings(datasette)["database"], "items", value["value"])
    return Markup('<a href="{}">{}</a><br>{}').format(page, value["label"], picture)


async def _render_blob(datasette: Any, sha256: str, text: str = "") -> Markup | None:
    """Return a picture, a video, or a link for other types, as HTML; None if the blob is unknown or lost."""
    mime = await _mime(datasette, sha256)
    if mime is None:
        return None
    url = datasette.urls.path(f"/-/archiver/blob/{sha256}")
    size = Markup('style="max-height: 12em; max-width: 16em"')
    if mime not in _INLINE:
        element = Markup('<a href="{}">{}</a>').format(url, text or sha256)
    elif mime.startswith("video/"):
        element = Markup('<video src="{}" controls preload="none" {}></video>').format(url, size)
    else:
        element = Markup('<a href="{}"><img src="{}" alt="" loading="lazy" {}></a>').format(url, url, size)
    return Markup("{}<br>{}").format(text, element) if text and mime in _INLINE else element


async def _mime(datasette: Any, sha256: str) -> str | None:
    """Return the type of a blob; None if it is unknown or lost."""
    query = "SELECT mime FROM blobs WHERE sha256 = ? AND lost_at IS NULL"
    found = (await _database(datasette).execute(query, [sha256])).first()
    return found["mime"] if found is not None else None


def _settings(datasette: Any) -> dict[str, Any]:
    return {"database": "archive", "blobs": "blobs", **(datasette.plugin_config("archiver") or {})}


def _database(datasette: Any) -> Any:
    return datasette.get_database(_settings(datasette)["database"])


def _host(scope: Any) -> str:
    """Return the host name of a request, without its port."""
    host = dict(scope["headers"]).get(b"host", b"").decode("latin-1").lower()
    return re.sub(r":[0-9]*$", "", host)
