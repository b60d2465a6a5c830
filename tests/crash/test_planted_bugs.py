"""The crash tests' own test: bugs planted into the program, each of which the replay of power losses must
catch.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.crash import planted_bugs, traced_run
from tests.support.crash.disk_states import Inspector, disks
from tests.support.crash.file_operations import Entry
from tests.support.crash.traced_run import ARCHIVE, TracedRun
from tests.support.crash.workload import Workload

pytestmark = pytest.mark.usefixtures("strace")

_BREAKS = {
    "file not synced": "I2",
    "directory not synced": "I1",
    "fan-out not synced": "I1",
    "row before rename": "I1",
    "synchronous NORMAL": "I4",
    "watermark before files": "I5",
    "answer not synced": "I7",
    "answer kept late": "I7",
    "call before ledger": "I7",
}
_AT_FIRST = ("fan-out not synced",)
"""Bugs in the making of an archive; the others show in a run on an empty one, which has fewer moments."""


@pytest.fixture(scope="module")
def upstream(strace: None) -> Iterator[Workload]:
    """One account with one highlight."""
    with Workload.small() as small:
        yield small


@pytest.fixture(scope="module")
def empty(upstream: Workload, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with an empty archive, to be copied."""
    home = tmp_path_factory.mktemp("empty") / "home"
    traced_run.make_archive(upstream, home)
    return home


def test_every_planted_bug_is_looked_for() -> None:
    """No bug is planted in vain."""
    assert _BREAKS.keys() == planted_bugs.BUGS.keys()


def stands(night: TracedRun) -> int:
    """The first moment at which there is an archive: until then no bug can break anything."""
    made = (
        at
        for at, o in enumerate(night.course.operations)
        if isinstance(o, Entry) and o.name == "archive.json"
    )
    return max(night.course.start, next(made))


@pytest.mark.whole
@pytest.mark.parametrize("bug", _BREAKS)
def test_a_planted_bug_is_caught(
    bug: str,
    upstream: Workload,
    empty: Path,
    crash_all: bool,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    """A program with this bug breaks the invariant that it is known to break, on a disk that a power loss may
    leave.
    """
    home = tmp_path / "home"
    if bug in _AT_FIRST:
        home.mkdir()
    else:
        shutil.copytree(empty, home)
    night = traced_run.record(upstream, home, planted=bug)
    (tmp_path / "disk").mkdir()
    inspector = Inspector(night.course, ARCHIVE, tmp_path / "disk", upstream.standin.key, night.prices)
    moments = range(stands(night), len(night.course.operations) + 1, 1 if crash_all else 5)
    looked_at = caught = 0
    for disk in disks(night.course, moments, range(4 if crash_all else 1)):
        looked_at += 1
        caught += any(entry.startswith(_BREAKS[bug]) for entry in inspector.violations(disk))
        if caught and not crash_all:
            break
    record_property("visited", f"planted bug «{bug}»: caught on {caught} of {looked_at} disks")
    assert caught
