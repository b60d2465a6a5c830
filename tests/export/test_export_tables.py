"""Exports for other programs: rows as CSV and JSON Lines, BagIt bags, and sidecars of photos."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Unpack
from xml.etree import ElementTree

import bagit
import pytest

from archiver.archive.archive import Archive
from archiver.archive.exports import MediaOptions, TableForm, table_text
from archiver.archive.selection import Narrowing
from archiver.catalog import row_dump
from archiver.catalog.tables import metadata
from archiver.errors import StoppedBySignal, UsageError
from archiver.export.export_entry import ExportStats
from archiver.export.export_paths import DEFAULT_TEMPLATE
from archiver.export.xmp_sidecar import describe_item
from archiver.model.identity import Role
from archiver.model.upstream import Hashtag, Location, Mention
from archiver.model.values import replace
from tests.support.archive_copies import ArchiveCopies
from tests.support.catalog_samples import LATER, NATGEO, video
from tests.support.databases import NOW, SQLITE_EVERYDAY
from tests.support.disk_limits import sha256
from tests.support.export_archive import ExportHarness, tree
from tests.support.hostile_world import ESCAPES, TITLES
from tests.support.site_samples import account, highlight, photo

_DERIVED = {"account_totals", "budget_totals", "monthly_totals", "search_documents"}
_JOURNAL = {"journal_outbox", "journal_commits", "journal_head"}
_WORKERS = {"workers", "shared_runs", "visits", "run_reports", "api_rate", "journal_lease"}

_LEFT_TO_DO = {"deletions", "removal_requests"}


@pytest.fixture
def either(tmp_path: Path, database: str | Path) -> ExportHarness:
    """A filled archive on either database, with a hostile title."""
    made = ExportHarness.make(tmp_path, database)
    _fill(made)
    return made


@pytest.fixture
def lite(tmp_path: Path, archive_copies: ArchiveCopies) -> ExportHarness:
    """The same, on SQLite alone."""
    return ExportHarness.copied(tmp_path, archive_copies, "hostile", _fill)


def _fill(either: ExportHarness) -> None:
    either.fill()
    either.show({"1": '=HYPERLINK("x")\r\n"\u2028', "2": "Travel 🦋"}, {}, LATER)


def export_tables(
    either: ExportHarness, form: TableForm, *names: str, **narrowing: Unpack[Narrowing]
) -> ExportStats:
    with Archive(either.config) as archive:
        return archive.export_tables(either.out, form=form, tables=names, **narrowing)


def test_every_table_is_exported() -> None:
    """None is forgotten that is added later; what the database itself makes of the others is left out."""
    assert set(row_dump.TABLES) | _DERIVED | _JOURNAL | _WORKERS | _LEFT_TO_DO == set(metadata.tables)


def test_jsonl_is_exact(either: ExportHarness) -> None:
    """An object a row, by key; times as text, pks as text, null as null; a rerun of the same rows writes
    nothing.
    """
    export_tables(either, TableForm.JSONL)
    files = tree(either.out)
    assert set(files) == {f"{name}.jsonl" for name in row_dump.TABLES}
    highlights = [json.loads(line) for line in files["highlights.jsonl"].decode().split("\n")[:-1]]
    assert [row["pk"] for row in highlights] == ["1", "2"]
    assert highlights[0]["title"] == '=HYPERLINK("x")\r\n"\u2028'
    assert (highlights[0]["first_seen_at"], highlights[0]["gone_at"]) == ("2026-03-31T23:30:00.250000Z", None)
    assert highlights[0]["latest_reel_media"] == 1_766_242_839
    assert highlights[0]["is_pinned"] is False
    assert list(highlights[0]) == list(row_dump.column_names("highlights"))
    assert export_tables(either, TableForm.JSONL).new == 0


@SQLITE_EVERYDAY
def test_tables_are_of_one_moment(either: ExportHarness) -> None:
    """A run that goes on meanwhile is in none of them, or in all: no table tells of an item that another does
    not have.
    """
    came = False

    def progress(done: ExportStats) -> None:
        nonlocal came
        if done.files and not came:
            came = True
            either.show({"3": "New"}, {"3": (video("12"),)}, LATER)

    with Archive(either.config) as archive:
        archive.export_tables(either.out, progress=progress)
    assert came
    files = tree(either.out)
    for table, key in (("highlights", "pk"), ("items", "pk"), ("highlight_items", "item_pk")):
        table_text = files[f"{table}.jsonl"].decode().split("\n")[:-1]
        assert not {"3", "12"} & {json.loads(line)[key] for line in table_text}, table


def test_fault_x10_csv_holds_no_formula(lite: ExportHarness) -> None:
    """RFC 4180 with CR LF; a text that a spreadsheet would run begins with an apostrophe, and stays one
    cell.
    """
    export_tables(lite, TableForm.CSV, "highlights")
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
    export_tables(lite, TableForm.JSONL, titles="Travel*")
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
    export_tables(lite, form)
    (lite.out / "notes.txt").write_text("mine")
    (lite.out / f"archive.{form}").write_text("changed")
    theirs = {"notes.txt", f"archive.{form}"}
    narrowed = export_tables(lite, form, accounts=NATGEO.pk)
    assert set(tree(lite.out)) == {f"{name}.{form}" for name in row_dump.PART_TABLES} | theirs
    assert (narrowed.removed, narrowed.others) == (6, 0)
    export_tables(lite, form, "users")
    assert set(tree(lite.out)) == {f"users.{form}"} | theirs
    assert tree(lite.out)["notes.txt"] == b"mine"
    assert tree(lite.out)[f"archive.{form}"] == b"changed"


def test_a_table_of_the_whole_cannot_be_narrowed(lite: ExportHarness) -> None:
    """A usage error, before anything is written."""
    with pytest.raises(UsageError, match="runs"):
        export_tables(lite, TableForm.CSV, "runs", accounts=NATGEO.pk)
    assert not lite.out.exists()


def test_one_table_as_text_is_the_same(lite: ExportHarness) -> None:
    """What goes to stdout, also where blobs are narrowed by files."""
    for titles, count in ((None, 5), ("Travel*", 3)):
        export_tables(lite, TableForm.CSV, "blobs", titles=titles)
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
    export_tables(lite, form)
    whole = tree(lite.out)
    table = lite.out / f"highlights.{form}"
    status = table.stat()
    table.write_bytes(table.read_bytes()[:-3] + b"X" + table.read_bytes()[-2:])
    os.utime(table, ns=(status.st_atime_ns, status.st_mtime_ns))
    stats = export_tables(lite, form)
    assert (stats.new, stats.replaced, stats.failed) == (0, 1, 0)
    assert tree(lite.out) == whole


def export_bag(
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
    export_bag(harness, info={"Source-Organization": "City Archive"})
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
    export_bag(harness)
    assert _is_valid(harness)
    manifest = (harness.out / "manifest-sha256.txt").read_text()
    rows = (harness.out / "data/tables/blobs.jsonl").read_text().splitlines()
    named = {row["sha256"] for row in map(json.loads, rows)}
    assert set(replaced) < named
    assert named - {line.split()[0] for line in manifest.splitlines()} == set()
    assert f"data/media/787132/1/replaced/{replaced[0]}.jpg" in manifest
    quiet = export_bag(harness, prune=True)
    assert (quiet.new, quiet.replaced, quiet.removed) == (0, 0, 0)


def test_an_interrupted_bag_is_none_and_a_rerun_completes_it(harness: ExportHarness) -> None:
    """Stopped anywhere on the way, and in an update too: not valid, then equal to one that was never
    stopped.
    """
    whole = harness.home / "whole"
    for stops_at in (1, 5, 12, 20):
        with pytest.raises(StoppedBySignal):
            export_bag(harness, stops_at=stops_at)
        assert not _is_valid(harness)
    export_bag(harness)
    assert _is_valid(harness)
    harness.out.rename(whole)
    export_bag(harness)
    assert tree(harness.out) == tree(whole)
    harness.keep("1", Role.COVER, b"another", LATER)
    with pytest.raises(StoppedBySignal):
        export_bag(harness, stops_at=3)
    assert not (harness.out / "bagit.txt").exists()
    export_bag(harness)
    assert _is_valid(harness)


def test_a_rerun_updates_and_a_quiet_one_writes_nothing(harness: ExportHarness) -> None:
    """Rows that changed are there, what is pruned is in no manifest, what somebody deleted neither."""
    export_bag(harness)
    quiet = export_bag(harness, prune=True)
    assert (quiet.new, quiet.replaced, quiet.removed, quiet.others) == (0, 0, 0, 0)
    export_bag(harness, titles="Travel*", prune=True)
    assert _is_valid(harness)
    assert "data/media/787132/1/10.jpg" not in bagit.Bag(str(harness.out)).payload_entries()
    export_bag(harness)
    (harness.out / "data/media/787132/1/10.jpg").unlink()
    export_bag(harness, titles="Travel*")
    assert _is_valid(harness)


def test_a_stranger_in_the_payload_is_told(harness: ExportHarness) -> None:
    """A bag with it would not be valid: it is not sealed until the file is moved away, which is left to its
    owner.
    """
    export_bag(harness)
    stranger = harness.out / "data" / "media" / "notes.txt"
    stranger.write_text("mine")
    tally = export_bag(harness)
    assert [trouble.path for trouble in tally.failures] == ["data/media/notes.txt"]
    assert not (harness.out / "bagit.txt").exists()
    stranger.unlink()
    assert export_bag(harness).failed == 0
    assert _is_valid(harness)


def test_damaged_bytes_do_not_go_into_a_bag(harness: ExportHarness) -> None:
    """Though they would be linked: they are read first. The rest is a valid bag."""
    digest = harness.keep("10", Role.THUMBNAIL, b"photo")
    harness.blob(digest).chmod(0o644)
    harness.blob(digest).write_bytes(b"PHOTO")
    tally = export_bag(harness)
    assert [trouble.path for trouble in tally.failures] == ["data/media/787132/1/10.jpg"]
    assert _is_valid(harness)


def test_a_rerun_keeps_the_fields_of_the_first(harness: ExportHarness) -> None:
    """Until they are given again, whatever case their label has, or ended by an empty one; what the program
    writes itself is there once.
    """
    export_bag(harness, info={"Source-Organization": "City Archive: 2", "Contact-Name": "Zoë"})
    harness.keep("1", Role.COVER, b"another", LATER)
    export_bag(harness)
    info = bagit.Bag(str(harness.out)).info
    assert (info["Source-Organization"], info["Contact-Name"]) == ("City Archive: 2", "Zoë")
    export_bag(
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
    quiet = export_bag(harness)
    assert (quiet.new, quiet.replaced) == (0, 0)


def test_fields_are_taken_from_no_file_of_somebody_else(harness: ExportHarness) -> None:
    """A bag-info.txt that was changed, or led elsewhere, is not read as ours: it stays, and is told."""
    export_bag(harness, info={"Contact-Name": "Zoë"})
    written = harness.out / "bag-info.txt"
    theirs = harness.home / "theirs.txt"
    theirs.write_text("Contact-Email: x@example.org\n")
    written.unlink()
    written.symlink_to(theirs)
    tally = export_bag(harness)
    assert [trouble.path for trouble in tally.failures] == ["bag-info.txt"]
    assert theirs.read_text() == "Contact-Email: x@example.org\n"


def test_fields_that_are_no_text_are_kept_as_far_as_they_are(harness: ExportHarness) -> None:
    """A bag from a stranger, whose list calls such a file the export's own."""
    export_bag(harness)
    written = harness.out / "bag-info.txt"
    written.write_bytes(b"Contact-Name: J\xf6rg\n")
    status, sha = written.stat(), sha256(written.read_bytes())
    change = "UPDATE files SET sha256 = ?, size = ?, mtime_ns = ? WHERE id = 'bag-info'"
    harness.run_on_list(change, (sha, status.st_size, status.st_mtime_ns))
    assert export_bag(harness).failed == 0
    assert _is_valid(harness)
    assert "Contact-Name: J\ufffdrg\n" in written.read_text()


