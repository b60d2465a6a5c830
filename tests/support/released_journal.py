"""Journals as released revisions of the schema wrote them, which every later version must be able to read.

``python -m tests.support.released_journal`` writes that of the present revision.
"""

from __future__ import annotations

import gzip
import json
import shutil
import tempfile
from pathlib import Path

from archiver.archive.archive import Archive
from archiver.archive.creation import create_for_run
from archiver.archive.rebuild_archive import take_snapshot
from archiver.catalog import schema
from archiver.catalog.tables import JOURNALED
from archiver.journal.journal_files import JournalFiles
from archiver.store import disk
from archiver.work import Work
from tests.support.adopting_archive import ITEM, PHOTO, gallery_dl_metadata, put, saved_by_insta_dl
from tests.support.archive_harness import ArchiveHarness
from tests.support.rebuilt_archive import all_rows
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld
from tests.support.table_dumps import execute

FOLDER = Path(__file__).with_name("released_journals")
"""One folder for each revision: the marker, the journal, and in rows.json the rows that these stand for."""


def released(root: Path) -> tuple[JournalFiles, list[str]]:
    """Return the journal of the present revision, copied to ``root``, and the names of its files."""
    shutil.copytree(FOLDER / schema.head(), root, dirs_exist_ok=True)
    files = JournalFiles(disk.Objects(root))
    return files, files.names()


def date_back(file: Path, revision: str = "0017") -> None:
    """Let a file of the journal say that an earlier revision of the schema wrote it."""
    header, lines = gzip.decompress(file.read_bytes()).split(b"\n", 1)
    dated = header.replace(schema.head().encode(), revision.encode())
    assert dated != header
    file.write_bytes(gzip.compress(dated + b"\n") + gzip.compress(lines))


def write_journal(folder: Path) -> None:
    """Write the journal of a small archive: rows of all kinds, some of them altered and removed again."""
    with (
        tempfile.TemporaryDirectory() as place,
        FaultyStandIn(EditableWorld.generate(1, 2, 2)) as upstream,
    ):
        harness = ArchiveHarness(Path(place) / "archive", upstream)
        create_for_run(harness.config)
        (account,) = upstream.world.accounts
        theirs = put(Path(place) / "theirs", saved_by_insta_dl(account, own_bytes=True))
        gone = {f"gone/{ITEM}.jpg": PHOTO, f"gone/{ITEM}.jpg.json": gallery_dl_metadata(owner_id="787132")}
        with Archive(harness.config) as archive:
            assert archive.adopt(theirs).waiting
            assert archive.adopt(put(Path(place) / "gone", gone)).adopted
        for title in ("First", "Second", "Third"):
            upstream.world.retitle(account.highlights[0].pk, title)
            assert harness.night(account.username).exit_code == 0
            if title == "First":
                take_snapshot(harness.config, Work())
        execute(harness, "DELETE FROM changes WHERE new = 'Second'")
        harness.night(account.username)
        rows = {name: [json.loads(row) for row in found] for name, found in all_rows(harness).items()}
        journaled = {table.name: rows[table.name] for table in JOURNALED if rows[table.name]}
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(harness.root / "journal", folder / "journal")
        shutil.copy(harness.root / "archive.json", folder)
    (folder / "rows.json").write_text(json.dumps(journaled, indent=1) + "\n")


if __name__ == "__main__":
    write_journal(FOLDER / schema.head())
