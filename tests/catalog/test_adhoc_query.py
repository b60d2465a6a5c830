"""The user's own SQL: everything may be read, row by row, nothing else be done; and whose an error is."""

from __future__ import annotations

import math
import sqlite3
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path

import psycopg
import pytest

from archiver.catalog import Catalog, record
from archiver.errors import DatabaseError, QueryRefused
from archiver.model.upstream import User
from tests.support.catalog_samples import rows
from tests.support.databases import NOW, SQLITE_EVERYDAY, ConnectionProxy

_WRITES = [
    "INSERT INTO targets VALUES ('a', 'b', '2026-01-01')",
    "UPDATE runs SET units = 0",
    "DELETE FROM runs",
    "DROP TABLE runs",
    "CREATE TABLE mine (a int)",
    "CREATE TEMP TABLE mine (a int)",
    "WITH gone AS (DELETE FROM runs RETURNING id) SELECT * FROM gone",
    "EXPLAIN ANALYZE DELETE FROM runs",
    "SELECT 1; DELETE FROM runs",
    "COMMIT; DELETE FROM runs",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "VACUUM",
    "SELECT * INTO mine FROM runs",
]
_WRITES_SQLITE = [
    "ATTACH DATABASE 'other.db' AS other",
    "VACUUM INTO 'copy.db'",
    "PRAGMA query_only = OFF",
    "PRAGMA writable_schema = ON",
    "PRAGMA journal_mode = DELETE",
    "PRAGMA user_version = 7",
    "SELECT load_extension('evil')",
    "SAVEPOINT a",
    "INSERT INTO search_index (search_index) VALUES ('delete-all')",
]
_WRITES_POSTGRESQL = [
    "SET TRANSACTION READ WRITE",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
    "DO $$ BEGIN DELETE FROM runs; END $$",
    "SELECT set_config('transaction_read_only', 'off', true), 1 / 0 FROM runs",
    (
        "WITH off AS (SELECT set_config('transaction_read_only', 'off', true)), gone "
        "AS (DELETE FROM runs RETURNING id) SELECT * FROM gone, off"
    ),
    "/* SELECT */ DELETE FROM runs",
    "-- SELECT\nDELETE FROM runs",
    "CALL x()",
    "SELECT 1 FROM runs FOR UPDATE",
    "SELECT nextval('runs_id_seq')",
    "SELECT lo_create(0)",
]


def test_what_is_no_query_is_refused(catalog: Catalog) -> None:
    """Whatever it is dressed up as; the row that it was after is still there."""
    catalog.write(record.start_run, "run", NOW)
    for sql in (*_WRITES, *_WRITES_SQLITE, *_WRITES_POSTGRESQL, "", ";", "-- nothing", "nonsense"):
        with suppress(QueryRefused):
            pytest.fail(f"{sql} is answered by {catalog.run_query(sql, rows=10, seconds=10)}")
    assert rows(catalog, "SELECT command FROM runs") == [("run",)]


@SQLITE_EVERYDAY
@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT 1 AS one, 'a' AS a, NULL AS n, 1.5 AS f", (("one", "a", "n", "f"), ((1, "a", None, 1.5),))),
        ("WITH x AS (SELECT 2 AS two) SELECT * FROM x;", (("two",), ((2,),))),
        ("-- how many\nSELECT count(*) AS n FROM runs", (("n",), ((0,),))),
        ("/* why */ SELECT sum(units) AS units FROM runs", (("units",), ((None,),))),
        ("SELECT command FROM runs WHERE command LIKE '%run%'", (("command",), ())),
        ("SELECT '100%' AS p, ':x' AS c, '?' AS q", (("p", "c", "q"), (("100%", ":x", "?"),))),
    ],
)
def test_a_query_is_answered(catalog: Catalog, sql: str, expected: tuple[object, object]) -> None:
    """Names and plain values, also where there is no row; nothing in the text is taken for a parameter."""
    found = catalog.run_query(sql, rows=10, seconds=10)
    assert (found.columns, found.rows) == expected
    assert not found.truncated


