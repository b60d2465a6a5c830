"""Half a year of one archive: edits, faults and early ends of every kind, runs that are killed, and all that
somebody does with an archive meanwhile.
"""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from archiver.archive.archive import Archive
from archiver.archive.rebuild_archive import take_snapshot
from archiver.work import StopFlag, Work
from tests.support.adopting_archive import put, saved_by_insta_dl
from tests.support.archive_harness import ArchiveHarness
from tests.support.nights import early_end, killed_run, night_strategies
from tests.support.nights.archive_state import ArchiveState
from tests.support.nights.killed_run import KillMoment
from tests.support.rebuilt_archive import lose_database, rebuild
from tests.support.standin.world_edits import EditableWorld

NIGHTS = 180


@dataclass
class SixMonths:
    """The nights, all drawn from ``seed``. ``seen``: what has happened, by kind."""

    harness: ArchiveHarness
    seed: int
    seen: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.harness.environ["ARCHIVER_SYNC_SWEEP_DAYS"] = "10"
        self._dice = random.Random(self.seed)
        *first, last = [account.pk for account in self.world.accounts]
        self.targets, self._newcomer = first, last

    @property
    def world(self) -> EditableWorld:
        return self.harness.upstream.world

    def live(self) -> None:
        """Live through them, and through quiet ones until all is believed; nothing held is ever lost.

        At the end ``reread`` records the answers that kills have left without a row, as a rebuild does.
        """
        memory: ArchiveState | None = None
        self.harness.night(*self.targets)
        for number in range(NIGHTS):
            self._special().get(number, lambda: None)()
            self._night(number)
            now = ArchiveState.of(self.harness)
            assert memory is None or memory.lost(now) == [], f"seed {self.seed}, night {number}"
            memory = now
            self.harness.sleep(days=1)
        for _ in range(3):
            self.harness.sleep(days=31)
            self.harness.night(*self.targets)
        self.harness.reread()

    def _night(self, number: int) -> None:
        night = night_strategies.draw(self._dice)
        for place, edit in enumerate(night.edits):
            edit.make(self.world, self.harness.now.timestamp(), 10 * number + place)
            self.seen[edit.kind] += 1
        for flaw in night.flaws:
            flaw.begin(self.harness.upstream)
        if self._dice.random() < 0.2:
            moment = KillMoment(
                self._dice.choice(killed_run.PLACES), self._dice.randint(1, 6), self._dice.choice((0.01, 1))
            )
            config = self.harness.variables
            killed = killed_run.run_until_killed(config, self.targets, moment, self.harness.later)
            self.seen["killed" if killed else "not killed"] += 1
        else:
            stop = StopFlag()
            early_end.run(
                self.harness,
                self.targets,
                night.early.observer(stop),
                stop=stop,
                max_units=night.early.units,
            )
            self.seen[f"ended by {night.early.kind}"] += 1
        self.harness.upstream.faults.clear()

    def _special(self) -> dict[int, Callable[[], None]]:
        """What is done on these nights, before the run."""
        return {
            30: self._verify,
            60: self._repair,
            75: self._lose_journal,
            90: self._adopt,
            110: lambda: self.targets.append(self._newcomer),
            120: self._snapshot,
            140: self._lose_database,
            150: self._verify,
        }

    def _verify(self) -> None:
        assert not self.harness.verify().is_damaged

    def _repair(self) -> None:
        """A blob is lost, and fetched again."""
        lost = str(self.harness.one("SELECT min(sha256) FROM blobs WHERE lost_at IS NULL"))
        (self.harness.root / "blobs" / lost[:2] / lost).unlink()
        with Archive(self.harness.config) as archive:
            report = archive.repair(read_data=True)
            archive.run(report.targets, options=report.run_options, clock=lambda: self.harness.now)

    def _lose_journal(self) -> None:
        shutil.rmtree(self.harness.root / "journal")
        with Archive(self.harness.config) as archive:
            archive.repair()

    def _adopt(self) -> None:
        """Files of an account that is archived, and of one that is listed weeks later."""
        files: dict[str, bytes] = {}
        for pk in (self.targets[0], self._newcomer):
            files |= saved_by_insta_dl(self.world.account(pk), own_bytes=False)
        with Archive(self.harness.config) as archive:
            report = archive.adopt(put(self._theirs, files), clock=lambda: self.harness.now)
        assert report.waiting

    @property
    def _theirs(self) -> Path:
        return self.harness.root.parent / "theirs"

    def _snapshot(self) -> None:
        take_snapshot(self.harness.config, Work(clock=lambda: self.harness.now))

    def _lose_database(self) -> None:
        lose_database(self.harness)
        rebuild(self.harness)
