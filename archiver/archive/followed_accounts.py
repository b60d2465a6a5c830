"""The accounts that a configuration lists: what is known of each, and which entries a name means."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum

from msgspec import Struct

from archiver.archive.selection import require_one
from archiver.archive.session import Session, open_rows
from archiver.catalog import Catalog, record
from archiver.catalog.query import account_state, totals
from archiver.catalog.query.totals import AccountTotals, FailedTarget
from archiver.config import Config, account_list
from archiver.config.account_list import ListedEntry
from archiver.errors import Reason, UsageError
from archiver.model.identity import Pk, Subject
from archiver.model.target import Target, TargetIdentity
from archiver.work import Work


class FollowState(StrEnum):
    """What the archive knows of an account or of an entry of the list."""

    NEW = "new"
    ARCHIVED = "archived"
    PRIVATE = "private"
    GONE = "gone"
    NOT_FOUND = "not_found"
    FAILED = "failed"


class FollowedAccount(Struct, frozen=True):
    """An entry of the list, or (``entry`` is None) an archived account that is not listed.

    ``looked_at``: the last time that an answer said what it shows, or that its name did not resolve. The sums
    are of the whole account, also for the entry of a single highlight.
    """

    entry: Target | None
    state: FollowState
    pk: Pk | None = None
    username: str | None = None
    looked_at: datetime | None = None
    highlights: int = 0
    items: int = 0
    bytes: int = 0


class Removal(Struct, frozen=True):
    """What ``remove`` took off the list. ``pk``: the account, if known; ``names``: bindings that ended."""

    entries: tuple[ListedEntry, ...]
    pk: Pk | None
    names: tuple[str, ...]


def read_followed(session: Session) -> Iterator[FollowedAccount]:
    """Yield the entries in their order, then the other accounts of the archive by name."""
    config, catalog = session.config, session.catalog
    entries = config.accounts if config.has_own_list else ()
    owners = read_owners(catalog, entries)
    stored = {account.pk: account for account in catalog.read(totals.account_totals)}
    failures = catalog.read(totals.failed_targets)
    for entry in entries:
        yield _read_entry(catalog, entry, stored.get(owners.get(entry.identity) or ""), failures)
    listed = set(owners.values())
    for account in stored.values():
        if account.pk not in listed:
            yield _describe(None, account)


def not_yet_followed(config: Config) -> Iterator[FollowedAccount]:
    """Yield the entries of a list whose archive does not exist yet."""
    for entry in config.accounts:
        yield FollowedAccount(entry, FollowState.NEW, entry.user_pk, entry.username)


def _read_entry(
    catalog: Catalog,
    entry: Target,
    account: AccountTotals | None,
    failures: Mapping[tuple[Subject, str], FailedTarget],
) -> FollowedAccount:
    if entry.highlight_pk is not None:
        failure = failures.get((Subject.HIGHLIGHT, entry.highlight_pk))
        highlight = catalog.read(totals.single_highlight, entry.highlight_pk)
        if account is not None and highlight is not None:
            state = FollowState.GONE if highlight.is_gone else FollowState.ARCHIVED
            return _describe(entry, account, state, highlight.looked_at)
    else:
        failure = failures.get((Subject.TARGET, entry.key))
        if account is not None:
            return _describe(entry, account)
    if failure is None:
        return FollowedAccount(entry, FollowState.NEW, entry.user_pk, entry.username)
    return FollowedAccount(
        entry, _state_of_failure(failure.reason), entry.user_pk, entry.username, looked_at=failure.at
    )


def _describe(
    entry: Target | None,
    account: AccountTotals,
    state: FollowState | None = None,
    looked_at: datetime | None = None,
) -> FollowedAccount:
    return FollowedAccount(
        entry,
        state or _state_of(account),
        account.pk,
        account.username,
        looked_at or account.looked_at,
        account.highlights,
        account.items,
        account.bytes,
    )


def _state_of(account: AccountTotals) -> FollowState:
    if account.is_gone:
        return FollowState.GONE
    if account.is_private:
        return FollowState.PRIVATE
    return FollowState.ARCHIVED if account.looked_at is not None or account.items else FollowState.NEW


def _state_of_failure(reason: Reason) -> FollowState:
    if reason is Reason.PRIVATE:
        return FollowState.PRIVATE
    return FollowState.NOT_FOUND if reason in (Reason.GONE, Reason.NOT_FOUND) else FollowState.FAILED


def read_owners(catalog: Catalog, entries: Sequence[Target]) -> dict[TargetIdentity, Pk]:
    """Return the account of each entry, as far as the archive knows; of a highlight, its owner.

    The keys are identities, as an account may be listed in several spellings.
    """
    progress = catalog.read(account_state.progress)
    owners: dict[TargetIdentity, Pk] = {}
    for entry in entries:
        if entry.highlight_pk is not None:
            highlight = catalog.read(totals.single_highlight, entry.highlight_pk)
            pk = highlight.user_pk if highlight is not None else None
        else:
            pk = progress.pk_of(entry, from_config=True)
        if pk is not None:
            owners[entry.identity] = pk
    return owners


def split_listed(
    catalog: Catalog | None, entries: Sequence[Target], targets: Sequence[Target]
) -> tuple[list[Target], list[tuple[Target, Target]]]:
    """Return the targets that are not listed yet, and the others with their entries.

    An account is listed under any name that leads to it. ``catalog``: None if there is no archive yet. Raises
    UsageError for a target that is listed with other highlights.
    """
    by_name = {entry.identity: entry for entry in entries}
    by_pk: dict[Pk, Target] = {}
    progress = None
    if catalog is not None:
        progress = catalog.read(account_state.progress)
        accounts = [entry for entry in entries if entry.highlight_pk is None]
        by_pk = {pk: by_name[identity] for identity, pk in read_owners(catalog, accounts).items()}
    new: list[Target] = []
    listed: list[tuple[Target, Target]] = []
    for target in targets:
        entry = by_name.get(target.identity)
        if entry is None and progress is not None and target.highlight_pk is None:
            entry = by_pk.get(progress.pk_of(target, from_config=False) or "")
        if entry is None:
            new.append(target)
            by_name[target.identity] = target
            continue
        if entry not in new and entry.highlights != target.highlights and target.highlights:
            patterns = ", ".join(entry.highlights) or "all"
            raise UsageError(
                f"{target.text} is listed already, as {entry.text} with other highlights ({patterns})",
                "change its highlights in the configuration",
            )
        listed.append((target, entry))
    return new, listed


def unfollow(
    config: Config, session: Session | None, target: Target, *, dry_run: bool, work: Work
) -> Removal:
    """Take an account off the list and end the bindings of its names; see ``Archive.unfollow``.

    ``session``: the archive, open for reading; None if there is none yet.
    """
    pk: Pk | None = None
    matches = _is_spelled(target)
    names: tuple[str, ...] = ()
    is_own = config.has_own_list
    if session is not None and is_own:
        catalog = session.catalog
        pk, matches = _find_entries(catalog, config.accounts, target)
        names = catalog.read(account_state.bound_names, pk, target.username)
    entries = account_list.remove_from_list(config, matches, dry_run=True)
    if dry_run:
        return Removal(entries, pk, names)
    if session is None or not is_own or not (entries or names):
        return Removal(account_list.remove_from_list(config, matches), pk, names)
    with open_rows(config, "remove", work) as writing:
        catalog = writing.catalog
        # The list first: if this ends in between, the name that is still bound is not followed any more.
        entries = account_list.remove_from_list(config, matches)
        names = catalog.read(account_state.bound_names, pk, target.username)  # a run may have bound more
        catalog.write(record.end_bindings, names)
    return Removal(entries, pk, names)


def _find_entries(
    catalog: Catalog, entries: Sequence[Target], target: Target
) -> tuple[Pk | None, Callable[[Target], bool]]:
    """Return the account that a person means, if it is known, and whether an entry is one of its.

    An entry that is spelled like the target comes first: the account is then the one that this entry is bound
    to. Raises UsageError if several accounts have had the name and more than one of them is listed.
    """
    is_spelled = _is_spelled(target)
    owners = read_owners(catalog, entries)
    if target.highlight_pk is not None:
        return None, is_spelled
    own = owners.get(target.identity)
    pks: Collection[Pk] = () if own is None else (own,)
    if not pks:
        pks = set(catalog.read(account_state.archived_pks, target))
        pks = pks & set(owners.values()) or pks
    pk = require_one(target, sorted(pks))
    return pk, lambda entry: is_spelled(entry) or owners.get(entry.identity) in pks


def _is_spelled(target: Target) -> Callable[[Target], bool]:
    return lambda entry: entry.identity == target.identity
