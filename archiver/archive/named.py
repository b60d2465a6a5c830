"""Which stored accounts a person means."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from archiver.catalog import Catalog, query
from archiver.errors import UsageError
from archiver.model import Pk, Target


def pks(catalog: Catalog, account: Target) -> Sequence[Pk]:
    """The stored account of that pk or present name, else those that bore the name once; () where the archive holds none.

    Raises UsageError for what is no account.
    """
    if account.user_pk is None and account.username is None:
        raise UsageError(f"{account.text} is no account", "name one by its username or id")
    if account.user_pk is not None and catalog.read(query.user, account.user_pk) is not None:
        return (account.user_pk,)
    if account.username is None:
        return ()
    present = catalog.read(query.user_pk_by_name, account.username)
    return (present,) if present is not None else catalog.read(query.once_called, account.username)


def required(catalog: Catalog, accounts: Sequence[Target]) -> Sequence[Pk]:
    """The stored accounts that these mean, each once. Raises UsageError for one of which the archive holds none, naming near ones."""
    found: set[Pk] = set()
    for account in accounts:
        those = pks(catalog, account)
        if not those:
            raise unknown(catalog, account)
        found.update(those)
    return sorted(found)


def unknown(catalog: Catalog, account: Target) -> UsageError:
    """That the archive holds no such account, naming near ones."""
    near = difflib.get_close_matches(account.username or "", catalog.stream(query.usernames), n=2)
    meant = f"; did you mean {' or '.join(near)}?" if near else ""
    return UsageError(
        f"the archive holds no account {account.text}{meant}",
        'archiver query "SELECT pk, username FROM users" lists them',
    )
