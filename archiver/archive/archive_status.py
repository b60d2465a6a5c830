"""The status of an archive: it is apart from the other reports, whose imports take a while."""

from __future__ import annotations

from archiver.archive.database import locate_database
from archiver.archive.session import Session, read_download_rules
from archiver.catalog.query import totals
from archiver.model.identity import Role
from archiver.model.run_status import Status
from archiver.model.values import replace
from archiver.runner import run_lock


def read_status(session: Session) -> Status:
    """Return the archive in numbers."""
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


def _with_open_runs(session: Session, status: Status) -> Status:
    """Say which of the last runs without an end goes on, and which were killed."""
    unfinished = [run for run in status.last_runs if run.finished_at is None]
    if not unfinished:
        return status
    holder = run_lock.find_holder(session.root / "lock")
    goes_on = holder is not None and holder.command == unfinished[0].command
    running = unfinished[0].id if goes_on else None
    if locate_database(session.config).url is not None:
        return replace(status, running=running)
    return replace(status, running=running, killed=tuple(r.id for r in unfinished if r.id != running))
