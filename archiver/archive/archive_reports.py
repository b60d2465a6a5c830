"""What an archive says about itself: numbers, changes, gaps and costs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from typing import TYPE_CHECKING

from archiver.archive import arguments
from archiver.archive.archive_base import ArchiveBase, Reading
from archiver.archive.database import locate_database
from archiver.archive.session import Session, read_download_rules
from archiver.errors import UsageError
from archiver.model.api_calls import (
    RECENT_NIGHTS,
    BudgetLeft,
    CostReport,
    CostsBy,
    nights_left,
    units_per_night,
)
from archiver.model.identity import Role, utcnow
from archiver.model.values import replace
from archiver.runner import run_lock

# Methods import what only they need: `status` takes a tenth less time for it.
if TYPE_CHECKING:
    from archiver.archive.selection import Accounts
    from archiver.model.archived import Gap, NamedChange
    from archiver.model.run_status import LatestRecords, Status
    from archiver.model.upstream import Balance


class ArchiveReports(ArchiveBase):
    """Reports on the archive."""

    def status(self) -> Status:
        """Return the archive in numbers."""
        from archiver.catalog.query import totals

        session = self._open()
        download = session.config.download
        is_wanted = {Role.COVER: download.covers, Role.AVATAR: download.avatars}
        roles = [role for role in Role if is_wanted.get(role, True)]
        status, hosts = session.catalog.read(totals.status), session.catalog.read(totals.refused_hosts, roles)
        status = replace(status, missing_targets=session.catalog.read(totals.missing_targets))
        status = _with_open_runs(session, status)
        if session.config.cluster.enabled and session.catalog.has_workers:
            from archiver.catalog import leases, visits

            shared, workers = session.catalog.read(visits.open_counts), session.catalog.read(leases.status)
            status = replace(status, shared_run=shared, workers=workers)
        if not hosts:
            return status
        rules = read_download_rules(session.config)
        refused = tuple((host, files) for host, files in hosts if not rules.allows(host, None))
        return replace(status, hosts_not_allowed=refused)

    def metrics(self, *, by_account: bool = False) -> str:
        """Return the archive in numbers, in the text format of Prometheus. Makes no call.

        ``by_account``: add gauges that name each account in their labels.
        """
        from archiver import metrics
        from archiver.catalog.query import totals

        session = self._open()
        gaps = Counter(gap.user_pk for gap in self.gaps())
        latest = session.catalog.read(totals.latest_records)
        nights = _nights_left(latest, self.units_per_night())
        gauges = list(metrics.archive_gauges(self.status(), latest, gaps.total(), nights))
        if by_account:
            gauges += metrics.account_gauges(session.catalog.read(totals.accounts_in_numbers), gaps)
        return metrics.format_gauges(gauges)

    def changes(
        self, accounts: Accounts | None = None, *, since: datetime | None = None, run_id: int | None = None
    ) -> Reading[NamedChange]:
        """Return what owners edited, added and removed, in the order in which it was seen.

        ``since``: only from that time on. ``run_id``: only what one run saw. ``accounts``: only theirs.
        Raises NotHeld, and UsageError if there was no such run.
        """
        from archiver.archive import selection
        from archiver.catalog.query import change_history

        after = arguments.read_time("since", since)
        targets = selection.read_accounts(accounts)
        run_id = arguments.read_count("run_id", run_id)
        if run_id is not None:
            last = self._catalog.read(change_history.last_run)
            if last is None or run_id > last:
                raise UsageError(
                    f"there is no run {run_id}",
                    f"the last one is {last}"
                    if last is not None
                    else "there has been none yet: archiver run",
                )
        pks = selection.NO_PKS if targets == () else selection.require_pks(self._catalog, targets or ())
        return self._read(
            self._catalog.stream(change_history.changes, since=after, run_id=run_id, user_pks=pks)
        )

    def gaps(self, accounts: Accounts | None = None) -> Reading[Gap]:
        """Return the gaps of these accounts, or of all, account by account.

        An entry of the configuration that no run has reached is a gap. Raises NotHeld.
        """
        from archiver.archive import selection
        from archiver.archive.gap_list import read_gaps

        return self._read(read_gaps(self._open(), selection.read_accounts(accounts)))

    def costs(self, by: CostsBy | str = "day", *, since: datetime | None = None) -> CostReport:
        """Return what was paid, from ``since`` on or in total, by day (UTC), account, endpoint or run."""
        from archiver.catalog.query import totals
        from archiver.hiker import endpoints

        chosen = arguments.require_choice("by", by, CostsBy)
        after, free, read = arguments.read_time("since", since), endpoints.BALANCE, self._catalog.read
        rows = read(totals.costs, chosen, after, free_path=free)
        return CostReport(chosen, after, rows, read(totals.run_costs, after, free_path=free))

    def units_per_night(self) -> int | None:
        """Return the median price of a night over the last 30 days; None if there was no run."""
        from archiver.catalog.query import totals

        now = utcnow()
        return units_per_night(self._catalog.read(totals.spending, now - RECENT_NIGHTS), now)

    def budget_left(
        self, *, max_units: int | None = None, clock: Callable[[], datetime] = utcnow
    ) -> BudgetLeft | None:
        """Return what the tightest limit leaves for a run now; None without limits.

        ``max_units``: the limit of this run, beside those of the budget.
        """
        from archiver.archive.nightly_run import read_budget_left

        return read_budget_left(self._open(), clock, max_units)

    def balance(self) -> Balance:
        """Return the units left at the API, by a free call.

        Raises KeyMissing, KeyRejected, UpstreamDown, CallFailed.
        """
        from archiver.archive.nightly_run import make_client
        from archiver.runner.run import read_balance

        with closing(make_client(self._config)) as client:
            return read_balance(client)


def _with_open_runs(session: Session, status: Status) -> Status:
    """Say which of the last runs without an end goes on, and which were killed."""
    unfinished = [run for run in status.last_runs if run.finished_at is None]
    if not unfinished:
        return status
    holder = run_lock.find_holder(session.root / "lock")
    goes_on = holder is not None and holder.command == unfinished[0].command
    running = unfinished[0].id if goes_on else None
    if locate_database(session.config).has_workers:
        return replace(status, running=running)
    return replace(status, running=running, killed=tuple(r.id for r in unfinished if r.id != running))


def _nights_left(latest: LatestRecords, per_night: int | None) -> float:
    if latest.balance is None or per_night is None:
        return math.nan
    nights = nights_left(latest.balance, per_night)
    return math.inf if nights is None else nights
