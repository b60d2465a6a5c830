"""What items carry: their mentions, links, hashtags, locations, stickers, reshares and sponsors."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, TypedDict, cast

from sqlalchemy import Connection, Table, bindparam, select

from archiver.catalog import tables
from archiver.model.identity import Pk
from archiver.model.upstream import Hashtag, Location, Mention, Reshare, Sponsor, Sticker, WebLink


class Carried(TypedDict, total=False):
    """Those fields of a KeptItem of which it may have several."""

    mentions: tuple[Mention, ...]
    web_links: tuple[WebLink, ...]
    hashtags: tuple[Hashtag, ...]
    locations: tuple[Location, ...]
    stickers: tuple[Sticker, ...]
    reshares: tuple[Reshare, ...]
    sponsors: tuple[Sponsor, ...]


_KINDS: tuple[tuple[str, Table, type[Any]], ...] = (
    ("mentions", tables.mentions, Mention),
    ("web_links", tables.links, WebLink),
    ("hashtags", tables.hashtags, Hashtag),
    ("locations", tables.locations, Location),
    ("stickers", tables.stickers, Sticker),
    ("reshares", tables.reshares, Reshare),
    ("sponsors", tables.sponsors, Sponsor),
)


def entries_of(connection: Connection, item_pks: Sequence[Pk]) -> dict[Pk, Carried]:
    """What these items carry, in the order of the answers; nothing for an item that carries nothing."""
    found: dict[Pk, dict[str, Any]] = defaultdict(dict)
    for name, table, kind in _KINDS:
        columns = [table.c[column.name] for column in fields(kind)]
        question = (
            select(table.c.item_pk, *columns)
            .where(table.c.item_pk.in_(bindparam("pks", expanding=True)))
            .order_by(table.c.item_pk, table.c.position)
        )
        for item_pk, *values in connection.execute(question, {"pks": list(item_pks)}):
            found[item_pk][name] = (*found[item_pk].get(name, ()), kind(*values))
    return cast("dict[Pk, Carried]", found)
