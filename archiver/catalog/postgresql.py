"""PostgreSQL: a database on a server, the lock of its writer, and what only PostgreSQL does.

Methods without a description do what those of ``sqlite`` do.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import sqlalchemy
from msgspec import Struct
from sqlalchemy import (
    TIMESTAMP,
    URL,
    ColumnElement,
    Connection,
    Engine,
    Float,
    Table,
    TextClause,
    collate,
    create_engine,
    event,
    text,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DataError, DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool
from sqlalchemy.types import TypeEngine

from archiver.catalog.column_types import UtcTime, time_text, to_finite
from archiver.catalog.dialects import (
    POOLED_READERS,
    Sighting,
    Trigger,
    disk_full,
    disposing,
    map_errors,
    to_database_error,
)
from archiver.errors import ArchiveLocked, ArchiverError, DatabaseError, UsageError, install_command
from archiver.model.values import repr_without
from archiver.queries.parameters import parameter_names

if TYPE_CHECKING:
    from archiver.catalog.adhoc_query import RawRows
    from archiver.model.journal_entries import RowValue
    from archiver.model.query_results import Value

_LOCK_SECONDS = 10
_WORKER_LOCK_SECONDS = 30
"""How long a worker waits for the locks of others, in seconds."""
_OPTIONS = (
    f"-c lock_timeout={_LOCK_SECONDS}s -c statement_timeout=60s -c idle_in_transaction_session_timeout=60s"
    " -c timezone=UTC"
)
_OF_WORKER = (
    f"-c lock_timeout={_WORKER_LOCK_SECONDS}s -c statement_timeout=60s"
    " -c idle_in_transaction_session_timeout=5s -c timezone=UTC"
)
"""The server ends the transaction of a worker that is stopped before the others give up waiting for it."""
_OF_COORDINATOR = f"{_OF_WORKER} -c synchronous_commit=off"
"""A server that loses these rows in a crash has also ended the connections of all workers."""
_READ_ONLY = f"{_OPTIONS} -c default_transaction_read_only=on"
_NETWORK = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "tcp_user_timeout": 60_000,
}
"""For libpq: an unreachable server is noticed within about a minute instead of hours."""
_SECRETS = ("password", "sslpassword", "passfile", "sslkey")
_LOOK = """
SELECT pg_postmaster_start_time(), oid, to_regclass('archive')::oid FROM pg_database
WHERE datname = current_database()
"""
_TABLES = "SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = current_schema() ORDER BY 1"
_DISK_FULL = "53100"
_LOCKED = "55P03"
_DEADLOCK = "40P01"
_NO_TABLE = "42P01"
_REFUSED = {"22", "23", "42", "54", "P0"}  # data, constraints, names, limits, RAISE

_LOCK_KEY = f"{0x41524348}, hashtext(current_schema())"  # "ARCH": a key that no other program uses
_GATE_KEY = f"{0x41524349}, hashtext(current_schema())"
_TRY_LOCK = text(f"SELECT pg_try_advisory_lock({_LOCK_KEY})")
_TRY_SHARED_LOCK = text(f"SELECT pg_try_advisory_lock_shared({_LOCK_KEY})")
_UNLOCK = text(f"SELECT pg_advisory_unlock({_LOCK_KEY})")
_UNLOCK_SHARED = text(f"SELECT pg_advisory_unlock_shared({_LOCK_KEY})")
_CLOSE_GATE = text(f"SELECT pg_advisory_xact_lock({_GATE_KEY})")
_PASS_GATE = text(f"SELECT txid_current(), pg_advisory_xact_lock_shared({_GATE_KEY})")
_PING = text("SELECT 1")
_TERMINATE = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_xid = CAST(:xid AS xid)"
)
_STATUS = text("SELECT txid_status(:txid)")
_STATUS_CHECKS, _CHECK_SECONDS = 200, 0.05  # ten seconds for the server to end a transaction

_LAST_ID = text("SELECT pg_sequence_last_value(pg_get_serial_sequence(:t, 'id')::regclass)")
_SET_LAST_ID = text(
    "SELECT setval(pg_get_serial_sequence(:t, 'id')::regclass, greatest(:last, 1), :last > 0)"
)
_FUNCTIONS = text(
    "SELECT proname FROM pg_proc WHERE pronamespace = current_schema()::regnamespace AND proname LIKE :names"
)
_TRIGGERS = text(
    "SELECT tgname::text, tgenabled::text, prosrc FROM pg_trigger JOIN pg_proc p ON p.oid = tgfoid"
    " WHERE pronamespace = current_schema()::regnamespace AND tgname LIKE :names AND NOT tgisinternal"
)
_JOURNAL_TRIGGERS = text(
    "SELECT tgrelid::regclass::text, tgenabled::text, prosrc FROM pg_trigger JOIN pg_proc p ON p.oid = tgfoid"
    " WHERE pronamespace = current_schema()::regnamespace AND proname = 'journal_change' AND NOT tgisinternal"
)
# Plain SQL, not SQLAlchemy's expressions: every transaction executes it.
_SEAL = (
    "INSERT INTO journal_commits (txn, at, run_id) SELECT n.txn, CAST(%s AS timestamptz),"
    " (SELECT CASE WHEN finished_at IS NULL THEN id END FROM runs ORDER BY id DESC LIMIT 1)"
    " FROM (SELECT pg_current_xact_id()::text::bigint AS txn) AS n"
    " WHERE EXISTS (SELECT 1 FROM journal_outbox o WHERE o.txn = n.txn)"
)
# This seals the transactions of other programs, which do not do it themselves: all that are committed, since
# ours may depend on them. One that depends on another waited for its row, so its last change was numbered
# later. The order of transaction ids would be wrong: PostgreSQL assigns them at the first change.
_SEAL_OTHERS = (
    "INSERT INTO journal_commits (txn, at, run_id) SELECT o.txn, CAST(%s AS timestamptz), NULL"
    " FROM journal_outbox o WHERE NOT EXISTS (SELECT 1 FROM journal_commits c WHERE c.txn = o.txn)"
    " AND o.txn <> pg_current_xact_id()::text::bigint GROUP BY o.txn ORDER BY max(o.id)"
    " ON CONFLICT (txn) DO NOTHING"  # another worker has just sealed it
)
_JOURNAL_FUNCTION = """
CREATE FUNCTION journal_change() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    txn bigint := pg_current_xact_id()::text::bigint;
    before jsonb;
    after jsonb;
    key_before jsonb;
    key_after jsonb;