@pytest.mark.parametrize(
    "dress",
    [
        "{}",
        "/* SELECT */ {}",
        "-- SELECT\n{}",
        "/* /* */ SELECT 1 */ {}",
        "-- x\r{} /*\nSELECT 1 */",
        "(((({}",
        "SELECT 1; {}",
    ],
)
@pytest.mark.parametrize("copy", ["COPY (SELECT 1) TO '{}'", "COPY (SELECT 1) TO PROGRAM 'cat > {}'"])
def test_no_file_is_written_on_the_server(postgres_archive: str, copy: str, dress: str) -> None:
    """COPY is no writing of rows, so that a read-only transaction would let it write files and start
    programs.
    """
    evil = Path(tempfile.gettempdir(), f"evil-{uuid.uuid4()}")
    with Catalog.open(postgres_archive, write=False) as catalog, pytest.raises(QueryRefused):
        catalog.run_query(dress.format(copy.format(evil)), rows=1, seconds=10)
    assert not evil.exists()


def test_postgresql_is_asked_in_its_own_dialect(postgres_archive: str) -> None:
    """Whatever begins a query there, and values of its own types as plain ones."""
    with Catalog.open(postgres_archive, write=False) as catalog:
        for sql in (
            "(SELECT 3 AS n)",
            "VALUES (3)",
            "show statement_timeout",
            "EXPLAIN SELECT 1",
            "TABLE archive",
        ):
            assert len(catalog.run_query(sql, rows=1, seconds=10).rows) == 1
        values = (
            "SELECT 1.5::numeric, 2::numeric, DATE '2026-01-02', '{\"a\": 1}'::jsonb, "
            "ARRAY[1], true, INTERVAL '1 h'"
        )
        found = catalog.run_query(values, rows=1, seconds=10)
        assert found.rows == ((1.5, 2, "2026-01-02", {"a": 1}, [1], True, "1:00:00"),)


def test_a_query_without_rows_ends_over_tcp_too(postgres_archive: str) -> None:
    """Its columns are asked for once more: over a network socket libpq's own way of waiting for that never
    ends.
    """
    with ConnectionProxy(postgres_archive) as cable, Catalog.open(cable.url, write=False) as catalog:
        found = catalog.run_query("SELECT 1 AS one WHERE false", rows=5, seconds=5)
    assert (found.columns, found.rows) == (("one",), ())


@pytest.mark.parametrize("sql", ["PRAGMA table_info(runs)", "EXPLAIN QUERY PLAN SELECT * FROM runs"])
def test_the_shape_of_a_sqlite_archive_may_be_asked_for(
    tmp_path: Path, sqlite_template: Path, sql: str
) -> None:
    """Columns and plans tell how to write a query."""
    with Catalog.open(sqlite_template, write=False) as catalog:
        assert catalog.run_query(sql, rows=100, seconds=10).rows


def test_the_index_of_what_is_searched_may_be_asked(catalog: Catalog, database: str | Path) -> None:
    """By each database's own means."""
    catalog.write(record.record_user, catalog.write(record.start_run, "run", NOW), User("1", "natgeo"), NOW)
    found = (
        "SELECT rowid FROM search_index WHERE search_index MATCH 'nat*'"
        if isinstance(database, Path)
        else "SELECT id FROM search_documents WHERE words @@ 'nat:*'"
    )
    assert rows(catalog, found) == [(1,)]


@SQLITE_EVERYDAY
def test_as_many_rows_as_asked_for(catalog: Catalog) -> None:
    """No more, and whether there were more is told."""
    for _ in range(5):
        catalog.write(record.start_run, "run", NOW)
    for limit, truncated in ((4, True), (5, False), (0, True)):
        found = catalog.run_query("SELECT id FROM runs ORDER BY id", rows=limit, seconds=10)
        assert (len(found.rows), found.truncated) == (limit, truncated)


