"""The triggers that keep ``account_totals``, ``budget_totals`` and ``monthly_totals``.

So no code can write a call or a file that is not counted, and what other programs change is counted too. An
upgrade counts anew and creates the triggers again, since alembic drops the triggers of a table that it
rebuilds. While a database is rebuilt from the journal they do not exist: on PostgreSQL that is one
transaction, and changing one row a hundred thousand times in a transaction takes minutes. ``verify`` compares
all of them with a count of the rows (``differences``), and ``verify --repair`` counts again (``mend``).

On PostgreSQL, an AFTER trigger sees all rows of its statement as changed already, for each of them. So a
place of an item is subtracted BEFORE it is removed: else an item in two highlights, removed from both in one
statement, would be subtracted twice.

Several writers at a time never wait for the row of a month in ``monthly_totals``: each connection adds to its
own row, and takes away from it. In ``budget_totals`` they do wait: a limit holds for all of them.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct
from sqlalchemy import Connection

from archiver.catalog.dialects import Dialect, Trigger, dialect_of
from archiver.catalog.own_schema import OF_COUNTERS
from archiver.text_format import pluralize

OF_RUN = "run "
"""What the period of a run begins with; its id follows. Months and days begin with their year (UTC)."""
UNITS_OF_RUN = (
    f"coalesce((SELECT units FROM budget_totals WHERE period = '{OF_RUN}' || CAST(runs.id AS TEXT)), 0)"
)
"""The units of a run, as a value of its row: SQL."""

_OF_ACCOUNTS = """
    SELECT user_pk, sum(items) AS items, sum(files) AS files, sum(bytes) AS bytes FROM (
        SELECT h.user_pk, count(DISTINCT m.item_pk) AS items, 0 AS files, 0 AS bytes
        FROM highlights h JOIN highlight_items m ON m.highlight_pk = h.pk {whose} GROUP BY h.user_pk
        UNION ALL
        SELECT h.user_pk, 0, count(*), sum(CASE WHEN h.lost_at IS NULL THEN h.size ELSE 0 END)
        FROM account_files h {whose} GROUP BY h.user_pk
    ) AS counted GROUP BY user_pk
