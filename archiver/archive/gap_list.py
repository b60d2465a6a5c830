"""The gaps of an archive: what it knows to be missing, and entries of the list that no run has reached."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence

from archiver.archive import selection
from archiver.archive.session import Session
from archiver.catalog import Catalog
from archiver.catalog.query import account_state, gaps
from archiver.model.archived import Gap, GapReason
from archiver.model.identity import Pk, Subject
from archiver.model.target import Target

_NEVER = "no run has reached it"


def read_gaps(session: Session, accounts: Sequence[Target] | None) -> Generator[Gap, None, None]:
    """Return every gap, or those of these accounts, account after account.

    An entry of the configuration that no run has reached is a gap; a highlight whose title its entry does not
    select is not. Entries of a configuration for another archive are ignored. Raises NotHeld for an account
    that is neither stored nor listed nor a name that failed.
    """
    config, catalog = session.config, session.catalog
    entries = config.accounts if config.has_own_list else ()
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
