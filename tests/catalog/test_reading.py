"""Views, totals and named queries: on both databases the same rows, and the rows that a person would
count.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Connection

from archiver.catalog import Catalog, record, schema
from archiver.catalog.column_types import time_text
from archiver.catalog.record.stored_files import StoredFile
from archiver.queries import named_queries
from archiver.queries.parameters import parameter_names
from tests.support.catalog_samples import FACTS, LATEST, digest, file_of, page, rows
from tests.support.databases import (
    OWN_SQLITE_EVERYDAY,
    PostgresServer,
    empty_database,
    execute_directly,
    make_newer_migrations,
)
from tests.support.three_night_catalog import record_three_nights

_ROOT = Path(__file__).parents[2]
_PAGE = (_ROOT / "docs" / "schema.md").read_text(encoding="utf-8")
_VALUES = {"username": "natgeo", "highlight": "1", "since": "2026-03-01", "domain": "www.example.org"}
_VIEWS = "SELECT name FROM sqlite_schema WHERE type = 'view' ORDER BY 1"
_ACCOUNTS = """
SELECT user_pk, sum(items), sum(files), sum(bytes) FROM (
  SELECT h.user_pk, count(DISTINCT m.item_pk) AS items, 0 AS files, 0 AS bytes
  FROM highlight_items m JOIN highlights h ON h.pk = m.highlight_pk GROUP BY h.user_pk
  UNION ALL
  SELECT user_pk, 0, count(*), sum(CASE WHEN lost_at IS NULL THEN size ELSE 0 END) FROM (
    SELECT user_pk, id, sha256 FROM files WHERE user_pk IS NOT NULL
    UNION SELECT h.user_pk, f.id, f.sha256 FROM files f JOIN highlights h ON h.pk = f.highlight_pk
    UNION SELECT h.user_pk, f.id, f.sha256 FROM files f JOIN highlight_items m ON m.item_pk = f.item_pk
      JOIN highlights h ON h.pk = m.highlight_pk
  ) AS owned JOIN blobs ON blobs.sha256 = owned.sha256 GROUP BY user_pk
) AS counted GROUP BY user_pk ORDER BY user_pk
"""


@pytest.fixture(scope="module")
def lived_in(
    tmp_path_factory: pytest.TempPathFactory,
    sqlite_template: Path,
    postgres: PostgresServer,
    postgres_template: str,
) -> Iterator[tuple[Catalog, Catalog]]:
    """The same lived-in archive on SQLite and on PostgreSQL."""
    path = Path(shutil.copy(sqlite_template, tmp_path_factory.mktemp("lived") / "archive.db"))
    with postgres.database(postgres_template) as url:
        for place in (path, url):
            with Catalog.open(place, write=True) as catalog:
                record_three_nights(catalog)
        with Catalog.open(path, write=False) as one, Catalog.open(url, write=False) as other:
            yield one, other


def _alike(found: object) -> object:
    return time_text(found) if isinstance(found, datetime) else found


def _asked(
    catalog: Catalog, sql: str, parameters: dict[str, str]
) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    found = catalog.run_query(sql, rows=100, seconds=10, parameters=parameters)
    return found.columns, [tuple(map(_alike, row)) for row in found.rows]


_NIGHT, _NEXT = "2026-03-31T23:30:00.250000Z", "2026-04-01T23:30:00.250000Z"
_PAGE_1 = "https://www.instagram.com/stories/highlights/1/"
_FOUND: dict[str, tuple[int, tuple[object, ...]]] = {
    "account-highlights": (2, (0, "BOTW", 4, 7000, "1", _PAGE_1, None)),
    "accounts": (2, ("natgeo", "National Geographic", 2, 4, 10, 9000, None)),
    "changes": (4, (_NEXT, "BOTW", "highlight", "1", "items", "13", None)),
    "costs-by-account": (2, ("natgeo", "2026-03", 2, 2)),
    "costs-by-endpoint": (3, ("/v1/highlight/by/url", 1, 1)),
    "former-names": (1, ("nasa_gov", "nasa", _NIGHT, _NIGHT)),
    "gone": (2, (_NEXT, "item", "natgeo", "BOTW", "13")),
    "growth": (2, ("2026-03", 6, 9, 8000, 6, 8000)),
    "hashtags": (1, ("旅行", 1)),
    "held-only-here": (1, (_NEXT, "BOTW", _NIGHT)),
    "highlight-items": (4, (0, _NIGHT, "video")),
    "link-domains": (1, ("www.example.org", 1)),
    "links-to": (2, (_NIGHT, "natgeo", "BOTW", "https://WWW.Example.org:443/旅行?x=1", None)),
    "mentions-of": (1, ("2026-04-01T00:30:00.250000Z", "nasa_gov", "Moon")),
    "most-mentioned": (2, ("friend", 1, _NIGHT, _NIGHT)),
    "new-items": (7, (_NIGHT, "natgeo", "BOTW", "video", _NIGHT)),
    "open-failures": (1, (_NIGHT, "item", "14", "thumbnail", "network", 1, _NIGHT)),
    "places": (1, (_NIGHT, "Rome", 41.5, 12.5, "BOTW", f"{_PAGE_1}?story_media_id=11")),
    "shared-items": (1, ("12", 2, "BOTW", 1, "1")),
    "title-history": (2, ("1", "Gift Guide", _NIGHT, _NEXT)),
}
"""How many rows each query finds in the lived-in archive, and how the first one begins."""


def test_every_named_query_finds_what_is_there(lived_in: tuple[Catalog, Catalog]) -> None:
    """All twenty, from both databases the same rows."""
    known = named_queries.all_queries()
    assert known.keys() == _FOUND.keys()
    for name, query in known.items():
        asked = parameter_names(query.sql, postgresql=False)
        assert asked == parameter_names(query.sql, postgresql=True)
        given = {parameter: _VALUES[parameter] for parameter in asked}
        sqlite, postgresql = (_asked(catalog, query.sql, given) for catalog in lived_in)
        assert sqlite == postgresql, name
        count, begin = _FOUND[name]
        assert (len(sqlite[1]), sqlite[1][0][: len(begin)]) == (count, begin), name


def test_the_page_tells_every_view_and_the_databases_agree_on_it(lived_in: tuple[Catalog, Catalog]) -> None:
    """Its columns, in its paragraph, and in the same rows."""
    for (name,) in rows(lived_in[0], _VIEWS):
        sqlite, postgresql = (_asked(catalog, f"SELECT * FROM {name}", {}) for catalog in lived_in)
        assert sqlite[0] == postgresql[0]
        assert sqlite[1]
        assert sorted(map(repr, sqlite[1])) == sorted(repr(_flags(row)) for row in postgresql[1]), name
        (told,) = re.findall(rf"^\*\*`{name}`\*\*:.*?(?=\n\n)", _PAGE, flags=re.MULTILINE | re.DOTALL)
        assert [column for column in sqlite[0] if f"`{column}`" not in told] == [], name


def _flags(row: tuple[object, ...]) -> tuple[object, ...]:
    """Booleans as SQLite has them."""
    return tuple(int(value) if isinstance(value, bool) else value for value in row)


_BY_HAND = (
    "DELETE FROM highlight_items WHERE highlight_pk = '1' AND item_pk IN ('12', '13')",
    "DELETE FROM files WHERE item_pk IN ('13', '15') OR highlight_pk = '1'",
    "DELETE FROM items WHERE pk = '13'",
    "DELETE FROM blobs WHERE sha256 NOT IN (SELECT sha256 FROM files)",
    "DELETE FROM highlight_items WHERE highlight_pk IN ('2', '5')",
)


def _said(connection: Connection, statement: str) -> None:
    connection.exec_driver_sql(statement)


def _counted(catalog: Catalog, month: str) -> None:
    """The totals are what a count of the rows brings."""
    accounts = "SELECT user_pk, items, files, bytes FROM account_totals ORDER BY user_pk"
    assert rows(catalog, accounts) == rows(catalog, _ACCOUNTS)
    months = "SELECT month, items, files, blobs, bytes FROM growth ORDER BY month"
    counted = f"""
        SELECT month, sum(items), sum(files), sum(blobs), sum(bytes) FROM (
          SELECT {month.format("first_seen_at")} AS month, 1 AS items, 0 AS files, 0 AS blobs, 0 AS bytes
          FROM items
          UNION ALL SELECT {month.format("kept_at")}, 0, 1, 0, 0 FROM files
          UNION ALL SELECT {month.format("stored_at")}, 0, 0, 1, size FROM blobs WHERE lost_at IS NULL
        ) AS came GROUP BY month ORDER BY month"""
    assert rows(catalog, months) == rows(catalog, counted)


def test_the_totals_are_what_a_count_brings(catalog: Catalog, database: str | Path) -> None:
    """Though items are in two highlights, a highlight went to another account, bytes were lost and found, and
    rows deleted by hand.
    """
    month = "substr({}, 1, 7)" if isinstance(database, Path) else "to_char({}, 'YYYY-MM')"
    record_three_nights(catalog)
    _counted(catalog, month)
    # The move counted both accounts anew: from here on each row counts by itself.
    catalog.write(record.record_page, 1, None, page("3", "11", "31", "32"), FACTS, LATEST)
    for pk in ("31", "32"):
        catalog.write(record.record_files, [StoredFile(file_of(pk), None, LATEST)], run_id=1)
    catalog.write(record.record_lost_blobs, [digest("32 video")], LATEST)
    _counted(catalog, month)
    for statement in _BY_HAND:
        catalog.write(_said, statement)
        _counted(catalog, month)


def test_another_search_path_writes_too(postgres_archive: str) -> None:
    """As pg_restore does: triggers find their tables whatever path the one who writes has."""
    empty_database(postgres_archive)
    with psycopg.connect(postgres_archive.replace("+psycopg", "", 1)) as connection:
        connection.execute("SET search_path TO ''")
        connection.execute(
            "INSERT INTO public.items (pk, user_pk, first_seen_at) VALUES ('1', '1', '2026-03-31T00:00:00Z')"
        )
        assert connection.execute("SELECT items FROM public.monthly_totals").fetchall() == [(1,)]
        connection.rollback()


def test_two_writers_count_without_waiting_for_each_other(postgres_archive: str) -> None:
    """Each in rows of its own: what one has not committed yet does not hold the other up, and what one has
    counted the other may take away.
    """
    empty_database(postgres_archive)
    add = "INSERT INTO items (pk, user_pk, first_seen_at) VALUES (%s, '1', '2026-03-31T00:00:00Z')"
    url = postgres_archive.replace("+psycopg", "", 1)
    with psycopg.connect(url) as one, psycopg.connect(url) as other:
        other.execute("SET lock_timeout = '1s'")
        one.execute(add, ["1"])
        other.execute(add, ["2"])
        one.commit()
        other.execute("DELETE FROM items WHERE pk = '1'")
        other.commit()
        assert other.execute("SELECT month, items FROM growth").fetchall() == [("2026-03", 1)]
        other.execute("DELETE FROM items")
        assert other.execute("SELECT month, items FROM growth").fetchall() == []
        other.rollback()


def test_the_current_file_is_the_one_that_was_offered_last(lived_in: tuple[Catalog, Catalog]) -> None:
    """Though it was kept before another; of two at the same moment the later one; of bytes that are lost
    none.
    """
    for catalog in lived_in:
        of_11 = "SELECT role, sha256 FROM current_files WHERE item_pk = '11' ORDER BY role"
        newest = [("thumbnail", digest("11 thumbnail")), ("video", digest("11 video"))]
        assert rows(catalog, of_11) == newest
        of_15 = [(digest("15 at the same moment"),)]
        assert rows(catalog, "SELECT sha256 FROM current_files WHERE item_pk = '15'") == of_15
        assert rows(catalog, "SELECT role FROM current_files WHERE item_pk = '12'") == [("thumbnail",)]


def test_the_page_shows_the_named_queries() -> None:
    """docs/schema.md is what scripts/queries.py makes of it."""
    check = [sys.executable, str(_ROOT / "scripts" / "queries.py"), "--check"]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


_ROWS = f"""
INSERT INTO runs (id, command, started_at, units) VALUES (1, 'run', '{_NIGHT}', 0);
INSERT INTO api_calls (run_id, path, subject, units, started_at) VALUES (1, '/a', '7', 1, '{_NIGHT}');
INSERT INTO api_calls (run_id, path, subject, units, started_at) VALUES (1, '/a', '7', 2, '{_NIGHT}');
INSERT INTO users (pk, first_seen_at, last_seen_at) VALUES ('7', '{_NIGHT}', '{_NIGHT}');
INSERT INTO highlights (pk, user_pk, first_seen_at, last_seen_at) VALUES ('1', '7', '{_NIGHT}', '{_NIGHT}');
INSERT INTO highlights (pk, user_pk, first_seen_at, last_seen_at) VALUES ('2', '7', '{_NIGHT}', '{_NIGHT}');
INSERT INTO items (pk, user_pk, first_seen_at) VALUES ('11', '7', '{_NIGHT}');
INSERT INTO highlight_items (highlight_pk, item_pk, position, first_seen_at, last_seen_at)
VALUES ('1', '11', 0, '{_NIGHT}', '{_NIGHT}');
INSERT INTO highlight_items (highlight_pk, item_pk, position, first_seen_at, last_seen_at)
VALUES ('2', '11', 0, '{_NIGHT}', '{_NIGHT}');
INSERT INTO blobs (sha256, size, mime, stored_at) VALUES ('ab', 1000, 'video/mp4', '{_NEXT}');
INSERT INTO files (id, item_pk, role, sha256, run_id, source_url, kept_at, last_seen_at)
  VALUES (1, '11', 'video', 'ab', 1, 'https\\://a', '{_NEXT}', '{_NEXT}')
"""


@OWN_SQLITE_EVERYDAY
def test_an_upgrade_counts_everything_again(
    own_database: str | Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever its migrations did to the rows and to the totals."""
    execute_directly(own_database, *_ROWS.split(";"))
    wrong = "UPDATE account_totals SET files = 7; DELETE FROM monthly_totals; DELETE FROM budget_totals"
    make_newer_migrations(tmp_path / "migrations", f"[op.execute(sql) for sql in {wrong.split('; ')}]")
    monkeypatch.setattr(schema, "migrations", lambda: tmp_path / "migrations")
    with Catalog.open(own_database, write=True) as catalog:
        assert rows(catalog, "SELECT * FROM account_totals") == [("7", 1, 1, 1000)]
        months = rows(catalog, "SELECT * FROM monthly_totals ORDER BY month")
        assert months == [("2026-03", 0, 1, 0, 0, 0), ("2026-04", 0, 0, 1, 1, 1000)]
        periods = rows(catalog, "SELECT * FROM budget_totals ORDER BY period")
        assert periods == [("2026-03", 3), ("2026-03-31", 3), ("run 1", 3)]
