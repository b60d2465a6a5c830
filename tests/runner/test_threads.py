"""Bounded threads, the stop flag and the gate: a 429 that one worker hears holds all of them back."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from archiver.errors import StoppedBySignal, UpstreamDown
from archiver.model.events import Pause
from archiver.runner.rate import RateLimiter
from archiver.runner.threads import for_each
from archiver.work import StopFlag
from tests.support.api_faults import TRAY, answer_error, everybody
from tests.support.archive_harness import ArchiveHarness


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


@pytest.mark.world(accounts=30, highlights=1, items=0)
def test_fault_a8_one_retry_after_holds_every_worker_back(harness: ArchiveHarness) -> None:
    """The third call hears 429 and a second to wait: only what was under way still arrives within it, and the
    night ends well.
    """
    upstream = harness.upstream
    upstream.settings.latency = 0.02
    asked: list[float] = []

    def note(_: object) -> None:
        asked.append(time.monotonic())

    refusal = answer_error(429, {"detail": "slow down"}, retry_after="1")
    upstream.faults.add(refusal, path=TRAY, nth=3, before=note)
    upstream.faults.add(path="/v1/", count=None, before=note)
    assert harness.night(*everybody(16)).exit_code == 0
    refused_at = asked[2]
    hurried = [at for at in asked[3:] if at < refused_at + 1]
    assert len(hurried) <= 3 + 8  # the other workers of accounts, and those of highlights
    assert len(asked) == 32 + 1
    assert [e.seconds for e in harness.events if isinstance(e, Pause)] == [1.0]
    assert harness.rows("select units from api_calls where status = 429") == [(0,)]


class Interval(StopFlag):
    """Waits that move a clock; during the first one somebody else hears that he must wait five seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.gate: RateLimiter | None = None

    def wait(self, seconds: float) -> None:
        self.now += seconds
        if self.gate is not None:
            self.gate.pause(5)
            self.gate = None


def test_fault_a8_who_has_drawn_his_turn_waits_too() -> None:
    """A worker that waits for its turn when the pause begins goes through when that is over, not when its
    turn comes.
    """
    stop = Interval()
    gate = RateLimiter(1.0, stop, lambda: stop.now)
    gate.wait_for_slot()
    stop.gate = gate
    gate.wait_for_slot()
    assert stop.now == 100.0 + 1 + 5
    gate.wait_for_slot()
    assert stop.now == 100.0 + 1 + 5 + 1