BEGIN
    IF TG_OP <> 'INSERT' THEN
        before := to_jsonb(OLD);
        SELECT jsonb_agg(before -> name ORDER BY place) INTO key_before
        FROM unnest(TG_ARGV) WITH ORDINALITY AS key (name, place);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        after := to_jsonb(NEW);
        SELECT jsonb_agg(after -> name ORDER BY place) INTO key_after
        FROM unnest(TG_ARGV) WITH ORDINALITY AS key (name, place);
    END IF;
    IF TG_OP = 'UPDATE' AND key_before = key_after THEN
        SELECT jsonb_object_agg(name, value) INTO after
        FROM jsonb_each(after) AS member (name, value)
        WHERE before -> name IS DISTINCT FROM value;
        IF after IS NOT NULL THEN
            INSERT INTO journal_outbox (txn, table_name, row_key, row_values)
            VALUES (txn, TG_TABLE_NAME, key_after::text, after::text);
        END IF;
        RETURN NULL;
    END IF;
    IF key_before IS NOT NULL THEN
        INSERT INTO journal_outbox (txn, table_name, row_key) VALUES (txn, TG_TABLE_NAME, key_before::text);
    END IF;
    IF key_after IS NOT NULL THEN
        INSERT INTO journal_outbox (txn, table_name, row_key, row_values)
        VALUES (txn, TG_TABLE_NAME, key_after::text, after::text);
    END IF;
    RETURN NULL;
