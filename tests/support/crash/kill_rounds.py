"""Rounds of archiving that end by a kill at a random instant, on archives that earlier kills have left, each
followed by the checks.

Everything random is drawn from a seed and the round's number: the same seed plays the same rounds again, but
for the instant itself.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.crash import phase_marks
from tests.support.crash.kill_chain import KillChain, UsualRun
from tests.support.crash.run_killer import Kill, RunKiller
from tests.support.crash.workload import Workload

_ENOUGH = 3  # violations after which a series ends
_FEW = 2  # rounds that are played on a smaller archive


@dataclass(frozen=True, slots=True)
class Round:
    """What is done in one round.

    ``fresh``: on a new archive, else on what the last kill has left, after this ``edit`` upstream. ``loses``:
    after the kill, a copy loses its database.
    """

    number: int
    fresh: bool
    edit: str
    writers: int
    executed: bool
    kill: Kill
    loses: bool = False

    def __str__(self) -> str:
        archive = "a new archive" if self.fresh else f"the archive as it was, {self.edit or 'nothing'} edited"
        how = ("executed" if self.executed else "forked") + (", two writers" if self.writers > 1 else "")
        return f"round {self.number}: {archive}, {how}; {self.kill}"


def draw(seed: str, number: int) -> Round:
    """The round of this number: 70 % carry an archive over, half are killed at a phase, a fifth gets SIGTERM
    first. Pure.
    """
    dice = random.Random(f"{seed} {number}")
    fresh = number == 1 or dice.random() < 0.3
    edit = dice.choice(("", "", "item", "highlight", "title"))
    phase, passed, wait = "", 1, dice.uniform(0, 1.1)
    if dice.random() < 0.5:
        phase = dice.choice(phase_marks.ONCE if dice.random() < 0.25 else phase_marks.MANY)
        passed = 1 if phase in phase_marks.ONCE else 1 + int(12 * dice.random() ** 2)  # early ones more often
        wait = 0.005 * dice.random() ** 2  # what a phase begins is mostly over within a millisecond
    kill = Kill(phase, passed, wait, dice.uniform(0, 0.2) if dice.random() < 0.2 else None)
    writers = 2 if dice.random() < 0.1 else 1
    executed = dice.random() < 0.1
    return Round(number, fresh, "" if fresh else edit, writers, executed, kill, dice.random() < 0.25)


@dataclass(slots=True)
class Score:
    """What a series of rounds came to. ``kills``: those that met a run which had begun and not ended."""

    seed: str
    rounds: int = 0
    kills: int = 0
    archives: int = 0
    seconds: float = 0.0
    violations: list[str] = field(default_factory=list)


def play(home: Path, seed: str, rounds: int) -> Score:
    """Play so many rounds in the directory ``home``, which keeps the archives of which something does not
    hold.
    """
    score, begun, usual = Score(seed), time.monotonic(), UsualRun()
    with RunKiller(home) as ground:
        while score.rounds < rounds and len(score.violations) < _ENOUGH:
            _chain(ground, usual, score, rounds)
    score.seconds = time.monotonic() - begun
    return score


def _chain(ground: RunKiller, usual: UsualRun, score: Score, rounds: int) -> None:
    """The rounds on one archive, to its end or to the first that shows a violation."""
    played: list[Round] = []
    size = 3 if rounds > _FEW else 2
    with Workload.of(accounts=2, highlights=size, items=size) as upstream:
        chain = KillChain(ground, upstream, str(score.rounds + 1), usual)
        score.archives += 1
        while score.rounds < rounds:
            round_ = draw(score.seed, score.rounds + 1)
            if played and round_.fresh:
                break
            played.append(round_)
            score.rounds += 1
            chain.edit(round_.edit, random.Random(f"{score.seed} {round_.number} edit"))
            outcome, found = chain.kill(
                round_.kill, writers=round_.writers, executed=round_.executed, loses=round_.loses
            )
            score.kills += outcome.killed > 0
            if found:
                score.violations.append(_told(score.seed, played, found))
                return
        found = chain.end()
        if found:
            score.violations.append(_told(score.seed, [*played, "a run to its end"], found))
            return
        chain.discard()


def _told(seed: str, played: Sequence[object], found: Sequence[str]) -> str:
    return "\n".join((f"seed {seed}", *map(str, played), *(f"  {violation}" for violation in found)))
