"""H33: an export that is killed, at a marked or any moment, and made again is one that was never killed:
paths, bytes, dates, its own list.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import bagit
import pytest

from archiver.model.identity import Role
from tests.support import ROOT
from tests.support.catalog_samples import LATER, video
from tests.support.crash import phase_marks
from tests.support.crash.run_killer import Kill, RunKiller
from tests.support.databases import NOW
from tests.support.export_archive import ExportHarness

_ITEMS = 8
_FORMS = {
    "folder": ["--sidecars"],
    "bagit": [],
}


@dataclass(frozen=True, slots=True)
class Scene:
    """An archive as it was, as it is now, and where exports of both are killed."""

    before: Path
    now: Path
    ground: RunKiller

    def export(
        self, archive: Path, form: str, to: Path, way: str, kill: Kill | None = None, usual: float = 0.0
    ) -> float:
        """An export, which the kill ends; how long it took.

        Raises AssertionError for one that ended otherwise than it should.
        """
        words = ["export", form, str(to), "--link", way, "--prune", *_FORMS[form]]
        environ = {**_ENVIRON, "ARCHIVER_ARCHIVE": str(archive)}
        outcome = self.ground.run(environ, words, kill=kill, usual=usual)
        assert outcome.codes[0] in ((0, -9) if kill is not None else (0,)), self.ground.said()
        return outcome.seconds


_ENVIRON = {"PYTHONPATH": str(ROOT), "HOME": "/nonexistent", "LC_ALL": "C.UTF-8"}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[Scene]:
    """Between the two: another username, another title, items in another order, another cover, new items."""
    home = tmp_path_factory.mktemp("exports")
    harness = ExportHarness.make(home, Path(shutil.copy(sqlite_template, home / "archive.db")))
    items = [video(str(10 + n), taken_at=NOW - timedelta(hours=n)) for n in range(_ITEMS)]
    harness.show({"1": "Gift", "2": "Travel"}, {"1": tuple(items), "2": tuple(items[::2])})
    for item in items:
        harness.keep(item.pk, Role.THUMBNAIL, f"poster {item.pk}".encode())
        harness.keep(item.pk, Role.VIDEO, f"video {item.pk}".encode() * 1000)
    harness.keep("1", Role.COVER, b"cover")
    before = home / "before"
    shutil.copytree(harness.root, before)
    harness.rename("natgeo.travel", LATER)
    more = [*items[::-1], video("30"), video("31")]
    harness.show({"1": "Gifts", "2": "Travel"}, {"1": tuple(more)}, LATER)
    harness.keep("1", Role.COVER, b"another cover", LATER)
    harness.keep("30", Role.VIDEO, b"new", LATER)
    with RunKiller(home / "ground") as ground:
        yield Scene(before, harness.root, ground)


def _state(out: Path) -> dict[str, object]:
    """All that is there: names, bytes, modes and dates, and the export's own list.

    Tag files of a bag say the time of day.
    """
    found: dict[str, object] = {}
    for path in sorted(out.rglob("*")):
        name = str(path.relative_to(out))
        if name.startswith(".archiver-export/") and name.endswith(("files.db", "files.db-journal")):
            continue
        stands = path.lstat()
        dated = path.is_file() and path.parent != out
        found[name] = (path.is_dir() or path.read_bytes(), stands.st_mode, dated and stands.st_mtime_ns)
    with closing(sqlite3.connect(out / ".archiver-export" / "files.db")) as rows:
        list_ = (
            "SELECT id, path, wished, sha256, size, at_ns, how, before, old, mtime_ns IS "
            "NULL FROM files ORDER BY id"
        )
        found["list"] = rows.execute(list_).fetchall()
    return found


@pytest.mark.whole
@pytest.mark.parametrize("form", _FORMS)
def test_fault_h33_a_killed_export_made_again_is_one_never_killed(
    form: str,
    scene: Scene,
    tmp_path: Path,
    whole: bool,
    sample_seed: str,
    record_property: Callable[[str, object], None],
) -> None:
    """A first export and an update, killed up to three times each by SIGKILL; a bag that is not whole is
    never a valid one. Every day once each, in one of both ways to place files.
    """
    seed = f"{sample_seed} {form}"
    chance = random.Random(seed)
    golden, usual = {}, 0.0
    for way in ("hardlink", "copy") if whole else [chance.choice(("hardlink", "copy"))]:
        out = tmp_path / f"golden-{way}"
        first = scene.export(scene.before, form, out, way)
        usual = max(usual, first)
        states = [_state(out)]
        scene.export(scene.now, form, out, way)
        golden[way] = [*states, _state(out)]
    kills = 0
    for number in range(40 if whole else 1):
        way, out = chance.choice(sorted(golden)), tmp_path / f"out-{number}"
        for archive, expected in zip((scene.before, scene.now), golden[way], strict=True):
            blows = [_blow(chance) for _ in range(chance.randint(1, 3 if whole else 1))]
            for kill in blows:
                scene.export(archive, form, out, way, kill, usual)
                kills += 1
                if form == "bagit" and (out / "bagit.txt").exists() and archive == scene.before:
                    assert bagit.Bag(str(out)).is_valid(), (seed, kill)
            scene.export(archive, form, out, way)
            told = f"seed {seed}, round {number}, {way}, {[str(kill) for kill in blows]}"
            assert _state(out) == expected, told
    record_property("visited", f"{form}: {kills} kills, sample of {seed}")


def _blow(chance: random.Random) -> Kill:
    """At a marked moment, or any."""
    if chance.random() < 0.7:
        return Kill(chance.choice(phase_marks.EXPORTS), chance.randint(1, 30), 0.0, None)
    return Kill("", 0, chance.random() * 1.2, None)
