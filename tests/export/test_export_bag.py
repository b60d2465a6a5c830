"""Bags, before the judge whom libraries ask: the ``bagit`` package."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import bagit
import pytest

from archiver.archive.archive import Archive
from archiver.errors import StoppedBySignal, UsageError
from archiver.export.export_entry import ExportStats
from archiver.model.identity import Role
from tests.support.catalog_samples import LATER, NATGEO, video
from tests.support.disk_limits import sha256
from tests.support.export_archive import ExportHarness, tree


def _export(
    harness: ExportHarness,
    *,
    stops_at: int = 10**9,
    prune: bool = False,
    info: Mapping[str, str] | Sequence[tuple[str, str]] = (),
    titles: str | None = None,
    meanwhile: Callable[[], None] = lambda: None,
) -> ExportStats:
    def progress(done: ExportStats) -> None:
        meanwhile()
        if done.files >= stops_at:
            raise StoppedBySignal(2)

    fields = tuple(info.items()) if isinstance(info, Mapping) else info
    with Archive(harness.config) as archive:
        return archive.export_bagit(harness.out, info=fields, titles=titles, prune=prune, progress=progress)


def _is_valid(harness: ExportHarness) -> bool:
    try:
        return bool(bagit.Bag(str(harness.out)).is_valid())
    except bagit.BagError:
        return False


def test_a_bag_is_valid_to_the_program_that_others_use(harness: ExportHarness) -> None:
    """``bagit.py --validate``; media by pks with their sidecars, the tables, the owner's own fields."""
    _export(harness, info={"Source-Organization": "City Archive"})
    judge = [
        sys.executable,
        "-Wignore",  # it uses what Python 3.13 deprecates
        str(Path(sys.executable).parent / "bagit.py"),
        "--quiet",
        "--validate",
        str(harness.out),
    ]
    done = subprocess.run(judge, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    bag = bagit.Bag(str(harness.out))
    assert bag.info["Source-Organization"] == "City Archive"
    assert bag.info["Payload-Oxum"].endswith(f".{len(bag.payload_entries())}")
    assert {
        "data/media/787132/1/11.mp4",
        "data/media/787132/1/11.json",
        "data/tables/items.jsonl",
    } <= bag.payload_entries().keys()


def test_fault_j42_a_bag_has_every_file_that_its_tables_name(harness: ExportHarness) -> None:
    """Also covers, avatars and pictures that newer ones have replaced: by their hash, beside the others."""
    kinds = (("1", Role.COVER), ("10", Role.THUMBNAIL), (NATGEO.pk, Role.AVATAR))
    harness.keep_all([(pk, role, f"newer {role}".encode()) for pk, role in kinds], LATER)
    replaced = [sha256(content) for content in (b"cover", b"photo", b"avatar")]
    _export(harness)
    assert _is_valid(harness)
    manifest = (harness.out / "manifest-sha256.txt").read_text()
    rows = (harness.out / "data/tables/blobs.jsonl").read_text().splitlines()
    named = {row["sha256"] for row in map(json.loads, rows)}
    assert set(replaced) < named
    assert named - {line.split()[0] for line in manifest.splitlines()} == set()
    assert f"data/media/787132/1/replaced/{replaced[0]}.jpg" in manifest
    quiet = _export(harness, prune=True)
    assert (quiet.new, quiet.replaced, quiet.removed) == (0, 0, 0)


def test_an_interrupted_bag_is_none_and_a_rerun_completes_it(harness: ExportHarness) -> None:
    """Stopped anywhere on the way, and in an update too: not valid, then equal to one that was never
    stopped.
    """
    whole = harness.home / "whole"
    for stops_at in (1, 5, 12, 20):
        with pytest.raises(StoppedBySignal):
            _export(harness, stops_at=stops_at)
        assert not _is_valid(harness)
    _export(harness)
    assert _is_valid(harness)
    harness.out.rename(whole)
    _export(harness)
    assert tree(harness.out) == tree(whole)
    harness.keep("1", Role.COVER, b"another", LATER)
    with pytest.raises(StoppedBySignal):
        _export(harness, stops_at=3)
    assert not (harness.out / "bagit.txt").exists()
    _export(harness)
    assert _is_valid(harness)


def test_a_rerun_updates_and_a_quiet_one_writes_nothing(harness: ExportHarness) -> None:
    """Rows that changed are there, what is pruned is in no manifest, what somebody deleted neither."""
    _export(harness)
    quiet = _export(harness, prune=True)
    assert (quiet.new, quiet.replaced, quiet.removed, quiet.others) == (0, 0, 0, 0)
    _export(harness, titles="Travel*", prune=True)
    assert _is_valid(harness)
    assert "data/media/787132/1/10.jpg" not in bagit.Bag(str(harness.out)).payload_entries()
    _export(harness)
    (harness.out / "data/media/787132/1/10.jpg").unlink()
    _export(harness, titles="Travel*")
    assert _is_valid(harness)


def test_a_stranger_in_the_payload_is_told(harness: ExportHarness) -> None:
    """A bag with it would not be valid: it is not sealed until the file is moved away, which is left to its
    owner.
    """
    _export(harness)
    stranger = harness.out / "data" / "media" / "notes.txt"
    stranger.write_text("mine")
    tally = _export(harness)
    assert [trouble.path for trouble in tally.failures] == ["data/media/notes.txt"]
    assert not (harness.out / "bagit.txt").exists()
    stranger.unlink()
    assert _export(harness).failed == 0
    assert _is_valid(harness)


def test_damaged_bytes_do_not_go_into_a_bag(harness: ExportHarness) -> None:
    """Though they would be linked: they are read first. The rest is a valid bag."""
    digest = harness.keep("10", Role.THUMBNAIL, b"photo")
    harness.blob(digest).chmod(0o644)
    harness.blob(digest).write_bytes(b"PHOTO")
    tally = _export(harness)
    assert [trouble.path for trouble in tally.failures] == ["data/media/787132/1/10.jpg"]
    assert _is_valid(harness)


def test_a_rerun_keeps_the_fields_of_the_first(harness: ExportHarness) -> None:
    """Until they are given again, whatever case their label has, or ended by an empty one; what the program
    writes itself is there once.
    """
    _export(harness, info={"Source-Organization": "City Archive: 2", "Contact-Name": "Zoë"})
    harness.keep("1", Role.COVER, b"another", LATER)
    _export(harness)
    info = bagit.Bag(str(harness.out)).info
    assert (info["Source-Organization"], info["Contact-Name"]) == ("City Archive: 2", "Zoë")
    _export(
        harness, info={"source-organization": "County Archive", "Contact-Name": "", "Bag-Count": "1 of 1"}
    )
    text = tree(harness.out)["bag-info.txt"].decode()
    assert [line.partition(": ")[0] for line in text.splitlines()] == [
        "source-organization",
        "Bag-Count",
        "External-Identifier",
        "Bagging-Date",
        "Payload-Oxum",
        "Bag-Software-Agent",
    ]
    assert text.startswith("source-organization: County Archive\n")
    assert _is_valid(harness)
    quiet = _export(harness)
    assert (quiet.new, quiet.replaced) == (0, 0)


def test_fields_are_taken_from_no_file_of_somebody_else(harness: ExportHarness) -> None:
    """A bag-info.txt that was changed, or led elsewhere, is not read as ours: it stays, and is told."""
    _export(harness, info={"Contact-Name": "Zoë"})
    written = harness.out / "bag-info.txt"
    theirs = harness.home / "theirs.txt"
    theirs.write_text("Contact-Email: x@example.org\n")
    written.unlink()
    written.symlink_to(theirs)
    tally = _export(harness)
    assert [trouble.path for trouble in tally.failures] == ["bag-info.txt"]
    assert theirs.read_text() == "Contact-Email: x@example.org\n"


def test_fields_that_are_no_text_are_kept_as_far_as_they_are(harness: ExportHarness) -> None:
    """A bag from a stranger, whose list calls such a file the export's own."""
    _export(harness)
    written = harness.out / "bag-info.txt"
    written.write_bytes(b"Contact-Name: J\xf6rg\n")
    status, sha = written.stat(), sha256(written.read_bytes())
    with closing(sqlite3.connect(harness.out / ".archiver-export" / "files.db")) as rows, rows:
        change = "UPDATE files SET sha256 = ?, size = ?, mtime_ns = ? WHERE id = 'bag-info'"
        rows.execute(change, (sha, status.st_size, status.st_mtime_ns))
    assert _export(harness).failed == 0
    assert _is_valid(harness)
    assert "Contact-Name: J\ufffdrg\n" in written.read_text()


def test_a_bag_is_of_one_moment(harness: ExportHarness) -> None:
    """An item that comes while the bag is made is in it as a whole, or not at all."""
    nights = iter([LATER])

    def meanwhile() -> None:
        for when in nights:
            harness.show({"3": "New"}, {"3": (video("12"),)}, when)

    _export(harness, meanwhile=meanwhile)
    assert next(nights, None) is None
    assert b'"pk": "12"' not in tree(harness.out)["data/tables/items.jsonl"]
    _export(harness)
    files = tree(harness.out)
    assert b'"pk": "12"' in files["data/tables/items.jsonl"]
    assert any(path.endswith("/3/12.json") for path in files)


def test_a_label_may_have_several_values(harness: ExportHarness) -> None:
    """As BagIt allows: all stay, in their order, over a rerun too; values given anew take the place of all of
    them.
    """

    def own() -> list[str]:
        lines = tree(harness.out)["bag-info.txt"].decode().splitlines()
        return [line for line in lines if line.startswith(("Contact", "contact"))]

    one, two = ("Contact-Name", "Zoë"), ("Contact-Name", "Ada")
    _export(harness, info=(one, ("Contact-Email", "z@example.com"), two))
    said = ["Contact-Name: Zoë", "Contact-Email: z@example.com", "Contact-Name: Ada"]
    assert own() == said
    _export(harness)
    assert own() == said
    assert bagit.Bag(str(harness.out)).info["Contact-Name"] == ["Zoë", "Ada"]
    _export(harness, info=(("contact-name", "Eve"), ("contact-name", "Max")))
    assert own() == ["Contact-Email: z@example.com", "contact-name: Eve", "contact-name: Max"]


@pytest.mark.parametrize(
    ("label", "value", "why"),
    [
        ("", "x", "no label"),
        ("Payload-Oxum", "1.1", "archiver writes it itself"),
        ("a:b", "x", "must not contain a colon"),
        ("a\nb", "x", "line break"),
        ("Contact-Name", "x\nPayload-Oxum: 1.1", "line break"),
    ],
)
def test_a_field_that_cannot_stand_is_refused_with_its_reason(
    harness: ExportHarness, label: str, value: str, why: str
) -> None:
    """Before anything is written."""
    with pytest.raises(UsageError, match=why):
        _export(harness, info=((label, value),))
    assert not harness.out.exists()


@pytest.mark.parametrize("name", ["manifest-sha512.txt", "tagmanifest-md5.txt", "fetch.txt"])
def test_fault_e46_a_manifest_of_another_tool_is_named(harness: ExportHarness, name: str) -> None:
    """It lacks what an export adds: the bag is not sealed until it is moved. ``--check`` names it too."""
    _export(harness)
    foreign = harness.out / name
    foreign.write_text("")
    with Archive(harness.config) as archive:
        checked = archive.check_export(harness.out, form="bagit")
        dry_run = archive.export_bagit(harness.out, dry_run=True)
    assert [failure.path for failure in (*checked.failures, *dry_run.failures)] == [name, name]
    assert (harness.out / "bagit.txt").exists()
    harness.keep("1", Role.COVER, b"another", LATER)
    assert [failure.path for failure in _export(harness).failures] == [name]
    assert not (harness.out / "bagit.txt").exists()
    foreign.rename(harness.home / name)
    (harness.out / "notes.txt").write_text("mine, and no harm")
    assert _export(harness).failed == 0
    assert _is_valid(harness)
