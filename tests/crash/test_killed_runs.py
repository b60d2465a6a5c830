"""H1: kill -9 at random instants, kill upon kill, for as long as one likes. H2: a fault at each system call
that changes a file; everyday a few of them, others each day, and all with ``--crash-all``.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.support.crash.kill_rounds import play
from tests.support.crash.syscall_faults import BROKEN, FULL, KILL, FaultPoint, FaultSweep
from tests.support.crash.syscall_trace import Write
from tests.support.crash.traced_run import TracedRun

_SERIES = 3  # where more rounds are asked for than one worker should play: they go on at once
_EVERYDAY = 2


def test_fault_h1_a_kill_at_any_instant_loses_nothing_and_a_rerun_converges(
    series: int,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    sample_seed: str,
    record_property: Callable[[str, object], None],
) -> None:
    """After each kill the invariants I1 to I9 hold, and a run that is let finish leaves the archive of an
    undisturbed one (I10).
    """
    rounds = request.config.getoption("--crash-rounds")
    each = -(-rounds // _SERIES) if rounds > _EVERYDAY else rounds
    score = play(tmp_path / "home", f"{sample_seed}.{series}", each)
    record_property(
        "crash", [score.rounds, score.kills, score.archives, score.seconds, len(score.violations)]
    )
    again = (
        f"pytest {Path(__file__).name} -k 'converges and {series}' --crash-rounds "
        f"{rounds} --crash-seed {sample_seed}"
    )
    assert not score.violations, "\n\n".join([*score.violations, f"to see it again: {again}"])


Visit = Callable[[str, int], list[str]]
Visited = Iterator[tuple[FaultPoint, int, list[str]]]

_NAMES = (
    *("write", "pwrite64", "fsync", "fdatasync", "ftruncate", "fallocate", "fchmod", "fchmodat"),
    *("rename", "renameat", "unlink", "unlinkat", "mkdir", "mkdirat", "openat"),
)
_ALIKE = range(9, 250)  # calls that make the 256 directories of blobs/: of these every 16th
_OPENINGS = 20  # strace counts all that a thread opens; this is about what it opens in the archive


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """All runs that find an archive are one test, all that make one another, and a sample is one of both. So
    it is with what a disk refuses.

    One series of the few rounds of every day: each begins with a process of its own, and each archive ends
    with four runs.
    """
    if "series" in metafunc.fixturenames:
        rounds = metafunc.config.getoption("--crash-rounds")
        metafunc.parametrize("series", range(_SERIES if rounds > _EVERYDAY else 1))
    if "made" in metafunc.fixturenames:
        both = {"in an archive": True, "making an archive": False}
        parts = both if metafunc.config.getoption("--crash-all") else {"sample": None}
        metafunc.parametrize("made", parts.values(), ids=parts.keys())
    if "refusal" in metafunc.fixturenames:
        every = [FULL, BROKEN] if metafunc.config.getoption("--crash-all") else [None]
        metafunc.parametrize("refusal", every, indirect=True)


@pytest.fixture(scope="module")
def sweep(strace: None, night: TracedRun, tmp_path_factory: pytest.TempPathFactory) -> FaultSweep:
    """One account with one highlight, and room for its archives."""
    return FaultSweep(night, tmp_path_factory.mktemp("sweep"))


@pytest.fixture
def refusal(request: pytest.FixtureRequest, sample_seed: str) -> str:
    """What the disk answers: one day that it is full, another day an error."""
    return request.param or random.Random(f"{sample_seed} refusal").choice((FULL, BROKEN))


@pytest.fixture
def visit(
    sweep: FaultSweep, made: bool | None, sample_seed: str, record_property: Callable[[str, object], None]
) -> Visit:
    """Let a fault come at every point, or at so many; returns what does not hold after any of them."""

    def visited(fault: str, size: int) -> list[str]:
        visits = sampled(sweep, fault, size, sample_seed) if made is None else everywhere(sweep, fault, made)
        points: Counter[str] = Counter()
        found: list[str] = []
        for point, code, wrong in visits:
            points[f"{point.call} {'in' if point.made else 'making'} an archive, code {code}"] += 1
            found += wrong
        which = f"sample of {sample_seed}" if made is None else "every call"
        each = "; ".join(f"{n} {what}" for what, n in sorted(points.items()))
        record_property("visited", f"{fault}, {which}: {points.total()} runs: {each}")
        assert points
        return found

    return visited


def everywhere(sweep: FaultSweep, fault: str, made: bool) -> Visited:
    """The n-th call of each name for every n, until a run ends well that has made no more of them."""
    for name, last in reached(sweep, fault, made).items():
        for when in count(1):
            if name not in ("mkdirat", "fchmodat") or when not in _ALIKE or when % 16 == 0:
                point = FaultPoint(fault, name, when, made)
                code, wrong = sweep.meet(point)
                yield point, code, wrong
                if when > last and code == 0:
                    break


def sampled(sweep: FaultSweep, fault: str, size: int, seed: str) -> Visited:
    """So many points; those at hand are drawn for each name alike, however often it is called.

    One day all runs find an archive, another day none does: to count the calls takes a run of its own.
    """
    made = random.Random(seed).random() < 0.5
    chance = random.Random(f"{seed} {fault}")
    for _ in range(size):
        last = reached(sweep, fault, made)
        name = chance.choice(sorted(last))
        point = FaultPoint(fault, name, chance.randint(1, last[name]), made)
        yield point, *sweep.meet(point)


def reached(sweep: FaultSweep, fault: str, made: bool) -> dict[str, int]:
    """Per name, how many calls a thread makes.

    A kill before a file is made is one after the call before: not among them.
    """
    calls = {name: n for name, n in sweep.calls(made=made).items() if name in _NAMES}
    del calls["openat"]
    return calls if fault == KILL else calls | {"openat": _OPENINGS}


def test_fault_h2_a_kill_before_any_system_call_loses_nothing(visit: Visit) -> None:
    """kill -9 before the n-th call of each name: what was told is there, and the next run makes the whole
    archive, nothing twice.

    If the database is lost then, a rebuild gives back all rows. If it is lost right after the kill, a rebuild
    gives back the rows that the journal has, and the next run makes the whole archive.
    """
    assert visit(KILL, 1) == []


def test_fault_h2_a_disk_full_or_an_io_error_at_any_call_ends_the_run_by_itself(
    visit: Visit, refusal: str
) -> None:
    """ENOSPC from the n-th call of each name on, or EIO at it: code 8 or 9, nothing half-written, and the
    next run makes the whole archive.
    """
    assert visit(refusal, 1) == []


@pytest.mark.whole
def test_fault_h2_a_new_database_whose_pages_the_disk_refuses_is_not_put_in_place(sweep: FaultSweep) -> None:
    """EIO at the first page that goes from the WAL of the new database into its file: code 9, and the next
    run makes it again.
    """
    paths = [o.path for o in sweep.night.course.operations if isinstance(o, Write)]
    logged = next(at for at, path in enumerate(paths) if path.endswith("archive.db.new-wal"))
    page = next(at for at, path in enumerate(paths) if at > logged and path.endswith("archive.db.new"))
    assert sweep.meet(FaultPoint(BROKEN, "pwrite64", page + 1, made=False)) == (9, [])


@pytest.mark.whole
def test_fault_h2_a_place_that_cannot_be_looked_at_is_told_as_the_disk(sweep: FaultSweep) -> None:
    """EIO where the archive is to be made: code 8, no bug, and the next run makes it."""
    assert sweep.meet(FaultPoint(BROKEN, "openat", 1, made=False)) == (8, [])