@pytest.mark.parametrize(
    "sql",
    [
        pytest.param(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n",
            marks=pytest.mark.whole,
        ),
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n WHERE i < 0",
    ],
)
def test_a_query_that_would_never_end_is_ended(catalog: Catalog, sql: str) -> None:
    """After the time that it was given, with the reason."""
    begun = time.monotonic()
    with pytest.raises(QueryRefused, match=r"longer than 0\.2 s"):
        catalog.run_query(sql, rows=10, seconds=0.2)
    assert time.monotonic() - begun < 5


_HOSTILE = "x'); DELETE FROM runs; -- %s %(a)s $1 \\ :b"


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT :a AS a", _HOSTILE),
        ("SELECT :a || ':b' || '%' || :a AS a", f"{_HOSTILE}:b%{_HOSTILE}"),
        ("SELECT /* :no */ CAST(:a AS text) AS a -- :no '", _HOSTILE),
        ('SELECT ":a" FROM (SELECT CAST(:a AS text) AS ":a") AS t', _HOSTILE),
        ("SELECT command FROM runs WHERE command <> :a AND command LIKE '%u%'", "run"),
    ],
)
def test_a_parameter_is_bound(catalog: Catalog, sql: str, expected: str) -> None:
    """Where a value stands, and there only; what it says is never SQL, and tells nothing to the driver."""
    catalog.write(record.start_run, "run", NOW)
    found = catalog.run_query(
        sql.replace(":a |", "CAST(:a AS text) |"), rows=10, seconds=10, parameters={"a": _HOSTILE}
    )
    assert found.rows == ((expected,),)
    assert rows(catalog, "SELECT command FROM runs") == [("run",)]


def test_a_parameter_takes_the_type_of_what_it_is_compared_with(catalog: Catalog) -> None:
    """A number, a time; and a query without rows has its columns all the same."""
    catalog.write(record.start_run, "run", NOW)
    for sql, value, count in (
        ("SELECT id FROM runs WHERE id = :v", "1", 1),
        ("SELECT id FROM runs WHERE started_at >= :v", "2026-03-31", 1),
        ("SELECT id FROM runs WHERE started_at >= :v", "2026-04-01", 0),
        ("SELECT id FROM runs LIMIT :v", "0", 0),
    ):
        found = catalog.run_query(sql, rows=10, seconds=10, parameters={"v": value})
        assert (found.columns, len(found.rows)) == (("id",), count)


def test_a_pk_is_a_text(catalog: Catalog, database: str | Path) -> None:
    """As docs/schema.md lists: compared with a number SQLite finds what comes later as text, PostgreSQL
    nothing; the cast serves both.
    """
    run_id = catalog.write(record.start_run, "run", NOW)
    for pk in ("787132", "10", "6"):
        catalog.write(record.record_user, run_id, User(pk, f"user{pk}"), NOW)
    as_numbers = "SELECT pk FROM users WHERE CAST(pk AS numeric) > 6 ORDER BY length(pk), pk"
    assert rows(catalog, as_numbers) == [("10",), ("787132",)]
    assert rows(catalog, "SELECT username FROM users WHERE pk = '10'") == [("user10",)]
    if isinstance(database, Path):
        assert rows(catalog, "SELECT pk FROM users WHERE pk > 5 ORDER BY pk") == [("6",), ("787132",)]
    else:
        with pytest.raises(QueryRefused, match="text > integer"):
            catalog.run_query("SELECT pk FROM users WHERE pk > 5", rows=9, seconds=10)


@SQLITE_EVERYDAY
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "no value for :b$"),
        ({"b": "1", "c": "2"}, "no parameter :c; it has :b"),
        ({"c": "2", "d": "3"}, "no parameter :c, :d; it has :b"),
    ],
)
def test_a_parameter_too_few_or_too_many_is_told(
    catalog: Catalog, given: dict[str, str], message: str
) -> None:
    """By its name: a mistake of who asks, not of the database."""
    with pytest.raises(QueryRefused, match=message):
        catalog.run_query("SELECT :b", rows=1, seconds=10, parameters=given)


