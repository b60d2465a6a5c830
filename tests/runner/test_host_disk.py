"""A disk that refuses in mid-run: the run stops, nothing is half-written, and the next one completes it."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from archiver.sandbox import StandIn, World
from tests.support.archive_harness import House
from tests.support.failing_disk import RefusingDisk
from tests.support.host_faults import assert_sound, run

ACCOUNT = "account0000"
UNHELD = "select count(*) from items i where not exists (select 1 from files f where f.item_pk = i.pk)"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """An archive of one account with one highlight, carried from test to test: each must leave it whole."""
    with StandIn(World.generated(1, 1, 1)) as upstream:
        house = House(tmp_path_factory.mktemp("disk") / "archive", upstream)
        assert house.night(ACCOUNT).exit_code == 0
        yield house


@pytest.fixture
def disk(house: House, monkeypatch: pytest.MonkeyPatch) -> RefusingDisk:
    """The disk of this house."""
    disk = RefusingDisk(house.root)
    disk.plant(monkeypatch)
    return disk


def _highlight(house: House) -> str:
    return next(iter(house.upstream.world.account(ACCOUNT).highlights)).pk


def refused_nights(house: House, disk: RefusingDisk, kind: str, number: int) -> Iterator[int]:
    """Nights, each with a new item to keep, on which the first, second, ... call of a kind fails; until none is met any more."""
    for nth in range(1, 40):
        house.upstream.world.add_item(_highlight(house))
        disk.refuse(kind, nth, number)
        code, why = run(house, ACCOUNT)
        if disk.refused is None:
            assert nth > 2
            assert code == 0
            return
        assert code == 8, disk.refused
        assert os.strerror(number) in why
        assert house.one("select count(*) from runs where finished_at is null") == 0
        assert_sound(house)
        yield nth
    raise AssertionError("the calls have no end")


@pytest.mark.parametrize("kind", ["open", "write", "fsync", "replace"])
def test_fault_h7_no_space_at_any_call_stops_the_run_with_nothing_half_written(
    house: House, disk: RefusingDisk, kind: str
) -> None:
    """Whichever call the full disk refuses: code 8, no row without its bytes, tmp/ empty; with space again all is kept."""
    for _ in refused_nights(house, disk, kind, errno.ENOSPC):
        pass
    assert house.one(UNHELD) == 0
    assert_sound(house)


def test_fault_h7_what_a_full_disk_kept_out_is_had_the_next_night(house: House, disk: RefusingDisk) -> None:
    """Nothing more changes upstream: the next run keeps the file all the same, from the answer that was paid for."""
    house.upstream.world.add_item(_highlight(house))
    disk.refuse("replace", 1, errno.ENOSPC)
    assert run(house, ACCOUNT)[0] == 8
    assert run(house, ACCOUNT)[0] == 0
    assert (house.upstream.requests.units, house.one(UNHELD)) == (1, 0)


def test_fault_h7_no_space_for_a_directory_stops_the_run(house: House, disk: RefusingDisk) -> None:
    """The month of the kept answers cannot be made: code 8 before anything is paid, and the message says where."""
    shutil.rmtree(house.root / "answers")
    for nth in (2, 3, 4):  # the first is for tmp/
        disk.refuse("mkdir", nth, errno.ENOSPC)
        code, why = run(house, ACCOUNT)
        assert (code, f"{house.root}/answers" in why, "free space on that disk" in why) == (8, True, True)
        assert house.upstream.requests.api_calls() == []
    assert house.night(ACCOUNT).exit_code == 0


@pytest.mark.parametrize("kind", ["write", "fsync"])
def test_fault_h9_an_error_of_the_disk_gives_the_file_up(house: House, disk: RefusingDisk, kind: str) -> None:
    """EIO on write or fsync: code 8, the file is thrown away, and no fsync is ever tried again on it: it might lie."""
    for _ in refused_nights(house, disk, kind, errno.EIO):
        pass
    assert disk.again == []
    assert house.one(UNHELD) == 0


def test_fault_h10_no_row_stands_for_a_name_that_was_not_made_durable(
    house: House, disk: RefusingDisk
) -> None:
    """EIO on the fsync of a directory: code 8, and the blob under the new name has no row."""
    blobs = 0
    for _ in refused_nights(house, disk, "fsync_dir", errno.EIO):
        assert disk.refused is not None
        for path in disk.replaced:
            if Path(path).parent == Path(disk.refused):
                blobs += 1
                assert house.rows("select 1 from files where sha256 = ?", Path(path).name) == []
    assert blobs >= 1


def test_fault_h16_a_rename_across_disks_is_refused_and_never_a_copy(
    house: House, disk: RefusingDisk
) -> None:
    """EXDEV at the rename: code 8, and no bytes come under the blob's name by another way."""
    house.upstream.world.add_item(_highlight(house))
    disk.refuse("replace", 1, errno.EXDEV)
    assert run(house, ACCOUNT)[0] == 8
    assert disk.refused is not None
    assert not Path(disk.refused).exists()
    assert_sound(house)
