"""``archiver query`` by name, with parameters, and as a role of its own."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import make_url

from archiver.archive.archive import Archive
from archiver.archive.database import find_query_database, read_schema
from archiver.blobs import marker
from archiver.blobs.marker import Marker
from archiver.catalog import Catalog, record
from archiver.cli import output, query_command
from archiver.cli.main import main
from archiver.config import Config, default_path, load
from archiver.datasette.metadata import describe_tables
from archiver.errors import MarkerMismatch, QueryRefused, UsageError
from archiver.model.query_results import Rows
from archiver.model.upstream import User
from tests.support.databases import ARCHIVE_ID, NOW, empty_database

Shown = pytest.CaptureFixture[str]


@pytest.fixture
def home(tmp_path: Path, sqlite_template: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with an archive, a configuration, and a named query of somebody's own."""
    kept = tmp_path / "archive"
    kept.mkdir()
    (kept / "archive.db").write_bytes(sqlite_template.read_bytes())
    marker.write(kept, Marker(ARCHIVE_ID))
    (tmp_path / "config.toml").touch(0o600)
    (tmp_path / "config.toml").write_text('[archive]\ndirectory = "archive"\n')
    (tmp_path / "queries").mkdir()
    (tmp_path / "queries" / "mine.sql").write_text("-- Mine: -p n=1\nSELECT :n AS n, ':no' AS text\n")
    monkeypatch.setenv("ARCHIVER_CONFIG", str(tmp_path / "config.toml"))
    return tmp_path


