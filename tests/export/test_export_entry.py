"""Files of an export that wait in a temporary file are the same afterwards."""

from __future__ import annotations

import pytest

from archiver.export.export_entry import CompanionText, ExportEntry, StagedFile, pack_entry, unpack_entry
from archiver.model.identity import Digest

DIGEST = Digest("ab" * 32)


@pytest.mark.parametrize(
    "entry",
    [
        ExportEntry("item 1 2 video", ("a", "b.mp4"), DIGEST, 7, 5, ("x",)),
        ExportEntry("staged", ("c",), StagedFile("name", DIGEST), 3),
        ExportEntry.of_text("text", ("d",), b"\x00\xff"),
        ExportEntry.of_text("empty", ("e",), b""),
        CompanionText("id", "beside", ".xmp", b"<x/>", 9),
    ],
    ids=lambda entry: entry.id,
)
def test_an_entry_is_the_same_after_packing(entry: ExportEntry | CompanionText) -> None:
    """Also its kind, and that of its content."""
    again = unpack_entry(pack_entry(entry))
    assert (type(again), again) == (type(entry), entry)
