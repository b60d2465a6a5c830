"""Rows that another program has changed: values that archiver never writes are damage, and no bug."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Connection

from archiver.catalog import Catalog
from archiver.catalog.query import account_state, content, gaps, holdings, totals
from archiver.catalog.query.totals import read_head
from archiver.errors import ArchiveDamaged
from archiver.export.export_entry import to_nanoseconds
from archiver.model.archived import Selection
from archiver.model.target import parse_target
from tests.support.databases import execute_directly
from tests.support.three_night_catalog import record_three_nights

NATGEO = parse_target("natgeo")
READERS: dict[str, tuple[str, Callable[[Connection], object]]] = {
    "reason": ("UPDATE failures SET reason = 'odd'", lambda rows: list(gaps.gaps(rows))),
    "verdict": ("UPDATE users SET verdict = 'odd'", lambda rows: account_state.account_state(rows, NATGEO)),
    "time": (
        "UPDATE items SET first_seen_at = 'yesterday'",
        lambda rows: list(content.items(rows, Selection())),
    ),
    "exit code": ("UPDATE runs SET exit_code = 'odd'", totals.latest_records),
    "run": ("UPDATE runs SET exit_code = 'odd'", totals.status),
    "number": ("INSERT INTO journal_head VALUES ('odd', 'x', 'f', 1, 0, 0)", read_head),
    "length": ("INSERT INTO journal_head VALUES (1, 'x', 'f', 'odd', 0, 0)", read_head),
    "far": ("INSERT INTO journal_head VALUES (1000000000000000, 'odd', 'f', 1, 0, 0)", read_head),
    "duration": (
        "UPDATE items SET video_duration = 'odd'",
        lambda rows: list(content.items(rows, Selection())),
    ),
    "position": (
        "UPDATE highlights SET position = 'odd', media_count = 99",
        lambda rows: list(content.highlights(rows, Selection())),
    ),
    "tray": (
        "UPDATE highlights SET latest_reel_media = 'odd'",
        lambda rows: account_state.account_state(rows, NATGEO),
    ),
    "count": (
        "UPDATE highlights SET media_count = 'odd'",
        lambda rows: list(content.highlights(rows, Selection())),
    ),
    "width": (
        "UPDATE blobs SET width = 'odd'",
        lambda rows: list(content.items(rows, Selection())),
    ),
    "size": ("UPDATE blobs SET size = 'odd'", lambda rows: holdings.blobs_after(rows, None)),
    "offset": (
        "INSERT INTO answers SELECT 9, min(id), printf('%064d', 1), 's', 'odd', 1, 2, 3, NULL FROM api_calls",
        lambda rows: holdings.answers_after(rows, None),
    ),
    "role": ("UPDATE files SET role = 'odd'", lambda rows: list(content.items(rows, Selection()))),
}


@pytest.mark.parametrize("odd", READERS)
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_fault_k15_an_odd_value_is_damage(catalog: Catalog, database: Path, odd: str) -> None:
    """It is named in one line, with code 12."""
    record_three_nights(catalog)
    statement, read = READERS[odd]
    execute_directly(database, statement)
    with pytest.raises(ArchiveDamaged, match=r"cannot be read: .*(odd|yesterday|\$\.)") as refused:
        catalog.read(read)
    assert refused.value.exit_code == 12
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_fault_k15_a_hash_that_is_none_is_damage(catalog: Catalog, database: Path) -> None:
    """Also while rows are read page by page, as ``verify`` does."""
    record_three_nights(catalog)
    execute_directly(
        database,
        "INSERT INTO blobs SELECT 'zz', size, mime, width, height, stored_at, NULL, NULL FROM blobs LIMIT 1",
    )
    with pytest.raises(ArchiveDamaged, match="not a SHA-256"):
        list(catalog.read_pages(holdings.blobs_after))


@pytest.mark.parametrize("year", [1, 9999])
def test_fault_k15_a_time_that_no_file_has_becomes_the_nearest(year: int) -> None:
    """An export would end with a bug in its own list."""
    assert abs(to_nanoseconds(datetime(year, 1, 1, tzinfo=UTC))) in (2**63, 2**63 - 1)
