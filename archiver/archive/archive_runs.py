"""Runs and plans of an archive, and the list of accounts that they follow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from archiver.archive import arguments
from archiver.archive.archive_base import ArchiveBase
from archiver.errors import NoArchive, UsageError
from archiver.model.identity import utcnow
from archiver.model.target import Target
from archiver.work import StopFlag

# Methods import what only they need: `status` takes a tenth less time for it.
if TYPE_CHECKING:
    from archiver.archive.followed_accounts import FollowedAccount, Removal
    from archiver.archive.selection import AccountName, Targets
    from archiver.model.archived import (
        NamedChange,
    )
    from archiver.model.events import Event
    from archiver.runner.context import RunOptions
    from archiver.runner.forecast import AccountPlan
    from archiver.runner.tally import Summary


class ArchiveRuns(ArchiveBase):
    """Archives accounts, and keeps the list of them."""

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
            from archiver.archive.shared_run import run_shared as run_targets  # few need it
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
        from archiver.archive.worker import work

        work(
            self._config,
            concurrency=arguments.read_count("concurrency", concurrency),
            until_idle=until_idle,
            observe=observe,
            stop=stop or StopFlag(),
            clock=clock,
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