def test_a_bag_is_of_one_moment(harness: ExportHarness) -> None:
    """An item that comes while the bag is made is in it as a whole, or not at all."""
    nights = iter([LATER])

    def meanwhile() -> None:
        for when in nights:
            harness.show({"3": "New"}, {"3": (video("12"),)}, when)

    export_bag(harness, meanwhile=meanwhile)
    assert next(nights, None) is None
    assert b'"pk": "12"' not in tree(harness.out)["data/tables/items.jsonl"]
    export_bag(harness)
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
    export_bag(harness, info=(one, ("Contact-Email", "z@example.com"), two))
    said = ["Contact-Name: Zoë", "Contact-Email: z@example.com", "Contact-Name: Ada"]
    assert own() == said
    export_bag(harness)
    assert own() == said
    assert bagit.Bag(str(harness.out)).info["Contact-Name"] == ["Zoë", "Ada"]
    export_bag(harness, info=(("contact-name", "Eve"), ("contact-name", "Max")))
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
        export_bag(harness, info=((label, value),))
    assert not harness.out.exists()


@pytest.mark.parametrize("name", ["manifest-sha512.txt", "tagmanifest-md5.txt", "fetch.txt"])
def test_fault_e46_a_manifest_of_another_tool_is_named(harness: ExportHarness, name: str) -> None:
    """It lacks what an export adds: the bag is not sealed until it is moved. ``--check`` names it too."""
    export_bag(harness)
    foreign = harness.out / name
    foreign.write_text("")
    with Archive(harness.config) as archive:
        checked = archive.check_export(harness.out, form="bagit")
        dry_run = archive.export_bagit(harness.out, dry_run=True)
    assert [failure.path for failure in (*checked.failures, *dry_run.failures)] == [name, name]
    assert (harness.out / "bagit.txt").exists()
    harness.keep("1", Role.COVER, b"another", LATER)
    assert [failure.path for failure in export_bag(harness).failures] == [name]
    assert not (harness.out / "bagit.txt").exists()
    foreign.rename(harness.home / name)
    (harness.out / "notes.txt").write_text("mine, and no harm")
    assert export_bag(harness).failed == 0
    assert _is_valid(harness)


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


