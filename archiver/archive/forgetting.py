"""``forget``: what an account is, what its removal would take, and the removal itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime

from archiver.archive import account_traces, selection
from archiver.archive.database import locate_database
from archiver.archive.followed_accounts import read_owners
from archiver.archive.removal_steps import (
    RemovalSteps,
    describe_removal,
    find_quarantine_copies,
    read_parts,
    segments_of,
)
from archiver.archive.session import (
    Session,
    open_for_writing,
    require_answers,
    require_blobs,
)
from archiver.catalog import Catalog
from archiver.catalog.query import account_parts
from archiver.config import Config, account_list, has_own_list
from archiver.errors import UsageError
from archiver.model.account_removal import AccountParts, AccountRemoval, RemovalRequest
from archiver.model.identity import utcnow
from archiver.model.target import Target
from archiver.model.values import replace
from archiver.text_format import make_safe
from archiver.work import Work

COMMAND = "forget"
_NUMBER = re.compile(r"[0-9]+")


def forget_account(config: Config, account: Target, work: Work, *, reason: str | None) -> AccountRemoval:
    """Remove an account from the archive; see ``Archive.forget``."""
    with open_for_writing(config, COMMAND, work) as session:
        steps = RemovalSteps(config, session.catalog, session.storage, session.journal, work.stop)
        request = find_request(session.catalog, account, reason, work.clock())
        require_blobs(session)
        require_answers(session)
        steps.prepare()
        parts = read_parts(session.catalog, session.answers, request)
        comments = _find_comments(config, session.catalog, parts, dry_run=False)
        entries = _take_off_list(config, session.catalog, parts)
        return replace(steps.forget(request), entries=entries, comments=comments)


def plan_removal(session: Session, account: Target, reason: str | None = None) -> AccountRemoval:
    """Return what ``forget_account`` would remove. Writes nothing.

    Raises JournalDiffers for an older copy of the database: it may not know the account.
    """
    session.require_current()
    request = find_request(session.catalog, account, reason, utcnow())
    parts = read_parts(session.catalog, session.answers, request)
    database = locate_database(session.config).path
    return replace(
        describe_removal(session.config, session.catalog, session.answers, parts),
        log_lines=account_traces.count_log_lines(session.root, account_traces.words_of(parts)),
        quarantined=len(find_quarantine_copies(session.storage, parts, segments_of(parts))),
        copies=account_traces.find_copies(session.root, database),
        entries=_take_off_list(session.config, session.catalog, parts, dry_run=True),
        comments=_find_comments(session.config, session.catalog, parts, dry_run=True),
    )


def find_request(catalog: Catalog, account: Target, reason: str | None, now: datetime) -> RemovalRequest:
    """Return the request to remove an account.

    Raises NotHeld if the archive has nothing of it, UsageError if several accounts have had the name, or if
    ``reason`` names the account.
    """
    pks = selection.find_pks(catalog, account)
    if len(pks) > 1:
        raise UsageError(f"several accounts have had the name {account.text}", f"use an id: {', '.join(pks)}")
    # If there are rows, they have the names: the request, which is journaled, needs none.
    names = frozenset([account.username.lower()]) if account.username and not pks else frozenset[str]()
    request = RemovalRequest(now, pks[0] if pks else account.user_pk, names, reason)
    parts = catalog.read(account_parts.read_parts, request)
    if parts.is_empty and not pks:
        raise selection.not_archived(catalog, account)
    if reason is not None:
        if make_safe(reason) != reason:
            raise UsageError("the reason must be one line of text, without control characters")
        pk = request.user_pk
        full_names = frozenset[str]() if pk is None else catalog.read(account_parts.read_full_names, pk)
        _require_nameless(reason, parts, full_names)
    return request


def _take_off_list(
    config: Config, catalog: Catalog, parts: AccountParts, *, dry_run: bool = False
) -> tuple[str, ...]:
    """Remove the entries of the configuration that mean the account; return them.

    Raises ConfigError if they cannot be found as lines, StorageError if a file cannot be written.
    """
    if not has_own_list(config):
        return ()
    is_own = _entry_matcher(config, catalog, parts)
    entries = account_list.remove_from_list(config, is_own, dry_run=True)
    if entries and not dry_run:
        account_list.remove_from_list(config, is_own)
    return tuple(entry.target.text for entry in entries)


def _find_comments(
    config: Config, catalog: Catalog, parts: AccountParts, *, dry_run: bool
) -> tuple[str, ...]:
    """Return where comments of the account list name the account, or anything of it. Raises ConfigError."""
    if not has_own_list(config):
        return ()
    words, pk = account_traces.words_of(parts), parts.user_pk
    full_names = frozenset[str]() if pk is None else catalog.read(account_parts.read_full_names, pk)

    def mentions(comment: str) -> bool:
        is_named = any(name.lower() in comment.lower() for name in full_names)
        return is_named or account_traces.has_word(comment.encode(errors="replace"), words)

    return account_list.find_comments(
        config, _entry_matcher(config, catalog, parts), mentions, dry_run=dry_run
    )


def _entry_matcher(config: Config, catalog: Catalog, parts: AccountParts) -> Callable[[Target], bool]:
    """Return what says whether an entry of the configuration means the account.

    A name means the account to which it is bound, else the one that has it, else any that had it.
    """
    owners = read_owners(catalog, config.accounts)

    def is_own(entry: Target) -> bool:
        if entry.highlight_pk is not None:
            return entry.highlight_pk in parts.highlight_pks
        owner = owners.get(entry.identity)
        if owner is not None:
            return owner == parts.user_pk
        return entry.username is not None and entry.username.lower() in parts.names - parts.shared_names

    return is_own


def _require_nameless(reason: str, parts: AccountParts, full_names: frozenset[str]) -> None:
    """Raise UsageError if a text names the account, or anything in it by its pk, code or hash."""
    pks = {*parts.highlight_pks, *parts.item_pks, *([parts.user_pk] if parts.user_pk is not None else [])}
    is_named = any(name.lower() in reason.lower() for name in parts.names | full_names)
    is_named = is_named or account_traces.has_word(
        reason.encode(errors="replace"), account_traces.words_of(parts)
    )
    if is_named or not pks.isdisjoint(_NUMBER.findall(reason)):
        raise UsageError("the reason names what is to be forgotten", "write one without names and numbers")