def test_operators_of_postgresql_are_no_parameters(postgres_archive: str) -> None:
    """Casts, JSON, slices, dollar quotes, E'' texts and comments that nest, beside a parameter and without
    one.
    """
    sql = (
        "SELECT '{\"a\": 1}'::jsonb ? 'a', ('{\"a\": {\"b\": 2}}'::jsonb #>> '{a,b}')::int % 2,"
        " (ARRAY[1,2,3])[1:2], $$:no$$, $q$ ':no $q$, E'\\':no', 1 /* /* :no */ :no */"
    )
    with Catalog.open(postgres_archive, write=False) as catalog:
        plain = catalog.run_query(sql, rows=1, seconds=10).rows[0]
        assert plain == (True, 0, [1, 2], ":no", " ':no ", "':no", 1)
        bound = catalog.run_query(f"{sql}, :yes::int", rows=1, seconds=10, parameters={"yes": "7"}).rows[0]
        assert bound == (*plain, 7)


@pytest.mark.parametrize(
    "sql",
    [
        pytest.param(
            "SELECT group_concat(hex(zeroblob(30000000))) FROM (SELECT 1 UNION SELECT 2)",
            marks=pytest.mark.whole,
        ),
        "SELECT randomblob(100000000)",
        pytest.param("SELECT replace(hex(zeroblob(20000000)), '0', '00')", marks=pytest.mark.whole),
    ],
)
def test_a_value_that_would_fill_the_memory_is_refused(sqlite_template: Path, sql: str) -> None:
    """However it is made."""
    with Catalog.open(sqlite_template, write=False) as catalog, pytest.raises(QueryRefused):
        catalog.run_query(sql, rows=1, seconds=10)


@pytest.mark.whole
@pytest.mark.parametrize(
    "last",
    ["SELECT count(*) FROM (SELECT x FROM n ORDER BY x)", "SELECT x FROM n", "SELECT sum(length(x)) FROM m"],
)
def test_rows_that_would_fill_the_memory_are_refused(sqlite_template: Path, last: str) -> None:
    """Whether they are sorted, held or brought: what SQLite takes has an end, and what is brought too."""
    endless = "SELECT {} UNION ALL SELECT {} FROM {} LIMIT 4000"
    sql = f"""WITH RECURSIVE n(x) AS ({endless.format(*["randomblob(1000000)"] * 2, "n")}),
        m(x) AS MATERIALIZED (SELECT a.x FROM n a ORDER BY 1) {last}"""
    with Catalog.open(sqlite_template, write=False) as catalog, pytest.raises(QueryRefused, match="memory"):
        catalog.run_query(sql, rows=10_000, seconds=60)


def test_a_huge_value_is_refused(tmp_path: Path, sqlite_template: Path) -> None:
    """A query cannot make the program hold a gigabyte."""
    with Catalog.open(sqlite_template, write=False) as catalog, pytest.raises(QueryRefused):
        catalog.run_query("SELECT zeroblob(1000000000)", rows=1, seconds=10)


def test_a_mistake_is_told_in_the_databases_words(catalog: Catalog) -> None:
    """So that its author can mend it; the error is of usage, not of the database."""
    with pytest.raises(QueryRefused, match="nowhere") as raised:
        catalog.run_query("SELECT * FROM nowhere", rows=10, seconds=10)
    assert raised.value.exit_code == 2


