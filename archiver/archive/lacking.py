"""What the archive lacks, read from the one that the configuration names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from archiver.archive.opening import reading
from archiver.catalog import Catalog, query
from archiver.config import Config
from archiver.errors import UsageError
from archiver.model import Gap, Lack, Pk, Subject, Target
from archiver.runner import plan


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
    for are none.

    An account may be named by a username that it bore once. Raises UsageError for one of which the archive knows nothing.
    """
    with reading(config) as opened:
        asked = _asked(opened.catalog, accounts) if accounts else None
        globs = _globs(opened.catalog, config.accounts)
        for gap in opened.catalog.stream(query.gaps):
            if (asked is None or gap in asked) and _wanted(gap, globs):
                yield gap


def _asked(catalog: Catalog, accounts: Sequence[Target]) -> _Asked:
    pks: set[Pk] = set()
    names: set[str] = set()
    for account in accounts:
        name = account.username or account.user_pk
        if name is None:
            raise UsageError(f"{account.text} is no account", "name one by its username or id")
        known = _known(catalog, account)
        if not known and catalog.read(query.open_failure, Subject.TARGET, name, None) is None:
            raise UsageError(
                f"the archive knows no account {account.text}",
                'archiver query "SELECT pk, username FROM users" lists them',
            )
        pks.update(known)
        names.add(name)
    return _Asked(frozenset(pks), frozenset(names))


def _known(catalog: Catalog, account: Target) -> Sequence[Pk]:
    """The stored account of that pk or present name, else those that bore the name once."""
    if account.user_pk is not None:
        return (account.user_pk,) if catalog.read(query.user, account.user_pk) is not None else ()
    name = account.username or ""
    present = catalog.read(query.user_pk_by_name, name)
    return (present,) if present is not None else catalog.read(query.once_called, name)


def _globs(catalog: Catalog, entries: Sequence[Target]) -> dict[Pk, tuple[str, ...]]:
    """The title patterns that the configuration has for an account; accounts of which everything is wanted are not in it."""
    found: dict[Pk, tuple[str, ...]] = {}
    for entry in entries:
        pk = entry.user_pk
        if entry.highlights and pk is None and entry.username is not None:
            pk = catalog.read(query.bound, entry.username) or catalog.read(
                query.user_pk_by_name, entry.username
            )
        if entry.highlights and pk is not None:
            found[pk] = found.get(pk, ()) + entry.highlights
    return found


def _wanted(gap: Gap, globs: Mapping[Pk, tuple[str, ...]]) -> bool:
    if gap.reason is not Lack.NOT_YET or gap.subject is not Subject.HIGHLIGHT or gap.user_pk is None:
        return True
    return plan.matches(gap.title, globs.get(gap.user_pk, ()))
