"""What writes to an archive, and the list of accounts: runs, verify, repair, reread, adopt, forget."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
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
from archiver.errors import NoArchive, UsageError
from archiver.model.identity import utcnow
from archiver.model.target import Target
from archiver.model.values import replace
from archiver.work import StopFlag, Work

# Methods import what only they need: `status` takes a tenth less time for it.
if TYPE_CHECKING:
    from archiver.archive.followed_accounts import FollowedAccount, Removal
    from archiver.archive.selection import AccountName, Targets
    from archiver.archive.verification import RepairReport, Verification
    from archiver.catalog import Catalog
    from archiver.model.account_removal import AccountRemoval
    from archiver.model.archived import NamedChange
    from archiver.model.events import Event
    from archiver.model.foreign_files import AdoptionReport, ForeignTool
    from archiver.reread import RereadReport
    from archiver.runner.context import RunOptions
    from archiver.runner.forecast import AccountPlan
    from archiver.runner.tally import Summary

Progress = Callable[[int, int], None]


class ArchiveWriting(ArchiveBase):
    """Archives accounts and keeps the list of them; checks, mends and completes the archive."""

    def plan(
        self,
        targets: Targets | None = None,
        *,
        options: RunOptions | None = None,
        since: datetime | None = None,
        clock: Callable[[], datetime] = utcnow,
    ) -> list[AccountPlan]:
        """Return what the next run would do for each target, and what that costs. Makes no call.

        ``targets`` and ``options`` as in ``run``. ``since``: the start of a run that only listed trays
        (``RunOptions.list_only``); its trays make the plan exact. Raises UsageError, TargetError.
        """
        from archiver.archive.nightly_run import plan_targets

        found, chosen = self._run_targets(targets, options)
        after = arguments.read_time("since", since)
        return list(plan_targets(self._open(), found, options=chosen, since=after, clock=clock))

    def run(
        self,
        targets: Targets | None = None,
        *,
        options: RunOptions | None = None,
        max_units: int | None = None,
        wait: bool = False,
        command: str | None = None,
        observe: Callable[[Event], None] = lambda event: None,
        stop: StopFlag | None = None,
        on_changes: Callable[[Iterator[NamedChange]], None] | None = None,
        clock: Callable[[], datetime] = utcnow,
    ) -> Summary:
        """Archive the accounts of the configuration, or these accounts and highlights. Costs units.

        Without ``options``, named targets are tried at once despite their back-off, as in ``archiver
        backup``. ``max_units`` lowers the budget of this run. ``wait``: wait for another run to end.
        ``command`` is the name under which the run is recorded. The trays of one named "plan" serve the next
        run. ``observe`` gets each event, ``on_changes`` what owners changed, while the archive is still open;
        it must not raise. ``stop`` ends the run early.
        ``clock``: the time, aware and in UTC.

        Errors of single accounts are in the summary. Raises errors that prevent a run from starting:
        KeyMissing, NoArchive, ArchiveLocked, UsageError, StorageError, DatabaseError.
        """
        found, chosen = self._run_targets(targets, options)
        is_shared = self._config.cluster.enabled and chosen.from_config and not chosen.list_only
        if is_shared and chosen.repair is None:
            from archiver.archive.shared_run import run_targets  # few need it
        else:
            from archiver.archive.nightly_run import run_targets
        return run_targets(
            self._config,
            found,
            command=command or ("plan" if chosen.list_only else "run" if chosen.from_config else "backup"),
            options=chosen,
            max_units=arguments.read_count("max_units", max_units),
            work=self._work(clock=clock, stop=stop, wait=wait, observe=observe),
            on_changes=on_changes,
        )

    def work(
        self,
        *,
        concurrency: int | None = None,
        until_idle: bool = False,
        observe: Callable[[Event], None] = lambda event: None,
        stop: StopFlag | None = None,
        clock: Callable[[], datetime] = utcnow,
    ) -> None:
        """Visit accounts for the runs of the configuration, beside other workers, until ``stop`` is set.

        Costs units. ``concurrency``: the downloads at a time; None: as configured. ``until_idle``: return
        once no account of an open run is free. ``observe``, ``clock``: as for ``run``. Raises UsageError if
        the configuration is not for workers, KeyMissing, KeyRejected, UpstreamDown, DiskFull, the cause of
        ``stop``, and errors of the database or the store that last for more than ten minutes.
        """
        from archiver.archive.worker import visit_for_runs

        visit_for_runs(
            self._config,
            self._work(clock=clock, stop=stop, observe=observe),
            concurrency=arguments.read_count("concurrency", concurrency),
            until_idle=until_idle,
        )

    def configured_entry(self, target: Target) -> Target | None:
        """Return the entry of the configuration for the same account, as far as the archive knows.

        An account may be named by its id or by any name that it has or had. None if no entry matches, or
        several.
        """
        from archiver.catalog.query import account_state

        if target.highlight_pk is not None or not self._config.accounts:
            return None
        read = self._catalog.read
        pks = read(account_state.archived_pks, target)
        entries = [
            e for e in self._config.accounts if read(account_state.resolve, e, from_config=True) in pks
        ]
        return entries[0] if len(entries) == 1 else None

    def account_overview(self) -> tuple[FollowedAccount, ...]:
        """Return each entry of the configuration with what is stored of it, then all other accounts.

        Before the first run, when there is no archive yet, every entry is new. Raises NoArchive if nothing is
        listed either.
        """
        from archiver.archive.followed_accounts import not_yet_followed, read_followed

        try:
            session = self._open()
        except NoArchive:
            if not self._config.accounts:
                raise
            return tuple(not_yet_followed(self._config))
        return tuple(read_followed(session))

    def split_listed(self, targets: Sequence[Target]) -> tuple[list[Target], list[tuple[Target, Target]]]:
        """Return the targets that the configuration does not list, and the others with their entries.

        An account is listed under any name that leads to it, as far as the archive knows. Raises UsageError
        for a target that is listed with other highlights.
        """
        from archiver.archive.followed_accounts import split_listed

        session = self._open_if_current()
        catalog = session.catalog if session is not None else None
        return split_listed(catalog, self._config.accounts, targets)

    def unfollow(self, name: AccountName, *, dry_run: bool = False, wait: bool = False) -> Removal:
        """Take an account off the list of the configuration, and end the binding of its names.

        What is archived stays. The account may be named by a present or former username, its id or a link; a
        highlight that is listed by itself, by its link. Entries of single highlights of the account go with
        it. ``dry_run``: change nothing. Raises ConfigError, StorageError, ArchiveLocked, DatabaseError.
        """
        from archiver.archive import selection
        from archiver.archive.followed_accounts import unfollow

        target = selection.read_account(name)
        try:
            session = self._open()
        except NoArchive:
            session = None
        return unfollow(self._config, session, target, dry_run=dry_run, work=self._work(wait=wait))

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

    def _run_targets(
        self, targets: Targets | None, options: RunOptions | None
    ) -> tuple[Sequence[Target], RunOptions]:
        """Return the targets of a run (configured entries, or those that a person names) and its options."""
        from archiver.archive import selection
        from archiver.runner.context import RunOptions as NewRunOptions

        self._require_open()
        if targets is not None:
            found = selection.read_targets(targets)
            return found, options or NewRunOptions(from_config=False, ignore_backoff=True)
        if not self._config.accounts:
            raise UsageError(
                "no accounts are configured", "name targets, or open the archive with its configuration"
            )
        return self._config.accounts, options or NewRunOptions()
