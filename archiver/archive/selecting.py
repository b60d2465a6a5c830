"""Which part of an archive a person means, by what is stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from archiver.archive import named
from archiver.catalog import Catalog
from archiver.errors import UsageError
from archiver.model.archived import Selection
from archiver.model.target import Target


def select(catalog: Catalog, targets: Sequence[Target], narrowed: Selection) -> Selection:
    """``narrowed``, within the accounts and highlights that the targets name; all of them where there are none.

    An account may be named by a username that it bore once. Raises UsageError for a target that is not stored, naming near ones.
    """
    user_pks = named.required(catalog, [target for target in targets if target.highlight_pk is None])
    highlight_pks = [
        named.highlight(catalog, target.highlight_pk).pk
        for target in targets
        if target.highlight_pk is not None
    ]
    if user_pks and highlight_pks:
        raise UsageError("accounts and single highlights cannot be asked for together", "ask twice")
    return replace(narrowed, user_pks=tuple(user_pks), highlight_pks=tuple(highlight_pks))
