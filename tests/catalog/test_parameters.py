"""Where a parameter stands in SQL is where the database looks for a value: the scanner against hand-made
cases and both databases.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archiver.catalog import Catalog
from archiver.queries.parameters import parameter_names, replace_parameters

_BOTH = [
    ("SELECT :a, :b, :a", ("a", "b")),
    ("SELECT ':no', 'it''s :no', \":no\", \"a\"\":no\", :a", ("a",)),
    ("SELECT 1 -- :no\n, :a", ("a",)),
    ("SELECT /* :no ' */ :a /* :no", ("a",)),
    ("SELECT ':no", ()),
    ('SELECT ":no', ()),
    ("SELECT 1 WHERE 1 IN (:a,:b)AND 2>:c", ("a", "b", "c")),
    ("SELECT :größe", ("größe",)),
    ("SELECT : a, x: b", ()),
    ("SELECT pk::int, ':a'::text, now() ::date", ()),
    ("", ()),
]
_SQLITE = [
    ("SELECT [a :no] FROM (SELECT 1 AS [a :no]) WHERE [it's] = :a", ("a",)),
    ("SELECT [:no", ()),
    ("SELECT `a :no`, `b``:no`, :a", ("a",)),
    ("SELECT '[', :a, ']', :b", ("a", "b")),
    ("SELECT 1 --\r:no\n, :a", ("a",)),
    ("SELECT 1 /* /* */, :a, 1 /* */", ("a",)),
    ("SELECT E'\\', :a", ("a",)),
    ("SELECT CASE WHEN 1 OR:a THEN'x'ELSE:b END", ("a", "b")),
    ("SELECT :1, :a$b, 12:00", ("1", "a$b", "00")),
]
_POSTGRESQL = [
    ("SELECT (ARRAY[:a, :b])[1:2], x[y:z], ARRAY[1,2][:c]", ("a", "b", "c")),
    ("SELECT '{}'::jsonb, :a::int, now()::date", ("a",)),
    ("SELECT $$ :no ' $$, $q$ $$ :no $ $q$, :a, $x$ :no", ("a",)),
    ("SELECT a$b$, :a, c$b$", ("a",)),
    ("SELECT E'\\':no', e'\\\\', :a, type'\\', :b", ("a", "b")),
    ("SELECT 1 /* /* :no */ :no */, :a /* /* */ :no", ("a",)),
    ("SELECT 1 -- :no\r, :a", ("a",)),
    ("SELECT 1 ` :a", ("a",)),
]


@pytest.mark.parametrize(("sql", "found"), [*_BOTH, *_SQLITE])
def test_parameters_as_sqlite_reads_them(sql: str, found: tuple[str, ...]) -> None:
    """Not within texts, the three ways to quote a name, and comments, which do not nest."""
    assert parameter_names(sql, postgresql=False) == found


@pytest.mark.parametrize(("sql", "found"), [*_BOTH, *_POSTGRESQL])
def test_parameters_as_postgresql_reads_them(sql: str, found: tuple[str, ...]) -> None:
    """Not within texts of four kinds, quoted names, casts, slices, and comments, which nest."""
    assert parameter_names(sql, postgresql=True) == found


_WITHIN = st.text(alphabet=":ab'\"`[]*/-$\\ \n\r%", max_size=8)
"""What a text, a quoted name or a comment may hold to mislead a reader."""
_NAME = st.sampled_from(["a", "b", "ab", "_a1"])


def _quoted(text: str, mark: str, end: str | None = None) -> str:
    end = end or mark
    return f"{mark}{text.replace(end, end * 2)}{end}"


def _pieces(*more: st.SearchStrategy[tuple[str, object]]) -> st.SearchStrategy[list[tuple[str, object]]]:
    """Expressions as SQL, each with what it is worth."""
    text = _WITHIN.map(lambda text: (_quoted(text, "'"), text))
    named = _WITHIN.filter(bool).map(lambda name: (f"1 AS {_quoted(name, chr(34))}", 1))
    bound = _NAME.map(lambda name: (f"CAST(:{name} AS text)", f"<:{name}>"))
    return st.lists(st.one_of(text, named, bound, *more), min_size=1, max_size=6)


_COMMENT = _WITHIN.map(lambda text: f"/*{text.replace('*/', '').replace('/*', '')} */").filter(
    lambda comment: comment.find("*/") == len(comment) - 2 and comment.rfind("/*") == 0
)
_LINE = _WITHIN.map(lambda text: f"--{''.join(text.split())}\n")
_BETWEEN = st.one_of(st.just(" "), _COMMENT, _LINE)
_OF_SQLITE = _pieces(
    _WITHIN.map(lambda name: (f"1 AS {_quoted(name, '`')}", 1)),
    _WITHIN.map(lambda name: (f"1 AS [{name.replace(']', '')}]", 1)),
    _WITHIN.map(lambda text: (f"1 --\r{text.replace(chr(10), '')}\n", 1)),
    _WITHIN.map(lambda text: (f"1 /*/* {text.replace('*/', '')}*/", 1)),
    _NAME.map(lambda name: (f"CASE WHEN 1 THEN:{name} END", f"<:{name}>")),
)
_OF_POSTGRESQL = _pieces(
    _WITHIN.map(
        lambda text: (f"E'{text.replace(chr(92), chr(92) * 2).replace(chr(39), chr(92) + chr(39))}'", text)
    ),
    _WITHIN.map(lambda text: (f"$q${text}|$q$", f"{text}|")),
    _WITHIN.map(lambda text: text.replace("$", "")).map(lambda text: (f"$${text}$$", text)),
    _COMMENT.map(lambda comment: (f"1 /* :no {comment} :no */", 1)),
    _WITHIN.map(lambda text: (f"1 -- {''.join(text.split())}\r", 1)),
    st.just(("(ARRAY[1,2,3])[2:2]", [2])),
    _NAME.map(lambda name: (f":{name}::text", f"<:{name}>")),
)


class _Asked(dict[str, str]):
    """What SQLite looks for."""

    def __missing__(self, name: str) -> str:
        self[name] = f"<:{name}>"
        return self[name]


def _sql(pieces: list[tuple[str, object]], between: list[str]) -> str:
    blanks = iter(between)
    return "SELECT " + ",".join(f"{next(blanks, ' ')}{piece}{next(blanks, ' ')}" for piece, _ in pieces)


@given(_OF_SQLITE, st.lists(_BETWEEN, max_size=12))
@settings(max_examples=60)
def test_sqlite_looks_for_the_parameters_that_are_found(
    pieces: list[tuple[str, object]], between: list[str]
) -> None:
    """Whatever stands around them: asked itself which names it wants a value for, and what it reads instead
    of one.
    """
    sql, asked = _sql(pieces, between), _Asked()
    with closing(sqlite3.connect(":memory:")) as connection:
        assert connection.execute(sql, asked).fetchone() == tuple(worth for _, worth in pieces)
    assert parameter_names(sql, postgresql=False) == tuple(asked)


@pytest.fixture(scope="module")
def reader(postgres_archive: str) -> Iterator[Catalog]:
    with Catalog.open(postgres_archive, write=False) as catalog:
        yield catalog


@given(_OF_POSTGRESQL, st.lists(_BETWEEN, max_size=12))
@settings(deadline=None)
def test_postgresql_gets_its_values_where_the_parameters_are_found(
    reader: Catalog, pieces: list[tuple[str, object]], between: list[str]
) -> None:
    """And reads everything else as it was written."""
    sql = _sql(pieces, between)
    values = {name: f"<:{name}>" for name in parameter_names(sql, postgresql=True)}
    found = reader.run_query(sql, rows=1, seconds=10, parameters=values)
    assert found.rows == (tuple(worth for _, worth in pieces),)


@given(st.text(alphabet=":ab'\"`[]*/-$eE\\ \n\r1", max_size=40))
def test_what_is_no_parameter_stays_as_it_is(sql: str) -> None:
    """Any text is read to its end, by either reading."""
    assert replace_parameters(sql, lambda name: f":{name}") == sql
    assert all(f":{name}" in sql for name in parameter_names(sql, postgresql=False))


def test_a_name_in_brackets_is_asked_for(sqlite_template: Path) -> None:
    """As other programs for SQLite write it."""
    with Catalog.open(sqlite_template, write=False) as catalog:
        sql = "SELECT [a :b], `:c` FROM (SELECT :a AS [a :b], 2 AS `:c`)"
        found = catalog.run_query(sql, rows=1, seconds=10, parameters={"a": "1"})
    assert (found.columns, found.rows) == (("a :b", ":c"), (("1", 2),))
