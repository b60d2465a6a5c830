"""The kinds of entries that an item can have: each is a table, a field of the item, and a struct."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from archiver.model.query_results import Field
from archiver.model.upstream import Hashtag, Location, Mention, Reshare, Sponsor, Sticker, WebLink


class EntryKind(Struct, frozen=True):
    """A kind of entries. ``table`` has the fields of ``struct`` as columns; its key is (item_pk, position).

    ``field``: the field of ``Item`` and ``KeptItem``. ``searched``: the columns that a search finds.
    """

    table: str
    field: str
    struct: type[Struct]
    searched: Mapping[str, Field] = {}


# By name: reading does not load the declared tables.
ENTRY_KINDS = (
    EntryKind("mentions", "mentions", Mention, {"username": Field.MENTION, "full_name": Field.MENTION_NAME}),
    EntryKind(
        "links",
        "web_links",
        WebLink,
        {"url": Field.LINK, "title": Field.LINK_TITLE, "display_url": Field.LINK_TEXT},
    ),
    EntryKind("hashtags", "hashtags", Hashtag, {"name": Field.HASHTAG}),
    EntryKind("locations", "locations", Location, {"name": Field.LOCATION}),
    EntryKind("stickers", "stickers", Sticker),
    EntryKind("reshares", "reshares", Reshare),
    EntryKind("sponsors", "sponsors", Sponsor, {"username": Field.SPONSOR}),
)
