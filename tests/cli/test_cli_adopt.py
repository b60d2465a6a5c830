"""``archiver adopt``: its output for people and programs, and where adopted files are shown."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from archiver.blobs import marker
from tests.support.adopting_archive import (
    HIGHLIGHT,
    ITEM,
    OTHER_ITEM,
    PHOTO,
    STAMP,
    AdoptingArchive,
    insta_dl_name,
    of_nobody,
    put,
)
from tests.support.catalog_samples import page
from tests.support.command_line import InProcessUser
from tests.support.databases import NOW

GONE = "a file of a post, not of a highlight"


@pytest.fixture
def person(tmp_path: Path) -> InProcessUser:
    """A user."""
    return InProcessUser(tmp_path)


@pytest.fixture
def archive(person: InProcessUser, sqlite_template: Path) -> AdoptingArchive:
    """The archive of that user, and a folder ``in`` of insta-dl: one of its two items is known."""
    archive = AdoptingArchive(person.archive, Path(shutil.copy(sqlite_template, person.home / "new.db")))
    archive.answer(page(HIGHLIGHT, ITEM))
    put(person.home / "in", (insta_dl_name(), of_nobody(), f"natgeo/{STAMP}_DC2wZsRM1aB.jpg"))
    return archive


def test_it_says_what_it_did(person: InProcessUser, archive: AdoptingArchive) -> None:
    """Counts, what becomes of what waits, and each reason with the first file; code 3 if one was refused."""
    folder = person.home / "in"
    post = folder / f"natgeo/{STAMP}_DC2wZsRM1aB.jpg"
    dry = person.run("adopt", "in", "-n", "--json")
    assert (dry.code, dry.object) == (
        3,
        {
            "exit_code": 3,
            "outcome": "partial",
            "adopted": 1,
            "waiting": 1,
            "known": 0,
            "metadata": 0,
            "refused": [{"path": str(post), "reason": GONE}],
        },
    )
    assert archive.files() == []
    done = person.run("adopt", "in")
    assert (done.code, done.out) == (3, "")
    assert done.err == (
        "1 file adopted, 1 stored until a run finds their items (6.0 kB); 0 known already\n"
        "archiver show --adopted lists the waiting files\n"
        f"1 file or directory left alone:\n  {GONE}:\n    {post}\n"
    )
    post.unlink()
    again = person.run("adopt", "in", "--from", "insta-dl")
    assert (again.code, again.err) == (
        0,
        "0 files adopted, 0 stored until a run finds their items; 2 known already\n",
    )
    assert person.run("adopt", "in", "-q").err == ""


def test_fault_x21_an_odd_name_is_printed_so_that_it_can_be_found(
    person: InProcessUser, archive: AdoptingArchive
) -> None:
    """Not UTF-8, or with a control character: escaped for a terminal, exact in JSON."""
    folder = os.fsencode(person.home / "odd")
    os.mkdir(folder)  # noqa: PTH102
    name = folder + b"/a\xfe\x1b[31m.jpg"
    with open(name, "wb") as file:  # noqa: PTH123
        file.write(PHOTO)
    text = person.run("adopt", "odd")
    assert (text.code, "\x1b" in text.err) == (3, False)
    refused = person.run("adopt", "odd", "--json").object["refused"]
    assert isinstance(refused, list)
    assert [os.fsencode(one["path"]) for one in refused] == [name]


def test_errors_are_those_of_every_command(person: InProcessUser, archive: AdoptingArchive) -> None:
    """2 for a folder that is none or is the archive's own, 10 without an archive; one object under --json."""
    for wrong in ("nowhere", str(archive.root / "blobs")):
        refused = person.run("adopt", wrong, "--json")
        assert (refused.code, refused.object["refused"], refused.object["adopted"]) == (2, [], 0)
    assert person.run("adopt").code == 2
    assert person.run("adopt", "in", "--from", "wget").code == 2
    shutil.rmtree(archive.root)
    assert person.run("adopt", "in").code == 10
    assert not marker.exists(archive.root)


@pytest.mark.parametrize("name", ["../x", "a" * 100_000, "", "..", "a\x1b[2J", "787132", "highlight:1"])
def test_fault_k23_an_account_is_named_as_everywhere(
    person: InProcessUser, archive: AdoptingArchive, name: str
) -> None:
    """What no account can be called is refused (2) before anything is stored; an id is no name."""
    refused = person.run("adopt", "in", "--account", name)
    assert refused.code == 2
    assert len(refused.err) < 400
    assert "give a username" in refused.err
    assert archive.files() == []