END
$$"""


class Database(Struct, frozen=True):
    """A database on a server. Workers may write to it beside each other."""

    url: URL
    path: ClassVar[None] = None
    has_workers: ClassVar[bool] = True
    seconds_between_looks: ClassVar[float] = 2.0
    list_columns: ClassVar[str] = """
        SELECT table_name, column_name FROM information_schema.columns
        WHERE table_schema = current_schema() ORDER BY table_name, ordinal_position
    """

    def __repr__(self) -> str:
        return repr_without(self, "url")

    def __str__(self) -> str:
        return self.url.difference_update_query(_SECRETS).render_as_string(hide_password=True)

    def is_missing(self) -> bool:
        return False

    def require_present(self) -> None:
        """Do nothing: to connect shows whether it is there."""

    def look_unconnected(self) -> Sighting | None:
        return None

    def look(self, connection: Connection) -> Sighting:
        return Sighting(tuple(connection.exec_driver_sql(_LOOK).one()))

    def take_lock(self, *, shared_by: str | None = None) -> WriterLock:
        """Take the lock of a writer. ``shared_by``: see ``WriterLock``, whose errors it raises."""
        return WriterLock(self, shared_by=shared_by)

    def create_writer(self, *, foreign_keys: bool = True, worker: str | None = None) -> Engine:
        """Create an engine with one connection that may write; ``worker``: its name, if others write too."""
        options = _OPTIONS if worker is None else _OF_WORKER
        return _create_engine(self, options, name=worker or "archiver", pool_size=1, max_overflow=0)

    def create_coordinator(self, worker: str, *, at_once: bool = False) -> Engine:
        """Create an engine for what workers tell each other. ``worker``: as for a writer.

        ``at_once``: each statement is committed by itself.
        """
        return _create_engine(
            self, _OF_COORDINATOR, name=worker, autocommit=at_once, pool_size=2, max_overflow=-1
        )

    def create_reader(self, *, of_writer: bool = False, is_lasting: bool = False) -> Engine:
        return _create_engine(self, _READ_ONLY, pool_size=POOLED_READERS, max_overflow=-1)

    def parameter_names(self, sql: str) -> tuple[str, ...]:
        return parameter_names(sql, postgresql=True)

    def query_rows(
        self, sql: str, parameters: Mapping[str, Value], *, seconds: float, own_process: bool
    ) -> RawRows:
        from archiver.catalog.adhoc_query import query_postgresql

        return query_postgresql(self, sql, parameters, seconds=seconds)

    def require_unchanged(self, connection: Connection) -> None:
        """Do nothing: the server shows each statement one point in time."""

    def checkpoint(self, engine: Engine) -> None:
        """Do nothing: the server does this."""

    def scrub(self) -> None:
        """Write all tables again; the server's own log is beyond our reach. Raises SQLAlchemyError."""
        created = _create_engine(
            self, f"{_OPTIONS} -c statement_timeout=0", autocommit=True, pool_size=1, max_overflow=0
        )
        with disposing(created) as engine, engine.connect() as connection:
            names = connection.exec_driver_sql(_TABLES).scalars().all()
            connection.exec_driver_sql(f"VACUUM (FULL, ANALYZE) {', '.join(names)}")

    def begin_creation(self, *, group_readable: bool) -> Database:
        return self

    def end_creation(self) -> None:
        """Do nothing."""

    def begin_replacement(self, *, copy: bool, group_readable: bool) -> Database:
        return self

    def end_replacement(self) -> Path | None:
        return None

    def back_up(self, target: Path, *, check: Callable[[], None], dry_run: bool) -> int:
        raise UsageError("archiver cannot back up a PostgreSQL database", "use pg_dump")

    def copy_before_upgrade(self, revision: str) -> Path | None:
        return None

    def check_after_crash(self) -> None:
        """Do nothing: the server has recovered what it needs."""

    def map_error(self, cause: BaseException) -> ArchiverError | None:
        if type(cause).__module__.partition(".")[0] != "psycopg":
            return None
        state = _sqlstate(cause)
        if state == _DISK_FULL:
            return disk_full(self)
        if state == _LOCKED:
            return DatabaseError(f"the database {self} is locked by another program")
        return to_database_error(cause, self)

    def is_busy(self, error: DatabaseError) -> bool:
        return False

    def is_deadlock(self, error: BaseException) -> bool:
        """Return whether the server ended a transaction because others waited for it, and it for them."""
        return isinstance(error, DBAPIError) and _sqlstate(error.orig) == _DEADLOCK


