"""Words of strangers that databases, files and terminals choke on, or take for commands: kept as words."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest

from archiver.archive.archive import Archive
from tests.support.archive_harness import ArchiveHarness
from tests.support.databases import postgres_when_whole, sqlite_when_whole

pytestmark = pytest.mark.world(items=1)

BOTW, GIFT, LIMITLESS = "18018069326790931", "17983616051768088", "17893209825281221"
DROP = "'); DROP TABLE highlights; --"
TITLE = "select title from highlights where pk = ?"


@pytest.fixture
def harness(harness: ArchiveHarness, nowhere: str | Path) -> ArchiveHarness:
    """Its rows are on SQLite or on PostgreSQL."""
    harness.database = nowhere if isinstance(nowhere, str) else None
    return harness


def _paid_for(harness: ArchiveHarness) -> bytes:
    """All kept answers, unpacked."""
    plain = b""
    for segment in (harness.root / "answers").rglob("*.warc.gz"):
        rest = segment.read_bytes()
        while rest:
            member = zlib.decompressobj(16 + zlib.MAX_WBITS)
            plain += member.decompress(rest)
            rest = member.unused_data
    return plain


@sqlite_when_whole
def test_fault_x2_a_nul_is_left_out_on_the_way_in(harness: ArchiveHarness) -> None:
    """In tray and page alike, so that a second night records no change and fetches nothing; what was paid for
    keeps the escape.
    """
    harness.upstream.world.retitle(BOTW, "zero\0 width")
    assert harness.night("natgeo").exit_code == 0
    assert harness.rows("select title, length(title) from highlights where pk = ?", BOTW) == [
        ("zero width", 10)
    ]
    assert b"zero\\u0000 width" in _paid_for(harness)
    again = harness.night("natgeo")
    assert (again.exit_code, again.units, harness.one("select count(*) from changes")) == (0, 1, 0)


@postgres_when_whole
def test_fault_x3_half_a_character_becomes_the_replacement_character(harness: ArchiveHarness) -> None:
    """One half of a surrogate pair is stored as U+FFFD, which every database, file and terminal takes; a
    whole pair stays what it is.
    """
    harness.upstream.world.retitle(GIFT, "half \ud83d moon \ud83c\udf19")
    assert harness.night("natgeo").exit_code == 0
    assert harness.one(TITLE, GIFT) == "half \ufffd moon \U0001f319"
    assert b"half \\ud83d moon" in _paid_for(harness)
    again = harness.night("natgeo")
    assert (again.exit_code, again.units, harness.one("select count(*) from changes")) == (0, 1, 0)


@sqlite_when_whole
def test_fault_x9_words_that_look_like_sql_are_words(harness: ArchiveHarness) -> None:
    """As a title, as the name of an account, as a target of the command line: stored and compared as they
    are.
    """
    harness.upstream.world.retitle(BOTW, DROP)
    harness.upstream.world.retitle(GIFT, "100%_")
    harness.upstream.world.retitle(LIMITLESS, ":name ? %(name)s $1 \\")
    assert harness.night("natgeo").exit_code == 0
    assert harness.one(TITLE, BOTW) == DROP
    assert harness.one(TITLE, GIFT) == "100%_"
    assert harness.one(TITLE, LIMITLESS) == ":name ? %(name)s $1 \\"
    with Archive(harness.config) as archive:
        found = archive.query("SELECT pk FROM highlights WHERE title LIKE '100!%!_' ESCAPE '!'")
    assert found.rows == ((GIFT,),)
    harness.upstream.world.retitle(BOTW, DROP + DROP)
    assert harness.night("natgeo").exit_code == 0
    assert harness.rows("select old, new from changes where field = 'title'") == [(DROP, DROP + DROP)]
