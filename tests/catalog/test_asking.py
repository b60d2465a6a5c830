"""The user's own SQL, row by row: what is read is had at once, and none of it is held."""

from __future__ import annotations

import time
from itertools import islice
from pathlib import Path

import pytest

from archiver.catalog import Catalog
from archiver.errors import QueryRefused
from tests.support.databases import SQLITE_EVERYDAY

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