def test_a_named_query_is_run_and_listed(home: Path, capsys: Shown) -> None:
    """One of ours and one of the user's own, whose value reaches it as it is."""
    assert main(["query", "accounts", "--format", "csv"]) == 0
    assert capsys.readouterr().out.startswith("username,full_name,highlights,")
    assert main(["query", "mine", "-p", "n=a=b", "--format", "ndjson"]) == 0
    assert capsys.readouterr().out == '{"n": "a=b", "text": ":no"}\n'
    assert main(["query", "--list", "--format", "csv"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert listed[0] == "name,parameters,answers"
    assert {"mine,n,Mine: -p n=1", 'growth,,"How did the archive grow, month by month?"'} <= set(listed)


def test_the_tables_and_columns_are_listed(catalog: Catalog) -> None:
    """Every table and view that docs/schema.md describes is in the list with all its columns, on both
    databases alike; many columns have their meaning.
    """
    listed = read_schema(catalog)
    columns = {(row[0], row[1]) for row in listed.rows}
    assert {str(row[0]) for row in listed.rows} >= set(describe_tables()) - {"journal_triggers"}
    assert {("users", "username"), ("account_items", "picture_path"), ("items", "pk")} <= columns
    assert not [row for row in listed.rows if str(row[0]).startswith("search_index")]
    assert sum(row[2] is not None for row in listed.rows) > 100


@pytest.mark.parametrize(
    ("option", "words"), [("--schema", "former ones: user_pk,"), ("--list", "-p username=")]
)
@pytest.mark.parametrize(("terminal", "width"), [(80, 80), (None, 100)])
def test_meanings_are_wrapped(
    home: Path,
    capsys: Shown,
    monkeypatch: pytest.MonkeyPatch,
    option: str,
    words: str,
    terminal: int | None,
    width: int,
) -> None:
    """What a table or a query is for goes on in the next lines, also in a pager: nothing is cut."""
    monkeypatch.setattr(output, "terminal_width", lambda: terminal)
    assert main(["query", option]) == 0
    text = capsys.readouterr().out
    assert "…" not in text
    assert words in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= width


def test_the_schema_of_one_table(home: Path, capsys: Shown) -> None:
    """With a name, only its rows; for a mistyped one the command names the nearest."""
    assert main(["query", "--schema", "blobs", "--format", "csv"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert listed[0] == "table,column,meaning"
    assert "blobs,size,bytes" in listed
    assert len(listed) == 10
    assert main(["query", "--schema", "blob"]) == 2
    assert "there is no table blob; did you mean blobs?" in capsys.readouterr().err


def test_rows_one_column_below_the_other(home: Path, capsys: Shown) -> None:
    """-x prints each row as lines and cuts nothing; with another format it is refused."""
    assert main(["query", "-x", "SELECT 'a' AS name, 12 AS long_name UNION ALL SELECT 'b', NULL"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "-[ row 1 ]---------",
        "name       a",
        "long_name  12",
        "-[ row 2 ]---------",
        "name       b",
        "long_name",
    ]
    assert main(["query", "-x", "--format", "csv", "SELECT 1"]) == 2
    assert "cannot be combined" in capsys.readouterr().err


def test_what_is_no_query_hinders_none(home: Path, capsys: Shown) -> None:
    """A pipe and a directory are no queries; a name is in lower case, whatever its file's; one that cannot be
    read tells why.
    """
    own = home / "queries"
    os.mkfifo(own / "pipe.sql")
    (own / "folder.sql").mkdir()
    (own / "Other.sql").write_text("-- Other\nSELECT 1 AS n\n")
    (own / "broken.sql").symlink_to(
        "/proc/self/mem"
    )  # a regular file that not even root can read from its start
    assert main(["query", "--list", "--format", "csv"]) == 0
    listed = {line.split(",")[0]: line for line in capsys.readouterr().out.splitlines()}
    assert {"mine", "other"} <= set(listed)
    assert not {"pipe", "folder"} & set(listed)
    assert listed["broken"].endswith("cannot be read: Input/output error")
    assert main(["query", "other", "--format", "ndjson"]) == 0
    assert capsys.readouterr().out == '{"n": 1}\n'


def test_a_file_whose_name_is_none_is_told(home: Path, capsys: Shown) -> None:
    """With the list, on stderr: nobody finds out otherwise why his query is not known.

    Hidden files are an editor's.
    """
    own = home / "queries"
    for name in ("my query.sql", "größte\x1b.sql", ".#mine.sql", "notes.txt"):
        (own / name).write_text("-- Odd\nSELECT 1\n")
    (own / "Shouted.SQL").write_text("-- Loud\nSELECT 2 AS n\n")
    (own / "folder.sql").mkdir()
    assert main(["query", "--list", "--format", "csv"]) == 0
    told = capsys.readouterr()
    assert "shouted,,Loud" in told.out
    assert "Odd" not in told.out
    shape = "a query's file name may contain only a to z, digits, - and _"
    assert set(told.err.splitlines()) == {
        f"archiver: note: '{own}/folder.sql' is ignored: not a regular file",
        f"archiver: note: '{own}/my query.sql' is ignored: {shape}",
        f"archiver: note: '{own}/größte\\x1b.sql' is ignored: {shape}",
    }
    assert main(["query", "--list", "-q"]) == 0
    assert capsys.readouterr().err == ""


def test_own_queries_are_known_without_a_configuration(
    home: Path, capsys: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All is as if an empty one stood where it is looked for; a folder that cannot be read hinders none, and
    is told with the list.
    """
    monkeypatch.delenv("ARCHIVER_CONFIG")
    monkeypatch.setenv("ARCHIVER_ARCHIVE", str(home / "archive"))
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "config"))
    own = default_path().parent / "queries"
    assert main(["query", "--list"]) == 0
    assert capsys.readouterr().err == ""
    own.parent.mkdir(parents=True)
    (home / "queries").rename(own)
    assert main(["query", "mine", "-p", "n=1", "--format", "ndjson"]) == 0
    assert capsys.readouterr().out == '{"n": "1", "text": ":no"}\n'
    shutil.rmtree(own)
    own.write_text("no folder")
    assert main(["query", "accounts", "--format", "csv"]) == 0
    assert main(["query", "--list"]) == 0
    assert "cannot be read: Not a directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["query", "mentions"], "there is no query named mentions; did you mean mentions-of"),
        (["query", "../mine"], "the query failed: "),
        (["query", "mine"], "no value for :n (add -p n=VALUE)"),
        (["query", "mine", "-p", "n"], "invalid parameter 'n' (use -p NAME=VALUE)"),
        (["query", "mine", "-p", "n=1", "-p", "n=2"], "the parameter n is given twice"),
        (["query", "mine", "-p", "n=1", "-p", "m=2"], "no parameter :m; it has :n"),
        (["query", "mentions-of", "-p", "user=natgeo"], "no parameter :user; it has :username"),
        (["query", "SELECT :a, :b"], "no value for :a, :b (add -p a=VALUE -p b=VALUE)"),
        (["query", "growth", "-p", "m=2", "-p", "n=3"], "no parameter :m, :n; it has none"),
        (["query", "SELECT :n", "-p", "n:=9223372036854775808"], "too large"),
    ],
)
def test_what_is_asked_wrongly_is_told(home: Path, capsys: Shown, words: list[str], said: str) -> None:
    """With the next step; code 2."""
    assert main(words) == 2
    assert said in capsys.readouterr().err


def test_a_number_is_compared_as_one(home: Path, capsys: Shown) -> None:
    """With what was counted, which no text is equal to or less than on SQLite."""
    for given, rows in (("n:=1", "1\n"), ("n:=1.5", ""), ("n=1", "")):
        assert (
            main(
                [
                    "query",
                    "SELECT 1 AS one FROM (SELECT 1 AS n) WHERE n >= :n",
                    "-p",
                    given,
                    "--format",
                    "csv",
                ]
            )
            == 0
        )
        assert capsys.readouterr().out == f"one\n{rows}"
    assert main(["query", "SELECT :n AS n", "-p", "n:=nan"]) == 2
    assert "the parameter n is not a number" in capsys.readouterr().err


def test_as_many_rows_as_anybody_asks_for(home: Path, capsys: Shown) -> None:
    """A number that is larger than any memory is all of them."""
    assert (
        main(["query", "SELECT 1 AS n", "--limit", "9" * 30, "--timeout", "9" * 30, "--format", "csv"]) == 0
    )
    assert capsys.readouterr().out == "n\n1\n"


def test_a_query_has_a_limit_in_time_that_can_be_lifted(home: Path, capsys: Shown) -> None:
    """An endless one is refused, naming the option; with 0 there is no limit."""
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"
    assert main(["query", endless, "--format", "csv", "--timeout", "0.2"]) == 2
    assert "longer than 0.2 s (narrow it, or give it more time: --timeout" in capsys.readouterr().err
    assert main(["query", f"{endless} LIMIT 1", "--timeout", "0"]) == 0


def test_a_username_may_be_written_as_elsewhere(home: Path, capsys: Shown) -> None:
    """With ``@`` and in any case; where nothing is found and nobody is or was called so, that is told, with
    near names.
    """
    with Catalog.open(home / "archive" / "archive.db", write=True) as catalog:
        catalog.write(
            record.record_user, catalog.write(record.start_run, "run", NOW), User("1", "natgeo"), NOW
        )
    (home / "queries" / "who.sql").write_text("-- Who\nSELECT pk FROM users WHERE username = :username\n")
    for name in ("natgeo", "@natgeo", "NatGeo"):
        assert main(["query", "who", "-p", f"username={name}", "--format", "csv"]) == 0
        assert capsys.readouterr() == ("pk\n1\n", "")
    for form in ("csv", "table"):
        assert main(["query", "who", "-p", "username=@natgo", "--format", form]) == 0
        said = capsys.readouterr().err
        assert said == "archiver: query: the archive has no account natgo; did you mean natgeo?\n"
    assert main(["query", "mentions-of", "-p", "username="]) == 0
    assert "has no account ''" in capsys.readouterr().err
    for words in (["-p", "username=natgeo"], ["-p", "username=nobody", "-q"]):
        assert main(["query", "mentions-of", *words]) == 0
        assert capsys.readouterr().err == ""


def test_since_is_a_time_as_everywhere(home: Path, capsys: Shown) -> None:
    """A date, or so long ago; what is none would be a text that comes after all times, or before."""
    assert query_command.read_since("2026-03-01") == "2026-03-01T00:00:00.000000Z"
    assert main(["query", "new-items", "-p", "since=7d", "-q"]) == 0
    assert main(["query", "new-items", "-p", "since=yesterday"]) == 2
    assert "the parameter since is not a time" in capsys.readouterr().err


def test_sql_of_one_word_is_no_name() -> None:
    """Only a word in lower case names a query: nothing that a database would answer."""
    assert query_command.read_statement("VALUES(1)", None) == "VALUES(1)"
    assert query_command.read_statement("SELECT", None) == "SELECT"
    with pytest.raises(UsageError, match="no query named"):
        query_command.read_statement("select", None)


@pytest.fixture
def reader(postgres_archive: str) -> Iterator[str]:
    """The URL of the PostgreSQL archive under a role that may SELECT, and that is all."""
    empty_database(postgres_archive)
    role = f"reader_{uuid.uuid4().hex[:8]}"
    plain = postgres_archive.replace("+psycopg", "", 1)
    with psycopg.connect(plain, autocommit=True) as connection:
        named = sql.Identifier(role)
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'secret'").format(named))
        connection.execute(sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {}").format(named))
        connection.execute(
            "CREATE OR REPLACE FUNCTION sly() RETURNS int LANGUAGE plpgsql AS"
            " $$ BEGIN PERFORM set_config('transaction_read_only', 'off', true); DELETE "
            "FROM runs; RETURN 1; END $$"
        )
        yield (
            make_url(postgres_archive)
            .set(username=role, password="secret")
            .render_as_string(hide_password=False)
        )
        connection.execute("DROP FUNCTION sly()")
        connection.execute(sql.SQL("DROP OWNED BY {0}").format(named))
        connection.execute(sql.SQL("DROP ROLE {}").format(named))


def _config(root: Path, *databases: str) -> Config:
    marker.write(root, Marker(ARCHIVE_ID))
    keys = ("archive.database", "archive.query_database")
    return load(None, {}, {"archive.directory": str(root), **dict(zip(keys, databases, strict=True))})


def _ask(config: Config, sql: str) -> Rows:
    with Archive(config, database=find_query_database(config)) as archive:
        return archive.query(sql, limit=1, seconds=5, own_process=True)


def test_a_query_is_asked_as_the_role_that_may_only_read(
    tmp_path: Path, postgres_archive: str, reader: str
) -> None:
    """Views too; nothing that it tries writes, and could not if the transaction were no read-only one."""
    with Catalog.open(postgres_archive, write=True) as catalog:
        catalog.write(record.start_run, "run", NOW)
    config = _config(tmp_path, postgres_archive, reader)
    who = _ask(config, "SELECT current_user, (SELECT count(*) FROM accounts)").rows[0]
    assert who == (make_url(reader).username, 0)
    for statement in (
        "SELECT sly()",
        "WITH gone AS (DELETE FROM runs RETURNING id) SELECT * FROM gone",
        "SELECT set_config('role', (SELECT usename FROM pg_user WHERE usesuper LIMIT 1), true), sly()",
        "SELECT lo_create(0)",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT setval('runs_id_seq', 7)",
    ):
        with pytest.raises(QueryRefused):
            _ask(config, statement)
    with psycopg.connect(reader.replace("+psycopg", "", 1)) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT sly()")
        connection.rollback()
    with Catalog.open(postgres_archive, write=False) as catalog:
        assert catalog.run_query("SELECT count(*) FROM runs", rows=1, seconds=5).rows == ((1,),)


def test_the_role_must_lead_to_the_same_archive(tmp_path: Path, postgres_archive: str, reader: str) -> None:
    """Else the answers would be those of another one."""
    config = _config(tmp_path, postgres_archive, reader)
    (tmp_path / "archive.json").unlink()
    marker.write(tmp_path, Marker("another"))
    with pytest.raises(MarkerMismatch):
        _ask(config, "SELECT 1")
