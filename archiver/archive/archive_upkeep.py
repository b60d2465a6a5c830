"""What keeps an archive sound: verify, repair, reread, adopt, forget."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from archiver.archive import arguments
from archiver.archive.archive_base import ArchiveBase
from archiver.archive.session import (
    Session,
    open_for_dry_run,
    open_for_writing,
    require_blobs,
)
from archiver.errors import UsageError
from archiver.model.identity import utcnow
from archiver.model.values import replace
from archiver.work import StopFlag, Work

# Methods import what only they need: `status` takes a tenth less time for it.
if TYPE_CHECKING:
    from archiver.archive.selection import AccountName
    from archiver.archive.verification import RepairReport, Verification
    from archiver.catalog import Catalog
    from archiver.model.account_removal import AccountRemoval
    from archiver.model.foreign_files import AdoptionReport, ForeignTool
    from archiver.reread import RereadReport

Progress = Callable[[int, int], None]


class ArchiveUpkeep(ArchiveBase):
    """Checks, mends and completes the archive, and removes accounts."""

    def reread(
        self,
        *,
        dry_run: bool = False,
        wait: bool = False,
        progress: Progress = lambda done, total: None,
        stop: StopFlag | None = None,
        clock: Callable[[], datetime] = utcnow,
    ) -> RereadReport:
        """Read all stored answers again, and add what the database lacks. Makes no call.

        ``dry_run``: do it to a copy of the rows, which is then removed. ``progress`` gets the number of
        answers read, and their total. Raises StoppedBySignal, ArchiveLocked, StorageError, DatabaseError,
        DiskFull.
        """
        from archiver.catalog.rebuilt_database import open_copy
        from archiver.reread import COMMAND, reread

        self._require_open()
        work = self._work(clock=clock, stop=stop, wait=wait, progress=progress)
        if dry_run:
            with (
                open_for_dry_run(self._config, work) as reading,
                open_copy(reading.catalog, reading.root, work.stop.check) as copy,
            ):
                return replace(reread(copy, reading.answers, reading.root, work), run_id=None)
        with open_for_writing(self._config, COMMAND, work) as session:
            return reread(session.catalog, session.answers, session.root, work)

    def adopt(
        self,
        directories: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        *,
        tool: ForeignTool | str | None = None,
        account: str | None = None,
        dry_run: bool = False,
        wait: bool = False,
        progress: Callable[[int], None] = lambda files: None,
        stop: StopFlag | None = None,
        clock: Callable[[], datetime] = utcnow,
    ) -> AdoptionReport:
        """Take in what other tools have downloaded below these directories. Makes no call, costs nothing.

        Their files are only read. ``tool``: ``insta-dl``, ``gallery-dl`` or ``instaloader``; without it each
        file is recognized by its name. ``account``: the username of the account whose files these are, if
        the folders do not say so. ``dry_run``: store nothing, and record it in a copy of the rows, which is
        then removed. ``progress`` gets the number of files looked at. ``wait``, ``stop`` and ``clock`` as in
        ``run``. The report lists the refused files with the reasons. Raises UsageError, ArchiveLocked,
        StoppedBySignal, StorageError, DiskFull, DatabaseError.
        """
        from archiver.adopt.adoption import COMMAND, Adoption, AdoptionOptions
        from archiver.adopt.foreign_directory import require_foreign
        from archiver.archive import selection
        from archiver.archive.nightly_run import require_space
        from archiver.catalog.rebuilt_database import open_copy
        from archiver.model.foreign_files import ForeignTool

        paths = arguments.read_several(
            os.fspath(directories) if isinstance(directories, os.PathLike) else directories,
            lambda one: arguments.require_path("directories", one),
        )
        options = AdoptionOptions(
            tool=None if tool is None else arguments.require_choice("tool", tool, ForeignTool),
            account=None if account is None else selection.read_username(account),
            dry_run=dry_run,
        )
        self._require_open()
        if not paths:
            raise UsageError("no directory is given", "name a folder that the other tool has filled")
        tops = [require_foreign(directory) for directory in paths]
        work = self._work(clock=clock, stop=stop, wait=wait, progress=progress)

        def adopt_into(session: Session, catalog: Catalog) -> AdoptionReport:
            require_blobs(session)
            return Adoption(
                catalog, session.store, options, work, require_space=lambda: require_space(session.config)
            ).adopt(tops)

        if dry_run:
            reading = self._open()
            with open_copy(reading.catalog, reading.root, work.stop.check) as copy:
                return adopt_into(reading, copy)
        with open_for_writing(self._config, COMMAND, work) as writing:
            return adopt_into(writing, writing.catalog)

    def plan_removal(
        self, account: AccountName, *, reason: str | None = None, stop: StopFlag | None = None
    ) -> AccountRemoval:
        """Return what ``forget`` would remove, and what it would leave. Writes nothing. Raises its errors."""
        from archiver.archive import selection
        from archiver.archive.forgetting import plan_removal

        session = self._open()
        with session.storage.checking((stop or StopFlag()).check):
            return plan_removal(session, selection.read_account(account), reason)

    def forget(
        self,
        account: AccountName,
        *,
        reason: str | None = None,
        wait: bool = False,
        stop: StopFlag | None = None,
        clock: Callable[[], datetime] = utcnow,
    ) -> AccountRemoval:
        """Delete an account from the archive: rows, files, answers, and every trace. It cannot be undone.

        What other accounts show of it stays. ``reason`` is recorded, with the time and without a name. If it
        is interrupted, the next command that writes finishes it. Raises NotHeld, UsageError if ``reason``
        names the account, ArchiveLocked, StorageError if a store does not allow to delete, DiskFull,
        DatabaseError, StoppedBySignal.
        """
        from archiver.archive import selection
        from archiver.archive.forgetting import forget_account

        self._require_open()
        return forget_account(
            self._config,
            selection.read_account(account),
            self._work(clock=clock, stop=stop, wait=wait),
            reason=None if reason is None else arguments.require_text("reason", reason, "text"),
        )

    def finish_removal(self, *, wait: bool = False, stop: StopFlag | None = None) -> bool:
        """Finish a ``forget`` that was interrupted; return whether there was one. Raises its errors."""
        from archiver.catalog.query import account_parts

        if not self._catalog.read(account_parts.is_unfinished):
            return False
        with open_for_writing(self._config, "forget", self._work(stop=stop, wait=wait)):
            return True

    def verify(
        self,
        *,
        read_data: bool = False,
        share: float = 1.0,
        dry_run: bool = False,
        progress: Progress = lambda checked, bytes_read: None,
    ) -> Verification:
        """Compare blobs, stored answers and journal with the rows. Changes no file, and may run during a run.

        ``read_data``: read every blob and compare its SHA-256; if ``share`` is 1, also compare the rows that
        the journal gives. ``share``: read only this part (0 to 1), a different one each day. Verification
        times are recorded if no run holds the lock and the archive is writable; ``dry_run``: record nothing.
        ``progress`` gets the number of blobs checked and of bytes read; it may raise to stop.
        Raises DatabaseError if the database itself is damaged, StorageError if no blob exists at all.
        """
        from archiver.archive.verification import verify_archive

        part = arguments.require_share("share", share)
        return verify_archive(
            self._open(), Work(progress=progress), read_data=read_data, share=part, dry_run=dry_run
        )

    def repair(
        self,
        *,
        read_data: bool = False,
        share: float = 1.0,
        accept_loss: bool = False,
        dry_run: bool = False,
        wait: bool = False,
        progress: Progress = lambda checked, bytes_read: None,
        stop: StopFlag | None = None,
    ) -> RepairReport:
        """Verify under the lock, record losses, and move damaged bytes to ``quarantine/``. Costs nothing.

        The report has what fetching the lost files again, with ``run(report.targets,
        options=report.run_options)``, should cost at most. ``accept_loss``: continue even if no blob exists
        at all. ``dry_run``: record it in a copy of the rows, which is then removed, and move nothing. Raises
        the errors of ``verify``, and ArchiveLocked.
        """
        from archiver.archive.verification import plan_repair, repair_archive

        self._require_open()
        part = arguments.require_share("share", share)
        work = self._work(stop=stop, wait=wait, progress=progress)
        if dry_run:
            return plan_repair(self._open(), work, read_data=read_data, share=part, accept_loss=accept_loss)
        return repair_archive(self._config, work, read_data=read_data, share=part, accept_loss=accept_loss)
