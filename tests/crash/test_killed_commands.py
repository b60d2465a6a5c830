"""A command that is killed, and called again, leaves what one leaves that was never killed.

One test kills each command at each point, and lets the command itself say what must hold then.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import bagit
import pytest

from archiver.archive.archive import Archive
from archiver.archive.creation import create_archive
from archiver.archive.rebuild_archive import rebuild_database
from archiver.archive.storage_move import move_storage
from archiver.config import Config, load
from archiver.errors import StorageError, UsageError
from archiver.model.foreign_files import AdoptionReport
from archiver.model.identity import Role
from archiver.work import Work
from tests.support import ROOT
from tests.support.adopting_archive import (
    HIGHLIGHT,
    ITEM,
    OTHER_ITEM,
    PHOTO,
    STAMP,
    VIDEO,
    AdoptingArchive,
    insta_dl_name,
    put,
)
from tests.support.archive_harness import ArchiveHarness
from tests.support.catalog_samples import LATER, page, video
from tests.support.command_line import CommandLineUser
from tests.support.crash import phase_marks, syscall_trace
from tests.support.crash.consistency_checks import State, database, state, violations
from tests.support.crash.run_killer import Kill, RunKiller
from tests.support.crash.step_killer import NEVER, work_and_die
from tests.support.crash.workload import PROGRAM, Workload
from tests.support.databases import NOW
from tests.support.export_archive import ExportHarness
from tests.support.media_samples import jpeg
from tests.support.rebuilt_archive import lose_file, rebuild_from, require_equal_after_rebuild, rows_of
from tests.support.released_journal import released
from tests.support.s3_server import BUCKET, Handler, S3Server
from tests.support.standin import actions
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld

ACCOUNT = "account0000"


@dataclass(frozen=True, slots=True)
class Ground:
    """Where a command is killed. ``stack`` is closed after the test; by ``seed`` is drawn what is random."""

    place: Path
    request: pytest.FixtureRequest
    stack: ExitStack
    seed: str

    def new_database(self) -> Path:
        """Return a new database, to be moved."""
        template: Path = self.request.getfixturevalue("sqlite_template")
        return Path(shutil.copy(template, self.place / "new.db"))

    def server(self) -> S3Server:
        """Return an S3 server that the environment names."""
        server: S3Server = self.request.getfixturevalue("server")
        server.set_environment(self.request.getfixturevalue("monkeypatch"))
        return server

    def upstream(self, *size: int) -> FaultyStandIn:
        """Return a stand-in with the world ``EditableWorld.generate(*size)``."""
        return self.stack.enter_context(FaultyStandIn(EditableWorld.generate(*size)))


class KilledCommand:
    """A command, and what it works on."""

    least = 1
    """So many kills must come before the command has ended."""

    def points(self, chance: random.Random | None) -> Iterable[Any]:
        """Return every point at which it is killed; with ``chance``, those of one day."""
        raise NotImplementedError

    def restore(self) -> None:
        """Make everything as it was before the command."""

    def die_at(self, point: Any) -> bool:
        """Begin the command and kill it at this point; return whether it came to that."""
        raise NotImplementedError

    def check(self, point: Any) -> None:
        """Require that nothing is lost, and that the same command ends what was begun."""
        raise NotImplementedError

    def check_end(self) -> None:
        """Require what must hold after all kills."""


class KilledAdoption(KilledCommand):
    """At any step: it leaves whole files with their rows; the next one adopts the rest, nothing twice.

    Its folder has two files of a known item; two that wait, one of them with bytes that the item has; and two
    to refuse. The archive has no journal yet: the adoption begins it, too.
    """

    FOLDER: ClassVar = {
        insta_dl_name(): PHOTO,
        insta_dl_name(suffix=".mp4"): VIDEO,
        insta_dl_name(OTHER_ITEM): jpeg(5000, seed=2),
        insta_dl_name("7"): PHOTO,
        insta_dl_name("8", ".mp4"): VIDEO[:-100],
        f"natgeo/stories/{STAMP}_9.jpg": PHOTO,
    }
    TAKEN, REFUSED = 4, 2

    def __init__(self, ground: Ground) -> None:
        self._counted = ground.place / "steps"
        self.folder = put(ground.place / "theirs", self.FOLDER)
        self._theirs = self._listing()
        archive = AdoptingArchive(ground.place / "archive", ground.new_database())
        archive.answer(page(HIGHLIGHT, ITEM, "5"))
        self.root, self._before = archive.root, ground.place / "before"
        self.prepare()
        shutil.copytree(self.root, self._before)
        self._last = self._die(NEVER)
        self._golden = self.outcome()

    def prepare(self) -> None:
        """Make the archive one that the command can work on."""

    def work(self) -> None:
        """Do what the command does, in this process."""
        self.adopt()

    def points(self, chance: random.Random | None) -> Iterable[int]:
        return range(1, self._last + 1) if chance is None else [chance.randint(1, self._last)]

    def restore(self) -> None:
        shutil.rmtree(self.root)
        shutil.copytree(self._before, self.root)

    def die_at(self, point: int) -> bool:
        return self._die(point) == point

    def check(self, point: int) -> None:
        assert violations(self.root) == []
        report = self.adopt()
        taken = report.adopted + report.waiting + report.known
        assert (taken, len(report.refused)) == (self.TAKEN, self.REFUSED)
        self.require_golden()
        # The run that was killed gets its outcome with the next one that is recorded.
        assert [one for one in violations(self.root, ended=True) if not one.startswith("I11: run ")] == []

    def check_end(self) -> None:
        assert self.adopt().known == self.TAKEN
        assert self._listing() == self._theirs

    def adopt(self) -> AdoptionReport:
        with Archive(self.config) as archive:
            return archive.adopt([self.folder])

    @property
    def config(self) -> Config:
        return load(None, {"ARCHIVER_ARCHIVE": str(self.root), "ARCHIVER_ARCHIVE_RESERVE": "0"})

    def require_golden(self) -> None:
        """Require what the command leaves if it is never killed."""
        assert self.outcome() == self._golden

    def _die(self, step: int) -> int:
        return work_and_die(self.work, step, self._counted)

    def outcome(self) -> State:
        """What rows and store say, without ids and times."""
        more = {
            "adopted": "select item_pk, highlight_pk, role, sha256, username, source, reason from adopted",
            "sources": "select item_pk, role, sha256, source from files",
        }
        with database(self.root) as rows:
            assert rows is not None
            return state(self.root) | {name: sorted(rows(query), key=repr) for name, query in more.items()}

    def _listing(self) -> dict[str, tuple[bytes, int]]:
        files = (path for path in self.folder.rglob("*") if path.is_file())
        return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


class KilledRebuild(KilledAdoption):
    """At any step: it leaves no database or the whole one; the next one ends with the same rows."""

    def prepare(self) -> None:
        self.adopt()
        self._rows = self.outcome()
        for file in self.root.glob("archive.db*"):
            file.unlink()

    def work(self) -> None:
        rebuild_database(self.config, Work())

    def check(self, point: int) -> None:
        with suppress(UsageError):  # it was killed after the end: nothing is left to do
            self.work()
        self.require_golden()
        assert self.outcome() == self._rows
        assert violations(self.root) == []
        assert not list(self.root.glob("*.rebuild*"))

    def check_end(self) -> None:
        """Nothing is left to check."""


class KilledUpdate(KilledCommand):
    """Bringing an older copy up to date, before any system call that changes a file: the next rebuild ends
    with the same rows, and nothing of the first is left. SQLite copies the file: its system calls are no
    steps of ours.
    """

    EVERY: ClassVar = {"pwrite64": 16, "write": 8, "fsync": 1, "rename": 1, "unlink": 1, "ftruncate": 1}
    """The kill comes before every n-th call of these names."""

    least = 21

    def __init__(self, ground: Ground) -> None:
        ground.request.getfixturevalue("strace")
        self._root = root = ground.place / "archive"
        self._files, self._names = released(root)
        self._environ = {"ARCHIVER_ARCHIVE": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
        self._config = load(None, {"ARCHIVER_ARCHIVE": str(root)})
        earlier = shutil.copytree(root, ground.place / "earlier")
        for name in self._names[-2:]:
            (earlier / "journal" / name).unlink()
        fields = json.loads((earlier / "archive.json").read_text())
        fields.pop("journal", None)  # it says that the journal is longer
        (earlier / "archive.json").write_text(json.dumps(fields))
        rebuild_from(load(None, {"ARCHIVER_ARCHIVE": str(earlier)}))
        self._older = earlier / "archive.db"
        rebuild_from(self._config)
        self._rows = rows_of(root / "archive.db")
        self._has_ended = False

    def points(self, chance: random.Random | None) -> Iterator[tuple[str, int]]:
        for call, every in self.EVERY.items():
            for number in count(1, every):
                yield call, number
                if self._has_ended:
                    break

    def restore(self) -> None:
        lose_file(self._root)
        shutil.copy(self._older, self._root / "archive.db")

    def die_at(self, point: tuple[str, int]) -> bool:
        call, number = point
        home = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(self._root.parent)}
        ended = subprocess.run(
            [
                *syscall_trace.injecting(call, f"signal=SIGKILL:when={number}"),
                *(sys.executable, "-P", "-c", PROGRAM, "db", "rebuild"),
            ],
            env=self._environ | home,
            capture_output=True,
            text=True,
        )
        assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
        self._has_ended = ended.returncode == 0
        return not self._has_ended

    def check(self, point: tuple[str, int]) -> None:
        with suppress(UsageError):  # it was complete
            rebuild_from(self._config)
        assert rows_of(self._root / "archive.db") == self._rows
        assert sorted(self._files.names()) == self._names
        assert not list(self._root.glob("*.rebuild*"))


@dataclass(frozen=True, slots=True)
class Blows:
    """Kills of a first export and of the update of it. ``way``: how files are placed."""

    way: str
    first: tuple[Kill, ...]
    update: tuple[Kill, ...]


class KilledExport(KilledCommand):
    """A first export and an update, killed up to three times each at a marked or any moment: paths, bytes,
    dates and the export's own list are as if they were not; a bag that is not whole is never a valid one.
    """

    FORMS: ClassVar = {"folder": ["--sidecars"], "bagit": []}
    ENVIRON: ClassVar = {"PYTHONPATH": str(ROOT), "HOME": "/nonexistent", "LC_ALL": "C.UTF-8"}

    def __init__(self, ground: Ground, *, form: str) -> None:
        """Between the two: another username, another title, items in another order, another cover, new
        items.
        """
        self._form, self._out, home = form, ground.place / "out", ground.place
        self._chance = random.Random(f"{ground.seed} {form}")
        harness = ExportHarness.make(home, ground.new_database())
        items = [video(str(10 + n), taken_at=NOW - timedelta(hours=n)) for n in range(8)]
        harness.show({"1": "Gift", "2": "Travel"}, {"1": tuple(items), "2": tuple(items[::2])})
        for item in items:
            harness.keep(item.pk, Role.THUMBNAIL, f"poster {item.pk}".encode())
            harness.keep(item.pk, Role.VIDEO, f"video {item.pk}".encode() * 1000)
        harness.keep("1", Role.COVER, b"cover")
        self._before, self._now = home / "before", harness.root
        shutil.copytree(harness.root, self._before)
        harness.rename("natgeo.travel", LATER)
        more = [*items[::-1], video("30"), video("31")]
        harness.show({"1": "Gifts", "2": "Travel"}, {"1": tuple(more)}, LATER)
        harness.keep("1", Role.COVER, b"another cover", LATER)
        harness.keep("30", Role.VIDEO, b"new", LATER)
        self._killer = ground.stack.enter_context(RunKiller(home / "ground"))
        self._usual = 0.0
        self._golden: dict[tuple[str, Path], dict[str, object]] = {}
        for way in ("hardlink", "copy"):
            self.restore()
            for archive in (self._before, self._now):
                self._usual = max(self._usual, self._export(archive, way))
                self._golden[way, archive] = self._state()

    def points(self, chance: random.Random | None) -> Iterator[Blows]:
        """There are too many: a sample, another one each day."""
        for _ in range(40):
            first, update = (
                tuple(_blow(self._chance) for _ in range(self._chance.randint(1, 3))) for _ in range(2)
            )
            yield Blows(self._chance.choice(("copy", "hardlink")), first, update)

    def restore(self) -> None:
        shutil.rmtree(self._out, ignore_errors=True)

    def die_at(self, point: Blows) -> bool:
        for kill in point.first:
            self._export(self._before, point.way, kill)
            if self._form == "bagit" and (self._out / "bagit.txt").exists():
                assert bagit.Bag(str(self._out)).is_valid(), kill
        self._require_whole(self._before, point.way)
        for kill in point.update:
            self._export(self._now, point.way, kill)
        return True

    def check(self, point: Blows) -> None:
        self._require_whole(self._now, point.way)

    def _require_whole(self, archive: Path, way: str) -> None:
        self._export(archive, way)
        assert self._state() == self._golden[way, archive]

    def _export(self, archive: Path, way: str, kill: Kill | None = None) -> float:
        """Export, until the kill; return how long it took."""
        words = ["export", self._form, str(self._out), "--link", way, "--prune", *self.FORMS[self._form]]
        environ = {**self.ENVIRON, "ARCHIVER_ARCHIVE": str(archive)}
        outcome = self._killer.run(environ, words, kill=kill, usual=self._usual)
        assert outcome.codes[0] in ((0, -9) if kill is not None else (0,)), self._killer.said()
        return outcome.seconds

    def _state(self) -> dict[str, object]:
        """All that is there: names, bytes, modes and dates, and the export's own list.

        Tag files of a bag say the time of day.
        """
        found: dict[str, object] = {}
        for path in sorted(self._out.rglob("*")):
            name = str(path.relative_to(self._out))
            if name.startswith(".archiver-export/") and name.endswith(("files.db", "files.db-journal")):
                continue
            stands = path.lstat()
            dated = path.is_file() and path.parent != self._out
            found[name] = (path.is_dir() or path.read_bytes(), stands.st_mode, dated and stands.st_mtime_ns)
        with closing(sqlite3.connect(self._out / ".archiver-export" / "files.db")) as rows:
            list_ = (
                "SELECT id, path, wished, sha256, size, at_ns, how, before, old, mtime_ns IS "
                "NULL FROM files ORDER BY id"
            )
            found["list"] = rows.execute(list_).fetchall()
        return found


def _blow(chance: random.Random) -> Kill:
    """At a marked moment, or any."""
    if chance.random() < 0.7:
        return Kill(chance.choice(phase_marks.EXPORTS), chance.randint(1, 30), 0.0, None)
    return Kill("", 0, chance.random() * 1.2, None)


class PutKiller:
    """Kills a process at its n-th PUT, before the store has handled it or when it is stored."""

    def __init__(self, server: S3Server, *, is_handled: bool) -> None:
        self._server, self._is_handled = server, is_handled
        self._left = 0
        self._process: subprocess.Popen[Any] | None = None

    def run(self, start: Callable[[], subprocess.Popen[Any]], number: int) -> int:
        """Run a command, and return its code: -9 if it was killed."""
        self._left = number
        self._server.act = self._act
        try:
            self._process = start()
            _, err = self._process.communicate()
        finally:
            self._server.act = None
        assert self._process.returncode in (0, -signal.SIGKILL), err
        return self._process.returncode

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


class KilledMove(KilledCommand):
    """``storage move``, at an upload or a step: the same command ends it, and until then no other command
    writes where the archive is not.
    """

    PLACES: ClassVar = {"directory": None, "a": f"s3://{BUCKET}/a", "b": f"s3://{BUCKET}/b"}

    def __init__(self, ground: Ground, *, at: str, old: str, new: str) -> None:
        """``at``: "step", or when the upload is interrupted: "before it is stored", "when it is stored"."""
        self._at, self._old, self._new = at, self.PLACES[old], self.PLACES[new]
        self._server = ground.server()
        self._killer = PutKiller(self._server, is_handled=at == "when it is stored")
        self._before = ground.place / "before"
        upstream = ground.upstream(1, 1, 2)
        self._harness = ArchiveHarness(ground.place / "archive", upstream, storage=self._old)
        assert self._harness.night(ACCOUNT).exit_code == 0
        self._blobs = int(str(self._harness.one("select count(*) from blobs")))
        shutil.copytree(self._harness.root, self._before / "archive")
        shutil.copytree(self._server.objects, self._before / "objects")
        self._server.calls()
        assert self._killer.run(partial(self._start, NEVER), NEVER) == 0
        self._puts = sum(call.startswith("PUT ") for call in self._server.calls())
        self._last_step = int((self._before / "steps").read_text()) - 1
        assert self._puts
        assert self._last_step > 60

    def points(self, chance: random.Random | None) -> Iterable[int]:
        """Of the steps, all from the marker that begins the end to the last one, and a third of those
        before; of one day, one of each.
        """
        if self._at != "step":
            return range(1, self._puts + 1) if chance is None else [chance.randint(1, self._puts)]
        ending = range(self._last_step - 40, self._last_step + 1)
        if chance is None:
            return sorted({*ending, *range(1, self._last_step - 40, 3)})
        return sorted({chance.choice(ending), chance.randint(1, self._last_step)})

    def restore(self) -> None:
        for place, name in ((self._harness.root, "archive"), (self._server.objects, "objects")):
            shutil.rmtree(place)
            shutil.copytree(self._before / name, place)
        self._harness.storage = self._old

    def die_at(self, point: int) -> bool:
        step, upload = (point, NEVER) if self._at == "step" else (NEVER, point)
        is_killed = self._killer.run(partial(self._start, step), upload) != 0
        assert is_killed or self._at == "step"  # threads may save a step
        return is_killed

    def check(self, point: int) -> None:
        self._require_one_place()
        self._require_moved()

    def _start(self, step: int) -> subprocess.Popen[bytes]:
        """Start the command, to be killed before this step of its own."""
        words = ("storage", "move", self._new or "directory")
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.support.crash.step_killer"),
                *(str(step), str(self._before / "steps"), *words),
            ],
            cwd=ROOT,
            env=os.environ | self._harness.variables | self._server.environment() | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    def _require_one_place(self) -> None:
        """At most one of the two places is used by a run, and that run pays for no file again. If there is
        none, it names the command to use.
        """
        taken = 0
        for place in (self._new, self._old):
            self._harness.storage = place
            try:
                summary = self._harness.night(ACCOUNT)
            except StorageError as refused:
                words = f"{refused} {refused.hint}"
                assert "storage move" in words or "archive.storage" in words
                assert self._harness.upstream.units == 0
            else:
                assert (summary.exit_code, summary.units, summary.files_new) == (0, 1, 0)
                taken += 1
        assert taken <= 1

    def _require_moved(self) -> None:
        """The same command ends the move: everything is there, and can be rebuilt from there. The old place
        is refused.
        """
        move_storage(self._harness.config, self._new, Work())
        with pytest.raises(StorageError, match="the archive is stored in"):
            self._harness.night(ACCOUNT)
        self._harness.storage = self._new
        found = self._harness.verify()
        assert (found.blobs.damaged, found.answers.damaged, found.journal.is_damaged) == ((), (), False)
        assert found.blobs.checked == self._blobs
        require_equal_after_rebuild(self._harness)
        assert self._harness.night(ACCOUNT).units == 1


class KilledBackup(KilledCommand):
    """A night into a bucket, killed run after run, each one upload later than the last: never a row without
    its bytes in the bucket. The run that is not killed makes the archive whole, and a check finds nothing
    wrong.
    """

    def __init__(self, ground: Ground, *, keeps: str, is_handled: bool) -> None:
        server = ground.server()
        (ground.place / "home").mkdir()
        storage = {"ARCHIVER_ARCHIVE_STORAGE": f"s3://{BUCKET}/a", "ARCHIVER_ARCHIVE_KEEP_ANSWERS": keeps}
        upstream = ground.upstream(1, 2, 2)
        self._person = CommandLineUser(ground.place / "home", upstream, server.environment() | storage)
        self._killer, self._objects = PutKiller(server, is_handled=is_handled), server.objects / "a"
        self._has_ended = False

    def points(self, chance: random.Random | None) -> Iterator[int]:
        for number in range(1, 100) if chance is None else sorted(chance.sample(range(1, 12), 2)):
            if not self._has_ended:
                yield number

    def die_at(self, point: int) -> bool:
        self._has_ended = self._killer.run(lambda: self._person.start("backup", ACCOUNT), point) == 0
        return not self._has_ended

    def check(self, point: int) -> None:
        assert self._without_bytes() == []

    def check_end(self) -> None:
        done = self._person.run("backup", ACCOUNT)
        assert done.code == 0, done.err
        with Archive(load(None, self._person.environ)) as archive:
            found = archive.verify(read_data=True)
        assert (found.blobs.damaged, found.answers.damaged, found.journal.is_damaged) == ((), (), False)
        with closing(sqlite3.connect(self._person.archive / "archive.db")) as connection:
            query = "SELECT count(*) FROM highlights WHERE completed_at IS NULL"
            assert connection.execute(query).fetchone() == (0,)

    def _without_bytes(self) -> list[str]:
        """Return what the database has a row of, and the bucket (or the spool) has not."""
        root, objects = self._person.archive, self._objects
        if not (root / "archive.db").exists():
            return []
        with closing(sqlite3.connect(root / "archive.db")) as rows:
            if not rows.execute("SELECT 1 FROM sqlite_master WHERE name = 'blobs'").fetchone():
                return []
            digests = [row[0] for row in rows.execute("SELECT sha256 FROM blobs WHERE lost_at IS NULL")]
            segments = [row[0] for row in rows.execute("SELECT segment FROM answers")]
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
    "command",
    [
        pytest.param(
            KilledAdoption,
            id="test_fault_h53_a_killed_adoption_made_again_is_one_never_killed",
            marks=pytest.mark.whole,
        ),
        pytest.param(KilledRebuild, id="test_fault_h53_a_killed_rebuild_made_again_is_one_never_killed"),
        pytest.param(
            KilledUpdate,
            id="test_fault_h53_an_older_copy_is_brought_up_to_date_after_any_kill",
            marks=pytest.mark.whole,
        ),
        pytest.param(
            partial(KilledExport, form="folder"),
            id="test_fault_h33_a_killed_export_of_a_folder_made_again_is_one_never_killed",
            marks=pytest.mark.whole,
        ),
        pytest.param(
            partial(KilledExport, form="bagit"),
            id="test_fault_h33_a_killed_export_of_a_bag_made_again_is_one_never_killed",
            marks=pytest.mark.whole,
        ),
        pytest.param(
            partial(KilledMove, at="before it is stored", old="directory", new="a"),
            id="test_fault_s9_a_move_that_is_killed_at_an_upload_goes_on",
        ),
        pytest.param(
            partial(KilledMove, at="step", old="directory", new="a"),
            id="test_fault_s9_a_move_that_is_killed_at_a_step_goes_on",
        ),
        *(
            pytest.param(
                partial(KilledMove, at=at, old=old, new=new),
                id=f"{old}-{new}-{at}",
                marks=pytest.mark.whole,
            )
            for at in ("before it is stored", "when it is stored", "step")
            for old, new in (("directory", "a"), ("a", "directory"), ("a", "b"))
            if at == "when it is stored" or old == "a"
        ),
        pytest.param(
            partial(KilledBackup, keeps="all", is_handled=False),
            id="test_fault_s1_a_kill_at_any_upload_leaves_no_row_without_its_bytes",
        ),
        *(
            pytest.param(
                partial(KilledBackup, keeps=keeps, is_handled=is_handled),
                id=f"backup-{keeps}-{is_handled}",
                marks=pytest.mark.whole,
            )
            for keeps, is_handled in (("all", True), ("fetched", False), ("fetched", True))
        ),
    ],
)
def test_a_killed_command_made_again_is_one_never_killed(
    command: Callable[[Ground], KilledCommand],
    request: pytest.FixtureRequest,
    tmp_path: Path,
    sample_seed: str,
    whole: bool,
    crash_all: bool,
    record_property: Callable[[str, object], None],
) -> None:
    """Every day each command at one or two points, others each day; with ``--whole`` or ``--crash-all`` at
    all.
    """
    name = request.node.callspec.id
    with ExitStack() as stack:
        killed = command(Ground(tmp_path, request, stack, sample_seed))
        kills, seen = 0, []
        for point in killed.points(None if whole or crash_all else random.Random(f"{sample_seed} {name}")):
            seen.append(point)
            killed.restore()
            kills += killed.die_at(point)
            try:
                killed.check(point)
            except BaseException as error:
                error.add_note(f"seed {sample_seed}, after {seen[-3:]}")
                raise
        killed.check_end()
    record_property("visited", f"{name}: {kills} kills at {len(seen)} points")
    assert kills >= killed.least


@pytest.mark.whole
def test_fault_h1_a_new_item_whose_file_a_kill_prevented_is_had_by_the_next_run(tmp_path: Path) -> None:
    """A complete highlight has changed; the page of the second night is recorded, its new picture is not
    there yet: the third night downloads it, for the tray's unit.
    """
    with Workload.small() as upstream, RunKiller(tmp_path / "home") as ground:
        root = ground.home / "archive"
        environ, standin = upstream.environ(root), upstream.standin
        assert ground.run(environ, upstream.words).codes == (0,)
        highlight = standin.world.accounts[0].highlights[0]
        item = standin.world.add_item(highlight.pk)
        fault = standin.faults.add(actions.stall(10), item=item.pk, count=None)
        assert ground.run(environ, upstream.words, kill=Kill("file opened", 2, 0.0, None)).codes == (-9,)
        assert violations(root) == []
        standin.faults.remove(fault)
        standin.requests.reset()
        assert ground.run(environ, upstream.words).codes == (0,)
        assert standin.units == 1
        with database(root) as rows:
            assert rows is not None
            assert rows(f"select role from files where item_pk = '{item.pk}'") == [("thumbnail",)]


@pytest.mark.parametrize(
    "left",
    [
        "archive.db.new",
        "archive.db.new-wal",
        "archive.db.new-shm",
        "archive.db.new-journal",
        ".archive.json.part",
    ],
)
def test_fault_h1_a_creation_that_was_killed_is_finished_by_the_next(left: str, tmp_path: Path) -> None:
    """A half-made database or marker is made anew, and is not taken for somebody else's file."""
    root = tmp_path / "archive"
    root.mkdir(0o700)
    (root / left).write_bytes(b"half")
    assert create_archive(load(None, {"ARCHIVER_ARCHIVE": str(root)}))
    assert not (root / left).exists()
    assert violations(root) == []
    assert not create_archive(load(None, {"ARCHIVER_ARCHIVE": str(root)}))
