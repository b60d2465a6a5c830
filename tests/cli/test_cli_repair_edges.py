"""Repairs in odd circumstances: no useless payment, no sound blob called damaged."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from archiver.archive.archive import Archive
from archiver.config import load
from archiver.errors import StoppedBySignal
from archiver.work import StopFlag
from tests.support import archive_damage
from tests.support.archive_damage import (
    ACCOUNTS,
    files,
    flip_bit,
    ids,
    is_whole,
    path_of,
    remove_answers,
    rows,
    upstream_of,
)
from tests.support.command_line import CommandLineUser, InProcessUser
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld

LOST = "select count(*) from blobs where lost_at is not null"


@pytest.fixture
def person(undamaged: CommandLineUser, tmp_path: Path) -> Iterator[CommandLineUser]:
    """A copy of that archive, and the stand-in as it was."""
    with archive_damage.copy_of(undamaged, tmp_path) as somebody:
        yield somebody


def bytes_of_files(archive: Path) -> dict[Path, bytes]:
    """Return the bytes of all files but those that SQLite makes for a reader."""
    files = (path for path in archive.rglob("*") if path.is_file())
    return {path: path.read_bytes() for path in files if not path.name.endswith(("-wal", "-shm"))}


def units_of(person: CommandLineUser, *words: str) -> int:
    """Return the units that a repair costs."""
    upstream_of(person).requests.reset()
    assert person.run("verify", "--repair", "-q", *words).code == 0
    return upstream_of(person).units


def test_a_copy_that_a_dry_run_has_read_can_be_updated(person: CommandLineUser, tmp_path: Path) -> None:
    """verify --dry-run leaves every byte of a copy; a copy over it from a later day is whole again."""
    copy, skip = tmp_path / "copy", shutil.ignore_patterns("tmp", "lock")
    shutil.copytree(person.archive, copy, ignore=skip)
    before = bytes_of_files(copy)
    check = ("verify", "--archive", str(copy), "--read-data", "--dry-run")
    assert person.run(*check).code == 0
    assert bytes_of_files(copy) == before
    assert person.run("backup", ACCOUNTS[0], "--full", "-q").code == 0
    shutil.copytree(person.archive, copy, ignore=skip, dirs_exist_ok=True)
    assert person.run(*check).code == 0


def test_a_dry_run_does_not_take_the_lock_of_a_copy(person: CommandLineUser) -> None:
    """The end of the journal is missing: reported as damage, 12, and no file appears."""
    max((person.archive / "journal").rglob("*.gz")).unlink()
    (person.archive / "lock").unlink()
    before = bytes_of_files(person.archive)
    assert person.run("verify", "--dry-run").code == 12
    assert bytes_of_files(person.archive) == before


@pytest.mark.whole
def test_an_item_is_had_from_a_highlight_whose_page_is_there(person: CommandLineUser) -> None:
    """An item of two highlights, one of them gone: the repair learns that, and asks the other one next."""
    world = upstream_of(person).world
    one, two = (pk for (pk,) in rows(person, "select pk from highlights order by pk limit 2"))
    (item,) = rows(person, f"select item_pk from highlight_items where highlight_pk = '{one}' limit 1")[0]
    world.put_item(two, item, source=one)
    assert person.run("backup", ACCOUNTS[0], "-q").code == 0
    for (sha256,) in rows(person, f"select sha256 from files where item_pk = '{item}'"):
        path_of(person, sha256).unlink()
    remove_answers(person)
    world.lose_page(one)
    assert [units_of(person) for _ in range(3)] == [2, 2, 0]
    assert rows(person, LOST) == [(0,)]
    assert is_whole(person)


def test_pictures_that_are_not_wanted_cost_nothing(person: CommandLineUser) -> None:
    """With covers and avatars off, a lost one is recorded, and no tray is paid for."""
    files(person, "highlight")[0].unlink()
    person.more |= {"ARCHIVER_DOWNLOAD_COVERS": "false", "ARCHIVER_DOWNLOAD_AVATARS": "false"}
    assert units_of(person) == 0
    assert rows(person, LOST) == [(1,)]


@pytest.mark.parametrize(
    "then",
    [
        pytest.param("empty", marks=pytest.mark.whole),
        "private",
        pytest.param("gone", marks=pytest.mark.whole),
    ],
)
def test_an_account_that_shows_nothing_is_asked_once(person: CommandLineUser, then: str) -> None:
    """A lost avatar of an account that shows nothing: that is learnt once, later repairs cost nothing."""
    (user,) = rows(person, "select pk from users order by pk limit 1")[0]
    (sha256,) = rows(person, f"select sha256 from files where user_pk = '{user}'")[0]
    path_of(person, sha256).unlink()
    world = upstream_of(person).world
    if then == "empty":
        for highlight in list(world.account(ACCOUNTS[0]).highlights):
            world.remove_highlight(highlight.pk)
    elif then == "private":
        world.set_private(ACCOUNTS[0])
    else:
        world.delete_account(ACCOUNTS[0])
    upstream_of(person).requests.reset()
    assert person.run("verify", "--repair", "-q").code in (0, 6)
    assert upstream_of(person).units <= 2
    assert units_of(person) == 0


@pytest.mark.whole
@pytest.mark.parametrize("picture", ["cover", "avatar"])
def test_a_picture_that_is_offered_no_more_is_asked_for_once(person: CommandLineUser, picture: str) -> None:
    """A tray without the cover, or without the avatar: recorded, and not paid for again."""
    account = upstream_of(person).world.account(ACCOUNTS[0])
    owner = ("highlight", account.highlights[0].pk) if picture == "cover" else ("user", account.pk)
    (sha256,) = rows(person, f"select sha256 from files where {owner[0]}_pk = '{owner[1]}'")[0]
    path_of(person, sha256).unlink()
    if picture == "cover":
        account.highlights[0].cover = None
    else:
        account.avatar = None
    assert [units_of(person) for _ in range(3)] == [1, 0, 0]
    failed = "select subject, subject_pk, role, reason, next_try_at from failures where resolved_at is null"
    assert rows(person, failed) == [(*owner, picture, "not_found", None)]


@pytest.mark.whole
def test_a_repair_keeps_no_more_than_was_kept(tmp_path: Path) -> None:
    """An archive of one highlight is repaired by one unit, without other highlights, cover and avatar."""
    with FaultyStandIn(EditableWorld.generate(1, 3, 4)) as upstream:
        person = InProcessUser(tmp_path, upstream)
        first = next(iter(upstream.world.account("account0000").highlights)).pk
        assert person.run("backup", f"highlight:{first}", "-q").code == 0
        before = rows(person, "select sha256, role from files order by id")
        files(person)[0].unlink()
        remove_answers(person)
        assert units_of(person) == 1
        assert rows(person, "select pk from highlights") == [(first,)]
        assert rows(person, "select sha256, role from files order by id") == before
        assert rows(person, LOST) == [(0,)]


@pytest.mark.whole
def test_only_the_pictures_that_were_lost_are_had_again(person: CommandLineUser) -> None:
    """With one title configured, a repair of one item does not get the covers of the others."""
    config = person.home / "config.toml"
    config.write_text(f'[[accounts]]\nusername = "{ACCOUNTS[0]}"\nhighlights = ["Highlight 1"]\n')
    config.chmod(0o600)
    shutil.rmtree(person.archive)
    assert person.run("init", "--config", str(config), "-q").code == 0
    assert person.run("run", "--config", str(config), "-q").code == 0
    covers = rows(person, "select count(*) from files where highlight_pk is not null")
    files(person)[0].unlink()
    assert person.run("verify", "--repair", "--config", str(config), "-q").code == 0
    assert rows(person, "select count(*) from files where highlight_pk is not null") == covers
    assert rows(person, LOST) == [(0,)]


def test_fault_h15_a_repair_does_not_take_an_unmounted_disk_for_a_loss(person: CommandLineUser) -> None:
    """Without any blob it is code 8, without records and payment; --accept-loss says that they are gone."""
    shutil.rmtree(person.archive / "blobs")
    refused = person.run("verify", "--repair", "--accept-loss")
    assert refused.code == 8
    assert "make an empty directory blobs/ there, then archiver verify --repair --accept-loss" in refused.err
    (person.archive / "blobs").mkdir()
    refused = person.run("verify", "--repair")
    assert refused.code == 8
    assert "archiver verify --repair --accept-loss" in refused.err
    assert rows(person, LOST) == [(0,)]
    assert upstream_of(person).units == 0
    assert person.run("backup", *ACCOUNTS, "-q").code == 8
    assert person.run("verify", "--repair", "--accept-loss", "-q").code == 0
    assert rows(person, LOST) == [(0,)]
    assert is_whole(person)


def test_fault_h29_a_lost_directory_of_a_large_archive_is_damage(person: CommandLineUser) -> None:
    """If only ``blobs/00`` is gone, its blobs are reported, code 12, and the rest stays."""
    with archive_damage.writable(person) as lite:
        lite.executemany(
            "insert into blobs (sha256, size, mime, stored_at)"
            " values (?, 9, 'image/jpeg', '2026-01-01T00:00:00.000000Z')",
            [(f"00{n:062x}",) for n in range(150)],
        )
    found = person.run("verify", "--json")
    assert (found.code, len(archive_damage.problems(found))) == (12, 150)
    assert person.run("backup", ACCOUNTS[0], "-q").code == 0
    assert units_of(person) == 0
    assert rows(person, LOST) == [(150,)]


def linked(segment: Path) -> None:
    elsewhere = segment.rename(segment.parent.parent / "elsewhere")
    segment.symlink_to(elsewhere)


def directory(segment: Path) -> None:
    segment.unlink()
    segment.mkdir()


def fifo(segment: Path) -> None:
    segment.unlink()
    os.mkfifo(segment)


@pytest.mark.whole
@pytest.mark.parametrize("put", [linked, directory, fifo])
def test_what_is_no_file_in_a_segments_place_is_a_lost_answer(
    person: CommandLineUser, put: Callable[[Path], None]
) -> None:
    """A link, directory or FIFO: each of its answers is reported, code 12, and blobs are checked too."""
    put(next((person.archive / "answers").rglob("*-trays-*")))
    flip_bit(files(person)[0])
    found = person.run("verify", "--read-data", "--json")
    assert (found.code, ids(found, "answers_damaged")) == (12, [1, 2])
    assert len(found.object["damaged"]) == 1  # type: ignore[arg-type]
    assert person.run("verify", "--repair", "--read-data", "-q").code == 0
    assert person.run("verify", "--read-data", "-q").code == 0


@pytest.mark.whole
def test_fault_h4_a_signal_ends_a_repair_before_it_pays(person: CommandLineUser) -> None:
    """A stop while the store is read: losses may be recorded or not, nothing is paid."""
    files(person)[0].unlink()
    stop = StopFlag()

    def progress(checked: int, _: int) -> None:
        if checked == 3:
            stop.stop(StoppedBySignal(15))

    with Archive(load(None, person.environ)) as archive, pytest.raises(StoppedBySignal):
        archive.repair(progress=progress, stop=stop)
    assert upstream_of(person).units == 0
    assert person.run("verify", "--repair", "-q").code == 0
    assert rows(person, LOST) == [(0,)]


def test_trays_that_a_run_drops_meanwhile_are_no_damage(person: CommandLineUser) -> None:
    """With keep_answers = "fetched" a run removes its trays beside verify, and that is not damage."""
    person.more["ARCHIVER_ARCHIVE_KEEP_ANSWERS"] = "fetched"
    assert person.run("backup", *ACCOUNTS, "-q").code == 0
    config = load(None, person.environ)
    trays = next((person.archive / "answers").rglob("*-trays-*"))
    ran = False

    def progress(checked: int, _: int) -> None:
        nonlocal ran
        if not ran:
            ran = True
            with archive_damage.writable(person) as lite:
                lite.execute("delete from answers where segment like '%-trays-%'")
            trays.unlink()

    with Archive(config) as archive:
        assert not archive.verify(progress=progress).is_damaged


def test_fault_h41_foreign_bytes_in_a_segment_are_damage_and_are_moved(
    person: CommandLineUser, whole: bool
) -> None:
    """Found by --read-data alone: code 12; a repair moves them to quarantine/, and every answer stays
    readable."""
    segment = next(iter(sorted((person.archive / "answers").rglob("*-fetched-*"))))
    data, strange = segment.read_bytes(), gzip.compress(os.urandom(200_000))
    segment.write_bytes(data + strange)
    if whole:
        assert person.run("verify", "--quick").code == 0
    found = person.run("verify", "--read-data", "--json")
    name = segment.relative_to(person.archive / "answers").as_posix()
    surplus = {"segment": name, "offset": len(data), "length": len(strange)}
    assert (found.code, found.object["answers_surplus"], found.object["answers_damaged"]) == (
        12,
        [surplus],
        [],
    )
    if whole:
        assert "surplus" in person.run("verify", "--read-data").out
    assert person.run("verify", "--read-data", "--repair").code == 0
    assert segment.read_bytes() == data
    (aside,) = (person.archive / "quarantine").iterdir()
    assert aside.read_bytes() == strange
    again = person.run("verify", "--read-data", "--json").object
    assert (again["exit_code"], again["answers_surplus"], again["answers_damaged"]) == (0, [], [])


def test_fault_h41_foreign_files_among_the_answers_are_named(person: CommandLineUser) -> None:
    """Foreign names among the answers are in --json and in a line, not as damage, and left alone."""
    answers = person.archive / "answers"
    segment = next(iter(sorted(answers.rglob("*-fetched-*"))))
    month = segment.parent.relative_to(answers).as_posix()
    (segment.parent / "x.warc.gz").write_bytes(gzip.compress(b"foreign"))
    (answers / "2025").write_text("x")
    (segment.parent.parent / "99x").mkdir()
    os.link(segment, segment.parent / ".DS_Store")
    (segment.parent / segment.name.replace("fetched", "trays")).symlink_to(segment)
    found = person.run("verify", "--json")
    link = f"{month}/{segment.name.replace('fetched', 'trays')}"
    names = ["2025", f"{month}/.DS_Store", link, f"{month}/x.warc.gz", f"{month[:4]}/99x"]
    assert (found.code, sorted(map(str, found.object["answers_foreign"]))) == (0, sorted(names))  # type: ignore[call-overload]
    line = "5 entries in answers/ not made by archiver, left alone: 2025, "
    told = person.run("verify", "--read-data", "--repair")
    assert (told.code, line in told.err) == (0, True)
    assert (answers / "2025").read_text() == "x"