@pytest.mark.parametrize(
    ("sql", "hint"),
    [
        ("SELECT pk FROM usrs", "did you mean users or usernames? archiver query --schema lists"),
        ("SELECT u.usrname FROM users u", "did you mean username or name? archiver query --schema lists"),
        ("SELECT * FROM qqqq", "archiver query --schema lists"),
        ("SELECT 1; SELECT 2", "give one statement at a time"),
    ],
)
def test_a_mistake_is_told_with_the_next_step(catalog: Catalog, sql: str, hint: str) -> None:
    """Near names, where there are any; else where all are told."""
    with pytest.raises(QueryRefused) as raised:
        catalog.run_query(sql, rows=10, seconds=10)
    assert raised.value.hint.startswith(hint)


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("SELECT * FROM nowhere", sqlite3.SQLITE_ERROR),
        ("SELECT json('{')", sqlite3.SQLITE_ERROR),
        ("SELECT abs(-9223372036854775808)", sqlite3.SQLITE_ERROR),
        ("SELECT rowid FROM search_index WHERE search_index MATCH '\"'", sqlite3.SQLITE_ERROR),
        ("SELECT zeroblob(100000000)", sqlite3.SQLITE_TOOBIG),
        ("SELECT id FROM runs LIMIT 'ten'", sqlite3.SQLITE_MISMATCH),
        ("SELECT id FROM runs LIMIT :ten", sqlite3.SQLITE_MISMATCH),
        ("DELETE FROM runs", sqlite3.SQLITE_AUTH),
    ],
)
def test_what_sqlite_refuses_is_the_querys_fault(sqlite_template: Path, sql: str, code: int) -> None:
    """Whichever way it says so, before the first row or at it: usage, code 2, not a database that cannot be
    used.
    """
    with Catalog.open(sqlite_template, write=False) as catalog, pytest.raises(QueryRefused) as raised:
        catalog.run_query(sql, rows=10, seconds=10, parameters={"ten": "ten"} if ":ten" in sql else {})
    assert isinstance(raised.value.__cause__, sqlite3.Error)
    assert raised.value.__cause__.sqlite_errorcode & 0xFF == code


def test_a_number_that_sqlite_cannot_hold_is_the_querys_fault(sqlite_template: Path) -> None:
    """Its integers end before 2⁶³: more is a mistake, and no bug."""
    with Catalog.open(sqlite_template, write=False) as catalog:
        assert catalog.run_query("SELECT :n AS n", rows=1, seconds=10, parameters={"n": 2**63 - 1}).rows == (
            (2**63 - 1,),
        )
        with pytest.raises(QueryRefused, match="too large"):
            catalog.run_query("SELECT :n", rows=1, seconds=10, parameters={"n": 2**63})


def test_a_database_that_is_damaged_is_not_the_querys_fault(tmp_path: Path, sqlite_template: Path) -> None:
    """What was answered before, and will be again once the file is restored."""
    database = tmp_path / "archive.db"
    database.write_bytes(sqlite_template.read_bytes())
    with closing(sqlite3.connect(database)) as connection:
        ((page,),) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'runs'")
        ((size,),) = connection.execute("PRAGMA page_size")
    with Catalog.open(database, write=False) as catalog:
        assert rows(catalog, "SELECT command FROM runs") == []
        with database.open("r+b") as file:
            file.seek((page - 1) * size)
            file.write(b"\xff" * size)
        with pytest.raises(DatabaseError, match="is damaged"):
            catalog.run_query("SELECT command FROM runs", rows=1, seconds=10)


@pytest.fixture
def raising(postgres_archive: str) -> Iterator[str]:
    """A PostgreSQL archive with a function of somebody's own, ``scold()``, that raises."""
    with psycopg.connect(postgres_archive.replace("+psycopg", "", 1), autocommit=True) as connection:
        connection.execute(
            "CREATE OR REPLACE FUNCTION scold() RETURNS int LANGUAGE plpgsql AS $$ BEGIN "
            "RAISE 'shame on you'; END $$"
        )
        yield postgres_archive
        connection.execute("DROP FUNCTION scold()")


@pytest.mark.parametrize(
    ("sql", "state"),
    [
        ("SELECT 1 / 0", "22012"),
        ("SELECT 1 / (5 - i) FROM generate_series(1, 5) AS i", "22012"),  # at the last row
        ("SELECT id FROM runs WHERE id = 'ten'", "22P02"),
        ("SELECT id FROM runs LIMIT :ten", "22P02"),
        ("SELECT 'a' ~ '('", "2201B"),
        ("SELECT * FROM nowhere", "42P01"),
        ("SELECT pk FROM items WHERE pk > 5", "42883"),
        ("SELECT FROM WHERE", "42601"),
        ("SELECT scold()", "P0001"),
        ("SELECT repeat('x', 2000000000)", "54000"),
        (f"SELECT {', '.join(['1'] * 1700)}", "54011"),
        ("SELECT * FROM runs FOR UPDATE", "25006"),
    ],
)
def test_what_postgresql_refuses_is_the_querys_fault(raising: str, sql: str, state: str) -> None:
    """Data, names, RAISE and limits, before the first row or at the last: usage, code 2, told in one line."""
    with Catalog.open(raising, write=False) as catalog, pytest.raises(QueryRefused) as raised:
        catalog.run_query(sql, rows=10, seconds=10, parameters={"ten": "ten"} if ":ten" in sql else {})
    assert isinstance(raised.value.__cause__, psycopg.Error)
    assert raised.value.__cause__.sqlstate == state
    assert "\n" not in str(raised.value)