class Dialect:
    """What PostgreSQL does in another way than SQLite, given a connection."""

    mark = "%s"
    most_uncommitted = math.inf
    has_own_search_index = False
    spellings: ClassVar[dict[str, str]] = {
        "day": "to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD')",
        "month": "to_char({} AT TIME ZONE 'UTC', 'YYYY-MM')",
        "writer": "pg_backend_pid()",
    }
    journals_columns_in_order = False
    time_type: ClassVar[TypeEngine[Any]] = TIMESTAMP(timezone=True)
    check_number = None
    insert = staticmethod(insert)

    @staticmethod
    def bind_time(time: datetime) -> datetime:
        time_text(time)
        return time.astimezone(UTC)

    @staticmethod
    def read_time(time: datetime | None) -> datetime | None:
        return None if time is None else time.astimezone(UTC)

    def begin_snapshot(self, connection: Connection) -> None:
        """Make all queries of a transaction see the same point in time, that of the first.

        It may last: hashing a thousand videos between two fetches takes minutes.
        """
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")

    def lift_time_limits(self, connection: Connection) -> None:
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")

    def erase_removed_rows(self, connection: Connection) -> None:
        """Do nothing: ``Database.scrub`` does it."""

    def read_status(self, connection: Connection, query: str) -> Sequence[Any] | None:
        try:
            return connection.exec_driver_sql(query).first()
        except DBAPIError as exc:
            if _sqlstate(exc.orig) != _NO_TABLE:
                raise
            return None

    def find_view_of_table(self, connection: Connection) -> str | None:
        return None  # whoever owns the database is trusted

    def find_foreign(self, connection: Connection, *, is_newest: bool) -> str | None:
        return None

    def find_damage(self, connection: Connection) -> tuple[str, ...]:
        return ()  # PostgreSQL checks its files itself (data checksums)

    def has_broken_reference(self, connection: Connection) -> bool:
        return False  # each transaction is checked

    def is_refused(self, error: DBAPIError) -> bool:
        state = _sqlstate(error.orig)
        return isinstance(error, DataError) if state is None else state[:2] in _REFUSED

    def sort_by_bytes(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        return collate(column, "C")

    def given_ids(self, connection: Connection, tables: Collection[str]) -> Iterator[tuple[str, int | None]]:
        for name in tables:
            yield name, connection.scalar(_LAST_ID, {"t": name})

    def set_last_id(self, connection: Connection, table: Table, last: int) -> None:
        connection.execute(_SET_LAST_ID, {"t": table.name, "last": last})

    def create_triggers(self, connection: Connection, triggers: Iterable[Trigger]) -> None:
        for trigger in triggers:
            # The search_path is fixed here, because pg_restore and other programs set their own.
            connection.exec_driver_sql(
                f"CREATE FUNCTION {trigger.name}() RETURNS trigger LANGUAGE plpgsql"
                f" SET search_path FROM CURRENT AS $${_source(trigger)}$$"
            )
            connection.exec_driver_sql(
                f"CREATE TRIGGER {trigger.name} {trigger.when} EXECUTE FUNCTION {trigger.name}()"
            )

    def drop_triggers(self, connection: Connection, prefix: str) -> None:
        for name in connection.scalars(_FUNCTIONS, {"names": f"{prefix}%"}).all():
            connection.exec_driver_sql(f"DROP FUNCTION {name}() CASCADE")

    def has_triggers(self, connection: Connection, prefix: str, triggers: Iterable[Trigger]) -> bool:
        rows = connection.execute(_TRIGGERS, {"names": f"{prefix}%"})
        return {tuple(row) for row in rows} == {(each.name, "O", _source(each)) for each in triggers}

    def journal_converter(self, kind: TypeEngine[Any]) -> Callable[[Any], RowValue] | None:
        if isinstance(kind, UtcTime):
            return lambda value: time_text(datetime.fromisoformat(value))
        return to_finite if isinstance(kind, Float) else None

    def seal_changes(self, connection: Connection, at: datetime) -> bool:
        self.seal_changes_of_others(connection, at)  # first: this transaction may depend on them
        return bool(connection.exec_driver_sql(_SEAL, (time_text(at),)).rowcount)

    def seal_changes_of_others(self, connection: Connection, at: datetime) -> None:
        """Give them their position. This transaction gets its own at its end, and only once."""
        connection.exec_driver_sql(_SEAL_OTHERS, (time_text(at),))

    def create_journal_triggers(self, connection: Connection) -> None:
        from archiver.catalog.tables import JOURNALED

        self.drop_journal_triggers(connection)
        connection.exec_driver_sql(_JOURNAL_FUNCTION)
        for table in JOURNALED:
            key = ", ".join(f"'{column.name}'" for column in table.primary_key)
            connection.exec_driver_sql(
                f"CREATE TRIGGER journal_change AFTER INSERT OR UPDATE OR DELETE ON {table.name}"
                f" FOR EACH ROW EXECUTE FUNCTION journal_change({key})"
            )

    def drop_journal_triggers(self, connection: Connection) -> None:
        connection.exec_driver_sql("DROP FUNCTION IF EXISTS journal_change() CASCADE")

    def has_journal_triggers(self, connection: Connection) -> bool:
        from archiver.catalog.tables import JOURNALED

        expected = {(table.name, "O", _JOURNAL_FUNCTION.split("$$")[1]) for table in JOURNALED}
        return {tuple(row) for row in connection.execute(_JOURNAL_TRIGGERS)} == expected


def _source(trigger: Trigger) -> str:
    return f" BEGIN {trigger.body}; RETURN OLD; END "  # NULL would keep a BEFORE trigger's row


class WriterLock:
    """The lock of the only writer: an advisory lock on a connection of its own, held until ``release``.

    The server releases it when that connection ends, even if either side dies. There is one lock for each
    schema of a database, since a schema holds at most one archive.

    A writer that has lost the lock must not commit once another writer has it. So each transaction first
    takes a second lock, the gate, in shared mode, and then checks that the first lock is still held. A new
    writer takes the gate in exclusive mode, which waits until no transaction is open. As long as the lock is
    held, the server has not restarted. So if a connection is lost, it can say for certain how its transaction
    ended.

    The workers of a run share the lock: they hold it in shared mode.
    """

    def __init__(self, database: Database, *, shared_by: str | None = None) -> None:
        """Take the lock.

        ``shared_by``: the name of a worker's connection, which shares the lock with other workers. Raises
        ArchiveLocked if another writer holds it, DatabaseError if the server is out of reach.
        """
        self._database = database
        self._unlock = _UNLOCK if shared_by is None else _UNLOCK_SHARED
        with map_errors(database):
            engine = _create_engine(
                database,
                f"-c lock_timeout={_WORKER_LOCK_SECONDS if shared_by else _LOCK_SECONDS}s",
                name=shared_by or "archiver lock",
                autocommit=True,  # the connection is idle for a whole run, in no transaction
                poolclass=NullPool,
            )
            self._connection = engine.connect()
            try:
                if self._connection.scalar(_TRY_LOCK if shared_by is None else _TRY_SHARED_LOCK):
                    self._connection.execute(_CLOSE_GATE)
                    return
            except BaseException:
                self._connection.close()
                raise
            self._connection.close()
        raise ArchiveLocked(f"another run writes to the database {database}", "wait for it to end")

    def enter(self, connection: Connection) -> int:
        """Begin a transaction of the writer and return its id on the server.

        Raises DatabaseError if the lock is lost. Nobody else can become the writer before that transaction
        ends.
        """
        txid = int(connection.execute(_PASS_GATE).one()[0])
        self._scalar(_PING)
        return txid

    def was_committed(self, txid: int) -> bool:
        """Return whether a transaction whose connection was lost was committed.

        If it is still open, it is ended first. Raises DatabaseError if the lock is lost too, or the server
        does not end the transaction.
        """
        self._scalar(_TERMINATE, xid=str(txid % 2**32))
        for _ in range(_STATUS_CHECKS):
            status = self._scalar(_STATUS, txid=txid)
            if status != "in progress":
                return status == "committed"
            time.sleep(_CHECK_SECONDS)
        raise DatabaseError(
            f"the server of the database {self._database} has not ended a transaction"
            " whose connection was lost",
            "run it again later: it continues where this one stopped",
        )

    def release(self) -> None:
        """Release the lock. If the connection was lost, it has been released already."""
        with suppress(SQLAlchemyError):
            self._connection.execute(self._unlock)  # the server takes a moment to notice a closed connection
        self._connection.close()

    def _scalar(self, query: TextClause, **parameters: object) -> object:
        try:
            value: object = self._connection.scalar(query, parameters)
        except SQLAlchemyError as exc:
            # A lost lock stays lost: SQLAlchemy does not reconnect by itself here.
            raise DatabaseError(
                f"lost the connection that holds the lock on the database {self._database}:"
                " another run may write to it now",
                "run it again: it continues where this one stopped",
            ) from exc
        return value


def _create_engine(
    database: Database, options: str, *, name: str = "archiver", autocommit: bool = False, **pool: Any
) -> Engine:
    """Create an engine; ``name`` is that of its connections. ``pool``: arguments of ``create_engine``."""
    if autocommit:  # for the whole engine: to set it for each use of a connection costs more than it saves
        pool["isolation_level"] = "AUTOCOMMIT"
    try:
        engine = create_engine(
            database.url,
            hide_parameters=True,
            use_native_hstore=False,  # otherwise each new connection looks up that type
            connect_args={"options": options, "application_name": name, **_NETWORK},
            **pool,
        )
    except ModuleNotFoundError as exc:
        raise DatabaseError(
            "PostgreSQL needs the driver psycopg", f"install it: {install_command('psycopg[binary]')}"
        ) from exc

    @event.listens_for(engine, "do_connect")
    def refuse_bytes(dialect: sqlalchemy.Dialect, _: object, args: list[Any], given: dict[str, Any]) -> Any:
        """Raise DatabaseError in place of a connection that would get bytes in place of texts."""
        connection: Any = dialect.connect(*args, **given)
        if connection.info.parameter_status("client_encoding") != "SQL_ASCII":
            return connection
        connection.close()
        raise DatabaseError(
            f"the database {database} has the encoding SQL_ASCII, which does not say what its texts are",
            "create one with createdb --encoding=UTF8 --template=template0, and name it in archive.database",
        )

    return engine


def _sqlstate(cause: BaseException | None) -> str | None:
    state = getattr(cause, "sqlstate", None)
    return state if isinstance(state, str) else None
