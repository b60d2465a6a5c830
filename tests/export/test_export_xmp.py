"""``export folder --xmp``: what the sidecars say, which names they have, and whose files they leave alone."""

from __future__ import annotations

import json
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Unpack
from xml.etree import ElementTree

import pytest

from archiver.archive.archive import Archive
from archiver.archive.exports import MediaOptions
from archiver.export.export_entry import ExportStats
from archiver.export.export_paths import DEFAULT_TEMPLATE
from archiver.export.xmp_sidecar import describe_item
from archiver.model.identity import Role
from archiver.model.upstream import Hashtag, Location, Mention
from archiver.model.values import replace
from tests.support.catalog_samples import LATER, video
from tests.support.databases import NOW
from tests.support.export_archive import ExportHarness, tree
from tests.support.hostile_world import ESCAPES, TITLES
from tests.support.site_samples import account, highlight, photo

_AT = "2026-03-31 23-30-00"
_GUIDE, _TRAVEL = "natgeo/Gift_ Guide (1)", "natgeo/Travel 🦋 (2)"
_SIDECARS = {
    f"{_GUIDE}/{_AT} Cphoto.jpg.xmp",
    f"{_GUIDE}/{_AT} C11.jpg.xmp",
    f"{_GUIDE}/{_AT} C11.mp4.xmp",
    f"{_TRAVEL}/{_AT} C11.jpg.xmp",
    f"{_TRAVEL}/{_AT} C11.mp4.xmp",
}
_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_DC = "{http://purl.org/dc/elements/1.1/}"
_EXIF = "{http://ns.adobe.com/exif/1.0/}"
_EVIL = "</rdf:li>\x00\ud800\"'&amp;]]><!--\ufffe\n\u202e<?x?>&#0;"


@pytest.fixture
def harness(tmp_path: Path, sqlite_template: Path) -> ExportHarness:
    """A filled archive on SQLite."""
    made = ExportHarness.make(tmp_path, Path(shutil.copy(sqlite_template, tmp_path / "archive.db")))
    made.fill()
    return made


def export(
    harness: ExportHarness,
    template: str = DEFAULT_TEMPLATE,
    *,
    xmp: bool = True,
    **options: Unpack[MediaOptions],
) -> ExportStats:
    """Export to a folder, with sidecars; copies, as only those can be edited."""
    options["link"] = "copy"
    with Archive(harness.config) as archive:
        return archive.export_folder(harness.out, template=template, xmp=xmp, **options)


def sidecars(harness: ExportHarness) -> dict[str, bytes]:
    """Return the sidecars of an export by their paths."""
    return {path: content for path, content in tree(harness.out).items() if path.endswith(".xmp")}


def texts(sidecar: bytes, name: str) -> list[str]:
    """Return the values of an array in a sidecar."""
    values = ElementTree.fromstring(sidecar).findall(f".//{name}//{_RDF}li")
    return [value.text or "" for value in values]


def test_each_picture_and_video_of_an_item_has_a_sidecar(harness: ExportHarness) -> None:
    """It is named after the file with its extension. Covers and avatars have none. A second export changes
    nothing, and the file's modification time is the item's.
    """
    assert export(harness).methods["written"] == 5
    assert set(sidecars(harness)) == _SIDECARS
    for path in _SIDECARS:
        beside = harness.out / path.removesuffix(".xmp")
        assert (harness.out / path).stat().st_mtime == beside.stat().st_mtime
    again = export(harness)
    assert (again.files, again.new, again.replaced, again.moved, again.others) == (12, 0, 0, 0, 0)


def test_a_sidecar_says_what_photo_programs_read() -> None:
    """Date, title, account, tags and the first place with coordinates; angles are rounded, not cut."""
    placed = photo(
        hashtags=(Hashtag("travel"), Hashtag("#travel"), Hashtag("a/b|c"), Hashtag(None)),
        mentions=(Mention("nasa"), Mention(None, "2")),
        locations=(
            Location("nowhere"),
            Location("bad", "3", 91.0, 0.0),
            Location("Paris", "4", 48.5, -0.0001),
        ),
    )
    sidecar = describe_item(account(), highlight(), placed.item)
    root = ElementTree.fromstring(sidecar)
    assert texts(sidecar, f"{_DC}title") == ["Gifts"]
    assert texts(sidecar, f"{_DC}description") == ["Gifts – @natgeo"]
    assert texts(sidecar, f"{_DC}creator") == ["natgeo"]
    assert texts(sidecar, f"{_DC}subject") == ["travel", "a/b|c", "@nasa"]
    assert texts(sidecar, "{http://www.digikam.org/ns/1.0/}TagsList") == ["travel", "a_b|c", "@nasa"]
    assert texts(sidecar, "{http://ns.adobe.com/lightroom/1.0/}hierarchicalSubject")[1] == "a/b_c"
    assert root.findtext(f".//{_EXIF}DateTimeOriginal") == "2025-12-04T15:01:40+00:00"
    assert root.findtext(f".//{_EXIF}GPSLatitude") == "48,30.000000N"
    assert root.findtext(f".//{_EXIF}GPSLongitude") == "0,0.006000W"
    assert root.findtext(".//{http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/}Location") == "Paris"