def export_with_sidecars(
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
    assert export_with_sidecars(harness).methods["written"] == 5
    assert set(sidecars(harness)) == _SIDECARS
    for path in _SIDECARS:
        beside = harness.out / path.removesuffix(".xmp")
        assert (harness.out / path).stat().st_mtime == beside.stat().st_mtime
    again = export_with_sidecars(harness)
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
    export_with_sidecars(harness)
    assert f"{_GUIDE}/{_AT} Cphoto [10].jpg.xmp" in sidecars(harness)
    assert f"{_GUIDE}/{_AT} Cphoto.jpg.xmp" not in sidecars(harness)
    foreign.unlink()
    export_with_sidecars(harness)
    assert set(sidecars(harness)) == _SIDECARS
    harness.rename("natgeo.travel", LATER)
    done = export_with_sidecars(harness)
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
        export_with_sidecars(harness, "{title}/{position}.{ext}")
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
    export_with_sidecars(harness, template)
    harness.show({"1": "A"}, {"1": (photos[1], photos[0])}, LATER + timedelta(days=1))
    export_with_sidecars(harness, template, xmp=False)
    assert texts(sidecars(harness)["A/001.jpg.xmp"], f"{_DC}subject") == ["tag10"]
    export_with_sidecars(harness, template, taken_before=NOW - timedelta(days=2))
    assert tree(harness.out)["A/001.jpg"] == b"other"
    assert texts(sidecars(harness)["A/001.jpg.xmp"], f"{_DC}subject") == ["tag12"]


def test_a_sidecar_never_takes_the_place_of_one_that_is_not_the_export_s(harness: ExportHarness) -> None:
    """Photo programs write into sidecars: one that was edited, or was there before, stays as it is. That is
    not a failure.
    """
    mine, edited = (harness.out / _GUIDE / f"{_AT} {name}.xmp" for name in ("Cphoto.jpg", "C11.mp4"))
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    export_with_sidecars(harness)
    edited.write_bytes(b"edited")
    harness.show({"1": "Gift: Guide"}, {"1": (replace(video("11"), hashtags=(Hashtag("new"),)),)}, LATER)
    done = export_with_sidecars(harness)
    assert (done.failed, done.replaced, done.others) == (0, 3, 0)
    assert (mine.read_bytes(), edited.read_bytes()) == (b"mine", b"edited")
    assert export_with_sidecars(harness, prune=True).removed == 0


@pytest.mark.whole
def test_a_dry_run_counts_sidecars(harness: ExportHarness) -> None:
    """As the export does, the first time and after a change."""
    for when in (None, LATER):
        if when is not None:
            harness.rename("natgeo.travel", when)
        planned, done = export_with_sidecars(harness, dry_run=True), export_with_sidecars(harness)
        assert (planned.new, planned.moved, planned.bytes) == (done.new, done.moved, done.bytes)


def test_without_its_file_there_is_no_sidecar(harness: ExportHarness) -> None:
    """A damaged blob is the one failure; --prune removes the sidecars once they are not asked for."""
    harness.blob(harness.keep("10", Role.THUMBNAIL, b"photo")).unlink()
    done = export_with_sidecars(harness)
    assert (done.failed, len(sidecars(harness))) == (1, 4)
    export_with_sidecars(harness, xmp=False, prune=True)
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
