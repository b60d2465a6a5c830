"""Rounds of archiving that end by a kill at a random instant, on archives that earlier kills have left, each
followed by the checks.

Everything random is drawn from a seed and the round's number: the same seed plays the same rounds again, but
for the instant itself.
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from archiver.exit_codes import PARTIAL
from archiver.sandbox.http_server import LoggedRequest
from tests.support.crash import consistency_checks, phase_marks
from tests.support.crash.consistency_checks import Bill
from tests.support.crash.run_killer import Kill, Outcome, RunKiller
from tests.support.crash.workload import Workload
from tests.support.rebuilt_archive import lose_file

_LISTS = frozenset({"/v1/user/highlights", "/v1/user/highlights/by/username"})
_LOCKED = 11
_ANSWERS_FOUND = "stored answers that are not in the journal were recorded"


class UsualRun:
    """How long runs take here, in seconds: a first one, and one that finds nothing new."""

    def __init__(self) -> None:
        self.first, self.quiet = 0.4, 0.06

    def of(self, missing: float) -> float:
        """A run that lacks this share of all files."""
        return self.quiet + (self.first - self.quiet) * missing


class KillChain:
    """An archive that is killed again and again, and its upstream."""

    def __init__(self, ground: RunKiller, upstream: Workload, name: str, usual: UsualRun) -> None:
        self._ground = ground
        self._upstream = upstream
        self._usual = usual
        self._root = ground.home / f"archive-{name}"
        self._killed = 0

    def edit(self, kind: str, dice: random.Random) -> None:
        """What the owner of an account does between two runs; "" is nothing."""
        world = self._upstream.standin.world
        account = dice.choice(world.accounts)
        highlight = dice.choice(list(account.highlights))
        match kind:
            case "item":
                world.add_item(highlight.pk, dice.choice(("photo", "video")))
            case "highlight":
                world.add_highlight(account.pk, "another", items=2)
            case "title":
                world.retitle(highlight.pk, f"called {dice.randrange(1000)} now")

    def kill(self, kill: Kill, *, writers: int, executed: bool, loses: bool) -> tuple[Outcome, list[str]]:
        """A run, or several at once, that the kill ends; how it ended, and what does not hold then.

        ``loses``: a copy then loses its database, too, and gets it back.
        """
        wanted = self._wanted()
        usual = self._usual.of(len(self._missing()) / len(wanted))
        outcome = self._run(kill=kill, usual=usual, writers=writers, executed=executed)
        self._killed += outcome.killed
        allowed = {0, -9, -15} | ({_LOCKED} if writers > 1 else set())
        found = [
            f"the run ended with {code}: {self._ground.said()}"
            for code in outcome.codes
            if code not in allowed
        ]
        return outcome, [*found, *self._checked(), *(self._rebuilt() if loses else ())]

    def end(self) -> list[str]:
        """Let a run finish, and one more; what does not hold then."""
        return [*self._finished(), *self._quiet(), *self._verified(), *self._golden()]

    def discard(self) -> None:
        """Remove the archive."""
        shutil.rmtree(self._root)

    def _run(
        self, *, kill: Kill | None = None, usual: float = 0.0, writers: int = 1, executed: bool = False
    ) -> Outcome:
        environ = self._upstream.environ(self._root)
        return self._ground.run(
            environ, self._upstream.words, kill=kill, usual=usual, writers=writers, executed=executed
        )

    def _checked(self, *, ended: bool = False) -> list[str]:
        standin = self._upstream.standin
        return [
            *consistency_checks.violations(
                self._root,
                told=consistency_checks.reported_stored(self._root),
                bill=Bill(standin.units, self._killed),
                secret=standin.key,
                ended=ended,
            ),
            *self._ground.touched(),
        ]

    def _rebuilt(self) -> Iterator[str]:
        """Take the database away from a copy: a rebuild gives back what the journal says.

        It ends with code 3 if stored answers are not in the journal: a kill may come in between.
        """
        if not self._root.exists():
            return  # killed before it made anything
        copy = self._root.with_name(self._root.name + "-copy")
        shutil.copytree(self._root, copy)
        lose_file(copy)
        begun = any(copy.glob("journal/*/*/*"))
        outcome = self._ground.run(self._upstream.environ(copy), ["db", "rebuild"])
        if begun:
            if outcome.codes != (PARTIAL,) or _ANSWERS_FOUND not in self._ground.said():
                yield from self._well(outcome, "db rebuild")
            yield from consistency_checks.violations(copy, secret=self._upstream.standin.key)
        elif any(copy.glob("blobs/*/*")):
            yield "I17: files are stored, and the journal has not begun"
        shutil.rmtree(copy)

    def _finished(self) -> Iterator[str]:
        missing, begun = self._missing(), datetime.now(UTC)
        outcome = self._run()
        yield from self._well(outcome, "the run after the kills")
        yield from self._checked(ended=True)
        asked = self._since(begun, "cdn")
        if len(asked) > len(missing):
            yield f"I10: {len(missing)} files were missing, {len(asked)} were downloaded"
        for owner, role in sorted(self._missing()):
            yield f"I10: the {role} of {owner} is missing after a run that ended well"

    def _quiet(self) -> Iterator[str]:
        begun = datetime.now(UTC)
        outcome = self._run()
        self._usual.quiet = outcome.seconds
        yield from self._well(outcome, "the run after that")
        yield from self._checked(ended=True)
        if asked := self._since(begun, "cdn"):
            yield f"I10: a second run downloads {len(asked)} files again"
        paid = [a.path for a in self._since(begun, "api") if a.units]
        if len(paid) != len(self._upstream.names) or not _LISTS.issuperset(paid):
            yield f"I10: a second run pays for {paid}"

    def _verified(self) -> Iterator[str]:
        words = ["verify", "--read-data", "--json"]
        yield from self._well(
            self._ground.run(self._upstream.environ(self._root), words), "verify --read-data"
        )

    def _golden(self) -> Iterator[str]:
        """The archive is the one that a single run makes which nobody disturbs."""
        golden = self._root.with_name(self._root.name + "-golden")
        outcome = self._ground.run(self._upstream.environ(golden), self._upstream.words)
        self._usual.first = outcome.seconds
        yield from self._well(outcome, "the golden run")
        yield from consistency_checks.differences(
            consistency_checks.state(self._root), consistency_checks.state(golden)
        )
        shutil.rmtree(golden)

    def _well(self, outcome: Outcome, what: str) -> Iterator[str]:
        if outcome.codes != (0,):
            yield f"I10: {what} ended with {outcome.codes}: {self._ground.said()}"

    def _since(self, begun: datetime, listener: str) -> Sequence[LoggedRequest]:
        """Requests that came since then; those of a killed run may be answered, and logged, after its end."""
        return [a for a in self._upstream.standin.requests if a.listener == listener and a.at >= begun]

    def _wanted(self) -> set[tuple[str, str]]:
        """Every file that upstream offers: (pk of its owner, role)."""
        files = []
        for account in self._upstream.standin.world.accounts:
            files.append((account.pk, "avatar", account.avatar))
            for highlight in account.tray_highlights():
                files.append((highlight.pk, "cover", highlight.cover))
                for item in highlight.items:
                    files += [(item.pk, "thumbnail", item.thumbnail), (item.pk, "video", item.video)]
        return {(pk, role) for pk, role, media in files if media is not None}

    def _missing(self) -> set[tuple[str, str]]:
        """What is offered and has no row in the archive."""
        with consistency_checks.database(self._root) as rows:
            held = rows("select coalesce(item_pk, highlight_pk, user_pk), role from files") if rows else []
        return self._wanted().difference((str(pk), str(role)) for pk, role in held)


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
