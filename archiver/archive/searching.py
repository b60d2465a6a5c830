"""What is found by words, in the archive that the configuration names."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from datetime import datetime

from archiver.archive import named, rows, selecting
from archiver.catalog import SearchQuery
from archiver.catalog.search import results as search_query
from archiver.config import Config
from archiver.errors import NotHeld, TargetError
from archiver.model.archived import EVERYTHING
from archiver.model.search_hits import Hit, Kind
from archiver.model.target import Target, parse_target, parse_target_or_item


def stale(config: Config) -> int:
    """How many things wait to be searched again, since another program has changed them: the next run sees to that."""
    with rows.reading(config) as catalog:
        return catalog.read(search_query.count_stale)


def is_pointer(config: Config, text: str) -> bool:
    """Whether ``text`` is a link, an id or a code of something that is kept: ``archiver show`` knows it, though no word of it is searched."""
    try:
        wanted = parse_target_or_item(text)
        with rows.reading(config) as catalog:
            named.kept(catalog, wanted)
    except (NotHeld, TargetError):
        return False
    return True


def account_among(config: Config, words: Sequence[str]) -> int | None:
    """Which of the words is the username of a held account, or ``@`` and one."""
    with rows.reading(config) as catalog:
        for at, word in enumerate(words):
            with suppress(TargetError):
                account = parse_target(word)
                is_name = account.username == word.removeprefix("@").lower()
                if is_name and named.pks(catalog, account):
                    return at
    return None


def nobody(config: Config, name: str) -> str | None:
    """That the archive holds nobody who is or was called ``name``, naming near ones; None where it does. Asked as ``archive.ask`` is."""
    with rows.reading(config, asked=True) as catalog:
        account = Target(name or "''", username=name)
        return None if named.pks(catalog, account) else str(named.unknown(catalog, account))


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

    Within ``accounts``, which may be highlights, as ``selecting.select`` takes and refuses them. Raises UsageError for a text without a word.
    """
    sought = SearchQuery.parse(text)
    with rows.reading(config) as catalog:
        within = selecting.select(catalog, accounts, EVERYTHING)
        yield from catalog.stream(
            search_query.hits,
            sought,
            user_pks=within.user_pks,
            highlight_pks=within.highlight_pks,
            kinds=kinds,
            since=since,
            limit=limit,
        )
