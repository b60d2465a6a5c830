"""H53: an adoption or a rebuild that is killed at any step, and made again, is one that was never killed."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from archiver.archive.archive import Archive
from archiver.archive.rebuild_archive import rebuild_database
from archiver.config import Config, load
from archiver.errors import UsageError
from archiver.model.foreign_files import AdoptionReport
from archiver.work import Work
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
from tests.support.catalog_samples import page
from tests.support.crash.consistency_checks import State, database, state, violations
from tests.support.crash.step_killer import NEVER, work_and_die
from tests.support.media_samples import jpeg

_FOLDER = {
    insta_dl_name(): PHOTO,
    insta_dl_name(suffix=".mp4"): VIDEO,
    insta_dl_name(OTHER_ITEM): jpeg(5000, seed=2),
    insta_dl_name("7"): PHOTO,
    insta_dl_name("8", ".mp4"): VIDEO[:-100],
    f"natgeo/stories/{STAMP}_9.jpg": PHOTO,
}
"""Two files of a known item; two that wait, one of them with bytes that the item has; two to refuse."""
_TAKEN, _REFUSED = 4, 2
_MORE = {
    "adopted": "select item_pk, highlight_pk, role, sha256, username, source, reason from adopted",
    "sources": "select item_pk, role, sha256, source from files",
}


@dataclass(frozen=True, slots=True)
class Scene:
    """What insta-dl left, an archive that knows one of its items, and room for copies of archives."""

    folder: Path
    before: Path
    place: Path
    seed: str
    is_whole: bool

    def copy(self, archive: Path) -> Path:
        root = self.place / "archive"
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(archive, root)
        return root

    def steps(self, last: int) -> Iterator[int]:
        """Every step, or one each day."""
        yield from range(1, last + 1) if self.is_whole else [random.Random(self.seed).randint(1, last)]

    def adopt(self, root: Path) -> AdoptionReport:
        with Archive(_config(root)) as archive:
            return archive.adopt([self.folder])

    def adopt_and_die(self, root: Path, step: int) -> int:
        return work_and_die(lambda: self.adopt(root), step, self.place / "steps")

    def rebuild_and_die(self, root: Path, step: int) -> int:
        return work_and_die(lambda: _rebuild(root), step, self.place / "steps")


@pytest.fixture(scope="module")
def scene(
    tmp_path_factory: pytest.TempPathFactory,
    sqlite_template: Path,
    whole: bool,
    crash_all: bool,
    sample_seed: str,
) -> Scene:
    """The archive has no journal yet: the adoption begins it, too."""
    home = tmp_path_factory.mktemp("steps")
    archive = AdoptingArchive(home / "before", Path(shutil.copy(sqlite_template, home / "new.db")))
    archive.answer(page(HIGHLIGHT, ITEM, "5"))
    folder = put(home / "theirs", _FOLDER)
    return Scene(folder, archive.root, home, sample_seed, whole or crash_all)


@pytest.mark.whole
def test_fault_h53_a_killed_adoption_made_again_is_one_never_killed(scene: Scene) -> None:
    """Killed at any step, it leaves whole files with their rows; the next one adopts the rest, nothing twice.

    Every day at one step, another one each day; at every one with ``--whole`` or ``--crash-all``.
    """
    theirs = _listing(scene.folder)
    root = scene.copy(scene.before)
    last = scene.adopt_and_die(root, NEVER)
    golden = _outcome(root)
    for step in scene.steps(last):
        root = scene.copy(scene.before)
        scene.adopt_and_die(root, step)
        assert violations(root) == [], f"killed before step {step} of {last}"
        report = scene.adopt(root)
        taken = report.adopted + report.waiting + report.known
        assert (taken, len(report.refused)) == (_TAKEN, _REFUSED), step
        assert _outcome(root) == golden, step
        # The run that was killed gets its outcome with the next one that is recorded.
        assert [one for one in violations(root, ended=True) if not one.startswith("I11: run ")] == [], step
    assert scene.adopt(root).known == _TAKEN
    assert _listing(scene.folder) == theirs


def test_fault_h53_a_killed_rebuild_made_again_is_one_never_killed(scene: Scene) -> None:
    """Killed at any step, it leaves no database or the whole one; the next one ends with the same rows."""
    root = scene.copy(scene.before)
    scene.adopt(root)
    golden = _outcome(root)
    for file in root.glob("archive.db*"):
        file.unlink()
    lost = Path(shutil.copytree(root, scene.place / "lost"))
    last = scene.rebuild_and_die(root, NEVER)
    for step in scene.steps(last):
        root = scene.copy(lost)
        scene.rebuild_and_die(root, step)
        with suppress(UsageError):  # it was killed after the end: nothing is left to do
            _rebuild(root)
        assert _outcome(root) == golden, f"killed before step {step} of {last}"
        assert violations(root) == [], step
        assert not list(root.glob("*.rebuild*")), step


def _rebuild(root: Path) -> None:
    rebuild_database(_config(root), Work())


def _config(root: Path) -> Config:
    return load(None, {"ARCHIVER_ARCHIVE": str(root), "ARCHIVER_ARCHIVE_RESERVE": "0"})


def _outcome(root: Path) -> State:
    """What rows and store say, without ids and times."""
    with database(root) as rows:
        assert rows is not None
        more = {name: sorted(rows(query), key=repr) for name, query in _MORE.items()}
    return state(root) | more


def _listing(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
