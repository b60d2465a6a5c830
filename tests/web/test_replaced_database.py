"""A database that is damaged and then replaced while the server shows it."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest
from starlette.types import Message

from archiver.blobs.disk import DiskStore
from archiver.catalog import Catalog, record
from archiver.errors import DatabaseError
from archiver.web import web_app
from archiver.web.web_app import WebSite, create_app
from tests.support.catalog_samples import FACTS, page, tray
from tests.support.databases import ARCHIVE_ID, NOW


def status_of(site: WebSite, *paths: str) -> list[int]:
    """Return the status of the answers to these requests, one after the other."""
    app = create_app(site)

    async def ask(path: str) -> int:
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Message) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "GET",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [(b"host", b"localhost")],
        }
        if path == "replace":
            replace_file(site)
            return 0
        await app(scope, receive, send)
        return int(sent[0]["status"])

    async def ask_all() -> list[int]:
        return [await ask(path) for path in paths]

    return asyncio.run(ask_all())


def replace_file(site: WebSite) -> None:
    """Put the good copy in the place of the damaged file, as ``db rebuild`` does."""
    database = Path(str(site.catalog._database))
    database.with_suffix(".good").replace(database)


@pytest.mark.parametrize(("seconds", "opened"), [(0.0, 2), (3600.0, 1)])
def test_a_database_that_was_replaced_is_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, opened: int
) -> None:
    """After an error, without a restart of the server; but not more often than once in some seconds."""
    monkeypatch.setattr(web_app, "_RECONNECT_SECONDS", seconds)
    database = tmp_path / "archive.db"
    with Catalog.create(database, ARCHIVE_ID, NOW) as catalog:
        run = catalog.write(record.start_run, "run", NOW)
        catalog.write(record.tray, run, "787132", tray("1"), NOW)
        catalog.write(record.page, run, None, page("1", "10", "11"), FACTS, NOW)
    shutil.copy(database, database.with_suffix(".good"))
    (tmp_path / "blobs").mkdir()
    errors: list[Exception] = []
    reconnections: list[None] = []
    with Catalog.open(database, write=False, is_lasting=True) as catalog, DiskStore(tmp_path) as store:
        reconnect = catalog.reconnect
        monkeypatch.setattr(catalog, "reconnect", lambda: reconnections.append(reconnect()))
        site = WebSite(catalog, store, frozenset({"localhost"}), None, False, errors.append)
        assert status_of(site, "/healthz") == [200]
        with database.open("r+b") as file:
            file.seek(4096)
            file.write(b"\xff" * (database.stat().st_size - 4096))
        found = status_of(site, "/timeline", "/timeline", "replace", "/timeline", "/healthz")
    assert found == [503, 503, 0, 200, 200]
    assert {type(error) for error in errors} == {DatabaseError}
    assert len(reconnections) == opened
