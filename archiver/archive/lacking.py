"""What the archive lacks, read from the one that the configuration names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from archiver.archive import named, rows
from archiver.archive.opening import reading
from archiver.catalog import Catalog
from archiver.catalog.query import gaps as gap_query
from archiver.catalog.query.account_state import account_state, open_failure, progress, resolve
from archiver.config import Config
from archiver.model.archived import Gap, GapReason
from archiver.model.identity import Pk, Subject
from archiver.model.target import Target
from archiver.runner.due import is_title_wanted

_NEVER = "no run has come to it"


@dataclass(frozen=True, slots=True)
class _Asked:
    """The accounts that a person asked for: stored ones, and names that nobody answered to."""

    pks: frozenset[Pk]
    names: frozenset[str]

    def __contains__(self, gap: object) -> bool:
        assert isinstance(gap, Gap)
        return gap.user_pk in self.pks or (gap.subject is Subject.TARGET and gap.subject_pk in self.names)


def gaps(config: Config, accounts: Sequence[Target] = ()) -> Iterator[Gap]:
    """Every gap, or those of these accounts, account after account; streamed. Highlights whose titles the configuration does not ask
    for are none. Of a configuration that is for another archive (``Config.accounts_archive``) the accounts do
    not count.

    An account may be named by a username that it bore once. Raises UsageError for one of which the archive knows nothing.
    """
    with reading(config) as opened:
        asked = _asked(opened.catalog, accounts) if accounts else None
        entries = config.accounts if rows.belongs(config, config.accounts_archive) else ()
        globs = _globs(opened.catalog, entries)
        for gap in opened.catalog.stream(gap_query.gaps):
            if (asked is None or gap in asked) and _wanted(gap, globs):
                yield gap
        for gap in _never_reached(opened.catalog, entries):
            if asked is None or gap in asked:
                yield gap


def _asked(catalog: Catalog, accounts: Sequence[Target]) -> _Asked:
    pks: set[Pk] = set()
    names: set[str] = set()
    for account in accounts:
        known = named.pks(catalog, account)
        name = account.username or account.user_pk or account.text
        if not known and catalog.read(open_failure, Subject.TARGET, name, None) is None:
            raise named.unknown(catalog, account)
        pks.update(known)
        names.add(name)
    return _Asked(frozenset(pks), frozenset(names))


def _globs(catalog: Catalog, entries: Sequence[Target]) -> dict[Pk, tuple[str, ...]]:
    """The title patterns that the configuration has for an account; accounts of which everything is wanted are not in it."""
    found: dict[Pk, tuple[str, ...]] = {}
    for entry in entries:
        pk = catalog.read(resolve, entry, from_config=True) if entry.highlights else None
        if pk is not None:
            found[pk] = found.get(pk, ()) + entry.highlights
    return found


def _never_reached(catalog: Catalog, entries: Sequence[Target]) -> Iterator[Gap]:
    """Entries of the configuration that no run has come to: after a limit, a signal or a kill, or since they are new."""
    known = catalog.read(progress)
    for entry in entries:
        name = entry.username or entry.user_pk
        if name is None:
            continue
        pk = known.pk_of(entry, from_config=True)
        is_listed = pk in known.listed_at
        state = catalog.read(account_state, entry, pk) if pk is not None and not is_listed else None
        told = (
            state is not None and state.is_archived and state.verdict is not None
        )  # private or gone: a gap of its own
        failed = catalog.read(open_failure, Subject.TARGET, name, None) is not None
        if pk not in known.listed_at and not told and not failed:
            yield Gap(
                GapReason.NOT_YET, Subject.TARGET, name, user_pk=pk, username=entry.username, detail=_NEVER
            )


def _wanted(gap: Gap, globs: Mapping[Pk, tuple[str, ...]]) -> bool:
    if gap.reason is not GapReason.NOT_YET or gap.subject is not Subject.HIGHLIGHT or gap.user_pk is None:
        return True
    return is_title_wanted(gap.title, globs.get(gap.user_pk, ()))
