"""Stored answers are whole, whatever the disk refuses and whatever ends the run."""

from __future__ import annotations

import gzip
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from archiver.answers import warc
from archiver.answers.answer_store import AnswerStore
from archiver.answers.warc import members, pack_warcinfo, unpack_record
from archiver.errors import AnswerMalformed, StorageError
from archiver.model.archived import Surplus
from archiver.store import disk
from tests.support import ROOT
from tests.support.answer_samples import STARTED, answer, file_size_limit


@pytest.fixture
def store(tmp_path: Path) -> AnswerStore:
    return AnswerStore(disk.Objects(tmp_path))


@pytest.mark.parametrize("level", ["answers", "2026", "03", "file"])
def test_fault_h31_links_are_not_followed(tmp_path: Path, store: AnswerStore, level: str) -> None:
    """A link in place of a directory or file below the archive is neither read nor written through."""
    with store.writer(7, STARTED) as writer:
        kept = writer.keep(answer(b"x"), is_tray=True)
    file = tmp_path / "answers" / kept.segment
    place = {"answers": tmp_path / "answers", "2026": file.parents[1], "03": file.parent, "file": file}[level]
    outside = tmp_path / "outside"
    shutil.move(place, outside)
    place.symlink_to(outside)
    with pytest.raises(AnswerMalformed if level == "file" else StorageError):
        store.read(kept)
    if level != "file":
        before = sorted(outside.rglob("*"))
        with store.writer(8, STARTED) as writer, pytest.raises(StorageError):
            writer.keep(answer(b"y"), is_tray=True)
        assert before == sorted(outside.rglob("*"))


def test_fault_h7_a_write_that_fails_is_cut_off_and_the_next_record_starts_clean(
    tmp_path: Path, store: AnswerStore
) -> None:
    """A record that does not fit is cut off: the file ends with the last whole record, and goes on."""
    noise = random.Random(1).randbytes(50_000)
    with store.writer(7, STARTED) as writer:
        first = writer.keep(answer(b"first"), is_tray=True)
        size = (tmp_path / "answers" / first.segment).stat().st_size
        with file_size_limit(20_000), pytest.raises(StorageError, match=first.segment):
            writer.keep(answer(noise), is_tray=True)
        assert (tmp_path / "answers" / first.segment).stat().st_size == size
        last = writer.keep(answer(noise), is_tray=True)
    assert (last.segment, last.offset) == (first.segment, size)
    assert [place for place, _ in store.iterate(first.segment)] == [first, last]


def test_fault_h14_a_place_that_takes_no_file_is_found_before_the_first_answer(
    tmp_path: Path, store: AnswerStore
) -> None:
    """``prepare`` creates the first file, so that an error comes before an answer is paid for."""
    with store.writer(7, STARTED) as writer:
        writer.prepare()
        kept = writer.keep(answer(b"x"), is_tray=True)
    assert list(store.segments()) == [kept.segment]
    with store.writer(8, STARTED) as writer:
        writer.prepare()
    assert list(store.segments()) == [kept.segment]
    month = (tmp_path / "answers" / kept.segment).parent
    month.rename(month.with_name("aside"))
    month.write_text("no directory")
    with store.writer(9, STARTED) as writer, pytest.raises(StorageError):
        writer.prepare()


FULL_DISK = """
import os, resource, sys
sys.path.insert(0, sys.argv[2])
from tests.support.answer_samples import STARTED, answer
from pathlib import Path
from archiver.answers.answer_store import AnswerStore
from archiver.store import disk
from archiver.errors import AnswerMalformed, StorageError
store = AnswerStore(disk.Objects(Path(sys.argv[1])))
if sys.argv[3] == "limit":
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
with store.writer(1, STARTED) as writer:
    kept = [writer.keep(answer(b"before"), is_tray=True)]
    try:
        writer.keep(answer(os.urandom(400_000)), is_tray=True)
    except StorageError as exc:
        print(type(exc).__name__)
    kept.append(writer.keep(answer(b"after"), is_tray=True))
print([found.body for _, found in store.iterate(kept[0].segment)])
"""


def test_fault_h7_a_full_disk_is_told_as_such_and_what_fits_is_kept(tmp_path: Path) -> None:
    """A full disk is DiskFull, and smaller answers still fit."""
    run = [sys.executable, "-c", FULL_DISK, str(tmp_path), str(ROOT)]
    mount = [
        "unshare",
        "-rm",
        "sh",
        "-c",
        'mount -t tmpfs -o size=200k none "$0" && exec "$@"',
        str(tmp_path),
    ]
    if shutil.which("unshare") and subprocess.run([*mount, "true"], capture_output=True).returncode == 0:
        command, error = [*mount, *run, "disk"], "DiskFull"
    else:
        command, error = [*run, "limit"], "StorageError"
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    assert told.splitlines() == [error, "[b'before', b'after']"]


