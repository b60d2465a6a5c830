"""``reread``, composed: all kept answers mapped anew, under the lock."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from archiver.archive.opening import writing
from archiver.config import Config
from archiver.model.identity import utcnow
from archiver.reread.reread import COMMAND, RereadReport
from archiver.reread.reread import reread as reread_answers
from archiver.runner.workers import StopFlag


def reread(
    config: Config,
    *,
    progress: Callable[[int, int], None],
    stop: StopFlag,
    wait: bool = False,
    clock: Callable[[], datetime] = utcnow,
) -> RereadReport:
    """Add what the kept answers tell and the rows do not; see ``reread.reread``. No call is made.

    Raises Stopped, ArchiveLocked, or what makes the store or the database unusable.
    """
    with writing(config, COMMAND, stop, wait) as opened:
        return reread_answers(
            opened.catalog,
            opened.answers,
            opened.root / "tmp",
            check=stop.check,
            progress=progress,
            clock=clock,
        )
