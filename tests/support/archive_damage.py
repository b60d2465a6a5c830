"""An archive of two accounts for tests of damage: what it holds, ways to damage it, and what is left."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from tests.support.command_line import CommandLineUser, CommandResult, InProcessUser
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld

ACCOUNTS = ("account0000", "account0001")


def world() -> EditableWorld:
    return EditableWorld.generate(2, 2, 6)


@contextmanager
def make_archive(home: Path) -> Iterator[CommandLineUser]:
    """Yield a user with an archive of two accounts of two highlights with six items each."""
    with FaultyStandIn(world()) as upstream:
        somebody = InProcessUser(home, upstream)
        assert somebody.run("backup", *ACCOUNTS, "-q").code == 0
        yield somebody


@contextmanager
def copy_of(template: CommandLineUser, home: Path) -> Iterator[CommandLineUser]:
    """Yield a user with a copy of that archive, whose upstream is unchanged."""
    upstream = upstream_of(template)
    upstream.world = world()
    upstream.requests.reset()
    somebody = InProcessUser(home, upstream)
    shutil.copytree(template.archive, somebody.archive)
    yield somebody
    upstream.faults.clear()


def upstream_of(person: CommandLineUser) -> FaultyStandIn:
    assert person.upstream is not None
    return person.upstream


def rows(person: CommandLineUser, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(person.archive / "archive.db")) as lite:
        return lite.execute(sql).fetchall()


def path_of(person: CommandLineUser, sha256: str) -> Path:
    return person.archive / "blobs" / sha256[:2] / sha256


def files(person: CommandLineUser, subject: str = "item") -> list[Path]:
    """Return the blobs of items (or highlights, users) that belong to one file only, ordered by name."""
    alone = (
        f"select sha256 from files where {subject}_pk is not null group by sha256 "
        f"having count(*) = 1 order by 1"
    )
    return [path_of(person, sha256) for (sha256,) in rows(person, alone)]


def write(path: Path, data: bytes) -> None:
    path.chmod(0o600)
    path.write_bytes(data)


def flip_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    write(path, bytes(data))


def cut_end(path: Path) -> None:
    write(path, path.read_bytes()[:-9])


def zero_tail(path: Path) -> None:
    data = path.read_bytes()
    write(path, data[:-64] + bytes(64))


def replace_by_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def problems(ended: CommandResult) -> dict[str, str]:
    damaged = ended.object["damaged"]
    assert isinstance(damaged, list)
    return {d["sha256"]: d["problem"] for d in damaged}


def ids(ended: CommandResult, field: str) -> list[int]:
    found = ended.object[field]
    assert isinstance(found, list)
    return [answer["id"] for answer in found]


def is_whole(person: CommandLineUser) -> bool:
    """Whether every blob that a row names and that is not lost has its bytes. Does not use the program."""
    held = rows(person, "select sha256 from blobs where lost_at is null")
    return all(hashlib.sha256(path_of(person, d).read_bytes()).hexdigest() == d for (d,) in held)


def rows_size(person: CommandLineUser, path: Path) -> int:
    return int(rows(person, f"select size from blobs where sha256 = '{path.name}'")[0][0])


def remove_answers(person: CommandLineUser) -> None:
    """Remove all answers about highlights, so that nothing already paid for is used again."""
    for segment in (person.archive / "answers").rglob("*-fetched-*"):
        segment.unlink()


@contextmanager
def writable(person: CommandLineUser) -> Iterator[sqlite3.Connection]:
    """Yield the database, open for changes as by another run. They are committed at the end."""
    with closing(sqlite3.connect(person.archive / "archive.db")) as lite, lite:
        yield lite
