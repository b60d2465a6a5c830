"""The crash tests' own tests: damage is named by its invariant, and the replay knows what is durable."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.command_line import InProcessUser
from tests.support.crash.consistency_checks import Bill, differences, reported_stored, state, violations
from tests.support.crash.disk_states import Disk, Replay
from tests.support.crash.syscall_trace import (
    Call,
    Entry,
    Operation,
    Operations,
    Sync,
    UnknownCall,
    Write,
    follow,
)
from tests.support.crash.workload import Workload


@dataclass(frozen=True, slots=True)
class Sound:
    """An archive that one undisturbed run has made, the key that it used and the units that were billed."""

    root: Path
    secret: str
    units: int

    def wrong(self, root: Path) -> list[str]:
        """What the checks say of a copy of it."""
        bill = Bill(self.units)
        return violations(root, told=reported_stored(self.root), bill=bill, secret=self.secret, ended=True)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sound]:
    """The archive, made by the command."""
    with Workload.small() as upstream:
        person = InProcessUser(tmp_path_factory.mktemp("home"), upstream.standin)
        assert person.run(*upstream.words).code == 0
        root = person.archive
        for fan in root.glob("blobs/*"):
            with suppress(OSError):
                fan.rmdir()  # the empty ones, which every copy would have to make again
        yield Sound(root, upstream.standin.key, upstream.standin.units)


@pytest.fixture
def copy(sound: Sound, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    return shutil.copytree(sound.root, tmp_path / "archive")


def blob(root: Path) -> Path:
    """One blob."""
    return min(path for path in root.glob("blobs/*/*"))


def sql(statement: str) -> Callable[[Path, str], None]:
    """Damage by a statement, foreign keys not minded."""

    def run(root: Path, _secret: str) -> None:
        with closing(sqlite3.connect(root / "archive.db")) as database:
            database.executescript(statement)

    return run


def cut(root: Path, _secret: str) -> None:
    """A blob lacks its last byte."""
    blob(root).chmod(0o600)
    blob(root).write_bytes(blob(root).read_bytes()[:-1])
    blob(root).chmod(0o444)


def torn(root: Path, _secret: str) -> None:
    """A kept answer lacks its end."""
    segment = next(root.rglob("*-fetched-*"))
    segment.write_bytes(segment.read_bytes()[:300])


def leak(root: Path, secret: str) -> None:
    """The key is written where nobody should."""
    (root / "lock").write_text(secret)


_DAMAGE: dict[str, tuple[str, Callable[[Path, str], None]]] = {
    "a blob is gone": ("I1: a row vouches", lambda root, _: blob(root).unlink()),
    "a row refers to nothing": (
        "I1: rows refer",
        sql("insert into usernames values ('1', 'nobody', '', '')"),
    ),
    "a blob is cut": ("I2: the ", cut),
    "a blob has a name of its own": (
        "I2: blobs/ holds",
        lambda root, _: Path(shutil.copy(blob(root), blob(root).with_name("x"))).chmod(0o444),
    ),
    "a row was told and is not there": ("I4: told", sql("delete from files where role = 'video'")),
    "the end of a run was told": ("I4: told", sql("update runs set outcome = 'killed'")),
    "complete without a file": (
        "I5: a highlight is marked as complete without the video",
        sql("delete from files where role = 'video'"),
    ),
    "fetched without an item": (
        "I5: a highlight is marked as fetched",
        sql("delete from highlight_items where position = 0"),
    ),
    "complete and not fetched": (
        "I5: a highlight is marked as complete, but",
        sql("update highlights set fetched_at = null"),
    ),
    "a cover that is not held": ("I5: a cover", sql("update highlights set cover_held = 'another.jpg'")),
    "an avatar that is not held": ("I5: an avatar", sql("update users set avatar_held = 'another.jpg'")),
    "less in the ledger than billed": (
        "I7: upstream billed",
        sql("update api_calls set units = units - 1 where id = 1"),
    ),
    "more settled than billed": (
        "I7: 4 units are settled",
        sql("update api_calls set units = units + 1 where id = 1"),
    ),
    "calls left open by nobody": (
        "I7: 4 calls of 0 killed runs",
        sql("update api_calls set finished_at = null"),
    ),
    "paid for twice": (
        "I7: highlight 17800000000000000 was paid for 2 times",
        sql(
            "update api_calls set subject = '17800000000000000', path = '/v1/highlight/by/url';"
            "update answers set latest_reel_media = 1, media_count = 1"
        ),
    ),
    "an answer is torn": ("I7: the answer", torn),
    "the key is in a file": ("I8: the key", leak),
    "a signed query is in a row": (
        "I8: a signed query",
        sql("update files set source_url = source_url || '?_nc_ohc=0123456789abcdef'"),
    ),
    "a file that others may read": (
        "I9: archive.db has mode 644",
        lambda root, _: (root / "archive.db").chmod(0o644),
    ),
    "a link": ("I9: tmp/link is a link", lambda root, _: (root / "tmp" / "link").symlink_to("/")),
    "a temporary file is left": (
        "I11: tmp/ holds left",
        lambda root, _: (root / "tmp" / "left").touch(0o600),
    ),
    "a run without an end": ("I11: run 1", sql("update runs set outcome = null")),
    "another archive's marker": ("I13: the marker", sql("update archive set id = 'another'")),
    "no database": ("I13: the marker", lambda root, _: (root / "archive.db").unlink()),
}


def test_an_archive_that_nobody_disturbed_passes(sound: Sound, copy: Path) -> None:
    """No check complains of it, and it is equal to its copy."""
    assert sound.wrong(sound.root) == []
    assert differences(state(sound.root), state(copy)) == []
    assert len(reported_stored(sound.root)) > 6


@pytest.mark.parametrize("what", _DAMAGE)
def test_damage_is_seen(sound: Sound, copy: Path, what: str) -> None:
    """Each kind of damage is named, by the invariant that it breaks."""
    named, damage = _DAMAGE[what]
    damage(copy, sound.secret)
    assert [said for said in sound.wrong(copy) if said.startswith(named)]


def test_a_damaged_database_is_seen(sound: Sound, copy: Path) -> None:
    """Pages that are zeros are no database, whichever way SQLite says it."""
    database = bytearray((copy / "archive.db").read_bytes())
    half = len(database) // 2  # the last pages alone may be free ones
    database[half:] = bytes(len(database) - half)
    (copy / "archive.db").write_bytes(database)
    assert [said for said in sound.wrong(copy) if said.startswith("I1: the database is damaged")]


def test_what_two_archives_do_not_share_is_told(sound: Sound, copy: Path) -> None:
    """A row too few and one too many are both differences."""
    sql("update items set code = 'another' where pk = (select min(pk) from items)")(copy, "")
    assert [said[:14] for said in differences(state(copy), state(sound.root))] == [
        "I10: items: + ",
        "I10: items: - ",
    ]


_MADE = Entry(0, "a", 1, False, None, "a")
_BYTES = Write(1, 0, b"bytes", "a")


def last(kept: str, *operations: Operation) -> Disk:
    """The disk after all these operations."""
    return Replay(Operations(operations, 0)).disk(len(operations), kept)


def hexadecimal(text: str) -> str:
    """As strace writes a string with -xx."""
    return "".join(f"\\x{byte:02x}" for byte in text.encode())


def test_a_name_needs_the_sync_of_its_directory_and_bytes_that_of_their_file() -> None:
    """Neither vouches for the other."""
    assert last("none", _MADE, _BYTES, Sync(1, 2, "a")).files == {}
    assert last("none", _MADE, _BYTES, Sync(0, 2, "")).files == {"a": b""}
    assert last("none", _MADE, _BYTES, Sync(1, 2, "a"), Sync(0, 3, "")).files == {"a": b"bytes"}
    assert last("all", _MADE, _BYTES).files == {"a": b"bytes"}


def test_a_sync_keeps_what_was_done_before_it_began() -> None:
    """Bytes written while it was under way may be lost."""
    more = Write(1, 5, b" and more", "a")
    assert last("none", _MADE, Sync(0, 1, ""), _BYTES, more, Sync(1, 3, "a")).files == {"a": b"bytes"}


def test_a_rename_without_the_sync_of_its_directory_leaves_the_old_name() -> None:
    """The file is where it was, and nowhere else."""
    directory = Entry(0, "d", 2, True, None, "d")
    renamed = Entry(2, "b", 1, False, (0, "a"), "d/b")
    before = (_MADE, directory, Sync(0, 2, ""), renamed)
    assert set(last("none", *before).files) == {"a"}
    assert set(last("none", *before, Sync(2, 4, "d")).files) == {"d/b"}


def test_half_a_write_is_torn_between_sectors_only() -> None:
    """Each sector of an unsynced write is there or not, and over many seeds there are torn ones."""
    write = Write(1, 100, b"x" * 2000, "a")
    contents = {last(str(seed), _MADE, Sync(0, 1, ""), write).files["a"] for seed in range(50)}
    torn = {content for content in contents if 0 < content.count(b"x") < 2000}
    assert torn
    for content in torn:
        sectors = [content[at : at + 512] for at in range(0, len(content), 512)]
        assert all(len(set(sector[100 if n == 0 else 0 :])) == 1 for n, sector in enumerate(sectors))


_BASE, _FILE = f"3<{hexadecimal('/base')}>", f"4<{hexadecimal('/base/a')}>"


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("linkat", f'{_BASE}, "{hexadecimal("a")}", {_BASE}, "{hexadecimal("b")}", 0'),
        ("mmap", f"NULL, 4096, PROT_READ|PROT_WRITE, MAP_SHARED, {_FILE}, 0"),
        ("copy_file_range", f"{_FILE}, NULL, 5<{hexadecimal('/elsewhere')}>, NULL, 9, 0"),
        ("unlink", f'"{hexadecimal("a")}"'),
    ],
)
def test_a_call_that_the_replay_does_not_know_is_refused(name: str, arguments: str) -> None:
    """A link, a shared mapping, a copy inside the kernel, a path beside an unknown directory: nothing is
    silently left out.
    """
    with pytest.raises(UnknownCall):
        follow([Call(1, name, arguments, 0, False, 0)], Path("/base"))
