"""The tables for programs and for spreadsheets."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path
from typing import Unpack

import pytest

from archiver.archive.archive import Archive
from archiver.archive.exports import TableForm, table_text
from archiver.archive.selection import Narrowing
from archiver.catalog import row_dump
from archiver.catalog.tables import metadata
from archiver.errors import UsageError
from archiver.export.export_entry import ExportStats
from tests.support.archive_copies import ArchiveCopies
from tests.support.catalog_samples import LATER, NATGEO, video
from tests.support.databases import NOW, SQLITE_EVERYDAY
from tests.support.export_archive import ExportHarness, tree

_DERIVED = {"account_totals", "budget_totals", "monthly_totals", "search_documents"}
_JOURNAL = {"journal_outbox", "journal_commits", "journal_head"}
_WORKERS = {"workers", "shared_runs", "visits", "run_reports", "api_rate", "journal_lease"}

_LEFT_TO_DO = {"deletions", "removal_requests"}


@pytest.fixture
def harness(tmp_path: Path, database: str | Path) -> ExportHarness:
    """A filled archive on either database, with a hostile title."""
    made = ExportHarness.make(tmp_path, database)
    _fill(made)
    return made


@pytest.fixture
def lite(tmp_path: Path, archive_copies: ArchiveCopies) -> ExportHarness:
    """The same, on SQLite alone."""
    return ExportHarness.copied(tmp_path, archive_copies, "hostile", _fill)


def _fill(harness: ExportHarness) -> None:
    harness.fill()
    harness.show({"1": '=HYPERLINK("x")\r\n"\u2028', "2": "Travel 🦋"}, {}, LATER)


def _export(
    harness: ExportHarness, form: TableForm, *names: str, **narrowing: Unpack[Narrowing]
) -> ExportStats:
    with Archive(harness.config) as archive:
        return archive.export_tables(harness.out, form=form, tables=names, **narrowing)


def test_every_table_is_exported() -> None:
    """None is forgotten that is added later; what the database itself makes of the others is left out."""
    assert set(row_dump.TABLES) | _DERIVED | _JOURNAL | _WORKERS | _LEFT_TO_DO == set(metadata.tables)


def test_jsonl_is_exact(harness: ExportHarness) -> None:
    """An object a row, by key; times as text, pks as text, null as null; a rerun of the same rows writes
    nothing.
    """
    _export(harness, TableForm.JSONL)
    files = tree(harness.out)
    assert set(files) == {f"{name}.jsonl" for name in row_dump.TABLES}
    highlights = [json.loads(line) for line in files["highlights.jsonl"].decode().split("\n")[:-1]]
    assert [row["pk"] for row in highlights] == ["1", "2"]
    assert highlights[0]["title"] == '=HYPERLINK("x")\r\n"\u2028'
    assert (highlights[0]["first_seen_at"], highlights[0]["gone_at"]) == ("2026-03-31T23:30:00.250000Z", None)
    assert highlights[0]["latest_reel_media"] == 1_766_242_839
    assert highlights[0]["is_pinned"] is False
    assert list(highlights[0]) == list(row_dump.column_names("highlights"))
    assert _export(harness, TableForm.JSONL).new == 0


@SQLITE_EVERYDAY
def test_tables_are_of_one_moment(harness: ExportHarness) -> None:
    """A run that goes on meanwhile is in none of them, or in all: no table tells of an item that another does
    not have.
    """
    came = False

    def progress(done: ExportStats) -> None:
        nonlocal came
        if done.files and not came:
            came = True
            harness.show({"3": "New"}, {"3": (video("12"),)}, LATER)

    with Archive(harness.config) as archive:
        archive.export_tables(harness.out, progress=progress)
    assert came
    files = tree(harness.out)
    for table, key in (("highlights", "pk"), ("items", "pk"), ("highlight_items", "item_pk")):
        table_text = files[f"{table}.jsonl"].decode().split("\n")[:-1]
        assert not {"3", "12"} & {json.loads(line)[key] for line in table_text}, table


def test_fault_x10_csv_holds_no_formula(lite: ExportHarness) -> None:
    """RFC 4180 with CR LF; a text that a spreadsheet would run begins with an apostrophe, and stays one
    cell.
    """
    _export(lite, TableForm.CSV, "highlights")
    text = tree(lite.out)["highlights.csv"].decode()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["title"] for row in rows] == ['\'=HYPERLINK("x")\r\n"\u2028', "Travel 🦋"]
    assert rows[0]["first_seen_at"] == "2026-03-31T23:30:00.250000Z"
    assert text.endswith("\r\n")
    assert "\n" not in text.replace("\r\n", "")


def test_a_narrowed_export_has_the_rows_that_belong_to_it(lite: ExportHarness) -> None:
    """Those of the highlights and items selected, their files and blobs; no table that is of the archive as a
    whole.
    """
    _export(lite, TableForm.JSONL, titles="Travel*")
    rows = {
        name: [json.loads(line) for line in text.decode().split("\n")[:-1]]
        for name, text in tree(lite.out).items()
    }
    assert set(rows) == {f"{name}.jsonl" for name in row_dump.PART_TABLES}
    assert [row["pk"] for row in rows["items.jsonl"]] == ["11"]
    assert [row["highlight_pk"] for row in rows["highlight_items.jsonl"]] == ["2"]
    assert [row["role"] for row in rows["files.jsonl"]] == ["thumbnail", "video", "avatar"]
    assert len(rows["blobs.jsonl"]) == 3
    assert [row["subject_pk"] for row in rows["changes.jsonl"]] == []
    assert [row["username"] for row in rows["usernames.jsonl"]] == ["natgeo"]


@pytest.mark.parametrize("form", TableForm)
def test_tables_of_another_export_do_not_stay_beside(lite: ExportHarness, form: TableForm) -> None:
    """A narrower rerun, or one of fewer tables, leaves what it brings and nothing older; a file of somebody
    else's, or that they changed, stays.
    """
    _export(lite, form)
    (lite.out / "notes.txt").write_text("mine")
    (lite.out / f"archive.{form}").write_text("changed")
    theirs = {"notes.txt", f"archive.{form}"}
    narrowed = _export(lite, form, accounts=NATGEO.pk)
    assert set(tree(lite.out)) == {f"{name}.{form}" for name in row_dump.PART_TABLES} | theirs
    assert (narrowed.removed, narrowed.others) == (6, 0)
    _export(lite, form, "users")
    assert set(tree(lite.out)) == {f"users.{form}"} | theirs
    assert tree(lite.out)["notes.txt"] == b"mine"
    assert tree(lite.out)[f"archive.{form}"] == b"changed"


def test_a_table_of_the_whole_cannot_be_narrowed(lite: ExportHarness) -> None:
    """A usage error, before anything is written."""
    with pytest.raises(UsageError, match="runs"):
        _export(lite, TableForm.CSV, "runs", accounts=NATGEO.pk)
    assert not lite.out.exists()


def test_one_table_as_text_is_the_same(lite: ExportHarness) -> None:
    """What goes to stdout, also where blobs are narrowed by files."""
    for titles, count in ((None, 5), ("Travel*", 3)):
        _export(lite, TableForm.CSV, "blobs", titles=titles)
        with Archive(lite.config) as archive:
            text = "".join(archive.table_lines("blobs", form="csv", titles=titles))
        assert text.encode() == tree(lite.out)["blobs.csv"]
        assert text.count("\r\n") == count + 1


def test_tables_come_in_pieces() -> None:
    """Rows are asked for as they are written: a million of them are never there at once."""
    asked = 0

    def rows() -> object:
        nonlocal asked
        for number in range(5_000):
            asked += 1
            yield (number, NOW)

    first = next(table_text(TableForm.JSONL, ("n", "at"), rows()))  # type: ignore[arg-type]
    assert first.startswith('{"n": 0, "at": "2026-03-31T23:30:00.250000Z"}\n')
    assert asked < 1_000


@pytest.mark.parametrize("form", list(TableForm))
def test_fault_e47_a_damaged_table_is_replaced(lite: ExportHarness, form: TableForm) -> None:
    """Though its size and its time are the same: nothing else would find it."""
    _export(lite, form)
    whole = tree(lite.out)
    table = lite.out / f"highlights.{form}"
    status = table.stat()
    table.write_bytes(table.read_bytes()[:-3] + b"X" + table.read_bytes()[-2:])
    os.utime(table, ns=(status.st_atime_ns, status.st_mtime_ns))
    stats = _export(lite, form)
    assert (stats.new, stats.replaced, stats.failed) == (0, 1, 0)
    assert tree(lite.out) == whole