def test_a_sidecar_without_facts_is_whole() -> None:
    """No title, no name, no date, no place: the account's id, and nothing empty."""
    placed = photo(taken_at=None)
    sidecar = describe_item(account(username=None), highlight(title=""), placed.item)
    assert texts(sidecar, f"{_DC}description") == ["account 1"]
    assert texts(sidecar, f"{_DC}creator") == ["1"]
    assert b"DateTimeOriginal" not in sidecar
    assert b"title" not in sidecar
    assert b"GPS" not in sidecar


@pytest.mark.parametrize("text", [*TITLES, _EVIL, ESCAPES, "x" * 100_000])
def test_fault_x18_the_text_of_a_stranger_is_only_text(text: str) -> None:
    """Whatever it is, the sidecar is XML of the same elements, on one line each, and not long."""
    placed = photo(
        hashtags=(Hashtag(text),), mentions=(Mention(text),), locations=(Location(text, "3", 1.0, 2.0),)
    )
    sidecar = describe_item(account(text), highlight(title=text), placed.item)
    plain = describe_item(account(), highlight(), photo().item)
    names = {element.tag for element in ElementTree.fromstring(sidecar).iter()}
    assert len(ElementTree.fromstring(sidecar)) == len(ElementTree.fromstring(plain))
    assert all(name.startswith("{") for name in names)
    assert len(sidecar) < 30_000
    values = [element.text or "" for element in ElementTree.fromstring(sidecar).iter() if not len(element)]
    assert all("\n" not in value and "\u202e" not in value for value in values)


def test_a_sidecar_follows_its_file(harness: ExportHarness) -> None:
    """If a foreign file has the picture's name, the sidecar has the name that the picture got; once the
    picture moves to its own name, the sidecar does too.
    """
    foreign = harness.out / _GUIDE / f"{_AT} Cphoto.jpg"
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"mine")
    export(harness)
    assert f"{_GUIDE}/{_AT} Cphoto [10].jpg.xmp" in sidecars(harness)
    assert f"{_GUIDE}/{_AT} Cphoto.jpg.xmp" not in sidecars(harness)
    foreign.unlink()
    export(harness)
    assert set(sidecars(harness)) == _SIDECARS
    harness.rename("natgeo.travel", LATER)
    done = export(harness)
    assert (done.moved, done.replaced, done.others) == (7, 5, 0)  # the account's name is in the sidecars
    assert {path.replace("natgeo.travel", "natgeo") for path in sidecars(harness)} == _SIDECARS


@pytest.mark.whole
def test_files_that_change_places_take_their_sidecars_along(harness: ExportHarness) -> None:
    """Each sidecar describes the picture beside it, also if the one of another item had that name before."""
    photos = [replace(video(pk, media_type=1), hashtags=(Hashtag(f"tag{pk}"),)) for pk in ("10", "12")]
    for days, items in enumerate([(photos[0], photos[1]), (photos[1], photos[0])]):
        harness.show({"1": "A"}, {"1": items}, LATER + timedelta(days=days))
        if not days:
            harness.keep("12", Role.THUMBNAIL, b"other")
        export(harness, "{title}/{position}.{ext}")
        there = {content: path for path, content in tree(harness.out).items()}
        assert there[b"photo" if not days else b"other"] == "A/001.jpg"
        for content, tag in ((b"photo", "tag10"), (b"other", "tag12")):
            assert texts(sidecars(harness)[f"{there[content]}.xmp"], f"{_DC}subject") == [tag]