def test_a_torn_last_record_is_passed_over_wherever_it_is_cut(tmp_path: Path, store: AnswerStore) -> None:
    """A file that ends at any byte of its last records, or in zeros, still has all answers before."""
    with store.writer(7, STARTED) as writer:
        whole = writer.keep(answer(b"whole"), is_tray=True)
        torn = writer.keep(answer(b"torn"), is_tray=True)
    file = tmp_path / "answers" / whole.segment
    data = file.read_bytes()
    for cut in range(torn.offset, torn.offset + torn.length):
        file.write_bytes(data[:cut])
        assert [place for place, _ in store.iterate(whole.segment)] == [whole]
    file.write_bytes(data[: torn.offset + 20] + bytes(9000))
    assert [place for place, _ in store.iterate(whole.segment)] == [whole]
    file.write_bytes(data[: torn.offset + torn.length + 3])
    assert [place for place, _ in store.iterate(whole.segment)] == [whole, torn]


def test_damage_over_a_chunk_border_is_passed_over(tmp_path: Path, store: AnswerStore) -> None:
    """The search for the next whole record passes damage of any length."""
    with store.writer(7, STARTED) as writer:
        first = writer.keep(answer(b"first"), is_tray=True)
    file = tmp_path / "answers" / first.segment
    data = file.read_bytes()
    for length in range((1 << 16) - 3, (1 << 16) + 4):
        file.write_bytes(b"\x1f" * length + data)
        with file.open("rb") as opened:
            found = [member.offset for member in members(opened.fileno())]
        assert found[:2] == [length, first.offset + length]


def foreign(length: int) -> bytes:
    """Return gzip that this program did not write."""
    return gzip.compress(random.Random(2).randbytes(length))


def test_fault_h41_what_no_writer_of_ours_put_into_a_segment_is_surplus(
    tmp_path: Path, store: AnswerStore
) -> None:
    """Foreign bytes at the end or between records are surplus.

    Records of this program are not, with a row or without one, nor is what a kill left.
    """
    with store.writer(7, STARTED) as writer:
        first, last = (writer.keep(answer(body), is_tray=True) for body in (b"first", b"last"))
    file = tmp_path / "answers" / first.segment
    data, rows = file.read_bytes(), {first.offset: first.length, last.offset: last.length}
    assert list(store.surplus(first.segment, rows)) == list(store.surplus(first.segment)) == []
    other = gzip.compress(b"WARC/1.1\r\nWARC-Type: resource\r\nContent-Length: 1\r\n\r\nx\r\n\r\n")
    for strange in (foreign(500_000), other, other * 3, b"\n# notes", b"\x1f", bytes(40 << 20)):
        file.write_bytes(data + strange)
        whole = strange == b"\x1f"  # one byte may be all that was written of a record
        expected = [] if whole else [Surplus(first.segment, len(data), len(strange))]
        assert list(store.surplus(first.segment, rows)) == expected, strange[:20]
        file.write_bytes(data[: last.offset] + strange + data[last.offset :])
        moved = {first.offset: first.length, last.offset + len(strange): last.length}
        assert list(store.surplus(first.segment, moved)) == [
            Surplus(first.segment, last.offset, len(strange))
        ], strange[:20]
    head = data[: last.offset]
    for cut in range(last.offset, len(data), 7):
        for zeros in (0, 5000):
            file.write_bytes(data[:cut] + bytes(zeros))
            assert list(store.surplus(first.segment, {first.offset: first.length})) == [], cut
    lost_sectors = bytes(-len(head) % 512 + 512)
    file.write_bytes(head + lost_sectors + random.Random(3).randbytes(5000))
    assert list(store.surplus(first.segment, {first.offset: first.length})) == []


