"""Bounded threads, the stop flag, the gate and the lock."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from archiver.errors import ArchiveLocked, StoppedBySignal, StorageError, UpstreamDown
from archiver.runner import run_lock
from archiver.runner.rate import RateLimiter
from archiver.runner.threads import for_each
from archiver.work import StopFlag, Work


def test_each_thing_is_worked_on_once() -> None:
    """Every thing reaches ``work`` exactly once, whatever the number of threads."""
    done: list[int] = []
    for_each(range(200), done.append, threads=4, most=4, stop=StopFlag())
    assert sorted(done) == list(range(200))


def test_things_are_taken_one_by_one() -> None:
    """The feed is never read far ahead of the work, so memory does not grow with its length."""
    ahead = 0
    taken = worked = 0
    lock_ = threading.Lock()

    def feed() -> Iterator[int]:
        nonlocal taken
        for n in range(500):
            taken += 1
            yield n

    def work(_: int) -> None:
        nonlocal ahead, worked
        with lock_:
            ahead = max(ahead, taken - worked)
            worked += 1

    for_each(feed(), work, threads=3, most=3, stop=StopFlag())
    assert worked == 500
    assert ahead <= 6


def test_fault_h36_a_bug_in_one_worker_ends_the_others_and_is_raised() -> None:
    """An unexpected exception is never swallowed: the rest stops, and the caller sees it."""
    done: list[int] = []

    def work(n: int) -> None:
        if n == 3:
            raise ZeroDivisionError
        done.append(n)

    with pytest.raises(ZeroDivisionError):
        for_each(range(10_000), work, threads=2, most=2, stop=StopFlag())
    assert len(done) < 10_000


@pytest.mark.parametrize(
    ("seconds", "calls", "expected"),
    [(0.5, 16, {6}), (0.01, 100, {2, 3, 4, 5})],
    ids=["slow", "quick"],
)
def test_slow_work_gets_more_threads(seconds: float, calls: int, expected: set[int]) -> None:
    """Once a call has ended, threads are added while none ends, up to ``most``; quick work needs none."""
    busy = busiest = 0
    lock_ = threading.Lock()

    def work(_: int) -> None:
        nonlocal busy, busiest
        with lock_:
            busy += 1
            busiest = max(busiest, busy)
        time.sleep(seconds)
        with lock_:
            busy -= 1

    for_each(range(calls), work, threads=2, most=6, stop=StopFlag())
    assert busiest in expected


def test_until_a_call_has_ended_no_thread_is_added() -> None:
    """What the first answer says may forbid all further calls."""
    begun: list[int] = []
    go_on = threading.Event()

    def work(n: int) -> None:
        begun.append(n)
        go_on.wait(10)

    def answer() -> None:
        begun.append(-1)
        go_on.set()

    threading.Timer(0.5, answer).start()
    for_each(range(20), work, threads=2, most=6, stop=StopFlag())
    assert begun.index(-1) == 2


@pytest.mark.parametrize("allowed", [1, pytest.param(3, marks=pytest.mark.whole)])
def test_without_another_thread_the_work_goes_on_or_ends_in_order(
    allowed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a further thread cannot be started, all things are done without it. If one of the first cannot, that
    is the error, and no call is under way any more when it is raised.
    """
    start, started, done = threading.Thread.start, 0, list[int]()

    def limited(thread: threading.Thread) -> None:
        nonlocal started
        started += 1
        if started > allowed:
            raise RuntimeError("can't start new thread")
        start(thread)

    def work(n: int) -> None:
        time.sleep(0.3)
        done.append(n)

    monkeypatch.setattr(threading.Thread, "start", limited)
    if allowed == 1:
        with pytest.raises(RuntimeError):
            for_each(range(12), work, threads=2, most=6, stop=StopFlag())
        assert done == [0]
    else:
        for_each(range(12), work, threads=2, most=6, stop=StopFlag())
        assert sorted(done) == list(range(12))


def test_a_stop_ends_a_wait_at_once() -> None:
    """A worker that waits learns of a stop within moments, not at the end of its wait."""
    stop = StopFlag()
    threading.Timer(0.05, stop.stop, [StoppedBySignal(15)]).start()
    began = time.monotonic()
    with pytest.raises(StoppedBySignal):
        stop.wait(30)
    assert time.monotonic() - began < 5


def test_the_first_cause_stands() -> None:
    """A second reason to stop does not hide the first."""
    stop = StopFlag()
    stop.stop(StoppedBySignal(2))
    stop.stop(UpstreamDown("later"))
    assert isinstance(stop.cause, StoppedBySignal)


def test_the_gate_spaces_calls_and_pauses_all() -> None:
    """Ten calls at 200 a second take 45 ms at least; a pause holds everybody."""
    gate = RateLimiter(200.0, StopFlag())
    began = time.monotonic()
    for _ in range(10):
        gate.wait_for_slot()
    assert time.monotonic() - began >= 0.045
    gate.pause(0.1)
    began = time.monotonic()
    gate.wait_for_slot()
    assert time.monotonic() - began >= 0.09


HOLDER = """
import sys, time
from pathlib import Path
from archiver.runner import run_lock
with run_lock.hold_run_lock(Path(sys.argv[1]), "run"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_fault_h20_a_lock_names_its_holder_and_dies_with_it(tmp_path: Path) -> None:
    """A second process is refused with the holder's pid and since when; killed without warning, the holder
    leaves the lock free.
    """
    path = tmp_path / "lock"
    with subprocess.Popen([sys.executable, "-c", HOLDER, path], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        named = rf"run, pid {holder.pid} on \S+, since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d UTC$"
        with pytest.raises(ArchiveLocked, match=named), run_lock.hold_run_lock(path, "run"):
            pass
        holder.kill()
    with run_lock.hold_run_lock(path, "run"):
        assert path.stat().st_mode & 0o777 == 0o600


def test_fault_h19_a_lock_can_be_waited_for(tmp_path: Path) -> None:
    """With a wait, the lock is tried again until its holder lets go."""
    path = tmp_path / "lock"
    waits: list[float] = []
    with run_lock.hold_run_lock(path, "first"):
        with pytest.raises(ArchiveLocked), run_lock.hold_run_lock(path, "second"):
            pass
        with (
            pytest.raises(StoppedBySignal),
            run_lock.hold_run_lock(path, "second", Work(stop=_Impatient(waits, 3), wait=True)),
        ):
            pass
    assert len(waits) == 3


def test_fault_h31_a_symlink_is_no_lock(tmp_path: Path) -> None:
    """A planted link is refused and its target untouched."""
    target = tmp_path / "precious"
    target.write_text("stays")
    (tmp_path / "lock").symlink_to(target)
    with pytest.raises(StorageError), run_lock.hold_run_lock(tmp_path / "lock", "run"):
        pass
    assert target.read_text() == "stays"


class _Impatient(StopFlag):
    """Is set at the last of some waits, which take no time."""

    def __init__(self, waits: list[float], last: int) -> None:
        super().__init__()
        self._waits, self._last = waits, last

    def wait(self, seconds: float) -> None:
        self._waits.append(seconds)
        if len(self._waits) >= self._last:
            raise StoppedBySignal(15)
