"""One gate for all paid workers: a 429 that one of them hears holds all of them back."""

from __future__ import annotations

import time
from pathlib import Path

from archiver.model.events import Pause
from archiver.runner.rate import RateLimiter
from archiver.work import StopFlag
from tests.support.api_faults import TRAY, account_pk, answer_error
from tests.support.archive_harness import ArchiveHarness
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld


def test_fault_a8_one_retry_after_holds_every_worker_back(tmp_path: Path) -> None:
    """The third call hears 429 and a second to wait: only what was under way still arrives within it, and the
    night ends well.
    """
    with FaultyStandIn(EditableWorld.generate(30, 1, 0)) as upstream:
        upstream.settings.latency = 0.02
        asked: list[float] = []
        upstream.faults.add(
            answer_error(429, {"detail": "slow down"}, retry_after="1"),
            path=TRAY,
            nth=3,
            before=lambda _: asked.append(time.monotonic()),
        )
        upstream.faults.add(path="/v1/", count=None, before=lambda _: asked.append(time.monotonic()))
        harness = ArchiveHarness(tmp_path / "archive", upstream)
        assert harness.night(*(account_pk(n) for n in range(16))).exit_code == 0
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
