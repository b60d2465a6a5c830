"""A PostgreSQL server to test against, a database of its own for each test, and what every new archive of a test holds."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import psycopg
from psycopg import sql
from sqlalchemy import make_url

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

    def _run(self, statement: sql.Composed) -> None:
        plain = self._admin_url.replace("postgresql+psycopg://", "postgresql://", 1)
        with psycopg.connect(plain, autocommit=True) as connection:
            connection.execute(statement)
