"""``--dry-run`` says what the export does next, to the file and the byte, and makes nothing."""

from __future__ import annotations

import random
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from archiver.model.identity import Role
from tests.support.catalog_samples import LATER, video
from tests.support.command_line import CommandLineUser, InProcessUser
from tests.support.export_archive import ExportHarness

FORMS = ["folder", "site", "bagit", "jsonl", "csv"]


def everything(home: Path) -> dict[str, tuple[int, int, int]]:
    """All that is below, directories and the export's own files too: inode, size, time of the last change.
    Not what every reader of the database changes."""
    found = {}
    for path in (home, *home.rglob("*")):
        said = path.lstat()
        if path.name not in ("archive", "archive.db-shm", "archive.db-wal"):
            found[str(path)] = said.st_ino, said.st_size, said.st_mtime_ns
    return found


def foretold(person: InProcessUser, *words: str) -> dict[str, object]:
    """What the command does, which a dry run has said before, to the last number, and left all as it was."""
    before = everything(person.home)
    dry = person.run("export", *words, "--dry-run", "--json").object
    assert everything(person.home) == before, "a dry run has made something"
    assert (dry.pop("exit_code"), dry.pop("outcome"), dry.pop("dry_run")) == (0, "ok", True)
    done = person.run("export", *words, "--json")
    did = done.object
    did.pop("outcome")
    assert (did.pop("exit_code"), did.pop("dry_run")) == (3 if did["failed"] else 0, False), done.err
    assert dry == did
    return did


