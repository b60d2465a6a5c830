"""``verify`` and its repair, composed: what is kept against what the rows say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from archiver.archive.opening import Opened, reading, require_blobs, writing
from archiver.catalog import record
from archiver.catalog.query import holdings, losses, stored_answers, totals
from archiver.config import Config
from archiver.errors import ArchiveLocked, DatabaseError, StorageError
from archiver.model.archived import Loss
from archiver.model.identity import Digest, utcnow
from archiver.model.target import Target
from archiver.runner.answer_cache import AnswerCache
from archiver.runner.context import RepairScope, RunOptions
from archiver.runner.forecast import AccountPlan, forecast
from archiver.runner.workers import StopFlag
from archiver.verify.repair import repair as mend_store
from archiver.verify.verify_answers import AnswerReport, verify_answers, verify_segments
from archiver.verify.verify_blobs import VerifyReport, choose_share, start_of_day, verify_blobs

_NOTED_AT_ONCE = 10_000
_NOTED_BETWEEN = 200_000
"""Opening for writing beside our own reader looks through the whole database: seldom, then."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found of the blobs, and of the kept answers."""

    blobs: VerifyReport
    answers: AnswerReport

    @property
    def damaged(self) -> bool:
        """Whether there is damage that is not recorded as lost."""
        return bool(self.blobs.damaged or self.answers.damaged or self.answers.surplus)


@dataclass(frozen=True, slots=True)
class Mended:
    """What a repair did here, and what it would pay for: whom to ask, at which price, and what it is after.

    ``lost``: how many blobs are recorded as lost now, those of earlier times too.
    """

    checked: Checked
    quarantined: int
    lost: int
    priced: tuple[tuple[Target, AccountPlan], ...]
    sought: RepairScope

    @property
    def targets(self) -> tuple[Target, ...]:
        """Whom to ask."""
        return tuple(target for target, _ in self.priced)

    @property
    def units(self) -> int:
        """What that costs: every tray and every highlight, as if no answer that is kept could serve.

        More only where an answer is lost, a link has expired, or a tray contradicts what is held.
        """
        return sum(plan.units + sum(1 - job.units for job in plan.highlights) for _, plan in self.priced)


def verify(
    config: Config, *, read_data: bool, progress: Callable[[int, int], None], share: float = 1.0
) -> Checked:
    """Check the store against the catalog; ``read_data`` hashes every blob, or the ``share`` of them (0 to 1) that is today's.

    It reads only, beside any run. When each blob was read is noted now and then, where nobody else holds the lock and the archive
    can be written. Raises DatabaseError if the database itself is damaged, StorageError where not one blob is there: that is a disk which
    is not mounted.
    """
    with reading(config) as opened, _Noting(config) as noting:
        require_blobs(opened)
        return _checked(opened, read_data, share, progress, noting.note)


def mend(
    config: Config,
    *,
    read_data: bool,
    progress: Callable[[int, int], None],
    stop: StopFlag,
    share: float = 1.0,
    wait: bool = False,
    accept_loss: bool = False,
) -> Mended:
    """Verify under the lock, record what is lost, set damaged bytes aside, and price what may be had again. Pays nothing.

    Raises StorageError where not one of the blobs is there, unless ``accept_loss``: that is a disk which is not mounted.
    """
    whole: list[Digest] = []
    with writing(config, "verify --repair", stop, wait) as opened:
        if not accept_loss:
            require_blobs(opened)
        checked = _checked(opened, read_data, share, progress, whole.append)
        now = utcnow()
        _note(opened, whole)
        quarantined = mend_store(
            opened.catalog, opened.store, opened.answers, checked.blobs, checked.answers, now, stop.check
        )
        wanted = config.download
        lost = opened.catalog.read(losses.losses, now, covers=wanted.covers, avatars=wanted.avatars)
        sought = RepairScope(
            frozenset(pk for loss in lost for pk in loss.highlights),
            frozenset(pk for loss in lost for pk in loss.covers),
            frozenset(loss.user_pk for loss in lost if loss.avatar),
        )
        priced = []
        for target in _targets(lost):
            stop.check()
            plan = _plan(config, opened, target, sought)
            if plan.units:
                priced.append((target, plan))
        blobs_lost = opened.catalog.read(totals.status).lost
    return Mended(checked, quarantined, blobs_lost, tuple(priced), sought)


