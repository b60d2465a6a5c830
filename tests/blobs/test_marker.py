"""The marker of an archive: written once, and read with clear errors."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from archiver.blobs import marker
from archiver.blobs.marker import Marker
from archiver.errors import ArchiveTooOld, JournalDiffers, MarkerMismatch, NoArchive, StorageError
from archiver.model.journal_entries import JournalEnd, JournalPoint

ID = "6f1c2f1e8f4f4a0f9a3c0d1e2f3a4b5c"


@pytest.mark.parametrize("demo", [False, True])
def test_a_marker_comes_back(tmp_path: Path, demo: bool) -> None:
    """The marker is read as it was written, and the file is JSON with id and format."""
    marker.write(tmp_path, Marker(ID, is_demo=demo))
    assert Marker(ID, 2, demo) == marker.read(tmp_path)
    assert {"id": ID, "format": 2} | ({"demo": True} if demo else {}) == json.loads(
        (tmp_path / "archive.json").read_text()
    )
    assert os.listdir(tmp_path) == ["archive.json"]  # noqa: PTH208


@pytest.mark.parametrize(("group_readable", "mode"), [(False, 0o600), (True, 0o640)])
def test_the_marker_has_its_mode_whatever_the_umask(tmp_path: Path, group_readable: bool, mode: int) -> None:
    """The marker is 0600, or 0640 with group_readable."""
    before = os.umask(0o077)
    try:
        marker.write(tmp_path, Marker(ID), group_readable=group_readable)
    finally:
        os.umask(before)
    assert mode == (tmp_path / "archive.json").stat().st_mode & 0o777


def test_a_marker_is_written_once(tmp_path: Path) -> None:
    """A second marker is refused, so that an archive keeps its id; a draft of a killed creation is not."""
    (tmp_path / ".archive.json.part").write_text('{"id"')
    marker.write(tmp_path, Marker(ID))
    with pytest.raises(StorageError, match="already exists"):
        marker.write(tmp_path, Marker("another"))
    assert marker.read(tmp_path).id == ID


def test_fault_h15_no_marker_is_no_archive(tmp_path: Path) -> None:
    """An empty mount point, a missing directory and a file are not archives."""
    (tmp_path / "file").write_text("x")
    for place in (tmp_path, tmp_path / "absent", tmp_path / "file"):
        with pytest.raises(NoArchive, match="no archive"):
            marker.read(place)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b"[" * 100_000,
        b'{"id": "x"}',
        b'{"format": 2}',
        b'{"id": "", "format": 2}',
        b'{"id": 7, "format": 2}',
        b'{"id": "x", "format": "2"}',
        b'{"id": "x", "format": true}',
        b'{"id": "x", "format": 2, "demo": "yes"}',
    ],
)
def test_a_broken_marker_is_told(tmp_path: Path, text: bytes) -> None:
    """A file that is not a marker is a StorageError with a hint, and never replaced."""
    (tmp_path / "archive.json").write_bytes(text)
    with pytest.raises(StorageError, match="not a valid marker") as caught:
        marker.read(tmp_path)
    assert caught.value.hint


def test_an_earlier_format_is_refused(tmp_path: Path) -> None:
    """An archive of that time had no journal; the hint names the last commit that upgrades it."""
    (tmp_path / "archive.json").write_text(json.dumps({"id": ID, "format": 1}))
    with pytest.raises(ArchiveTooOld, match=r"too old for this version \(1\)") as caught:
        marker.read(tmp_path)
    assert "22731ab190bd" in caught.value.hint


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    """An archive of a newer version is refused."""
    (tmp_path / "archive.json").write_text(json.dumps({"id": ID, "format": 3}))
    with pytest.raises(StorageError, match="format 3"):
        marker.read(tmp_path)


@pytest.mark.parametrize("plant", ["link", "fifo", "directory"])
def test_fault_h31_what_is_no_regular_file_is_no_marker(tmp_path: Path, plant: str) -> None:
    """A link, FIFO or directory in place of the marker is refused at once."""
    place = tmp_path / "archive.json"
    if plant == "link":
        (tmp_path / "elsewhere").write_text(json.dumps({"id": ID, "format": 2}))
        place.symlink_to(tmp_path / "elsewhere")
    elif plant == "fifo":
        os.mkfifo(place)
    else:
        place.mkdir()
    with pytest.raises(StorageError):
        marker.read(tmp_path)


def test_fault_h15_a_database_of_another_archive_is_told(tmp_path: Path) -> None:
    """Directory and database must have the same id."""
    Marker(ID).require(ID, tmp_path, 0)
    with pytest.raises(MarkerMismatch, match="different archives"):
        Marker(ID).require("another", tmp_path, 0)


def test_fault_h55_a_database_from_before_a_removal_is_refused(tmp_path: Path) -> None:
    """The marker counts the removals; one that does not is of an archive without any."""
    marker.write(tmp_path, Marker(ID, removals=2))
    own = marker.read(tmp_path)
    own.require(ID, tmp_path, 2)
    with pytest.raises(JournalDiffers, match="from before"):
        own.require(ID, tmp_path, 1)
    assert b"removals" not in marker.pack(Marker(ID))


def test_fault_j9_a_marker_keeps_the_later_end_of_the_journal(tmp_path: Path) -> None:
    """Whoever rewrites the marker, the end of the journal that it names never goes back."""
    earlier = Marker(ID, journal=JournalEnd(7, "a" * 32))
    later = Marker(ID, journal=JournalEnd(9, "b" * 32, JournalPoint(8, "c" * 32)))
    marker.write(tmp_path, Marker(ID))
    assert marker.read(tmp_path).journal is None
    for given, kept in ((earlier, earlier), (later, later), (earlier, later), (Marker(ID), later)):
        marker.rewrite(tmp_path, given)
        assert marker.read(tmp_path) == kept
    hostile = json.dumps({"id": ID, "format": 2, "journal": {"seq": 10**12, "hash": ""}}).encode()
    with pytest.raises(StorageError, match="not a valid marker"):
        marker.parse(hostile, "archive.json")
    text = json.loads((tmp_path / "archive.json").read_bytes())["journal"]
    assert text == {"seq": 9, "hash": "b" * 32, "after": {"seq": 8, "hash": "c" * 32}}
