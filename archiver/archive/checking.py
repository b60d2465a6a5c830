"""``verify`` and its repair, composed: what is kept against what the rows say."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from archiver.archive.opening import Opened, reading, writing
from archiver.catalog import query, record
from archiver.config import Config
from archiver.errors import ArchiveLocked, DatabaseError, StorageError
from archiver.model import Digest, Loss, Pk, Target, utcnow
from archiver.runner import price
from archiver.runner.account import Manner
from archiver.runner.kept import Kept
from archiver.runner.price import AccountPlan
from archiver.runner.workers import StopFlag
from archiver.verify import (
    AnswerReport,
    VerifyReport,
    share_of,
    start_of_day,
    verify_answers,
    verify_blobs,
)
from archiver.verify import mend as mend_store

_NOTED_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found of the blobs, and of the kept answers."""

    blobs: VerifyReport
    answers: AnswerReport

    @property
    def damaged(self) -> bool:
        """Whether there is damage that is not recorded as lost."""
        return bool(self.blobs.damaged or self.answers.damaged)


@dataclass(frozen=True, slots=True)
class Mended:
    """What a repair did here, and what it would pay for: ``plans`` of the accounts that may still show what was lost."""

    checked: Checked
    quarantined: int
    plans: tuple[AccountPlan, ...]

    @property
    def targets(self) -> tuple[Target, ...]:
        """Whom to ask."""
        return tuple(Target(p.target, user_pk=p.user_pk) for p in self.plans)

    @property
    def only(self) -> frozenset[Pk]:
        """Which highlights to fetch."""
        return frozenset(job.pk for plan in self.plans for job in plan.highlights)

    @property
    def units(self) -> int:
        """What that costs at most: less where an answer is kept whose links still live."""
        return sum(plan.units + sum(1 - job.units for job in plan.highlights) for plan in self.plans)


def verify(
    config: Config, *, read_data: bool, progress: Callable[[int, int], None], share: float = 1.0
) -> Checked:
    """Check the store against the catalog; ``read_data`` hashes every blob, or the ``share`` of them (0 to 1) that is today's.

    It reads only, beside any run. When each blob was read is noted now and then, where nobody else holds the lock and the archive
    can be written. Raises DatabaseError if the database itself is damaged.
    """
    with reading(config) as opened, _Noting(config) as noting:
        return _checked(opened, read_data, share, progress, noting.note)


def mend(
    config: Config,
    *,
    read_data: bool,
    progress: Callable[[int, int], None],
    stop: StopFlag,
    share: float = 1.0,
    wait: bool = False,
) -> Mended:
    """Verify under the lock, record what is lost, set damaged bytes aside, and price what may be had again. Pays nothing."""
    whole: list[Digest] = []
    with writing(config, "verify --repair", stop, wait) as opened:
        checked = _checked(opened, read_data, share, progress, whole.append)
        now = utcnow()
        for start in range(0, len(whole), _NOTED_AT_ONCE):
            opened.catalog.write(record.verified, tuple(whole[start : start + _NOTED_AT_ONCE]), now)
        quarantined = mend_store(
            opened.catalog, opened.store, checked.blobs, checked.answers, now, stop.check
        )
        plans = tuple(_priced(config, opened, loss) for loss in opened.catalog.read(query.losses))
    return Mended(checked, quarantined, tuple(p for p in plans if p.units))


def _priced(config: Config, opened: Opened, loss: Loss) -> AccountPlan:
    return price.forecast(
        opened.catalog,
        Kept(opened.catalog, opened.answers, utcnow),
        Target(f"account {loss.user_pk}", user_pk=loss.user_pk),
        manner=Manner(only=loss.highlights),
        force=not config.api.privacy_check,
        clock=utcnow,
    )


def _checked(
    opened: Opened,
    read_data: bool,
    share: float,
    progress: Callable[[int, int], None],
    verified: Callable[[Digest], None],
) -> Checked:
    broken = opened.catalog.read(query.damage)
    if broken:
        raise DatabaseError(
            f"the database is damaged: {broken[0]}",
            "restore a copy of archive.db; the blobs are not touched by it",
        )
    chosen = share_of(share, start_of_day(share, utcnow().date()))
    blobs = verify_blobs(
        opened.store,
        opened.catalog.stream(query.blobs),
        read_data=read_data,
        chosen=chosen,
        on_progress=progress,
        verified=verified,
    )
    answers = verify_answers(
        opened.answers,
        opened.catalog.stream(query.answers),
        read_data=read_data,
        chosen=chosen,
        check=lambda: progress(blobs.checked, blobs.bytes_read),
    )
    return Checked(blobs, answers)


class _Noting:
    """Notes which blobs were read and found right, so many at once, if nobody else writes just then."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._whole: list[Digest] = []

    def note(self, digest: Digest) -> None:
        self._whole.append(digest)
        if len(self._whole) >= _NOTED_AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        with suppress(ArchiveLocked, StorageError, DatabaseError):
            if self._whole:
                with writing(self._config, "verify", StopFlag(), False) as opened:
                    opened.catalog.write(record.verified, tuple(self._whole), utcnow())
        self._whole.clear()

    def __enter__(self) -> _Noting:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if kind is None:
            self._flush()
