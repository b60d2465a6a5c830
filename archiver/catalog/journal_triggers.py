"""The triggers that write each change of a row into ``journal_outbox``, in the transaction of the change.

So no code can forget to record a change, and changes by other programs are recorded too. The triggers are
generated from ``tables``; an upgrade creates them again, since alembic drops the triggers of a table that it
rebuilds. A change is stored as the row's key (a JSON array) and its values (a JSON object): all columns of a
new row, the changed columns of an existing one, NULL for a removed row. The two databases write JSON
differently; ``outbox`` converts both to the same values.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from sqlalchemy import Column, Connection, Float, Table, text

from archiver.catalog import tables

NOT_JOURNALED = frozenset(
    {
        tables.search_documents,
        tables.account_totals,
        tables.monthly_totals,
        tables.budget_totals,
        tables.journal_outbox,
        tables.journal_commits,
        tables.journal_head,
        tables.workers,
        tables.shared_runs,
        tables.visits,
        tables.run_reports,
        tables.api_rate,
        tables.journal_lease,
    }
)
"""Tables that are computed from the others, those of the journal itself, and those of workers."""

JOURNALED = tuple(table for table in tables.metadata.sorted_tables if table not in NOT_JOURNALED)
"""All other tables, each after the tables that it refers to."""

_PREFIX = "journal_"
_LITE_EVENTS = {"added": "INSERT", "altered": "UPDATE", "removed": "DELETE"}

# The number of a transaction on SQLite: the position that ``outbox.seal`` will give it at its end.
_LITE_TXN = "(SELECT coalesce(max(seq), 0) + 1 FROM sqlite_sequence WHERE name = 'journal_commits')"

_PG_FUNCTION = """
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


def create(connection: Connection) -> None:
    """Create the triggers, in place of those of an older version."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("DROP FUNCTION IF EXISTS journal_change() CASCADE")
        connection.exec_driver_sql(_PG_FUNCTION)
        for table in JOURNALED:
            connection.exec_driver_sql(_pg_trigger(table))
        return
    for name in _present(connection):
        connection.exec_driver_sql(f"DROP TRIGGER {name}")
    for statement in _lite_triggers().values():
        connection.exec_driver_sql(statement)


def drop(connection: Connection) -> None:
    """Remove the triggers, for changes that must not be journaled: those of a rebuild are in the journal."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("DROP FUNCTION IF EXISTS journal_change() CASCADE")
        return
    for name in _present(connection):
        connection.exec_driver_sql(f"DROP TRIGGER {name}")


def are_complete(connection: Connection) -> bool:
    """Return whether the triggers are the expected ones: otherwise the journal would miss changes."""
    if connection.dialect.name == "postgresql":
        expected = {(table.name, "O") for table in JOURNALED}
        source = connection.scalar(text("SELECT prosrc FROM pg_proc WHERE proname = 'journal_change'"))
        return source == _PG_FUNCTION.split("$$")[1] and set(map(tuple, _present_pg(connection))) == expected
    return _present(connection) == _lite_triggers()


def _present(connection: Connection) -> dict[str, str]:
    rows = connection.exec_driver_sql(
        "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'journal_%'"
    )
    return {str(name): str(sql) for name, sql in rows}


def _present_pg(connection: Connection) -> list[Any]:
    return list(
        connection.execute(
            text(
                "SELECT tgrelid::regclass::text, tgenabled::text FROM pg_trigger"
                " JOIN pg_proc p ON p.oid = tgfoid WHERE proname = 'journal_change' AND NOT tgisinternal"
            )
        )
    )


def _pg_trigger(table: Table) -> str:
    key = ", ".join(f"'{column.name}'" for column in table.primary_key)
    return (
        f"CREATE TRIGGER {_PREFIX}change AFTER INSERT OR UPDATE OR DELETE ON {table.name}"
        f" FOR EACH ROW EXECUTE FUNCTION journal_change({key})"
    )


@cache
def _lite_triggers() -> dict[str, str]:
    return {name: statement for table in JOURNALED for name, statement in _triggers_of(table)}


def _triggers_of(table: Table) -> Iterator[tuple[str, str]]:
    """Yield the triggers of a SQLite table.

    An update of the key is recorded as a removal and a new row, one that changes nothing not at all.
    """
    has_new_key = " OR ".join(f'OLD."{c.name}" IS NOT NEW."{c.name}"' for c in table.primary_key)
    changed = "||".join(
        f'CASE WHEN {has_new_key} OR OLD."{c.name}" IS NOT NEW."{c.name}" THEN \',{_member(c)} ELSE \'\' END'
        for c in table.columns
    )
    removed = _insert(table, "OLD", "NULL")
    bodies = {
        "added": [_insert(table, "NEW", _object("||".join(f"',{_member(c)}" for c in table.columns)))],
        "removed": [removed],
        "altered": [
            f"{removed} WHERE {has_new_key}",
            f"{_insert(table, 'NEW', _object('changed'))} FROM (SELECT {changed} AS changed)"
            " WHERE changed <> ''",
        ],
    }
    for event, statements in bodies.items():
        name = f"{_PREFIX}{event}_{table.name}"
        yield (
            name,
            f"CREATE TRIGGER {name} AFTER {_LITE_EVENTS[event]} ON {table.name} BEGIN "
            + "; ".join(statements)
            + "; END",
        )


def _insert(table: Table, row: str, values: str) -> str:
    key = ", ".join(f'{row}."{column.name}"' for column in table.primary_key)
    return (
        "INSERT INTO journal_outbox (txn, table_name, row_key, row_values)"
        f" SELECT {_LITE_TXN}, '{table.name}', json_array({key}), {values}"
    )


def _object(members: str) -> str:
    return f"'{{'||substr({members}, 2)||'}}'"


def _member(column: Column[Any]) -> str:
    """Return SQL for ``"name":value`` of the new row. It continues a string literal that is open already.

    json_quote would round floats to 15 digits, which loses a third of all durations.
    """
    value = f'NEW."{column.name}"'
    quoted = f"json_quote({value})"
    if isinstance(column.type, Float):
        quoted = f"CASE WHEN {value} IS NULL THEN 'null' ELSE printf('%!.17g', {value}) END"
    return f'"{column.name}":\'||{quoted}'
