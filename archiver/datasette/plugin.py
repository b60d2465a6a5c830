"""Shows the pictures and videos of an archive in Datasette's tables. Written by ``archiver datasette``, for Datasette 0.65 and 1.0.

It needs nothing of archiver. The metadata says under "plugins", "archiver": "blobs", the directory of the files; "database", the name
of the database; "hosts", names beside those of this machine by which Datasette may be called.
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
"""What a browser may show. All else is handed over as a download without a type: HTML and SVG would run here."""
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
_DIGEST = re.compile(r"[0-9a-f]{64}")
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")
_AT_ONCE = 262_144
_OWNERS = {
    ("users", "username"): ("user_pk", "avatar", "pk"),
    ("highlights", "title"): ("highlight_pk", "cover", "pk"),
    ("items", "code"): ("item_pk", "thumbnail", "pk"),
    ("highlight_items", "item_pk"): ("item_pk", "thumbnail", "item_pk"),
}
"""Cells that get a picture: table and column → whose file it is, in which role, and the column that says whose."""
_NEWEST = {
    owner: f"""
SELECT files.sha256 FROM files JOIN blobs ON blobs.sha256 = files.sha256
WHERE files.{owner} = ? AND files.role = ? AND blobs.lost_at IS NULL
ORDER BY files.last_seen_at DESC, files.id DESC LIMIT 1
"""  # noqa: S608
    for owner in ("user_pk", "highlight_pk", "item_pk")
}
_HEADERS = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; sandbox",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "private, max-age=31536000, immutable",
    "accept-ranges": "bytes",
}


@hookimpl
def register_routes() -> list[tuple[str, Callable[..., Any]]]:
    """The one page of this plug-in: the bytes of a blob."""
    return [(r"^/-/archiver/blob/(?P<sha256>[0-9a-f]{64})$", blob)]


@hookimpl
def render_cell(
    row: Any, value: Any, column: str, table: str | None, database: str, datasette: Any
) -> Awaitable[Markup | None] | None:
    """A picture in the cells that have one: by a hash in any table or query, by the owner in some columns."""
    if database != _configured(datasette)["database"]:
        return None
    if (table, column) == ("blobs", "mime"):
        return _shown(datasette, row["sha256"], str(value))
    plain = value["value"] if isinstance(value, dict) else value
    if column.endswith("sha256") and isinstance(plain, str) and _DIGEST.fullmatch(plain):
        return _shown(datasette, plain)
    if table is not None and (table, column) in _OWNERS:
        return _owned(datasette, table, column, row, value)
    return None


@hookimpl
def asgi_wrapper(datasette: Any) -> Callable[[Any], Any]:
    """Whoever calls Datasette by a name that is not this machine's is refused: a web page could have its own name lead here."""
    known = _LOOPBACK | {str(host).lower() for host in _configured(datasette).get("hosts", ())}

    def wrap(app: Any) -> Any:
        async def guarded(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http" and _host(scope) not in known:
                await Response.text("this name is not known here", status=403).asgi_send(send)
            else:
                await app(scope, receive, send)

        return guarded

    return wrap


async def blob(request: Any, send: Any, datasette: Any) -> Response | None:
    """The bytes of one blob, or the part of them that is asked for, to whoever may see the table of blobs."""
    configured = _configured(datasette)
    database, sha256 = configured["database"], request.url_vars["sha256"]
    await _require_permission(datasette, request.actor, database)
    if request.method not in ("GET", "HEAD"):
        return Response.text("only GET and HEAD", status=405)
    mime = await _mime(datasette, sha256)
    file = _opened(Path(configured["blobs"], sha256[:2], sha256)) if mime is not None else None
    if mime is None or file is None:
        return Response.text("not held", status=404)
    with file:
        await _send(request, send, file, mime)
    return None


async def _require_permission(datasette: Any, actor: Any, database: str) -> None:
    """Raises Forbidden for whoever may not see the table of blobs."""
    if hasattr(datasette, "ensure_permissions"):
        wanted = [("view-table", (database, "blobs")), ("view-database", database), "view-instance"]
        await datasette.ensure_permissions(actor, wanted)
        return
    from datasette.resources import TableResource  # Datasette 1.0

    blobs = TableResource(database=database, table="blobs")
    await datasette.ensure_permission(action="view-table", resource=blobs, actor=actor)


async def _send(request: Any, send: Any, file: Any, mime: str) -> None:
    size = os.fstat(file.fileno()).st_size
    first, last, status = _part(request.headers.get("range"), size)
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
    while left and (piece := await asyncio.to_thread(file.read, min(left, _AT_ONCE))):
        left -= len(piece)
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def _part(asked: str | None, size: int) -> tuple[int, int, int]:
    """The first and the last byte that are asked for (RFC 9110, 14), and the status; what is not understood asks for all."""
    found = _RANGE.fullmatch(asked.strip()) if asked is not None else None
    if found is None or found.groups() == ("", ""):
        return 0, size - 1, 200
    first, last = found.groups()
    start = int(first) if first else max(0, size - int(last))
    end = min(int(last), size - 1) if first and last else size - 1
    if first and last and int(last) < start:
        return 0, size - 1, 200
    return (start, end, 206) if start < size else (0, -1, 416)


def _opened(path: Path) -> Any:
    """The file for reading; None where none is, or where something else is in its place."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    return None


async def _owned(datasette: Any, table: str, column: str, row: Any, value: Any) -> Markup | None:
    """The cell as it would be, and the picture under it."""
    owner, role, key = _OWNERS[table, column]
    pk = row[key]["value"] if isinstance(row[key], dict) else row[key]
    found = (await _database(datasette).execute(_NEWEST[owner], [pk, role])).first()
    picture = await _shown(datasette, found["sha256"]) if found is not None else None
    if picture is None:
        return None
    if not isinstance(value, dict):
        return Markup("{}<br>{}").format("" if value is None else value, picture)
    page = datasette.urls.row(_configured(datasette)["database"], "items", value["value"])
    return Markup('<a href="{}">{}</a><br>{}').format(page, value["label"], picture)


async def _shown(datasette: Any, sha256: str, text: str = "") -> Markup | None:
    """A picture or a video that leads to its bytes; a link for what is not shown; None where it is no blob."""
    mime = await _mime(datasette, sha256)
    if mime is None:
        return None
    url = datasette.urls.path(f"/-/archiver/blob/{sha256}")
    size = Markup('style="max-height: 12em; max-width: 16em"')
    if mime not in _INLINE:
        shown = Markup('<a href="{}">{}</a>').format(url, text or sha256)
    elif mime.startswith("video/"):
        shown = Markup('<video src="{}" controls preload="none" {}></video>').format(url, size)
    else:
        shown = Markup('<a href="{}"><img src="{}" alt="" loading="lazy" {}></a>').format(url, url, size)
    return Markup("{}<br>{}").format(text, shown) if text and mime in _INLINE else shown


async def _mime(datasette: Any, sha256: str) -> str | None:
    """The type of a blob whose bytes are held; None for all else."""
    question = "SELECT mime FROM blobs WHERE sha256 = ? AND lost_at IS NULL"
    found = (await _database(datasette).execute(question, [sha256])).first()
    return found["mime"] if found is not None else None


def _configured(datasette: Any) -> dict[str, Any]:
    return {"database": "archive", "blobs": "blobs", **(datasette.plugin_config("archiver") or {})}


def _database(datasette: Any) -> Any:
    return datasette.get_database(_configured(datasette)["database"])


def _host(scope: Any) -> str:
    """The name by which Datasette is called, without a port."""
    host = dict(scope["headers"]).get(b"host", b"").decode("latin-1").lower()
    return re.sub(r":[0-9]*$", "", host)
