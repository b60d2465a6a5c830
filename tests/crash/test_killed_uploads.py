"""SIGKILL at the requests to the store: never a row without its bytes in the bucket."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from archiver.archive.archive import Archive
from archiver.config import load
from tests.support.command_line import CommandLineUser
from tests.support.s3_server import BUCKET, Handler, S3Server
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld

ACCOUNT = "account0000"


@pytest.fixture
def server(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    server.set_environment(monkeypatch)
    return server


class Killer:
    """Kills a process at its n-th PUT, before the store has handled it or when it is stored."""

    def __init__(self, server: S3Server, *, is_handled: bool) -> None:
        self._server, self._is_handled = server, is_handled
        self._left = 0
        self._process: subprocess.Popen[str] | None = None

    def run(self, person: CommandLineUser, number: int) -> int:
        """Run a backup, and return its code: -9 if it was killed."""
        self._left = number
        self._server.act = self._act
        try:
            self._process = person.start("backup", ACCOUNT)
            self._process.communicate()
            return self._process.returncode
        finally:
            self._server.act = None

    def _act(self, handler: Handler) -> bool:
        if handler.command != "PUT":
            return False
        self._left -= 1
        if self._left:
            return False
        if self._is_handled:
            handler.do_PUT()
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGKILL)
        handler.close_connection = True
        return True


def without_bytes(root: Path, objects: Path) -> list[str]:
    """Return what the database has a row of, and the bucket (or the spool) has not."""
    if not (root / "archive.db").exists():
        return []
    with closing(sqlite3.connect(root / "archive.db")) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'blobs'").fetchone():
            return []
        digests = [row[0] for row in connection.execute("SELECT sha256 FROM blobs WHERE lost_at IS NULL")]
        segments = [row[0] for row in connection.execute("SELECT segment FROM answers")]
    missing = []
    for digest in digests:
        path = objects / "blobs" / digest[:2] / digest
        if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            missing.append(f"blob {digest}")
    for segment in segments:
        places = (objects / "answers" / segment, root / "tmp" / "answers" / segment)
        if not any(place.exists() for place in places):
            missing.append(f"answer {segment}")
    return missing


@pytest.mark.parametrize(
    "is_handled",
    [False, pytest.param(True, marks=pytest.mark.whole)],
    ids=["before it is stored", "when it is stored"],
)
@pytest.mark.parametrize("keeps", ["all", pytest.param("fetched", marks=pytest.mark.whole)])
def test_fault_s1_a_kill_at_any_upload_leaves_no_row_without_its_bytes(
    tmp_path: Path, server: S3Server, sample_seed: str, whole: bool, keeps: str, is_handled: bool
) -> None:
    """Run after run is killed, each one upload later than the last; the run that is not makes the archive
    whole, and a check finds nothing wrong.

    Every day two uploads of one night, with ``--whole`` all of them.
    """
    (tmp_path / "home").mkdir()
    chance = random.Random(f"{sample_seed} {keeps} {is_handled}")
    with FaultyStandIn(EditableWorld.generate(1, 2, 2)) as upstream:
        storage = {"ARCHIVER_ARCHIVE_STORAGE": f"s3://{BUCKET}/a", "ARCHIVER_ARCHIVE_KEEP_ANSWERS": keeps}
        person = CommandLineUser(tmp_path / "home", upstream, server.environment() | storage)
        killer, objects = Killer(server, is_handled=is_handled), server.objects / "a"
        numbers = range(1, 100) if whole else sorted(chance.sample(range(1, 12), 2))
        killed = 0
        for number in numbers:
            code = killer.run(person, number)
            assert without_bytes(person.archive, objects) == []
            if code == 0:
                break
            assert code == -signal.SIGKILL
            killed += 1
        assert killed
        done = person.run("backup", ACCOUNT)
        assert done.code == 0, done.err
        with Archive(load(None, person.environ)) as archive:
            found = archive.verify(read_data=True)
        assert (found.blobs.damaged, found.answers.damaged, found.journal.is_damaged) == ((), (), False)
        with closing(sqlite3.connect(person.archive / "archive.db")) as connection:
            query = "SELECT count(*) FROM highlights WHERE completed_at IS NULL"
            assert connection.execute(query).fetchone() == (0,)