def test_a_connection_that_ends_is_not_the_querys_fault(postgres_archive: str) -> None:
    """Somebody at the server has ended it, as a restart would."""
    with Catalog.open(postgres_archive, write=False) as catalog, pytest.raises(DatabaseError):
        catalog.run_query("SELECT pg_terminate_backend(pg_backend_pid())", rows=1, seconds=10)


@pytest.mark.parametrize(("seconds", "ends"), [(0.0, False), (-1.0, False), (math.nan, False), (1e300, True)])
def test_a_time_is_above_none(catalog: Catalog, seconds: float, ends: bool) -> None:
    """And as long as anybody likes; what is no time would be a query without an end."""
    if ends:
        assert catalog.run_query("SELECT 1 AS one", rows=1, seconds=seconds).rows == ((1,),)
        return
    with pytest.raises(QueryRefused, match="invalid time limit"):
        catalog.run_query("SELECT 1", rows=1, seconds=seconds)


_ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"


def test_rows_are_had_before_the_query_has_ended(catalog: Catalog) -> None:
    """Of one that never ends; it is left in the middle, and the next one is answered."""
    with catalog.stream_query(_ENDLESS, seconds=30) as found:
        assert found.columns == ("i",)
        assert list(islice(found.rows, 3)) == [(1,), (2,), (3,)]
    with catalog.stream_query("SELECT :v AS v WHERE 1 = 0", seconds=5, parameters={"v": "1"}) as found:
        assert (found.columns, list(found.rows)) == (("v",), [])


def test_an_error_may_come_after_some_rows(catalog: Catalog) -> None:
    """As what it is: the time is over, or a value cannot be made."""
    with catalog.stream_query(_ENDLESS, seconds=0.2) as found:
        assert next(found.rows) == (1,)
        with pytest.raises(QueryRefused, match=r"longer than 0\.2 s"):
            list(found.rows)


@SQLITE_EVERYDAY
def test_what_goes_wrong_outside_is_left_alone(catalog: Catalog) -> None:
    """A mistake of whoever reads the rows is none of the query's."""

    def read() -> None:
        with catalog.stream_query(_ENDLESS, seconds=5) as found:
            next(found.rows)
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        read()


def test_a_reader_may_take_his_time(sqlite_template: Path) -> None:
    """In a pager: what he takes is not the query's."""
    many = f"{_ENDLESS} LIMIT 20000"
    with (
        Catalog.open(sqlite_template, write=False) as catalog,
        catalog.stream_query(many, seconds=0.5) as found,
    ):
        assert next(found.rows) == (1,)
        time.sleep(0.7)
        assert sum(1 for _ in found.rows) == 19_999


def test_rows_that_are_written_without_a_pause_count(sqlite_template: Path) -> None:
    """Somebody who takes each row at once, and works on it: an endless query ends in the time that it was
    given, or little more."""

    def written(row: tuple[object, ...]) -> tuple[object, ...]:
        time.sleep(0.0005)
        return row

    begun = time.monotonic()
    with (
        Catalog.open(sqlite_template, write=False) as catalog,
        catalog.stream_query(_ENDLESS, seconds=0.3) as found,
        pytest.raises(QueryRefused, match=r"longer than 0\.3 s"),
    ):
        list(map(written, found.rows))
    assert time.monotonic() - begun < 3