@pytest.mark.parametrize(
    "form", [FORMS[0], *(pytest.param(form, marks=pytest.mark.whole) for form in FORMS[1:])]
)
def test_fault_h45_a_dry_run_makes_nothing_and_says_what_the_export_does(
    harness: ExportHarness, form: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The first export, one with nothing new, one where all that can change has changed, and one that
    prunes."""
    temporary = tmp_path_factory.mktemp("temporary")
    person = CommandLineUser(harness.home, None, {**harness.environ, "TMPDIR": str(temporary)}).in_process
    is_tree = form in ("folder", "site", "bagit")
    out = f"new/{form}"
    first = foretold(person, form, out)
    assert int(str(first["new"])) > 4
    assert foretold(person, form, out)["new"] == 0

    harness.rename("natgeo_now", LATER)
    harness.show({"1": "Gifts", "2": "Travel 🦋"}, {"2": (video("11"), video("12"))}, LATER)
    harness.keep("12", Role.VIDEO, b"another video", LATER)
    harness.keep("1", Role.COVER, b"another cover", LATER)
    for n, path in enumerate(sorted((harness.home / out).rglob("*.*"))):
        if path.is_file() and ".archiver-export" not in path.parts and n % 5 == 2:
            path.unlink()  # somebody has removed it, or has something of their own there
            if n % 2:
                path.write_text("mine")
    second = foretold(person, form, out)
    if form == "folder":
        assert int(str(second["moved"])) > 0
        assert int(str(second["avoided"])) > 0
    if is_tree:
        assert int(str(second["new"])) > 0
        last = foretold(person, form, out, "--highlight", "Gifts", "--prune")
        assert int(str(last["removed"])) > 0
    assert not list(temporary.iterdir())


@pytest.mark.whole
def test_a_dry_run_follows_files_that_change_places(harness: ExportHarness) -> None:
    """Their names are each other's: nothing is new, nothing is in the way; then one takes the other's place
    for good."""
    person = CommandLineUser(harness.home, None, harness.environ).in_process
    template = ("--template", "{title}/{position}.{ext}")
    foretold(person, "folder", "out", *template)
    photo = video("10", media_type=1, code="Cphoto")
    harness.show(
        {"1": "Gift: Guide", "2": "Travel 🦋"}, {"1": (video("11"), photo), "2": (video("11"),)}, LATER
    )
    swapped = foretold(person, "folder", "out", *template)
    assert (swapped["moved"], swapped["new"], swapped["avoided"]) == (3, 0, 0)
    assert int(str(foretold(person, "folder", "out", *template, "--type", "photo", "--prune")["removed"])) > 0
    assert int(str(foretold(person, "folder", "out", *template)["new"])) > 0


def test_a_dry_run_names_what_could_not_be_had(harness: ExportHarness) -> None:
    """A blob that is missing, and a directory that is none; the code is 0, since nothing was tried."""
    person = CommandLineUser(harness.home, None, harness.environ).in_process
    harness.blob(harness.keep("10", Role.THUMBNAIL, b"photo")).unlink()
    harness.out.mkdir()
    (harness.out / "natgeo").mkdir()
    (harness.out / "natgeo" / "Travel 🦋 (2)").write_text("mine")
    did = foretold(person, "folder", "out")
    assert did["failed"] == 3
    told = person.run("export", "folder", "out", "-n")
    assert told.code == 0
    assert "Cphoto.jpg: its blob is missing (archiver verify --repair)\n" in told.err
    assert told.err.endswith("dry run, nothing was changed; there would be 4 files in out: 3 failed\n")


@pytest.mark.parametrize(
    "way", ["auto", "copy", *(pytest.param(way, marks=pytest.mark.whole) for way in ("reflink", "hardlink"))]
)
def test_a_dry_run_foresees_the_way(harness: ExportHarness, way: str) -> None:
    """Cloned, linked or copied, or refused with code 8, as this file system can."""
    person = CommandLineUser(harness.home, None, harness.environ).in_process
    dry = person.run("export", "folder", "out", "--link", way, "--dry-run", "--json").object
    did = person.run("export", "folder", "out", "--link", way, "--json").object
    for name in ("reflinked", "hardlinked", "copied", "exit_code", "bytes"):
        assert dry[name] == did[name], name
    if way == "reflink" and did["exit_code"]:
        assert dry["error"] == did["error"]


def test_a_dry_run_is_refused_where_the_export_is(harness: ExportHarness) -> None:
    """In the archive, in another form's directory, for one table on stdout; and nothing is made."""
    person = CommandLineUser(harness.home, None, harness.environ).in_process
    assert person.run("export", "folder", "out").code == 0
    before = everything(harness.home)
    for words in (("site", "out"), ("folder", "archive/out"), ("csv", "-", "--table", "items")):
        assert person.run("export", *words, "--dry-run").code == 2, words
    assert everything(harness.home) == before


def test_a_dry_run_reads_the_list_of_an_export_that_was_killed(harness: ExportHarness) -> None:
    """With the journal that SQLite has not yet rolled back, which stays as it is."""
    person = CommandLineUser(harness.home, None, harness.environ).in_process
    assert person.run("export", "folder", "out").code == 0
    cut = """
import os, signal, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA cache_size = 1")
db.execute("BEGIN IMMEDIATE")
db.execute("UPDATE files SET path = 'x' || path, size = size + 1")
for n in range(2000):
    db.execute("INSERT INTO files VALUES (?, ?, ?, '', '', 0, 0, NULL, NULL, NULL, NULL, NULL)", [str(n)] * 3)
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", cut, str(harness.out / ".archiver-export/files.db")], check=False)
    assert (harness.out / ".archiver-export/files.db-journal").stat().st_size > 0
    assert foretold(person, "folder", "out")["files"] == 7


_TEMPLATES = (
    "{username}/{title}/{position}.{ext}",
    "{title}/{code}.{ext}",
    "{username}/{date} {code}.{ext}",
    "{code}.{ext}",
)


@pytest.mark.whole
@pytest.mark.parametrize("seed", range(20))
def test_a_dry_run_says_what_any_export_does(harness: ExportHarness, seed: int) -> None:
    """One template after another, with names that clash, through nights that rename, reorder and replace,
    while somebody deletes files and puts their own in their places."""
    drawn, when = random.Random(seed), LATER
    person = CommandLineUser(harness.home, None, harness.environ).in_process
    form = drawn.choice(["folder", "folder", "site", "bagit"])
    for _ in range(5):
        words = ["--link", drawn.choice(["copy", "auto"])]
        if form == "folder":
            words += ["--template", drawn.choice(_TEMPLATES), *drawn.choice([[], ["--sidecars"]])]
        words += drawn.choice([[], ["--prune"]]) + drawn.choice([[], [], ["--highlight", "Travel*"]])
        foretold(person, form, "out", *words)
        when += timedelta(days=1)
        items = [video(str(10 + n), code=drawn.choice(["Ca", "Cb", f"C{n}"])) for n in range(4)]
        drawn.shuffle(items)
        titles = {"1": drawn.choice(["Gift", "travel 🦋", "Travel 🦋"]), "2": "Travel 🦋"}
        harness.show(titles, {"1": tuple(items[:3]), "2": tuple(items[1:])}, when)
        for pk in drawn.sample(["10", "11", "12", "13"], 2):
            harness.keep(pk, drawn.choice([Role.VIDEO, Role.THUMBNAIL]), drawn.randbytes(5), when)
        harness.rename(drawn.choice(["natgeo", "NATGEO", "other"]), when)
        files = [path for path in sorted(harness.out.rglob("*")) if path.is_file()]
        ours = [path for path in files if ".archiver-export" not in path.parts]
        for path in drawn.sample(ours, min(len(ours), 3)):
            path.unlink()
            if drawn.random() < 0.5:
                path.write_text("mine")
