"""What else may lie in an archive: leftovers, files of others, planted links, pipes; none is followed, waited
for, or thrown away.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from archiver.cli.main import main
from archiver.sandbox import media_files
from tests.support.archive_harness import ArchiveHarness
from tests.support.host_faults import blobs, environ, run

pytestmark = pytest.mark.world(accounts=1, highlights=1, items=1, archived="account0000")

ACCOUNT = "account0000"


@pytest.fixture
def harness(harness: ArchiveHarness, monkeypatch: pytest.MonkeyPatch) -> ArchiveHarness:
    """The environment names it."""
    for name, value in environ(harness, ACCOUNT).items():
        monkeypatch.setenv(name, value)
    return harness


def verified(capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, str], int, list[str]]:
    """What ``archiver verify --read-data`` finds: problems by blob, the number of orphans, and strangers.

    Code 12 if damaged, else 0.
    """
    capsys.readouterr()
    code = main(["verify", "--read-data", "--json"])
    told = json.loads(capsys.readouterr().out)
    found = {damage["sha256"]: damage["problem"] for damage in told["damaged"]}
    assert (code, told["exit_code"]) == ((12, 12) if found else (0, 0))
    return found, told["orphans"], told["foreign"]


def test_fault_h30_leftovers_are_swept_orphans_adopted_and_strangers_left_alone(
    harness: ArchiveHarness, capsys: pytest.CaptureFixture[str]
) -> None:
    """Half-written files go when a run begins; a blob without a row and files of others stay, are told, and
    are no damage.
    """
    strangers = {".DS_Store": b"theirs", "7f/notes.txt": b"theirs", "zz/inside": b"theirs"}
    for name, data in strangers.items():
        (harness.root / "blobs" / name).parent.mkdir(exist_ok=True)
        (harness.root / "blobs" / name).write_bytes(data)
    (harness.root / "photos").mkdir()
    (harness.root / "tmp" / "dead.part").write_bytes(b"half")
    item = harness.upstream.world.add_item(next(iter(harness.upstream.world.account(ACCOUNT).highlights)).pk)
    assert item.thumbnail is not None
    orphan = media_files.body(item.thumbnail)
    sha256 = hashlib.sha256(orphan).hexdigest()
    (harness.root / "blobs" / sha256[:2] / sha256).write_bytes(orphan)
    assert verified(capsys) == ({}, 1, [".DS_Store", "7f/notes.txt", "zz"])
    assert run(harness, ACCOUNT)[0] == 0
    assert harness.one("select sha256 from files where item_pk = ?", item.pk) == sha256
    assert list((harness.root / "tmp").iterdir()) == []
    assert verified(capsys)[:2] == ({}, 0)
    for name, data in strangers.items():
        assert (harness.root / "blobs" / name).read_bytes() == data
    assert (harness.root / "photos").is_dir()


def test_fault_h31_a_link_in_place_of_a_blob_is_damage_and_is_healed(
    harness: ArchiveHarness, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A link to another file: ``verify`` says 12 and does not read it, the run at its turn fetches the blob
    again, the file keeps its bytes.
    """
    target = tmp_path / "precious"
    target.write_bytes(b"theirs")
    place = blob_paths(harness)[0]
    place.unlink()
    place.symlink_to(target)
    assert verified(capsys)[0] == {place.name: "not_regular"}
    harness.sleep_until_turn(place.name)
    assert run(harness, ACCOUNT)[0] == 0
    assert target.read_bytes() == b"theirs"
    assert place.is_file()
    assert not place.is_symlink()
    assert verified(capsys)[0] == {}


@pytest.mark.whole
def test_fault_h31_a_link_in_place_of_a_directory_of_blobs_is_damage(
    harness: ArchiveHarness, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One of the 256 directories leads elsewhere: ``verify`` says 12 for each of its blobs, and reads none of
    them there.
    """
    place = blob_paths(harness)[0].parent
    names = [path.name for path in place.iterdir()]
    elsewhere = place.rename(tmp_path / "elsewhere")
    place.symlink_to(elsewhere)
    found, _, foreign = verified(capsys)
    assert (found, foreign) == (dict.fromkeys(names, "missing"), [place.name])


def test_fault_h32_a_pipe_in_place_of_a_blob_is_not_waited_for(
    harness: ArchiveHarness, capsys: pytest.CaptureFixture[str]
) -> None:
    """A FIFO is damage, told at once; the run at its turn fetches the blob again, and a hard link with the
    right bytes is as good as any file.
    """
    pipe, linked, *_ = blob_paths(harness)
    pipe.unlink()
    os.mkfifo(pipe)
    other = harness.root / "other"
    other.write_bytes(linked.read_bytes())
    linked.unlink()
    linked.hardlink_to(other)
    assert verified(capsys)[0] == {pipe.name: "not_regular"}
    harness.sleep_until_turn(pipe.name)
    assert run(harness, ACCOUNT)[0] == 0
    assert verified(capsys)[0] == {}
    other.write_bytes(bytes(len(other.read_bytes())))
    assert verified(capsys)[0] == {linked.name: "hash"}


def blob_paths(harness: ArchiveHarness) -> list[Path]:
    """Where the blobs lie."""
    return [harness.root / "blobs" / name[:2] / name for name in sorted(blobs(harness))]
