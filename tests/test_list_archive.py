"""The script of docs/archive-format.md: it reads an archive without its database and without the program."""

from __future__ import annotations

import gzip
import shutil
import subprocess
import sys
from pathlib import Path

from archiver.archive.rebuild_archive import take_snapshot
from archiver.catalog import tables
from archiver.catalog.tables import JOURNALED
from archiver.work import Work
from tests.support import ROOT
from tests.support.archive_harness import ArchiveHarness
from tests.support.released_journal import released
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld

SCRIPT = ROOT / "docs" / "list_archive.py"


def test_every_item_is_listed_with_its_files(tmp_path: Path) -> None:
    """Without the database; each path that it prints exists, and nothing is missing."""
    with FaultyStandIn(EditableWorld.generate(1, 2, 2)) as upstream:
        harness = ArchiveHarness(tmp_path / "archive", upstream)
        assert harness.night("account0000").exit_code == 0
        expected = {str(row[0]) for row in harness.rows("SELECT sha256 FROM files WHERE item_pk IS NOT NULL")}
        (tmp_path / "archive" / "archive.db").unlink()
        command = [sys.executable, "-I", str(SCRIPT), str(tmp_path / "archive")]
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    lines = [line.split("\t") for line in listed.splitlines()]
    assert {Path(line[4]).name for line in lines} == expected
    assert all(Path(line[4]).is_file() for line in lines)
    assert {line[0] for line in lines} == {"account0000"}


def test_missing_lines_of_the_journal_are_reported(tmp_path: Path) -> None:
    """Code 1 and a reason for a missing journal, and for missing lines, whose rows before are listed."""
    _, names = released(tmp_path / "archive")

    def run() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-I", str(SCRIPT), str(tmp_path / "archive")]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    whole = run()
    assert (whole.returncode, whole.stderr) == (0, "")
    (tmp_path / "archive" / "journal" / names[-2]).unlink()
    cut = run()
    assert (cut.returncode, bool(cut.stdout)) == (1, True)
    assert "are missing" in cut.stderr
    shutil.rmtree(tmp_path / "archive" / "journal")
    nothing = run()
    assert (nothing.returncode, nothing.stdout) == (1, "")
    assert "no journal that can be read" in nothing.stderr


def test_fault_j10_the_page_answers_what_a_reader_must_know(tmp_path: Path) -> None:
    """Order by number, a file without a header, whole lines in a torn member, and a lost snapshot.

    Written from the page alone, the reader lists the same with all of them.
    """
    with FaultyStandIn(EditableWorld.generate(1, 2, 2)) as upstream:
        harness = ArchiveHarness(tmp_path / "archive", upstream)
        assert harness.night("account0000").exit_code == 0
        snapshot = take_snapshot(harness.config, Work())
        upstream.world.retitle(upstream.world.accounts[0].highlights[0].pk, "Edited")
        assert harness.night("account0000").exit_code == 0
    journal = tmp_path / "archive" / "journal"
    command = [sys.executable, "-I", str(SCRIPT), str(tmp_path / "archive")]

    def run() -> str:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    whole = run()
    assert "\tEdited\t" in whole
    first, *_, last = sorted(journal.rglob("*.gz"))
    later = journal / "2199" / "01" / first.name
    later.parent.mkdir(parents=True)
    shutil.copy(first, later)
    (last.parent / "999999999998-00000000.jsonl.gz").write_bytes(b"")
    shutil.copy(first, last.parent / "000000009999-00000000.jsonl.gz")
    member = gzip.compress(b'{"seq":1}\n' + bytes(70_000) + b'{"seq":999999999999}\n' * 99)
    last.write_bytes(last.read_bytes() + member[:-9])
    (journal / snapshot.file).unlink()
    assert run() == whole
    second = min(path for path in journal.rglob("*.gz") if path.name > first.name)
    second.unlink()
    cut = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (cut.returncode, "are missing" in cut.stderr) == (1, True)


def test_the_script_is_short_and_needs_nothing() -> None:
    """Under 100 lines, with modules of the standard library alone."""
    text = SCRIPT.read_text()
    assert len(text.splitlines()) < 100
    imported = {
        line.split()[1].partition(".")[0]
        for line in text.splitlines()
        if line.startswith(("import ", "from "))
    }
    assert imported <= sys.stdlib_module_names


def test_the_page_names_every_table_that_the_journal_leaves_out() -> None:
    """A reader that rebuilds all tables knows that nothing else is missing."""
    text = (ROOT / "docs" / "archive-format.md").read_text()
    left_out = {*tables.metadata.tables} - {table.name for table in JOURNALED}
    assert {name for name in left_out if f"`{name}`" not in text} == set()
