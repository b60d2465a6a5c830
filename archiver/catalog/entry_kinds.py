"""The kinds of entries that an item can have: each is a table, a field of the item, and a struct."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any

from msgspec import Struct

from archiver.model.query_results import Field
from archiver.model.upstream import Hashtag, Location, Mention, Reshare, Sponsor, Sticker, WebLink

Entry = Any  # a value of the model, or the row that it became: both have the columns as attributes


class EntryKind(Struct, frozen=True):
    """A kind of entries. ``table`` has the fields of ``struct`` as columns; its key is (item_pk, position).

    ``field``: the field of ``Item`` and ``KeptItem``. ``id`` or else ``name`` of an entry identifies it.
    ``searched``: the columns that a search finds. ``derived``: columns that are properties of ``struct``.
    """

    table: str
    field: str
    struct: type[Struct]
    id: Callable[[Entry], object]
    name: Callable[[Entry], object] = lambda entry: None
    searched: Mapping[str, Field] = {}
    derived: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the columns of the table, without its key."""
        return (*self.struct.__struct_fields__, *self.derived)

    def identify(self, entry: Entry) -> object:
        """Return what is the same for an entry in each answer that shows it."""
        return self.id(entry) or self.name(entry)

    def may_be_same(self, one: Entry, other: Entry) -> bool:
        """Return whether two entries may be the same: one answer has the id, the other only the name."""
        is_id_missing = not self.id(one) or not self.id(other)
        return is_id_missing and self.name(one) is not None and self.name(one) == self.name(other)


# By name: reading does not load the declared tables.
ENTRY_KINDS = (
    EntryKind(
        "mentions",
        "mentions",
        Mention,
        attrgetter("user_pk"),
        attrgetter("username"),
        searched={"username": Field.MENTION, "full_name": Field.MENTION_NAME},
    ),
    EntryKind(
        "links",
        "web_links",
        WebLink,
        attrgetter("source", "url"),
        searched={"url": Field.LINK, "title": Field.LINK_TITLE, "display_url": Field.LINK_TEXT},
        derived=("domain",),
    ),
    EntryKind(
        "hashtags",
        "hashtags",
        Hashtag,
        attrgetter("name"),
        attrgetter("hashtag_pk"),
        searched={"name": Field.HASHTAG},
    ),
    EntryKind(
        "locations",
        "locations",
        Location,
        attrgetter("location_pk"),
        attrgetter("name"),
        searched={"name": Field.LOCATION},
    ),
    EntryKind("stickers", "stickers", Sticker, attrgetter("kind")),
    EntryKind("reshares", "reshares", Reshare, attrgetter("media_pk"), attrgetter("media_code")),
    EntryKind(
        "sponsors",
        "sponsors",
        Sponsor,
        attrgetter("user_pk"),
        attrgetter("username"),
        searched={"username": Field.SPONSOR},
    ),
)
