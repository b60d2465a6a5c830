"""Shows the pictures and videos of an archive in the tables of Datasette 0.65 and 1.0.

Copied out by ``archiver datasette``, it runs without archiver. Only for an archive in a bucket, archiver with
its extra ``s3`` must be installed beside Datasette: it reads the store, with the login of every command. The
settings are in the metadata, under "plugins", "archiver":

- "blobs": the directory of the blobs,
- "storage": instead of it, ``s3://bucket/prefix`` of an archive in a bucket,
- "use_metadata_service": true if the metadata service may be asked for the keys of the store,
- "database": the name of the database,
- "hosts": host names that requests may use, besides those of this machine.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import stat
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from datasette import hookimpl
from datasette.utils.asgi import Response
from markupsafe import Markup

try:
    from archiver.errors import StorageError

    _READ_ERRORS: tuple[type[Exception], ...] = (OSError, StorageError)
except ImportError:  # only an archive in a bucket needs archiver
    _READ_ERRORS = (OSError,)

_LOG = logging.getLogger(__name__)  # stderr, unless logging was set up
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
def startup(datasette: Any) -> None:
    """Open the bucket of an archive that is in one. End the program with a message if that is impossible."""
    settings = _settings(datasette)
    _follow(datasette)
    if "storage" not in settings:
        return
    try:
        from archiver.errors import ArchiverError
        from archiver.store.bucket_client import Bucket, TimeLimits
        from archiver.store.bucket_settings import PLAIN_HTTP_WARNING
    except ImportError:
        raise SystemExit(
            "archiver: the archive is in a bucket, and archiver with its extra s3 is not installed for "
            f"{sys.executable} (install the version that wrote {Path(__file__).name} there)"
        ) from None
    limits = TimeLimits(short=10, retries=3)  # somebody waits for the page
    allows_metadata_service = settings.get("use_metadata_service") is True
    try:
        bucket = Bucket.open(
            str(settings["storage"]), allow_metadata_service=allows_metadata_service, limits=limits
        )
    except ArchiverError as exc:
        raise SystemExit(f"archiver: {exc} ({exc.hint})" if exc.hint else f"archiver: {exc}") from None
    if bucket.settings.allow_http:
        _LOG.warning("archiver: note: %s", PLAIN_HTTP_WARNING)
    datasette.archiver_bucket = bucket


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
    """Refuse requests that name a foreign host: a web page could make its own host name point here.

    Answer others from the database that is there now.
    """
    hosts = _LOOPBACK | {str(host).lower() for host in _settings(datasette).get("hosts", ())}

    def wrap(app: Any) -> Any:
        async def check_host(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http" and _host(scope) not in hosts:
                await Response.text("unknown host name", status=403).asgi_send(send)
            elif scope["type"] == "http" and not _follow(datasette):
                await Response.text("the database of the archive is not there", status=503).asgi_send(send)
            else:
                await app(scope, receive, send)

        return check_host

    return wrap


def _follow(datasette: Any) -> bool:
    """Open the database again if another has taken its place; return whether there is one.

    Datasette keeps a connection in each of its threads, so that there must be new threads too. A file that
    was opened ``--immutable`` is also opened again when others have written to it, and with its WAL if it has
    one now.
    """
    name = _settings(datasette)["database"]
    old = datasette.databases.get(name)
    if old is None:
        return True
    now = _look_at(old.path)
    if not hasattr(datasette, "archiver_seen"):
        datasette.archiver_seen, datasette.archiver_is_immutable = now, not old.is_mutable
    is_there = now[0] is not None
    if is_there and now != datasette.archiver_seen:
        new = type(old)(
            datasette, path=old.path, is_mutable=not datasette.archiver_is_immutable or bool(now[1])
        )
        new.name, new.route = old.name, old.route
        datasette.databases = {**datasette.databases, name: new}
        if datasette.executor is not None:
            datasette.executor.shutdown(wait=False)
            datasette.executor = ThreadPoolExecutor(max_workers=datasette.setting("num_sql_threads"))
        datasette.archiver_seen = now
    return is_there


def _look_at(path: Any) -> tuple[tuple[int, ...] | None, ...]:
    """Return what is at the path of a SQLite file: device, inode, size and time of the last change of the
    file; device and inode of its WAL and of the index of that.
    """
    found: list[tuple[int, ...] | None] = []
    for suffix in ("", "-wal", "-shm"):
        try:
            status = os.lstat(f"{path}{suffix}")
        except OSError:
            found.append(None)
            continue
        written = () if suffix else (status.st_size, status.st_mtime_ns)
        found.append((status.st_dev, status.st_ino, *written))
    return tuple(found)


async def send_blob(request: Any, send: Any, datasette: Any) -> Response | None:
    """Send the bytes of a blob, or the requested range, to users who may see the table ``blobs``."""
    settings = _settings(datasette)
    database, sha256 = settings["database"], request.url_vars["sha256"]
    await _require_permission(datasette, request.actor, database)
    if request.method not in ("GET", "HEAD"):
        return Response.text("only GET and HEAD", status=405)
    mime = await _mime(datasette, sha256)
    if mime is None:
        return _not_found()
    if "storage" in settings:
        return await _send_object(request, send, datasette.archiver_bucket, sha256, mime)
    return await _send_file(request, send, Path(settings["blobs"]), sha256, mime)


async def _require_permission(datasette: Any, actor: Any, database: str) -> None:
    """Raise Forbidden for users who may not see the table ``blobs``."""
    if hasattr(datasette, "ensure_permissions"):
        wanted = [("view-table", (database, "blobs")), ("view-database", database), "view-instance"]
        await datasette.ensure_permissions(actor, wanted)
        return
    from datasette.resources import TableResource  # Datasette 1.0

    blobs = TableResource(database=database, table="blobs")
    await datasette.ensure_permission(action="view-table", resource=blobs, actor=actor)


async def _send_file(request: Any, send: Any, blobs: Path, sha256: str, mime: str) -> Response | None:
    """Send a blob of a directory."""
    file = _open_file(blobs, sha256)
    if file is None:
        return _not_found()

    def position(first: int, _: int) -> Any:
        file.seek(first)
        return file

    with file:
        return await _send(request, send, mime, os.fstat(file.fileno()).st_size, position)


async def _send_object(request: Any, send: Any, bucket: Any, sha256: str, mime: str) -> Response | None:
    """Send a blob of a bucket. An empty object is what ``verify --repair`` leaves of a damaged blob."""
    name = f"blobs/{sha256[:2]}/{sha256}"
    try:
        found = await asyncio.to_thread(bucket.head, name)
    except _READ_ERRORS as exc:
        return _unavailable(exc)
    if found is None or found.size == 0:
        return _not_found()
    return await _send(request, send, mime, found.size, partial(bucket.open_range, name))


async def _send(
    request: Any, send: Any, mime: str, size: int, open_range: Callable[[int, int], Any]
) -> Response | None:
    """Send the blob, or return what to answer if it cannot be read.

    ``open_range``: called with the first byte and the number of bytes; returns the file to read them from.
    """
    first, last, status = _requested_range(request.headers.get("range"), size)
    length = last + 1 - first
    headers = {**_HEADERS, "content-length": str(length)}
    if mime in _INLINE:
        headers["content-type"] = mime
    else:
        headers |= {"content-type": "application/octet-stream", "content-disposition": "attachment"}
    if status != 200:
        headers["content-range"] = f"bytes {first}-{last}/{size}" if status == 206 else f"bytes */{size}"
    has_body = request.method == "GET" and length > 0
    try:
        file = await asyncio.to_thread(open_range, first, length) if has_body else None
    except _READ_ERRORS as exc:
        return _unavailable(exc)
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    if file is None or await _send_body(request, send, file, length):
        await send({"type": "http.response.body", "body": b""})
    return None  # without the end of the body, the server breaks the connection


async def _send_body(request: Any, send: Any, file: Any, left: int) -> bool:
    """Send ``left`` bytes, or fewer if the browser goes away. Return False if they cannot be read."""
    going = asyncio.create_task(_wait_for_disconnect(request.receive))
    try:
        with file:
            while left and not going.done():
                piece = await _read(file, min(left, _CHUNK_SIZE))
                if not piece:
                    return False
                left -= len(piece)
                await send({"type": "http.response.body", "body": piece, "more_body": True})
    finally:
        going.cancel()
    return True


async def _wait_for_disconnect(receive: Callable[[], Awaitable[Any]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _read(file: Any, size: int) -> bytes:
    """Return the next bytes; none if they cannot be read."""
    try:
        return bytes(await asyncio.to_thread(file.read, size))
    except _READ_ERRORS as exc:
        _log_error(exc)
        return b""


def _not_found() -> Response:
    return Response.text("not in the archive", status=404)


def _unavailable(error: Exception) -> Response:
    _log_error(error)
    return Response.text(str(error), status=502)


def _log_error(error: Exception) -> None:
    _LOG.error("archiver: %s", error)


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


def _open_file(blobs: Path, sha256: str) -> Any:
    """Open a blob for reading; None if there is none, or something that is not a regular file.

    Neither the file nor its directories, up to that of all blobs, may be a link: it could lead out of the
    archive.
    """
    opened: list[int] = []
    try:
        for directory in (blobs, sha256[:2]):
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
            opened.append(os.open(directory, flags, dir_fd=opened[-1] if opened else None))
        descriptor = os.open(sha256, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=opened[-1])
    except OSError:
        return None
    finally:
        for directory_fd in opened:
            os.close(directory_fd)
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
