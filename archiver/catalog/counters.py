"""The triggers that keep ``budget_totals`` and ``monthly_totals``.

So no code can write a call or a file that is not counted, and what other programs change is counted too. An
upgrade counts anew and creates the triggers again, since alembic drops the triggers of a table that it
rebuilds. While a database is rebuilt from the journal they do not exist: on PostgreSQL that is one
transaction, and changing one row a hundred thousand times in a transaction takes minutes.

Several writers at a time never wait for the row of a month in ``monthly_totals``: each connection adds to its
own row, and takes away from it. In ``budget_totals`` they do wait: a limit holds for all of them.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, text

OF_RUN = "run "
"""What the period of a run begins with; its id follows. Months and days begin with their year (UTC)."""

_PREFIX = "counter_"
_TRIGGERS_LITE = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND name LIKE :names"
_PRESENT_PG = (
    "SELECT proname FROM pg_proc WHERE pronamespace = current_schema()::regnamespace AND proname LIKE :names"
)
_TRIGGERS_PG = (
    "SELECT tgname::text, tgenabled::text, prosrc FROM pg_trigger JOIN pg_proc p ON p.oid = tgfoid"
    " WHERE pronamespace = current_schema()::regnamespace AND tgname LIKE :names AND NOT tgisinternal"
)

# ``run(x)``, ``day(x)`` and ``month(x)`` are periods, in UTC; ``writer()`` is the process that serves the
# connection.
_OF_RUN_SQL = f"'{OF_RUN}' || {{}}"
_SPELLINGS = {
    "sqlite": {"run": _OF_RUN_SQL, "day": "substr({}, 1, 10)", "month": "substr({}, 1, 7)", "writer": "0"},
    "postgresql": {
        "run": _OF_RUN_SQL,
        "day": "to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD')",
        "month": "to_char({} AT TIME ZONE 'UTC', 'YYYY-MM')",
        "writer": "pg_backend_pid()",
    },
}
_COUNT = (
    "DELETE FROM budget_totals",
    "DELETE FROM monthly_totals",
    """
    INSERT INTO budget_totals (period, units)
    SELECT month(started_at), sum(units) FROM api_calls GROUP BY 1 HAVING sum(units) <> 0
    UNION ALL
    SELECT day(started_at), sum(units) FROM api_calls GROUP BY 1 HAVING sum(units) <> 0
    UNION ALL
    SELECT run(run_id), sum(units) FROM api_calls GROUP BY run_id HAVING sum(units) <> 0
    """,
    """
    INSERT INTO monthly_totals (month, writer, items, files, blobs, bytes)
    SELECT month, 0, sum(items), sum(files), sum(blobs), sum(bytes) FROM (
        SELECT month(first_seen_at) AS month, count(*) AS items, 0 AS files, 0 AS blobs, 0 AS bytes
        FROM items GROUP BY 1
        UNION ALL
        SELECT month(kept_at), 0, count(*), 0, 0 FROM files GROUP BY 1
        UNION ALL
        SELECT month(stored_at), 0, 0, count(*), sum(size) FROM blobs WHERE lost_at IS NULL GROUP BY 1
    ) AS counted GROUP BY month
    """,
)

_INTO_UNITS = "INSERT INTO budget_totals (period, units)"
_ADDED_UNITS = "ON CONFLICT (period) DO UPDATE SET units = budget_totals.units + excluded.units"
_WITHOUT_UNITS = "DELETE FROM budget_totals WHERE units = 0 AND period IN"


def _add_units(row: str, sign: str = "") -> str:
    # Always month, day and run: two writers that wait for the same rows must not wait in a circle.
    units = f"{sign}{row}.units"
    values = ", ".join(f"({period}, {units})" for period in _periods(row))
    return f"{_INTO_UNITS} VALUES {values} {_ADDED_UNITS}"


def _forget_periods(row: str) -> str:
    return f"{_WITHOUT_UNITS} ({', '.join(_periods(row))})"


def _periods(row: str) -> tuple[str, str, str]:
    return f"month({row}.started_at)", f"day({row}.started_at)", f"run({row}.run_id)"


_COUNT_CALL = _add_units("NEW")
_UNCOUNT_CALL = _add_units("OLD", "-"), _forget_periods("OLD")

_INTO_MONTH = "INSERT INTO monthly_totals (month, writer, items, files, blobs, bytes)"
_ADDED_TO_MONTH = (
    "ON CONFLICT (month, writer) DO UPDATE SET items = monthly_totals.items + excluded.items,"
    " files = monthly_totals.files + excluded.files, blobs = monthly_totals.blobs + excluded.blobs,"
    " bytes = monthly_totals.bytes + excluded.bytes"
)
_FORGET = (
    "DELETE FROM monthly_totals"
    " WHERE writer = writer() AND items = 0 AND files = 0 AND blobs = 0 AND bytes = 0"
)


def _add(time: str, *, items: str = "0", files: str = "0", blobs: str = "0", size: str = "0") -> str:
    values = f"VALUES (month({time}), writer(), {items}, {files}, {blobs}, {size})"
    return f"{_INTO_MONTH} {values} {_ADDED_TO_MONTH}"


_FOUND = _add("NEW.stored_at", blobs="1", size="NEW.size")
_LOST = _add("OLD.stored_at", blobs="-1", size="-OLD.size")
_TRIGGERS = {
    "call": ("INSERT ON api_calls", "NEW.units <> 0", _COUNT_CALL),
    "removed_call": ("DELETE ON api_calls", "OLD.units <> 0", *_UNCOUNT_CALL),
    "altered_call": (
        "UPDATE OF units, started_at, run_id ON api_calls",
        "OLD.units <> NEW.units OR OLD.started_at <> NEW.started_at OR OLD.run_id <> NEW.run_id",
        _COUNT_CALL,
        *_UNCOUNT_CALL,
        _forget_periods("NEW"),
    ),
    "item": ("INSERT ON items", "true", _add("NEW.first_seen_at", items="1")),
    "removed_item": ("DELETE ON items", "true", _add("OLD.first_seen_at", items="-1"), _FORGET),
    "altered_item": (
        "UPDATE OF first_seen_at ON items",
        "month(OLD.first_seen_at) <> month(NEW.first_seen_at)",
        _add("OLD.first_seen_at", items="-1"),
        _add("NEW.first_seen_at", items="1"),
        _FORGET,
    ),
    "file": ("INSERT ON files", "true", _add("NEW.kept_at", files="1")),
    "removed_file": ("DELETE ON files", "true", _add("OLD.kept_at", files="-1"), _FORGET),
    "blob": ("INSERT ON blobs", "NEW.lost_at IS NULL", _FOUND),
    "removed_blob": ("DELETE ON blobs", "OLD.lost_at IS NULL", _LOST, _FORGET),
    "lost_blob": (
        "UPDATE OF lost_at ON blobs",
        "OLD.lost_at IS NULL AND NEW.lost_at IS NOT NULL",
        _LOST,
        _FORGET,
    ),
    "found_blob": (
        "UPDATE OF lost_at ON blobs",
        "OLD.lost_at IS NOT NULL AND NEW.lost_at IS NULL",
        _FOUND,
        _FORGET,
    ),
}
"""Event, condition and statements of each trigger."""


def create(connection: Connection) -> None:
    """Count everything, and create the triggers in place of those of an older version."""
    drop(connection)
    dialect = connection.dialect.name
    for statement in _COUNT:
        connection.exec_driver_sql(_spell(statement, dialect))
    for name, when, body in _definitions(dialect):
        if dialect != "postgresql":
            connection.exec_driver_sql(_lite_trigger(name, when, body))
            continue
        # The search_path is fixed here, because pg_restore and other programs set their own.
        connection.exec_driver_sql(
            f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT"
            f" AS $${_pg_source(body)}$$"
        )
        connection.exec_driver_sql(f"CREATE TRIGGER {name} {when} EXECUTE FUNCTION {name}()")


def are_complete(connection: Connection) -> bool:
    """Return whether the triggers are the expected ones: otherwise no limit of the budget would hold."""
    dialect, names = connection.dialect.name, {"names": f"{_PREFIX}%"}
    if dialect == "postgresql":
        rows = connection.execute(text(_TRIGGERS_PG), names)
        return {tuple(row) for row in rows} == {
            (name, "O", _pg_source(body)) for name, _, body in _definitions(dialect)
        }
    rows = connection.execute(text(_TRIGGERS_LITE), names)
    return {str(row.sql) for row in rows} == {_lite_trigger(*each) for each in _definitions(dialect)}


def _definitions(dialect: str) -> Iterator[tuple[str, str, str]]:
    """Yield name, event with condition, and body of each trigger."""
    for subject, (event, condition, *statements) in _TRIGGERS.items():
        when = f"AFTER {event} FOR EACH ROW WHEN ({_spell(condition, dialect)})"
        yield _PREFIX + subject, when, _spell("; ".join(statements), dialect)


def _lite_trigger(name: str, when: str, body: str) -> str:
    return f"CREATE TRIGGER {name} {when} BEGIN {body}; END"


def _pg_source(body: str) -> str:
    return f" BEGIN {body}; RETURN NULL; END "


def drop(connection: Connection) -> None:
    """Remove the triggers; ``create`` counts what is changed without them."""
    if connection.dialect.name == "postgresql":
        for name in connection.scalars(text(_PRESENT_PG), {"names": f"{_PREFIX}%"}).all():
            connection.exec_driver_sql(f"DROP FUNCTION {name}() CASCADE")
        return
    for name in connection.scalars(text(_TRIGGERS_LITE), {"names": f"{_PREFIX}%"}).all():
        connection.exec_driver_sql(f"DROP TRIGGER {name}")


def _spell(sql: str, dialect: str) -> str:
    """Replace the functions of ``_SPELLINGS`` by the SQL of the database."""
    for function, spelling in _SPELLINGS[dialect].items():
        before, *calls = sql.split(f"{function}(")
        split = (call.partition(")") for call in calls)
        sql = before + "".join(spelling.replace("{}", argument) + rest for argument, _, rest in split)
    return sql
