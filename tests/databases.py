"""A PostgreSQL server to test against, a database of its own for each test, and what every new archive of a test holds."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import psycopg
from psycopg import sql
from sqlalchemy import make_url

from archiver.catalog.tables import metadata

ARCHIVE_ID = "5b0c6d0e-0000-4000-8000-000000000001"
NOW = datetime(2026, 3, 31, 23, 30, 0, 250_000, UTC)


class Postgres:
    """A server to test against. ``admin_url`` names a database from which others may be created."""

    def __init__(self, admin_url: str) -> None:
        self._admin_url = admin_url

    def url(self, name: str) -> str:
        """The URL of a database of this server, as the configuration writes it."""
        url = make_url(self._admin_url).set(drivername="postgresql+psycopg", database=name)
        return url.render_as_string(hide_password=False)

    @contextmanager
    def database(self, template: str = "template1") -> Iterator[str]:
        """A database of its own, as a copy of ``template``; yields its URL and drops it after."""
        name = f"archiver_test_{uuid.uuid4().hex[:12]}"
        self.create(name, template)
        try:
            yield self.url(name)
        finally:
            self.drop(name)

    def create(self, name: str, template: str) -> None:
        made = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        self._run(made.format(sql.Identifier(name), sql.Identifier(template)))

    def drop(self, name: str) -> None:
        self._run(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def hurry(self) -> None:
        """Let the server forget about power losses: it lives for this test run only."""
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            self._run(sql.SQL("ALTER SYSTEM SET {} = off").format(sql.Identifier(setting)))
        self._run(sql.SQL("SELECT pg_reload_conf()").format())

    def _run(self, statement: sql.Composed) -> None:
        with psycopg.connect(_plain(self._admin_url), autocommit=True) as connection:
            connection.execute(statement)


def empty(url: str) -> None:
    """Make an archive that was used before as good as new: no rows but that of ``archive``, ids from 1, nobody connected."""
    with psycopg.connect(_plain(url)) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        names = [sql.Identifier(name) for name in metadata.tables if name != "archive"]
        connection.execute(sql.SQL("TRUNCATE {} RESTART IDENTITY").format(sql.SQL(", ").join(names)))


def _plain(url: str) -> str:
    return url.replace("postgresql+psycopg://", "postgresql://", 1)
