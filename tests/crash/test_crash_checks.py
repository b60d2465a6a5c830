"""The checks of the crash tests, proved: an archive that is whole passes, and each kind of damage is named by
its invariant.
"""

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
from tests.support.crash.workload import Workload


@dataclass(frozen=True, slots=True)
class Whole:
    """An archive that one undisturbed run has made, the key that it used and the units that were billed."""

    root: Path
    secret: str
    units: int

    def wrong(self, root: Path) -> list[str]:
        """What the checks say of a copy of it."""
        bill = Bill(self.units)
        return violations(root, told=reported_stored(self.root), bill=bill, secret=self.secret, ended=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    """The archive, made by the command."""
    with Workload.small() as upstream:
        person = InProcessUser(tmp_path_factory.mktemp("home"), upstream.standin)
        assert person.run(*upstream.words).code == 0
        root = person.archive
        for fan in root.glob("blobs/*"):
            with suppress(OSError):
                fan.rmdir()  # the empty ones, which every copy would have to make again
        yield Whole(root, upstream.standin.key, upstream.standin.units)


@pytest.fixture
def copy(whole: Whole, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    return shutil.copytree(whole.root, tmp_path / "archive")


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


def test_an_archive_that_nobody_disturbed_passes(whole: Whole, copy: Path) -> None:
    """No check complains of it, and it is equal to its copy."""
    assert whole.wrong(whole.root) == []
    assert differences(state(whole.root), state(copy)) == []
    assert len(reported_stored(whole.root)) > 6


@pytest.mark.parametrize("what", _DAMAGE)
def test_damage_is_seen(whole: Whole, copy: Path, what: str) -> None:
    """Each kind of damage is named, by the invariant that it breaks."""
    named, damage = _DAMAGE[what]
    damage(copy, whole.secret)
    assert [said for said in whole.wrong(copy) if said.startswith(named)]


def test_a_damaged_database_is_seen(whole: Whole, copy: Path) -> None:
    """Pages that are zeros are no database, whichever way SQLite says it."""
    database = bytearray((copy / "archive.db").read_bytes())
    half = len(database) // 2  # the last pages alone may be free ones
    database[half:] = bytes(len(database) - half)
    (copy / "archive.db").write_bytes(database)
    assert [said for said in whole.wrong(copy) if said.startswith("I1: the database is damaged")]


def test_what_two_archives_do_not_share_is_told(whole: Whole, copy: Path) -> None:
    """A row too few and one too many are both differences."""
    sql("update items set code = 'another' where pk = (select min(pk) from items)")(copy, "")
    assert [said[:14] for said in differences(state(copy), state(whole.root))] == [
        "I10: items: + ",
        "I10: items: - ",
    ]
