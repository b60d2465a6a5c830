"""What a search and an SQL query return, and the parameters of a query."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum

from msgspec import Struct

from archiver.model.identity import Pk, Subject


class Kind(StrEnum):
    """A kind of result that a search can be limited to. Photos and videos are items."""

    ACCOUNT = "account"
    HIGHLIGHT = "highlight"
    ITEM = "item"
    PHOTO = "photo"
    VIDEO = "video"


class Field(StrEnum):
    """Where a searchable text comes from."""

    USERNAME = "username"
    FULL_NAME = "full_name"
    FORMER_USERNAME = "former_username"
    FORMER_FULL_NAME = "former_full_name"
    TITLE = "title"
    FORMER_TITLE = "former_title"
    HASHTAG = "hashtag"
    LOCATION = "location"
    MENTION = "mention"
    MENTION_NAME = "mention_name"
    SPONSOR = "sponsor"
    LINK = "link"
    LINK_TITLE = "link_title"
    LINK_TEXT = "link_text"


class Dated(StrEnum):
    """What the date of a hit means."""

    TAKEN = "taken_at"
    CREATED = "created_at"
    FIRST_SEEN = "first_seen_at"


class Said(Struct, frozen=True):
    """A searchable text, as stored in its row, and where it comes from."""

    field: Field
    text: str


class Hit(Struct, frozen=True):
    """An account, a highlight or an item that matches a search, with its current names.

    ``at`` is when it was made, as the API states it, or else when it was first seen; ``dated`` says which.
    ``highlight_pk`` and ``title`` of an item are those of a highlight that shows it. ``gone``: whether it is
    no longer shown. ``matched``: the texts that contain a search word. ``source``: the tool that has seen it,
    if no answer has.
    """

    subject: Subject
    subject_pk: Pk
    kind: Kind
    at: datetime
    dated: Dated
    user_pk: Pk | None
    username: str | None
    highlight_pk: Pk | None
    title: str | None
    code: str | None
    gone: bool
    matched: tuple[Said, ...]
    source: str | None = None


NO_LIMIT = 10**9
"""A row limit that means all rows: larger than what fits into memory, and accepted by every database."""

Value = str | int | float | None
"""The value of a parameter of a query."""


class Rows(Struct, frozen=True):
    """The result of a query: column names, and rows of plain values.

    Those are str, int, float, bool, None, bytes, datetime, dict and list. ``truncated``: whether there are
    more rows.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]
    truncated: bool = False


class RowStream(Struct, frozen=True):
    """Like ``Rows``, but the rows are streamed and can be read only once."""

    columns: tuple[str, ...]
    rows: Iterator[tuple[object, ...]]
