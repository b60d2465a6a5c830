"""Journals that earlier versions wrote."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from archiver.archive.archive import Archive
from archiver.archive.rebuild_archive import take_snapshot
from archiver.catalog import schema
from archiver.config import Config, load
from archiver.errors import ArchiveTooOld
from archiver.work import Work
from tests.support.archive_copies import ArchiveCopies
from tests.support.archive_damage import flip_bit
from tests.support.databases import make_newer_migrations
from tests.support.rebuilt_archive import rebuild_from, require_equal_after_rebuild, rows_of
from tests.support.released_journal import FOLDER, date_back


def _released(revision: str, root: Path) -> Config:
    shutil.copytree(FOLDER / revision, root)
    return load(None, {"ARCHIVER_ARCHIVE": str(root), "ARCHIVER_ARCHIVE_RESERVE": "0"})


def _require_rows(root: Path) -> None:
    """Compare the rebuilt rows with those of then, in the columns of then."""
    rebuilt = rows_of(root / "archive.db")
    for table, rows in json.loads((root / "rows.json").read_text()).items():
        found = [json.loads(row) for row in rebuilt[table]]
        then = [{column: row[column] for column in rows[0]} for row in found]
        assert then == rows, table


@pytest.mark.parametrize("revision", schema.revisions())
def test_fault_h49_the_journal_of_each_released_revision_is_rebuilt(tmp_path: Path, revision: str) -> None:
    """Every row comes back with the values that it had, and the archive can be used."""
    config = _released(revision, tmp_path / "archive")
    rebuild_from(config)
    _require_rows(tmp_path / "archive")
    with Archive(config) as archive:
        assert archive.status().items >= 4


def test_fault_h49_a_journal_is_rebuilt_across_revisions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows are migrated as those of a database are; a snapshot of the new schema follows."""
    before = schema.head()
    config = _released(before, tmp_path / "archive")
    make_newer_migrations(
        tmp_path / "migrations", "op.execute(\"UPDATE users SET biography = 'of ' || username\")"
    )
    monkeypatch.setattr(schema, "migrations", lambda: tmp_path / "migrations")
    rebuild_from(config)
    _require_rows(tmp_path / "archive")
    with Archive(config) as archive:
        found = archive.query("SELECT count(*) FROM users WHERE biography = 'of ' || username").rows
        assert found == ((1,),)


def _contents(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file() and path.name != "lock"}


def test_fault_h49_a_rebuild_does_not_begin_with_lines_of_an_earlier_checkout(tmp_path: Path) -> None:
    """Code 9, with the last commit that can; nothing is changed."""
    config = _released(schema.head(), tmp_path / "archive")
    for file in (tmp_path / "archive" / "journal").rglob("*.gz"):
        date_back(file)
    before = _contents(tmp_path / "archive")
    with pytest.raises(ArchiveTooOld, match="begin with lines of the journal that are too old") as refused:
        rebuild_from(config)
    assert refused.value.exit_code == 9
    assert "22731ab190bd: install that, run archiver db rebuild," in refused.value.hint
    after = _contents(tmp_path / "archive")
    assert {path: after[path] for path in before} == before
    assert {path.name.partition("-")[0] for path in after.keys() - before.keys()} <= {"archive.db.rebuild"}


def test_fault_h49_lines_of_an_earlier_checkout_before_the_newest_snapshot_are_checked(
    tmp_path: Path, archive_copies: ArchiveCopies
) -> None:
    """``verify --read-data`` reads them and finds damage in them; a rebuild does not need them."""
    with archive_copies.after_nights(1, (1, 1, 1), tmp_path / "archive") as harness:
        take_snapshot(harness.config, Work())
        *earlier, _ = sorted(harness.root.glob("journal/*/*/*"))
        for file in earlier:
            date_back(file)
        with Archive(harness.config) as archive:
            found = archive.verify(read_data=True)
            assert (found.is_damaged, found.journal.is_compared) == (False, True)
            flip_bit(earlier[-1])
            assert archive.verify(read_data=True).journal.losses
        require_equal_after_rebuild(harness)


def test_fault_h49_a_newest_snapshot_of_an_earlier_checkout_is_damage(
    tmp_path: Path, archive_copies: ArchiveCopies
) -> None:
    """A rebuild would not give the rows: ``verify --read-data`` says so, and its repair begins again."""
    with archive_copies.after_nights(1, (1, 1, 1), tmp_path / "archive") as harness:
        date_back(min(harness.root.glob("journal/*/*/*")))
        with Archive(harness.config) as archive:
            assert "too old for this version" in str(archive.verify(read_data=True).journal.damage)
            assert archive.repair(read_data=True).has_new_journal
            assert not archive.verify(read_data=True).is_damaged
        require_equal_after_rebuild(harness)