@pytest.mark.whole
def test_waiting_files_are_shown(person: InProcessUser, archive: AdoptingArchive) -> None:
    """In a table, as JSON, as paths, as a line of the status, and by ``verify`` if it is damaged.

    TARGET and --adopted cannot be combined.
    """
    assert person.run("show", "--adopted").out == "no adopted file is waiting\n"
    assert "waiting" not in person.run("status").out
    person.run("adopt", "in")
    lines = person.run("show", "--adopted").out.splitlines()
    assert lines[0].split() == [
        *("folder", "highlight", "item", "role", "taken", "bytes", "from", "since", "why")
    ]
    assert lines[2].split()[:5] == ["somebody", "5", OTHER_ITEM, "thumbnail", f"{NOW:%Y-%m-%d}"]
    assert "insta-dl" in lines[2]
    (waiting,) = json.loads(person.run("show", "--adopted", "--json").out)["waiting"]
    path = Path(waiting["path"])
    assert (waiting["item_pk"], waiting["source"], waiting["reason"]) == (OTHER_ITEM, "insta-dl", None)
    assert path.read_bytes() == PHOTO
    assert person.run("show", "--adopted", "--paths").out == f"{path}\n"
    path.chmod(0o600)
    path.write_bytes(b"damaged")
    owners = f"item {ITEM} thumbnail; waits for item {OTHER_ITEM} thumbnail, from insta-dl of somebody\n"
    assert person.run("verify").out.endswith(owners)
    assert person.run("show", "--adopted", "-0", "--role", "video").out == ""
    status = person.run("status")
    assert "waiting        1 adopted file not yet assigned to an item (archiver show --adopted)\n" in (
        status.out
    )
    assert person.run("status", "--json").object["waiting"] == 1
    assert person.run("show").code == person.run("show", "natgeo", "--adopted").code == 2


def test_fault_x22_an_adopted_file_names_its_tool_wherever_it_is_shown(
    person: InProcessUser, archive: AdoptingArchive
) -> None:
    """In ``show``, as text and JSON, on the page of its highlight, in sidecars and in tables."""
    person.run("adopt", "in")
    assert "(adopted from insta-dl)" in person.run("show", f"highlight:{HIGHLIGHT}").out
    item = person.run("show", f"item:{ITEM}").out
    assert "    adopted from insta-dl: archiver did not download it\n" in item
    assert "    from " not in item
    shown = person.run("show", f"item:{ITEM}", "--json").object
    assert isinstance(files := shown["files"], list)
    assert [(file["source"], file["source_url"]) for file in files] == [("insta-dl", "")]
    person.run("export", "site", "site")
    (of_highlight,) = (person.home / "site/accounts").glob(f"*/{HIGHLIGHT}.html")
    assert "Adopted from" in of_highlight.read_text()
    person.run("export", "folder", "folder", "--sidecars", "--xmp")
    sidecars = [path.read_text() for path in (person.home / "folder").rglob("*.json")]
    assert sum('"source": "insta-dl"' in text for text in sidecars) == 2
    (xmp,) = (person.home / "folder").rglob("*.xmp")
    assert "<dc:source>adopted from insta-dl</dc:source>" in xmp.read_text()
    assert person.run("export", "csv", "-", "--table", "files").out.splitlines()[1].endswith("insta-dl")


def test_the_folder_export_has_what_waits_below_adopted(
    person: InProcessUser, archive: AdoptingArchive
) -> None:
    """Named after what is known. A selection leaves it out: it belongs to no account yet."""
    person.run("adopt", "in")
    person.run("export", "folder", "out", "--link", "copy")
    waiting = person.home / "out/adopted/somebody/5" / f"{OTHER_ITEM} thumbnail.jpg"
    assert (waiting.read_bytes(), waiting.stat().st_mtime) == (PHOTO, int(NOW.timestamp()))
    person.run("export", "folder", "part", "--account", "natgeo")
    assert (person.home / "part/natgeo").is_dir()
    assert not (person.home / "part/adopted").exists()
    archive.answer(page(HIGHLIGHT, ITEM, OTHER_ITEM))
    person.run("export", "folder", "out", "--link", "copy", "--prune")
    assert not waiting.exists()
    assert len(list((person.home / "out/natgeo").rglob("*.jpg"))) == 2