"""


class _Total(Struct, frozen=True):
    """A table, its key and its numbers; a query that counts them; which rows have them (all if empty)."""

    table: str
    key: str
    numbers: tuple[str, ...]
    counted: str
    condition: str = ""

    @property
    def sums(self) -> str:
        """Return the query of what is stored, with the columns of ``counted``."""
        numbers = ", ".join(f"sum({number})" for number in self.numbers)
        return f"SELECT {self.key}, {numbers} FROM {self.table} {self.condition} GROUP BY {self.key}"


_TOTALS = (
    _Total(
        "budget_totals",
        "period",
        ("units",),
        """
        SELECT month(started_at) AS period, sum(units) AS units FROM api_calls
        GROUP BY 1 HAVING sum(units) <> 0
        UNION ALL
        SELECT day(started_at), sum(units) FROM api_calls GROUP BY 1 HAVING sum(units) <> 0
        UNION ALL
        SELECT run(run_id), sum(units) FROM api_calls GROUP BY run_id HAVING sum(units) <> 0
        """,
    ),
    _Total(
        "monthly_totals",
        "month",
        ("items", "files", "blobs", "bytes"),
        """
        SELECT month, sum(items) AS items, sum(files) AS files, sum(blobs) AS blobs, sum(bytes) AS bytes
        FROM (
            SELECT month(first_seen_at) AS month, count(*) AS items, 0 AS files, 0 AS blobs, 0 AS bytes
            FROM items GROUP BY 1
            UNION ALL
            SELECT month(kept_at), 0, count(*), 0, 0 FROM files GROUP BY 1
            UNION ALL
            SELECT month(stored_at), 0, 0, count(*), sum(size) FROM blobs WHERE lost_at IS NULL GROUP BY 1
        ) AS counted GROUP BY month
        """,
    ),
    _Total("account_totals", "user_pk", ("items", "files", "bytes"), _OF_ACCOUNTS.format(whose="")),
)
_UNITS_OF_RUNS = _Total(
    "runs",
    "id",
    ("units",),
    "SELECT c.run_id, sum(c.units) FROM api_calls c JOIN runs r ON r.id = c.run_id"
    " WHERE r.outcome IS NOT NULL GROUP BY c.run_id",
    "WHERE outcome IS NOT NULL",
)
_MEND_RUNS = (
    "UPDATE runs SET units = coalesce((SELECT sum(units) FROM api_calls WHERE run_id = runs.id), 0)"
    " WHERE outcome IS NOT NULL"
    " AND units <> coalesce((SELECT sum(units) FROM api_calls WHERE run_id = runs.id), 0)"
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
_FORGET_MONTHS = (
    "DELETE FROM monthly_totals"
    " WHERE writer = writer() AND items = 0 AND files = 0 AND blobs = 0 AND bytes = 0"
)


def _add(time: str, *, items: str = "0", files: str = "0", blobs: str = "0", size: str = "0") -> str:
    values = f"VALUES (month({time}), writer(), {items}, {files}, {blobs}, {size})"
    return f"{_INTO_MONTH} {values} {_ADDED_TO_MONTH}"


_INTO_ACCOUNT = "INSERT INTO account_totals (user_pk, items, files, bytes)"
_ADDED_TO_ACCOUNT = (
    "ON CONFLICT (user_pk) DO UPDATE SET items = account_totals.items + excluded.items,"
    " files = account_totals.files + excluded.files, bytes = account_totals.bytes + excluded.bytes"
)
_FORGET_ACCOUNTS = "DELETE FROM account_totals WHERE items = 0 AND files = 0"
_HAS_MORE_PLACES = """EXISTS (
    SELECT 1 FROM highlight_items o CROSS JOIN highlights oh
    WHERE o.item_pk = {row}.item_pk AND o.highlight_pk <> {row}.highlight_pk
    AND oh.pk = o.highlight_pk AND oh.user_pk = {user_pk}
)"""
_COUNT_MEMBER = f"""
    {_INTO_ACCOUNT}
    SELECT h.user_pk, 1, count(f.id), coalesce(sum(CASE WHEN b.lost_at IS NULL THEN b.size ELSE 0 END), 0)
    FROM highlights h LEFT JOIN files f ON f.item_pk = NEW.item_pk LEFT JOIN blobs b ON b.sha256 = f.sha256
    WHERE h.pk = NEW.highlight_pk AND NOT {_HAS_MORE_PLACES.format(row="NEW", user_pk="h.user_pk")}
    GROUP BY h.user_pk
    {_ADDED_TO_ACCOUNT}"""
_UNCOUNT_MEMBER = f"""
    UPDATE account_totals SET items = items - 1,
        files = files - (SELECT count(*) FROM files f WHERE f.item_pk = OLD.item_pk),
        bytes = bytes - (SELECT coalesce(sum(b.size), 0) FROM files f JOIN blobs b ON b.sha256 = f.sha256
            WHERE f.item_pk = OLD.item_pk AND b.lost_at IS NULL)
    WHERE user_pk = (SELECT h.user_pk FROM highlights h WHERE h.pk = OLD.highlight_pk)
    AND NOT {_HAS_MORE_PLACES.format(row="OLD", user_pk="account_totals.user_pk")}"""
_COUNT_FILE = f"""
    {_INTO_ACCOUNT}
    SELECT f.user_pk, 0, 1, CASE WHEN f.lost_at IS NULL THEN f.size ELSE 0 END
    FROM account_files f WHERE f.file_id = NEW.id
    {_ADDED_TO_ACCOUNT}"""
_UNCOUNT_FILE = """
    UPDATE account_totals SET files = files - 1, bytes = bytes - coalesce(
        (SELECT b.size FROM blobs b WHERE b.sha256 = OLD.sha256 AND b.lost_at IS NULL), 0
    )
    WHERE user_pk = OLD.user_pk
    OR user_pk IN (SELECT h.user_pk FROM highlights h WHERE h.pk = OLD.highlight_pk)
    OR user_pk IN (SELECT h.user_pk FROM highlight_items m JOIN highlights h ON h.pk = m.highlight_pk
        WHERE m.item_pk = OLD.item_pk)"""
_OWNERS_OF_BLOB = """
    UPDATE account_totals SET bytes = bytes {sign} NEW.size * (
        SELECT count(*) FROM account_files f
        WHERE f.sha256 = NEW.sha256 AND f.user_pk = account_totals.user_pk
    )
    WHERE user_pk IN (SELECT f.user_pk FROM account_files f WHERE f.sha256 = NEW.sha256)"""
_OF_BOTH_OWNERS = _OF_ACCOUNTS.format(whose="WHERE h.user_pk IN (OLD.user_pk, NEW.user_pk)")

_FOUND = _add("NEW.stored_at", blobs="1", size="NEW.size")
_LOST = _add("OLD.stored_at", blobs="-1", size="-OLD.size")
_TRIGGERS = {
    "call": ("AFTER INSERT ON api_calls", "NEW.units <> 0", _COUNT_CALL),
    "removed_call": ("AFTER DELETE ON api_calls", "OLD.units <> 0", *_UNCOUNT_CALL),
    "altered_call": (
        "AFTER UPDATE OF units, started_at, run_id ON api_calls",
        "OLD.units <> NEW.units OR OLD.started_at <> NEW.started_at OR OLD.run_id <> NEW.run_id",
        _COUNT_CALL,
        *_UNCOUNT_CALL,
        _forget_periods("NEW"),
    ),
    # A call may be settled after its run has ended: that of a worker which had lost its lease.
    "late_call": (
        "AFTER UPDATE OF units ON api_calls",
        "OLD.units <> NEW.units",
        "UPDATE runs SET units = units + NEW.units - OLD.units WHERE id = NEW.run_id AND outcome IS NOT NULL",
    ),
    "item": ("AFTER INSERT ON items", "true", _add("NEW.first_seen_at", items="1")),
    "removed_item": (
        "AFTER DELETE ON items",
        "true",
        _add("OLD.first_seen_at", items="-1"),
        _FORGET_MONTHS,
    ),
    "altered_item": (
        "AFTER UPDATE OF first_seen_at ON items",
        "month(OLD.first_seen_at) <> month(NEW.first_seen_at)",
        _add("OLD.first_seen_at", items="-1"),
        _add("NEW.first_seen_at", items="1"),
        _FORGET_MONTHS,
    ),
    "member": ("AFTER INSERT ON highlight_items", "true", _COUNT_MEMBER),
    "removed_member": ("BEFORE DELETE ON highlight_items", "true", _UNCOUNT_MEMBER, _FORGET_ACCOUNTS),
    "moved_highlight": (
        "AFTER UPDATE OF user_pk ON highlights",
        "OLD.user_pk <> NEW.user_pk",
        "DELETE FROM account_totals WHERE user_pk IN (OLD.user_pk, NEW.user_pk)",
        f"{_INTO_ACCOUNT} {_OF_BOTH_OWNERS}",
    ),
    "file": ("AFTER INSERT ON files", "true", _add("NEW.kept_at", files="1"), _COUNT_FILE),
    "removed_file": (
        "AFTER DELETE ON files",
        "true",
        _add("OLD.kept_at", files="-1"),
        _FORGET_MONTHS,
        _UNCOUNT_FILE,
        _FORGET_ACCOUNTS,
    ),
    "blob": ("AFTER INSERT ON blobs", "NEW.lost_at IS NULL", _FOUND),
    "removed_blob": ("AFTER DELETE ON blobs", "OLD.lost_at IS NULL", _LOST, _FORGET_MONTHS),
    "lost_blob": (
        "AFTER UPDATE OF lost_at ON blobs",
        "OLD.lost_at IS NULL AND NEW.lost_at IS NOT NULL",
        _LOST,
        _FORGET_MONTHS,
        _OWNERS_OF_BLOB.format(sign="-"),
    ),
    "found_blob": (
        "AFTER UPDATE OF lost_at ON blobs",
        "OLD.lost_at IS NOT NULL AND NEW.lost_at IS NULL",
        _FOUND,
        _FORGET_MONTHS,
        _OWNERS_OF_BLOB.format(sign="+"),
    ),
}
"""Event, condition and statements of each trigger."""


def create(connection: Connection) -> None:
    """Count everything, and create the triggers in place of those of an older version."""
    drop(connection)
    _count(connection)
    dialect = dialect_of(connection)
    dialect.create_triggers(connection, _triggers(dialect))


def differences(connection: Connection) -> tuple[str, ...]:
    """Return a line for each table of totals that differs from a count of its rows.

    All queries must see the same point in time: use a snapshot.
    """
    return tuple(line for total in (*_TOTALS, _UNITS_OF_RUNS) for line in _compare(connection, total))


def mend(connection: Connection) -> None:
    """Count everything again: the totals, and the units of the runs that have ended."""
    _count(connection)
    connection.exec_driver_sql(_MEND_RUNS)


def _count(connection: Connection) -> None:
    for total in _TOTALS:
        numbers = ", ".join(total.numbers)
        counted = _spell(total.counted, dialect_of(connection))
        key, value = (
            ("writer, month", "0, month") if total.table == "monthly_totals" else (total.key, total.key)
        )
        connection.exec_driver_sql(f"DELETE FROM {total.table}")
        connection.exec_driver_sql(
            f"INSERT INTO {total.table} ({key}, {numbers})"
            f" SELECT {value}, {numbers} FROM ({counted}) AS counted"
        )


def _compare(connection: Connection, total: _Total) -> Iterator[str]:
    stored, counted = (
        {row[0]: tuple(map(int, row[1:])) for row in connection.exec_driver_sql(query) if any(row[1:])}
        for query in (total.sums, _spell(total.counted, dialect_of(connection)))
    )
    keys = sorted(key for key in stored.keys() | counted.keys() if stored.get(key) != counted.get(key))
    if not keys:
        return
    nothing = (0,) * len(total.numbers)
    numbers = zip(total.numbers, stored.get(keys[0], nothing), counted.get(keys[0], nothing), strict=True)
    wrong = ", ".join(f"{what} {has} instead of {is_}" for what, has, is_ in numbers if has != is_)
    yield f"{total.table}: {pluralize(len(keys), 'wrong sum')}, the first of {keys[0]}: {wrong}"


def are_complete(connection: Connection) -> bool:
    """Return whether the triggers are the expected ones: otherwise no limit of the budget would hold."""
    dialect = dialect_of(connection)
    return dialect.has_triggers(connection, OF_COUNTERS, _triggers(dialect))


def drop(connection: Connection) -> None:
    """Remove the triggers; ``create`` counts what is changed without them."""
    dialect_of(connection).drop_triggers(connection, OF_COUNTERS)


def _triggers(dialect: Dialect) -> Iterator[Trigger]:
    for subject, (event, condition, *statements) in _TRIGGERS.items():
        when = f"{event} FOR EACH ROW WHEN ({_spell(condition, dialect)})"
        yield Trigger(OF_COUNTERS + subject, when, _spell("; ".join(statements), dialect))


def _spell(sql: str, dialect: Dialect) -> str:
    """Replace functions by the SQL of the database.

    ``run(x)``, ``day(x)`` and ``month(x)`` are periods, in UTC; ``writer()`` is the process that serves the
    connection.
    """
    for function, spelling in {"run": f"'{OF_RUN}' || {{}}", **dialect.spellings}.items():
        before, *calls = sql.split(f"{function}(")
        split = (call.partition(")") for call in calls)
        sql = before + "".join(spelling.replace("{}", argument) + rest for argument, _, rest in split)
    return sql
