"""``verify`` and ``repair``: compare blobs, stored answers and journal with the rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext, suppress

from msgspec import Struct, field

from archiver.archive.database import locate_database
from archiver.archive.forgetting import require_own_removal
from archiver.archive.journal_difference import compare_journal, describe_difference, describe_missing
from archiver.archive.session import Session, open_for_writing, require_blobs, with_settings
from archiver.catalog import Catalog, counters, outbox, record
from archiver.catalog.query import gaps, holdings, totals
from archiver.catalog.rebuilt_database import open_copy
from archiver.catalog.schema import read_state
from archiver.catalog.search import search_index
from archiver.config import Config
from archiver.errors import ArchiveLocked, DatabaseError, JournalDamaged, JournalDiffers, StorageError
from archiver.hiker.endpoints import HIGHLIGHT_UNITS
from archiver.model.archived import Loss
from archiver.model.identity import Digest, utcnow
from archiver.model.target import Target
from archiver.model.values import replace
from archiver.runner import run_lock
from archiver.runner.answer_cache import AnswerCache
from archiver.runner.context import RepairScope, RunOptions
from archiver.runner.forecast import AccountPlan, forecast
from archiver.verify.verify_journal import JournalReport, verify_journal
from archiver.verify.verify_stores import (
    AnswerReport,
    VerifyReport,
    choose_share,
    find_damaged_bytes,
    record_findings,
    repair,
    start_of_day,
    verify_answers,
    verify_blobs,
    verify_segments,
)
from archiver.work import Work

_RECORDED_AT_ONCE = 10_000
_RESTORED_AT_ONCE = 500
_RECORDED_BETWEEN = 200_000
"""Blobs between two writes: opening the database for writing while we read from it reads all of it."""
_PLACED = 1_000
"""Damaged blobs of which the place is looked up."""


class Verification(Struct, frozen=True):
    """The result of checking the blobs, the stored answers and the journal.

    ``sums``: a line for each table with sums that differ from the rows.
    """

    blobs: VerifyReport = VerifyReport()
    answers: AnswerReport = AnswerReport()
    journal: JournalReport = field(default_factory=JournalReport)
    sums: tuple[str, ...] = ()

    @property
    def derived_differences(self) -> tuple[str, ...]:
        """Return what is computed from rows, and differs from them: sums, and words that are searched."""
        return *self.sums, *self.journal.wrong_words

    @property
    def is_more_than_derived(self) -> bool:
        """Return whether files, answers or the journal are damaged, and not recorded as lost."""
        answers, journal = self.answers, self.journal
        return bool(self.blobs.damaged or answers.damaged or answers.surplus or journal.is_damaged)

    @property
    def is_damaged(self) -> bool:
        """Return whether there is damage that is not recorded as lost."""
        return bool(self.derived_differences) or self.is_more_than_derived


class RepairReport(Struct, frozen=True):
    """What a repair did, and what fetching the lost files again should cost at most.

    ``lost``: how many blobs are recorded as lost now, including earlier ones. ``plans``: the targets to
    fetch, each with its plan. ``run_options`` restrict a run to what is lost. ``has_new_journal``: a new
    journal has begun; files of an old one, if there were any, are in ``quarantine/``.
    """

    verification: Verification
    quarantined: int
    lost: int
    plans: tuple[tuple[Target, AccountPlan], ...]
    run_options: RunOptions
    has_new_journal: bool = False

    @property
    def targets(self) -> tuple[Target, ...]:
        """Return the accounts and highlights to fetch."""
        return tuple(target for target, _ in self.plans)

    @property
    def units(self) -> int:
        """Return the price of all trays and highlights, as if no stored answer could be used.

        The run spends less if one can, and more only if an answer is lost, a link has expired, or a tray
        contradicts what is stored.
        """
        return sum(
            plan.units + sum(HIGHLIGHT_UNITS - job.units for job in plan.highlights) for _, plan in self.plans
        )


def verify_archive(
    session: Session, work: Work, *, read_data: bool, share: float, dry_run: bool
) -> Verification:
    """Compare blobs, answers and journal with the rows; see ``Archive.verify``."""
    require_blobs(session)
    if dry_run:
        return _verify(session, work, read_data, share, lambda digest: None, dry_run=True)
    with _VerifiedBlobs(session.config) as verified:
        return _verify(session, work, read_data, share, verified.add)


def repair_archive(
    config: Config, work: Work, *, read_data: bool, share: float, accept_loss: bool
) -> RepairReport:
    """Verify under the lock, record what is lost, and price it; see ``Archive.repair``."""
    verified: list[Digest] = []
    with open_for_writing(config, "verify --repair", work, follow_database=True) as session:
        catalog = session.catalog
        if not accept_loss:
            require_blobs(session)
        found = _verify(session, work, read_data, share, verified.append)
        if found.journal.is_damaged:
            _restore_rows(catalog, found.journal)
        if found.sums:
            catalog.write(counters.mend)
        if found.journal.wrong_words or found.journal.counts:  # words are compared only if the rows are equal
            catalog.write(search_index.renew)
        if found.journal.is_damaged:
            if found.journal.damage is not None or found.journal.losses:
                session.journal.begin_again()
            else:
                session.journal.write_snapshot()
        _record_verified(session, verified)
        quarantined = repair(catalog, session.store, session.answers, found.blobs, found.answers, work)
        report = _price(session, catalog, found, quarantined, work.stop.check)
        return replace(report, has_new_journal=session.journal.is_new)


def plan_repair(
    session: Session, work: Work, *, read_data: bool, share: float, accept_loss: bool
) -> RepairReport:
    """Return what ``repair_archive`` would do and cost, by recording it in a copy of the rows.

    It says nothing about a new journal.
    """
    if not accept_loss:
        require_blobs(session)
    check = work.stop.check
    found = _verify(session, work, read_data, share, lambda digest: None, dry_run=True)
    if not (found.blobs.damaged or found.blobs.lost):  # a lost answer alone is not fetched again
        return RepairReport(found, 0, 0, (), RunOptions())
    with open_copy(session.catalog, session.root, check) as copy:
        _restore_rows(copy, found.journal)
        record_findings(copy, found.blobs, found.answers, work)
        quarantined = len(find_damaged_bytes(found.blobs))
        return _price(session, copy, found, quarantined, check)


def _price(
    session: Session, catalog: Catalog, found: Verification, quarantined: int, check: Callable[[], None]
) -> RepairReport:
    """Return the report of a repair whose losses are recorded in ``catalog``, with its price."""
    wanted = session.config.download
    lost = catalog.read(gaps.losses, utcnow(), covers=wanted.covers, avatars=wanted.avatars)
    scope = RepairScope(
        frozenset(pk for loss in lost for pk in loss.highlights),
        frozenset(pk for loss in lost for pk in loss.covers),
        frozenset(loss.user_pk for loss in lost if loss.is_avatar_lost),
    )
    options = with_settings(session.config, RunOptions(repair=scope))
    answers = AnswerCache(catalog, session.answers, utcnow, options=options)
    plans = []
    for target in _repair_targets(lost):
        check()
        plan = forecast(catalog, answers, target, options=options, clock=utcnow)
        if plan.units:
            plans.append((target, plan))
    return RepairReport(
        found, quarantined, catalog.read(totals.status).lost, tuple(plans), RunOptions(repair=scope)
    )


def _repair_targets(losses: Iterable[Loss]) -> Iterator[Target]:
    """Yield each account whose tray was ever listed; for the others, their highlights, which were targets."""
    for loss in losses:
        if loss.was_listed:
            yield Target(f"account {loss.user_pk}", user_pk=loss.user_pk)
        else:
            yield from (Target(f"highlight {pk}", highlight_pk=pk) for pk in sorted(loss.highlights))


def _verify(
    session: Session,
    work: Work,
    read_data: bool,
    share: float,
    on_verified: Callable[[Digest], None],
    *,
    dry_run: bool = False,
) -> Verification:
    catalog = session.catalog
    damage = catalog.read(totals.damage)
    if damage:
        raise DatabaseError(
            f"the database is damaged: {damage[0]}",
            "move it away and run archiver db rebuild, or restore a copy; the blobs are untouched",
        )
    require_own_removal(session)
    is_chosen = choose_share(share, start_of_day(share, utcnow().date()))
    so_far = 0, 0

    def show(checked: int, bytes_read: int) -> None:
        nonlocal so_far
        so_far = checked, bytes_read
        work.progress(*so_far)

    def check() -> None:
        work.progress(*so_far)

    with session.storage.checking(check):
        blobs = verify_blobs(
            session.store,
            catalog.read_pages(holdings.blobs_after),
            read_data=read_data,
            is_chosen=is_chosen,
            on_progress=show,
            on_sound=on_verified,
        )
        answers = verify_answers(
            session.answers,
            catalog.read_pages(holdings.answers_after),
            read_data=read_data,
            is_chosen=is_chosen,
            check=check,
        )
        unrecorded, surplus = verify_segments(
            session.answers,
            lambda segment: catalog.read(holdings.has_segment, segment),
            lambda segment: catalog.read(holdings.lengths_by_offset, segment),
            read_data=read_data,
            is_chosen=is_chosen,
            check=check,
        )
        foreign = tuple(
            name
            for name in session.answers.foreign_names()
            if not (name.endswith(".warc.gz") and catalog.read(holdings.has_segment, name))
        )
        answers = _without_dropped(session, answers)
        difference = _find_difference(session, dry_run=dry_run)
        journal = (
            verify_journal(
                session.storage.journal(),
                catalog,
                session.root,
                read_all=read_data and share >= 1,
                check=check,
            )
            if difference is None or isinstance(difference, JournalDamaged)
            else JournalReport(damage=str(difference), hint=difference.hint)
        )
    if difference is not None and not journal.is_damaged:  # in a file after the end that the database knows
        journal.damage, journal.hint = str(difference), difference.hint
    with catalog.snapshot() as rows:
        sums = rows.read(counters.differences)
    return Verification(
        _with_places(catalog, blobs),
        replace(answers, unrecorded=unrecorded, surplus=surplus, foreign=foreign),
        journal,
        sums,
    )


def _with_places(catalog: Catalog, blobs: VerifyReport) -> VerifyReport:
    """Say where the first damaged blobs are seen: after the loss of a disk, all are damaged."""
    damaged = blobs.damaged[:_PLACED]
    places = catalog.read(holdings.places, [damage.sha256 for damage in damaged]) if damaged else {}
    placed = (replace(damage, places=places.get(damage.sha256, ())) for damage in damaged)
    return replace(blobs, damaged=(*placed, *blobs.damaged[_PLACED:]))


def _find_difference(session: Session, *, dry_run: bool) -> JournalDiffers | JournalDamaged | None:
    """Return an error that says how the histories of database and journal differ; None if they do not.

    JournalDamaged if damage hides that. Also if the database lacks triggers of the journal, without which
    their histories would differ. None also if another command is writing to both, or if this user may not
    take the lock to find out. ``dry_run``: do not take the lock, which writes to its file.
    """
    files, place = session.storage.journal(), locate_database(session.config)
    lock = session.root / "lock"

    def compare() -> JournalDiffers | JournalDamaged | None:
        end = session.storage.read_end()  # before the files: a run may end meanwhile
        state = read_state(place)
        try:
            found = compare_journal(files, state, end)
        except JournalDamaged as damage:
            return damage
        return describe_difference(found) or describe_missing(found) or state.describe_missing_triggers()

    with suppress(ArchiveLocked, StorageError):
        if compare() is not None:
            if dry_run:
                run_lock.require_free(lock)
            with nullcontext() if dry_run else run_lock.hold_run_lock(lock, "verify"):
                return compare()
    return None


def _restore_rows(catalog: Catalog, report: JournalReport) -> None:
    """Write back rows that only the journal has."""
    for start in range(0, len(report.lost_rows), _RESTORED_AT_ONCE):
        catalog.write(outbox.restore, report.lost_rows[start : start + _RESTORED_AT_ONCE])


def _without_dropped(session: Session, answers: AnswerReport) -> AnswerReport:
    """Leave out answers whose rows and file a run has dropped meanwhile (``keep_answers = "fetched"``)."""
    if not answers.damaged:
        return answers
    present = session.catalog.read(holdings.existing_ids, [answer.id for answer in answers.damaged])
    return replace(answers, damaged=tuple(answer for answer in answers.damaged if answer.id in present))


def _record_verified(session: Session, digests: Sequence[Digest]) -> None:
    now = utcnow()
    for start in range(0, len(digests), _RECORDED_AT_ONCE):
        batch = tuple(digests[start : start + _RECORDED_AT_ONCE])
        session.catalog.write(record.record_verified_blobs, batch, now)


class _VerifiedBlobs:
    """Records the times at which blobs were verified, in batches, unless another process is writing."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._digests: list[Digest] = []

    def add(self, digest: Digest) -> None:
        self._digests.append(digest)
        if len(self._digests) >= _RECORDED_BETWEEN:
            self._flush()

    def _flush(self) -> None:
        with suppress(ArchiveLocked, StorageError, DatabaseError):
            if self._digests:
                with open_for_writing(self._config, "verify", Work()) as session:
                    _record_verified(session, self._digests)
        self._digests.clear()

    def __enter__(self) -> _VerifiedBlobs:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if kind is None:
            self._flush()
