"""One archive from kill to kill, what must hold of it after each, and what must come of it when a last run is
let finish.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from archiver.exit_codes import PARTIAL
from archiver.sandbox.http_server import LoggedRequest
from tests.support.crash import consistency_checks
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
