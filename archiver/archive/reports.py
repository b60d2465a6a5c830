"""The gaps of an archive, and what was paid."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from datetime import datetime

from msgspec import Struct

from archiver.archive import selection
from archiver.archive.session import Session
from archiver.catalog import Catalog
from archiver.catalog.query import account_state, change_history, costs, gaps
from archiver.config import has_own_list
from archiver.errors import UsageError
from archiver.hiker import endpoints
from archiver.model.api_calls import Cost, CostsBy, RunCost
from archiver.model.archived import Gap, GapReason
from archiver.model.identity import Pk, Subject, utcnow
from archiver.model.target import Target

_NEVER = "no run has reached it"


class CostReport(Struct, frozen=True):
    """Sums of the ledger: ``rows`` has one for each key, ``runs`` has the API's balance of each run."""

    by: CostsBy
    since: datetime | None
    rows: tuple[Cost, ...]
    runs: tuple[RunCost, ...]

    @property
    def total(self) -> Cost:
        """Return the sum of all rows."""
        rows = self.rows
        return Cost(
            None,
            sum(row.units for row in rows),
            sum(row.calls for row in rows),
            sum(row.unknown_calls for row in rows),
            sum(row.unknown_units for row in rows),
        )


def read_costs(session: Session, by: CostsBy, since: datetime | None) -> CostReport:
    """Return what was paid since then, or in total."""
    rows = session.catalog.read(
        costs.costs, by, since, free_path=endpoints.BALANCE, name_paths=endpoints.BY_NAME
    )
    runs = session.catalog.read(costs.run_costs, since, free_path=endpoints.BALANCE)
    return CostReport(by, since, rows, runs)


def read_units_per_night(session: Session) -> int | None:
    """Return the recent price of a night, None if there was no run lately; see ``runner.supply``."""
    from archiver.runner import supply

    now = utcnow()
    return supply.units_per_night(session.catalog.read(costs.spending, now - supply.RECENT), now)


def require_run(catalog: Catalog, run_id: int) -> None:
    """Raise UsageError if there was no such run."""
    last = catalog.read(change_history.last_run)
    if last is None or run_id > last:
        raise UsageError(
            f"there is no run {run_id}",
            f"the last one is {last}" if last is not None else "there has been none yet: archiver run",
        )


def read_gaps(session: Session, accounts: Sequence[Target] | None) -> Generator[Gap, None, None]:
    """Return every gap, or those of these accounts, account after account.

    An entry of the configuration that no run has reached is a gap; a highlight whose title its entry does not
    select is not. Entries of a configuration for another archive are ignored. Raises NotHeld for an account
    that is neither stored nor listed nor a name that failed.
    """
    config, catalog = session.config, session.catalog
    entries = config.accounts if has_own_list(config) else ()
    pks, names = _asked_accounts(catalog, accounts or (), {entry.key for entry in entries})
    globs = _title_globs(catalog, entries)

    def is_asked(gap: Gap) -> bool:
        is_named = gap.subject is Subject.TARGET and gap.subject_pk in names
        return accounts is None or gap.user_pk in pks or is_named

    unreached = list(_unreached_entries(catalog, entries, is_asked))

    def stream() -> Generator[Gap, None, None]:
        found = (
            catalog.stream(gaps.gaps)
            if accounts is None
            else catalog.stream(gaps.gaps_of, pks, with_targets=True)
        )
        for gap in found:
            if is_asked(gap) and _is_wanted(gap, globs):
                yield gap
        yield from unreached

    return stream()


def _asked_accounts(
    catalog: Catalog, accounts: Sequence[Target], listed: Collection[str]
) -> tuple[set[Pk], set[str]]:
    """Return the pks of the accounts, and their names: an account that never resolved has only a name."""
    pks: set[Pk] = set()
    for account in accounts:
        found = selection.find_pks(catalog, account)
        failure = catalog.read(account_state.open_failure, Subject.TARGET, account.key, None)
        if not found and failure is None and account.key not in listed:
            raise selection.not_archived(catalog, account)
        pks.update(found)
    return pks, {account.key for account in accounts}


def _title_globs(catalog: Catalog, entries: Sequence[Target]) -> dict[Pk, tuple[str, ...]]:
    """Return the title globs of the entries, by account. No globs means all highlights."""
    globs: dict[Pk, tuple[str, ...]] = {}
    for entry in entries:
        pk = catalog.read(account_state.resolve, entry, from_config=True) if entry.highlights else None
        if pk is not None:
            globs[pk] = globs.get(pk, ()) + entry.highlights
    return globs


def _unreached_entries(
    catalog: Catalog, entries: Sequence[Target], is_asked: Callable[[Gap], bool]
) -> Iterator[Gap]:
    """Yield the entries that no run has reached: they are new, or a run ended before their turn."""
    progress = catalog.read(account_state.progress)
    for entry in entries:
        name = entry.username or entry.user_pk
        if name is None:
            continue
        pk = progress.pk_of(entry, from_config=True)
        gap = Gap(GapReason.NOT_YET, Subject.TARGET, name, user_pk=pk, username=entry.username, detail=_NEVER)
        if pk in progress.listed_at or not is_asked(gap):
            continue
        state = catalog.read(account_state.account_state, entry, pk) if pk is not None else None
        # A private or gone account is a gap of its own.
        has_verdict = state is not None and state.is_archived and state.verdict is not None
        has_failed = catalog.read(account_state.open_failure, Subject.TARGET, name, None) is not None
        if not has_verdict and not has_failed:
            yield gap


def _is_wanted(gap: Gap, globs: Mapping[Pk, tuple[str, ...]]) -> bool:
    if gap.reason is not GapReason.NOT_YET or gap.subject is not Subject.HIGHLIGHT or gap.user_pk is None:
        return True
    from archiver.runner.due_highlights import is_title_wanted

    return is_title_wanted(gap.title, globs.get(gap.user_pk, ()))
