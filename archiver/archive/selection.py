"""Which stored accounts, highlights and items a person or a program means."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing
from datetime import datetime
from typing import TypeAlias, TypedDict

from archiver.archive import arguments
from archiver.catalog import Catalog
from archiver.catalog.query import account_state, content
from archiver.errors import NotHeld, TargetError, UsageError
from archiver.model.archived import KeptAccount, KeptHighlight, KeptItem, Selection
from archiver.model.identity import Pk, is_pk
from archiver.model.target import (
    ItemTarget,
    Target,
    is_code,
    parse_adopted,
    parse_target,
    parse_target_or_item,
)
from archiver.model.values import replace

AccountName: TypeAlias = KeptAccount | Target | str
"""An account: by username, id or link."""
HighlightName: TypeAlias = KeptHighlight | Target | str
"""A highlight: by pk or link."""
SubjectName: TypeAlias = KeptAccount | KeptHighlight | KeptItem | Target | ItemTarget | str
"""An account, a highlight or an item."""
Accounts: TypeAlias = AccountName | Iterable[AccountName]
"""One account, or several."""
Targets: TypeAlias = AccountName | HighlightName | Iterable[AccountName | HighlightName]
"""One account or highlight, or several."""

_LIST_HIGHLIGHTS = 'archiver query "SELECT pk, title FROM highlights" lists them'
_LIST_ITEMS = 'archiver query "SELECT pk, code FROM items" lists them'
NO_PKS = ("",)
"""Selects nothing: no account has this pk."""


class Narrowing(TypedDict, total=False):
    """The keywords that select a part of an archive.

    A keyword that is None or left out does not narrow the selection; an empty list selects nothing.

    ``accounts`` (by username, id or link), ``highlights`` (by pk or link), and ``titles`` (globs of present
    titles; case matters): one, or several. A username that several accounts have had selects them all. Items
    are selected by when they were taken (``taken_from`` ≤ taken < ``taken_before``), by ``media_types`` (1
    photo, 2 video; one, or several), and by whether the item or one of its files was archived since
    ``new_since``. Times must be aware.
    """

    accounts: AccountName | Iterable[AccountName] | None
    highlights: HighlightName | Iterable[HighlightName] | None
    titles: str | Iterable[str] | None
    taken_from: datetime | None
    taken_before: datetime | None
    media_types: int | Iterable[int] | None
    new_since: datetime | None


def read_selection(
    catalog: Catalog,
    *,
    accounts: AccountName | Iterable[AccountName] | None = None,
    highlights: HighlightName | Iterable[HighlightName] | None = None,
    titles: str | Iterable[str] | None = None,
    taken_from: datetime | None = None,
    taken_before: datetime | None = None,
    media_types: int | Iterable[int] | None = None,
    new_since: datetime | None = None,
) -> Selection:
    """Return what the keywords of ``Narrowing`` select. Raises NotHeld, TargetError, UsageError."""
    account_targets = read_accounts(accounts)
    highlight_targets = arguments.read_several(highlights, _read_highlight)
    globs = arguments.read_several(
        titles, lambda one: arguments.require_text("titles", one, "glob such as 'BOTW*'")
    )
    types = arguments.read_several(media_types, arguments.require_media_type)
    selected = Selection(
        titles=globs or (),
        taken_from=arguments.read_time("taken_from", taken_from),
        taken_before=arguments.read_time("taken_before", taken_before),
        media_types=frozenset(types or ()),
        new_since=arguments.read_time("new_since", new_since),
    )
    user_pks = require_pks(catalog, account_targets or ())
    highlight_pks = tuple(find_highlight(catalog, target).pk for target in highlight_targets or ())
    if () in (account_targets, highlight_targets, globs, types):
        return Selection(user_pks=NO_PKS)
    return replace(selected, user_pks=user_pks, highlight_pks=highlight_pks)


def read_accounts(names: AccountName | Iterable[AccountName] | None) -> tuple[Target, ...] | None:
    """Return the accounts that are named; None for None. Raises UsageError, TargetError."""
    return arguments.read_several(names, _read_account)


def read_account(name: AccountName) -> Target:
    """Return the account that is named. Raises UsageError, TargetError."""
    return _read_target(name, "account", "username, id or link")


def read_username(name: object) -> str:
    """Return the username that a text names, in lower case. Raises UsageError, TargetError."""
    hint = "give a username: natgeo; if it has only digits: @123"
    try:
        target = parse_target(arguments.require_text("account", name, "username"))
    except TargetError as error:
        raise TargetError(str(error), hint) from None
    if target.username is None:
        raise TargetError(f"'{target.text}' is not a username", hint)
    return target.username


def read_targets(
    names: AccountName | HighlightName | Iterable[AccountName | HighlightName],
) -> tuple[Target, ...]:
    """Return the accounts and highlights that are named, in their order. Raises UsageError, TargetError."""
    return arguments.read_several(names, _read_target) or ()


def read_subject(subject: SubjectName) -> Target | ItemTarget:
    """Return what is named: an account, a highlight or an item. Raises UsageError, TargetError."""
    if isinstance(subject, KeptItem):
        return ItemTarget(subject.pk, pk=subject.pk)
    if isinstance(subject, KeptAccount | KeptHighlight):
        return _read_target(subject)
    if isinstance(subject, Target | ItemTarget):
        return subject
    return parse_target_or_item(arguments.require_text("target", subject, "username, id, pk, code or link"))


def find_pks(catalog: Catalog, account: Target) -> tuple[Pk, ...]:
    """Return the stored accounts with that pk or current name, or else all that have had the name.

    Raises UsageError if the target is not an account.
    """
    if account.user_pk is None and account.username is None:
        raise UsageError(f"{account.text} is not an account", "name one by its username or id")
    return catalog.read(account_state.archived_pks, account)


def require_one(account: Target, pks: Sequence[Pk]) -> Pk | None:
    """Return the only one of the accounts that a target means, None if there is none. Raises UsageError."""
    if len(pks) > 1:
        raise UsageError(f"several accounts have had the name {account.text}", f"use an id: {', '.join(pks)}")
    return next(iter(pks), None)


def require_pks(catalog: Catalog, accounts: Iterable[Target]) -> tuple[Pk, ...]:
    """Return the pks of the stored accounts, each once, in ascending order. Raises NotHeld."""
    stored_pks: set[Pk] = set()
    for account in accounts:
        pks = find_pks(catalog, account)
        if not pks:
            raise not_archived(catalog, account)
        stored_pks.update(pks)
    return tuple(sorted(stored_pks))


def not_archived(catalog: Catalog, account: Target) -> NotHeld:
    """Return the error for an account that the archive does not have; it names similar ones."""
    similar = catalog.read(account_state.similar_usernames, account.username or "")
    meant = f"; did you mean {' or '.join(similar)}?" if similar else ""
    return NotHeld(
        f"the archive has no account {account.text}{meant}",
        "archiver accounts lists them",
    )


def find_account(catalog: Catalog, account: Target) -> KeptAccount:
    """Return the stored account. Raises NotHeld, and UsageError if several have had the name."""
    pk = require_one(account, find_pks(catalog, account))
    if pk is None:
        raise not_archived(catalog, account)
    with closing(catalog.stream(content.accounts, Selection(user_pks=(pk,)))) as accounts:
        return next(accounts)


def find_highlight(catalog: Catalog, target: Target) -> KeptHighlight:
    """Return the stored highlight. Raises NotHeld, and UsageError if the target is not a highlight."""
    if target.highlight_pk is None:
        raise UsageError(f"{target.text} is not a highlight", "name one by its pk or link")
    highlight = _highlight(catalog, target.highlight_pk)
    if highlight is None:
        raise NotHeld(f"the archive has no highlight {target.highlight_pk}", _LIST_HIGHLIGHTS)
    return highlight


def find_item(catalog: Catalog, target: ItemTarget) -> KeptItem:
    """Return the stored item. Raises NotHeld."""
    item = _item(catalog, target.pk) if target.pk is not None else _item_by_code(catalog, target.code or "")
    if item is None:
        raise NotHeld(f"the archive has no item {target.pk or target.code}", _LIST_ITEMS)
    return item


def find_subject(catalog: Catalog, target: Target | ItemTarget) -> KeptAccount | KeptHighlight | KeptItem:
    """Return the account, highlight or item that is meant.

    A number is an account's id, else a highlight's pk, else an item's. A name that no account has may be an
    item's code. Raises NotHeld, and UsageError if several accounts have had the name.
    """
    if isinstance(target, ItemTarget):
        return find_item(catalog, target)
    if target.highlight_pk is not None:
        return find_highlight(catalog, target)
    if find_pks(catalog, target):
        return find_account(catalog, target)
    if target.user_pk is not None:
        subject = _highlight(catalog, target.user_pk) or _item(catalog, target.user_pk)
        if subject is None:
            raise NotHeld(f"the archive has no account, highlight or item {target.text}", _LIST_ITEMS)
        return subject
    item = _item_by_code(catalog, target.text) if is_code(target.text) else None
    if item is None:
        error = not_archived(catalog, target)
        raise NotHeld(str(error), f"{error.hint}; archiver search finds them by words")
    return item


def read_highlight_pk(name: object) -> Target:
    """Return the highlight of a pk, ``highlight:<pk>`` or link. Raises UsageError, TargetError."""
    text = arguments.require_text("highlight", name, "pk or link")
    return parse_adopted(text) or parse_target(f"highlight:{text}" if is_pk(text) else text)


def _read_account(account: object) -> Target:
    if isinstance(account, KeptHighlight):
        raise UsageError(f"accounts: the highlight {account.pk} is not a username, id, link or KeptAccount")
    return _read_target(account, "accounts", "username, id, link or KeptAccount")


def _read_highlight(highlight: object) -> Target:
    if isinstance(highlight, KeptHighlight | Target):
        return _read_target(highlight)
    return read_highlight_pk(arguments.require_text("highlights", highlight, "pk, link or KeptHighlight"))


def _read_target(target: object, name: str = "targets", expected: str = "username, id or link") -> Target:
    if isinstance(target, Target):
        return target
    if isinstance(target, KeptAccount):
        return Target(target.username or target.pk, user_pk=target.pk)
    if isinstance(target, KeptHighlight):
        return Target(f"highlight:{target.pk}", highlight_pk=target.pk)
    return parse_target(arguments.require_text(name, target, expected))


def _highlight(catalog: Catalog, pk: Pk) -> KeptHighlight | None:
    with closing(catalog.stream(content.highlights, Selection(highlight_pks=(pk,)))) as highlights:
        return next(highlights, None)


def _item(catalog: Catalog, pk: Pk) -> KeptItem | None:
    with closing(catalog.stream(content.items, Selection(item_pks=(pk,)))) as items:
        return next(items, None)


def _item_by_code(catalog: Catalog, code: str) -> KeptItem | None:
    pks: Sequence[Pk] = catalog.read(content.pks_by_code, code)
    return _item(catalog, pks[0]) if pks else None
