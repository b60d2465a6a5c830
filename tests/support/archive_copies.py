"""Archives that many tests begin with: the first worker that needs one makes it, and all copy it."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.command_line import CommandLineUser, InProcessUser
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld

if TYPE_CHECKING:
    from tests.support.archive_harness import ArchiveHarness


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock that the workers of one test run share."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class ArchiveCopies:
    """Gives copies of archives. All copies of one have the same id, and the answers in them name the port of
    an upstream that is no more: a repair cannot download from it.
    """

    def __init__(self, place: Path) -> None:
        """``place``: a directory that all workers share."""
        self._place = place
        place.mkdir(exist_ok=True)

    def copy(self, name: str, make: Callable[[Path], Path], to: Path) -> None:
        """Copy the archive of that name to ``to``; ``make`` makes it in an empty directory, and returns where
        it is.
        """
        kept = self._place / name
        with locked(self._place / f"{name}.lock"):
            if not kept.exists():
                workshop = self._place / f"{name}.made"
                workshop.mkdir()
                make(workshop).rename(kept)
        shutil.copytree(kept, to, symlinks=True)

    @contextmanager
    def after_nights(self, nights: int, size: tuple[int, int, int], to: Path) -> Iterator[ArchiveHarness]:
        """Yield an archive of all accounts of the world ``EditableWorld.generate(*size)``, after some nights,
        at ``to``; upstream has that world.
        """

        def live(first: ArchiveHarness) -> None:
            for _ in range(nights):
                assert first.night(*(a.username for a in first.upstream.world.accounts)).exit_code == 0

        with self.lived(
            f"{nights} nights of {size}", lambda: EditableWorld.generate(*size), live, to
        ) as copied:
            yield copied

    @contextmanager
    def lived(
        self,
        name: str,
        world: Callable[[], EditableWorld],
        live: Callable[[ArchiveHarness], object],
        to: Path,
    ) -> Iterator[ArchiveHarness]:
        """Yield an archive as ``live`` leaves it, at ``to``; upstream has the world as it was before.

        ``name``: of the archive, the same for all tests that ask for it.
        """
        # Imported here: conftest.py imports this module, and the client silences the logs of httpx.
        from tests.support.archive_harness import ArchiveHarness

        def make(workshop: Path) -> Path:
            with FaultyStandIn(world()) as upstream:
                first = ArchiveHarness(workshop / "archive", upstream)
                live(first)
            return first.root

        self.copy(name, make, to)
        with FaultyStandIn(world()) as upstream:
            yield ArchiveHarness(to, upstream)

    def backed_up(self, person: CommandLineUser, *accounts: str, to: Path | None = None) -> None:
        """Put the archive that ``archiver backup ACCOUNTS`` makes of the world ``EditableWorld.seed()`` where
        this user's is, without a request to their upstream.
        """

        def make(home: Path) -> Path:
            with FaultyStandIn(EditableWorld.seed()) as upstream:
                somebody = InProcessUser(home, upstream)
                ended = somebody.run("backup", *accounts, "-q")
                assert (ended.code, ended.err) == (0, "")
                return somebody.archive

        self.copy("-".join(accounts), make, to or person.archive)
