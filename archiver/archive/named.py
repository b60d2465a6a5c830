"""Which stored accounts, highlights and items a person means."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

from archiver.catalog import Catalog
from archiver.catalog.query import content, details
from archiver.catalog.query.account_state import archived_pks, similar_usernames
from archiver.errors import NotHeld, UsageError
from archiver.model.archived import KeptAccount, KeptHighlight, KeptItem, Selection
from archiver.model.identity import Pk
from archiver.model.target import ItemTarget, Target, is_code

_LIST_HIGHLIGHTS = 'archiver query "SELECT pk, title FROM highlights" lists them'
_LIST_ITEMS = 'archiver query "SELECT pk, code FROM items" lists them'


def pks(catalog: Catalog, account: Target) -> Sequence[Pk]:
    """The stored account of that pk or present name, else those that bore the name once; () where the archive holds none.

    Raises UsageError for what is no account.
    """
    if account.user_pk is None and account.username is None:
        raise UsageError(f"{account.text} is no account", "name one by its username or id")
    return catalog.read(archived_pks, account)


def required(catalog: Catalog, accounts: Sequence[Target]) -> Sequence[Pk]:
    """The stored accounts that these mean, each once. Raises UsageError for one of which the archive holds none, naming near ones."""
    found: set[Pk] = set()
    for account in accounts:
        those = pks(catalog, account)
        if not those:
            raise unknown(catalog, account)
        found.update(those)
    return sorted(found)


def unknown(catalog: Catalog, account: Target) -> NotHeld:
    """That the archive holds no such account, naming near ones."""
    near = catalog.read(similar_usernames, account.username or "")
    meant = f"; did you mean {' or '.join(near)}?" if near else ""
    return NotHeld(
        f"the archive holds no account {account.text}{meant}",
        'archiver query "SELECT pk, username FROM users" lists them',
    )


def account(catalog: Catalog, wanted: Target) -> KeptAccount:
    """The stored account that is meant. Raises NotHeld, and UsageError where several bore the name, naming them."""
    found = pks(catalog, wanted)
    if not found:
        raise unknown(catalog, wanted)
    if len(found) > 1:
        raise UsageError(
            f"several accounts bore the name {wanted.text}", f"name one by its id: {', '.join(found)}"
        )
    with closing(catalog.stream(content.accounts, Selection(user_pks=(found[0],)))) as kept:
        return next(kept)


def highlight(catalog: Catalog, pk: Pk) -> KeptHighlight:
    """The stored highlight of that pk. Raises NotHeld."""
    kept = _highlight(catalog, pk)
    if kept is None:
        raise NotHeld(f"the archive holds no highlight {pk}", _LIST_HIGHLIGHTS)
    return kept


def item(catalog: Catalog, wanted: ItemTarget) -> KeptItem:
    """The stored item of that pk or code. Raises NotHeld."""
    kept = _item(catalog, wanted.pk) if wanted.pk is not None else _by_code(catalog, wanted.code or "")
    if kept is None:
        raise NotHeld(f"the archive holds no item {wanted.pk or wanted.code}", _LIST_ITEMS)
    return kept


def kept(catalog: Catalog, wanted: Target | ItemTarget) -> KeptAccount | KeptHighlight | KeptItem:
    """What is meant: a number is an account's, else a highlight's, else an item's; a name that nobody bears may be an item's code.

    Raises NotHeld, naming near accounts, and UsageError where several accounts bore the name.
    """
    if isinstance(wanted, ItemTarget):
        return item(catalog, wanted)
    if wanted.highlight_pk is not None:
        return highlight(catalog, wanted.highlight_pk)
    if not pks(catalog, wanted):
        other = _otherwise(catalog, wanted)
        if other is not None:
            return other
        if wanted.user_pk is not None:
            raise NotHeld(f"the archive holds no account, highlight or item {wanted.text}", _LIST_ITEMS)
        none = unknown(catalog, wanted)
        raise NotHeld(str(none), f"{none.hint}; archiver search finds by words")
    return account(catalog, wanted)


def _otherwise(catalog: Catalog, wanted: Target) -> KeptHighlight | KeptItem | None:
    """What a number or a name means that is no account's."""
    if wanted.user_pk is not None:
        return _highlight(catalog, wanted.user_pk) or _item(catalog, wanted.user_pk)
    return _by_code(catalog, wanted.text) if is_code(wanted.text) else None


def _highlight(catalog: Catalog, pk: Pk) -> KeptHighlight | None:
    with closing(catalog.stream(content.highlights, Selection(highlight_pks=(pk,)))) as found:
        return next(found, None)


def _item(catalog: Catalog, pk: Pk) -> KeptItem | None:
    with closing(catalog.stream(content.items, Selection(item_pks=(pk,)))) as found:
        return next(found, None)


def _by_code(catalog: Catalog, code: str) -> KeptItem | None:
    found = catalog.read(details.pks_by_code, code)
    return _item(catalog, found[0]) if found else None