def test_a_sidecar_that_an_export_left_behind_gives_way(harness: ExportHarness) -> None:
    """Without --xmp pictures move and sidecars stay; the next sidecar of the picture that has the name now
    takes that name, although the other item is not selected.
    """
    photos = [
        replace(video(pk, media_type=1, taken_at=NOW - timedelta(days=days)), hashtags=(Hashtag(f"tag{pk}"),))
        for pk, days in (("10", 1), ("12", 3))
    ]
    template = "{title}/{position}.{ext}"
    harness.show({"1": "A"}, {"1": (photos[0], photos[1])}, LATER)
    harness.keep("12", Role.THUMBNAIL, b"other")
    export(harness, template)
    harness.show({"1": "A"}, {"1": (photos[1], photos[0])}, LATER + timedelta(days=1))
    export(harness, template, xmp=False)
    assert texts(sidecars(harness)["A/001.jpg.xmp"], f"{_DC}subject") == ["tag10"]
    export(harness, template, taken_before=NOW - timedelta(days=2))
    assert tree(harness.out)["A/001.jpg"] == b"other"
    assert texts(sidecars(harness)["A/001.jpg.xmp"], f"{_DC}subject") == ["tag12"]


def test_a_sidecar_never_takes_the_place_of_one_that_is_not_the_export_s(harness: ExportHarness) -> None:
    """Photo programs write into sidecars: one that was edited, or was there before, stays as it is. That is
    not a failure.
    """
    mine, edited = (harness.out / _GUIDE / f"{_AT} {name}.xmp" for name in ("Cphoto.jpg", "C11.mp4"))
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    export(harness)
    edited.write_bytes(b"edited")
    harness.show({"1": "Gift: Guide"}, {"1": (replace(video("11"), hashtags=(Hashtag("new"),)),)}, LATER)
    done = export(harness)
    assert (done.failed, done.replaced, done.others) == (0, 3, 0)
    assert (mine.read_bytes(), edited.read_bytes()) == (b"mine", b"edited")
    assert export(harness, prune=True).removed == 0


@pytest.mark.whole
def test_a_dry_run_counts_sidecars(harness: ExportHarness) -> None:
    """As the export does, the first time and after a change."""
    for when in (None, LATER):
        if when is not None:
            harness.rename("natgeo.travel", when)
        planned, done = export(harness, dry_run=True), export(harness)
        assert (planned.new, planned.moved, planned.bytes) == (done.new, done.moved, done.bytes)


def test_without_its_file_there_is_no_sidecar(harness: ExportHarness) -> None:
    """A damaged blob is the one failure; --prune removes the sidecars once they are not asked for."""
    harness.blob(harness.keep("10", Role.THUMBNAIL, b"photo")).unlink()
    done = export(harness)
    assert (done.failed, len(sidecars(harness))) == (1, 4)
    export(harness, xmp=False, prune=True)
    assert not sidecars(harness)


def test_exiftool_reads_a_sidecar(tmp_path: Path) -> None:
    """The program through which Immich reads: every fact under the name that it looks for, and no warning."""
    exiftool = shutil.which("exiftool")
    if exiftool is None:
        pytest.skip("exiftool is missing: scripts/setup names the package")
    placed = photo(
        hashtags=(Hashtag("travel"), Hashtag("a/b")),
        mentions=(Mention("nasa"),),
        locations=(Location("Pa & ris", "4", 48.8583736, -2.2922926),),
    )
    (tmp_path / "a.jpg.xmp").write_bytes(describe_item(account(), highlight(), placed.item))
    words = [exiftool, "-json", "-n", "-validate", "-warning", "-XMP:all", str(tmp_path / "a.jpg.xmp")]
    (found,) = json.loads(subprocess.run(words, check=True, capture_output=True).stdout)
    assert found.pop("SourceFile")
    assert found == {
        "Validate": "0 0 0",
        "DateTimeOriginal": "2025:12:04 15:01:40+00:00",
        "DateCreated": "2025:12:04 15:01:40+00:00",
        "CreateDate": "2025:12:04 15:01:40+00:00",
        "Title": "Gifts",
        "Description": "Gifts – @natgeo",
        "Creator": "natgeo",
        "Subject": ["travel", "a/b", "@nasa"],
        "TagsList": ["travel", "a_b", "@nasa"],
        "HierarchicalSubject": ["travel", "a/b", "@nasa"],
        "Location": "Pa & ris",
        "GPSLatitude": 48.8583736,
        "GPSLongitude": -2.2922926,
    }
