"""What is found by words, in the archive that the configuration names."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime

from archiver.archive import named, rows
from archiver.catalog import Sought, query
from archiver.config import Config
from archiver.model import Hit, Kind, Target


def stale(config: Config) -> int:
    """How many things wait to be searched again, since another program has changed them: the next run sees to that."""
    with rows.reading(config) as catalog:
        return catalog.read(query.stale)


def search(
    config: Config,
    text: str,
    *,
    accounts: Sequence[Target] = (),
    kinds: Collection[Kind] = (),
    since: datetime | None = None,
    limit: int | None = None,
) -> Iterator[Hit]:
    """What has all words of ``text``, best first (see ``query.search``), at most ``limit``; streamed.

    An account may be named by a username that it bore once. Raises UsageError for one that is not stored, naming near ones, and for a
    text without a word.
    """
    sought = Sought.read(text)
    with rows.reading(config) as catalog:
        pks = named.required(catalog, accounts)
        yield from catalog.stream(query.search, sought, user_pks=pks, kinds=kinds, since=since, limit=limit)