def _targets(losses: Iterable[Loss]) -> Iterator[Target]:
    """An account by its tray, as on any night; one whose highlights were asked for one by one by these, and no wider."""
    for loss in losses:
        if loss.listed:
            yield Target(f"account {loss.user_pk}", user_pk=loss.user_pk)
        else:
            yield from (Target(f"highlight {pk}", highlight_pk=pk) for pk in sorted(loss.highlights))


def _plan(config: Config, opened: Opened, target: Target, sought: RepairScope) -> AccountPlan:
    return forecast(
        opened.catalog,
        AnswerCache(opened.catalog, opened.answers, utcnow),
        target,
        options=RunOptions(repair=sought, privacy_check=config.api.privacy_check),
        clock=utcnow,
    )


def _checked(
    opened: Opened,
    read_data: bool,
    share: float,
    progress: Callable[[int, int], None],
    verified: Callable[[Digest], None],
) -> Checked:
    broken = opened.catalog.read(totals.damage)
    if broken:
        raise DatabaseError(
            f"the database is damaged: {broken[0]}",
            "restore a copy of archive.db; the blobs are not touched by it",
        )
    chosen = choose_share(share, start_of_day(share, utcnow().date()))
    blobs = verify_blobs(
        opened.store,
        opened.catalog.stream(holdings.blobs),
        read_data=read_data,
        chosen=chosen,
        on_progress=progress,
        on_sound=verified,
    )
    answers = verify_answers(
        opened.answers,
        opened.catalog.stream(stored_answers.answers),
        read_data=read_data,
        chosen=chosen,
        check=lambda: progress(blobs.checked, blobs.bytes_read),
    )
    unrecorded, surplus = verify_segments(
        opened.answers,
        lambda segment: opened.catalog.read(stored_answers.has_segment, segment),
        lambda segment: opened.catalog.read(stored_answers.lengths_by_offset, segment),
        read_data=read_data,
        chosen=chosen,
        check=lambda: progress(blobs.checked, blobs.bytes_read),
    )
    foreign = tuple(
        name
        for name in opened.answers.foreign_names()
        if not (name.endswith(".warc.gz") and opened.catalog.read(stored_answers.has_segment, name))
    )
    answers = replace(_still(opened, answers), unrecorded=unrecorded, surplus=surplus, foreign=foreign)
    return Checked(blobs, answers)


def _still(opened: Opened, answers: AnswerReport) -> AnswerReport:
    """Without those whose rows a run beside us has dropped meanwhile, with their file (``keep_answers = "fetched"``)."""
    if not answers.damaged:
        return answers
    there = opened.catalog.read(stored_answers.existing_ids, [a.id for a in answers.damaged])
    return replace(answers, damaged=tuple(a for a in answers.damaged if a.id in there))


def _note(opened: Opened, whole: Sequence[Digest]) -> None:
    now = utcnow()
    for start in range(0, len(whole), _NOTED_AT_ONCE):
        opened.catalog.write(record.verified_blobs, tuple(whole[start : start + _NOTED_AT_ONCE]), now)


class _Noting:
    """Notes which blobs were read and found right, so many at once, if nobody else writes just then."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._whole: list[Digest] = []

    def note(self, digest: Digest) -> None:
        self._whole.append(digest)
        if len(self._whole) >= _NOTED_BETWEEN:
            self._flush()

    def _flush(self) -> None:
        with suppress(ArchiveLocked, StorageError, DatabaseError):
            if self._whole:
                with writing(self._config, "verify", StopFlag(), False) as opened:
                    _note(opened, self._whole)
        self._whole.clear()

    def __enter__(self) -> _Noting:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if kind is None:
            self._flush()