def test_fault_h41_foreign_bytes_do_not_pass_for_a_record_that_was_cut_off(
    tmp_path: Path, store: AnswerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an incomplete record does not explain is surplus.

    Also behind zeros, behind the beginning of a record and behind its lost sectors.
    """
    with store.writer(7, STARTED) as writer:
        first = writer.keep(answer(b"first"), is_tray=True)
        last = writer.keep(answer(random.Random(4).randbytes(5000)), is_tray=True)
    file = tmp_path / "answers" / first.segment
    data, rows, other = file.read_bytes(), {first.offset: first.length}, foreign(100_000)
    head, record = data[: last.offset], data[last.offset : last.offset + last.length]
    to_the_edge = bytes(-len(head) % 512 + 512)

    def found(left: bytes) -> list[Surplus]:
        file.write_bytes(head + left)
        return list(store.surplus(first.segment, rows))

    for strange in (
        b"\n",
        b"x",
        bytes(40) + other * 3,
        bytes(100) + gzip.compress(b""),
        to_the_edge + other,
        to_the_edge + bytes(30) + b"# notes",
        b"\x1f\x8b" * 1000,
        b"\x1f\x8b\x08\x00" + bytes(80) + other,
        b"\x1f\x8b\x08\x08" + bytes(6) + b"a name that does not end",
        b"\x1f" + other,
        gzip.compress(b"WARC/1.1\r\nWARC-Type: resource\r\n\r\n", mtime=0) + bytes(9000),
        record[:500] + other,
        record[:500] + gzip.compress(b"short"),
        record[:500] + to_the_edge + bytes(12) + other,
    ):
        assert found(strange) == [Surplus(first.segment, len(head), len(strange))], strange[:20]
    assert found(record[:500] + data[last.offset + last.length :]) != []
    for sector in range(-(len(head) % 512), last.length, 512):
        lost = bytearray(data[last.offset :])
        lost[max(sector, 0) : sector + 512] = bytes(sector + 512 - max(sector, 0))
        assert found(bytes(lost[: len(data) - len(head)])) == [], sector
    for length in (1, 3_000_000):
        assert found(bytes(length)) == []
    monkeypatch.setattr(warc, "_EFFORT", 1 << 24)  # of 256 MiB, which take a second
    began = time.monotonic()
    file.write_bytes(head + bytes(600) + b"\x1f\x8b\x08" * (1 << 18))
    assert len(list(store.surplus(first.segment, rows))) == 1
    assert time.monotonic() - began < 10


def test_surplus_is_set_aside_and_cut_off(tmp_path: Path, store: AnswerStore) -> None:
    """Surplus is copied to quarantine/ before it is cut off; between answers it stays, and is known then."""
    with store.writer(7, STARTED) as writer:
        first, last = (writer.keep(answer(body), is_tray=True) for body in (b"first", b"last"))
    file = tmp_path / "answers" / first.segment
    data, strange = file.read_bytes(), foreign(100_000)
    file.write_bytes(data[: last.offset] + strange + data[last.offset :] + strange)
    moved = {first.offset: first.length, last.offset + len(strange): last.length}
    found = list(store.surplus(first.segment, moved))
    assert [surplus.length for surplus in found] == [len(strange)] * 2
    for surplus in reversed(found):
        store.set_aside(surplus)
    assert file.read_bytes() == data[: last.offset] + strange + data[last.offset :]
    assert list(store.surplus(first.segment, moved)) == []
    aside = sorted((tmp_path / "quarantine").iterdir())
    assert [path.read_bytes() for path in aside] == [strange] * 2


@pytest.mark.whole
def test_fault_h41_a_segment_full_of_bombs_takes_no_time(tmp_path: Path, store: AnswerStore) -> None:
    """Hundreds of members that unpack to more than any record are surplus, reported after a few of them."""
    with store.writer(7, STARTED) as writer:
        kept = writer.keep(answer(b"first"), is_tray=True)
    file = tmp_path / "answers" / kept.segment
    bomb = gzip.compress(b"WARC/1.1\r\nWARC-Type: response\r\n" + b"0" * (64 << 20), 1)
    data = file.read_bytes()
    file.write_bytes(data + bomb * 300)
    began = time.monotonic()
    assert list(store.surplus(kept.segment)) == [Surplus(kept.segment, len(data), 300 * len(bomb))]
    assert time.monotonic() - began < 10


def test_a_record_larger_than_any_answer_is_not_unpacked(
    tmp_path: Path, store: AnswerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few bytes that unpack to more than any answer are damage, and take no memory."""
    monkeypatch.setattr(warc, "LARGEST", 1_000_000)
    with store.writer(7, STARTED) as writer:
        first = writer.keep(answer(b"first"), is_tray=True)
    file = tmp_path / "answers" / first.segment
    bomb = pack_warcinfo("x.warc.gz", STARTED, {"software": "0" * 1_100_000})
    data = file.read_bytes()
    file.write_bytes(bomb + data)
    assert unpack_record(bomb) is None
    assert unpack_record(data[first.offset :][: first.length]) is not None
    assert [place.offset for place, _ in store.iterate(first.segment)] == [first.offset + len(bomb)]
