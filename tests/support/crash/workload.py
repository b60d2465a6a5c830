"""The workload of the crash tests: a small upstream, and the real program as a process that archives it, by
environment alone.
"""

from __future__ import annotations

import os
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support import ROOT
from tests.support.standin import actions
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld

PROGRAM = "import sys; from archiver.__main__ import main; sys.exit(main())"
_PROMPT_LOG = "from tests.support.crash import prompt_log; prompt_log.write_at_once(); "
_PLANT = "from tests.support.crash import planted_bugs; planted_bugs.plant({!r}); "
_SLOW = 0.2  # of all files: these take their time, so that others overtake them
_LARGE = 0.1


@dataclass(frozen=True, slots=True)
class Workload:
    """A stand-in with a world of a few accounts, and how to point the program at it."""

    standin: FaultyStandIn
    names: tuple[str, ...]

    @classmethod
    @contextmanager
    def full(cls) -> Iterator[Workload]:
        """3 accounts with 4 highlights of 5 items each: 100 files of 1 kB to 300 kB, a fifth of them slow."""
        with cls.of(accounts=3, highlights=4, items=5) as upstream:
            yield upstream

    @classmethod
    @contextmanager
    def small(cls) -> Iterator[Workload]:
        """One account with one highlight of 3 items, none of them slow or large: for what visits every system
        call.
        """
        with cls.of(accounts=1, highlights=1, items=3, varied=False) as upstream:
            yield upstream

    @classmethod
    @contextmanager
    def of(cls, *, accounts: int, highlights: int, items: int, varied: bool = True) -> Iterator[Workload]:
        """Serve such a world; the same numbers always make the same one.

        The last item of each second highlight stands in the first too.
        """
        world = EditableWorld.generate(accounts, highlights, items)
        for account in world.accounts:
            first, *others = account.highlights
            for second in others[:1]:
                world.put_item(first.pk, second.items[-1].pk, source=second.pk)
        with FaultyStandIn(world) as standin:
            if varied:
                _vary(standin)
            yield cls(standin, tuple(account.username for account in world.accounts))

    def environ(self, root: Path) -> dict[str, str]:
        """The whole environment of the program that keeps its archive at ``root``, whose parent is its
        home.
        """
        inherited = {n: os.environ[n] for n in ("PATH", "COVERAGE_PROCESS_START") if n in os.environ}
        return inherited | {
            "PYTHONPATH": str(ROOT),
            "HOME": str(root.parent),
            "LC_ALL": "C.UTF-8",
            "HIKERAPI_TOKEN": self.standin.key,
            "ARCHIVER_ARCHIVE": str(root),
            "ARCHIVER_ARCHIVE_RESERVE": "0",
            "ARCHIVER_API_BASE_URL": self.standin.base_url,
            "ARCHIVER_API_REQUESTS_PER_SECOND": "1000",
            "ARCHIVER_DOWNLOAD_ALLOWED_HOSTS": "127.0.0.1",
            "ARCHIVER_SYNC_SWEEP_DAYS": "0",
        }

    @property
    def words(self) -> list[str]:
        """The words of ``archiver backup`` of every account, with a summary as JSON on stdout."""
        return ["backup", "--json", *self.names]

    def command(self, *, planted: str | None = None, prefix: Sequence[str] = ()) -> list[str]:
        """``archiver backup`` of every account.

        ``planted``: the bug that the child plants into itself first; ``prefix`` runs the rest.

        What it reports as kept stands at once in ``log/archiver.log``; ``--json`` gives a summary on stdout.
        """
        plant = _PLANT.format(planted) if planted is not None else ""
        return [*prefix, sys.executable, "-P", "-c", _PROMPT_LOG + plant + PROGRAM, *self.words]


def _vary(standin: FaultyStandIn) -> None:
    """Some files are large and some slow, chosen by their names: the same in every world of this size."""
    for account in standin.world.accounts:
        for highlight in account.highlights:
            for item in highlight.items:
                for media in filter(None, (item.thumbnail, item.video)):
                    if _share(f"large {media.name}") < _LARGE:
                        media.size = 60_000 + int(240_000 * _share(media.name))
                if _share(f"slow {item.pk}") < _SLOW:
                    pace = actions.pace(first_byte_delay=0.03, bytes_per_second=2_000_000)
                    standin.faults.add(pace, listener="cdn", item=item.pk, count=None)


def _share(text: str) -> float:
    return zlib.crc32(text.encode()) / 2**32
