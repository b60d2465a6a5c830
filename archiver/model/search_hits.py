"""What a search finds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from archiver.model.identity import Pk, Subject


class Kind(StrEnum):
    """What may be searched for alone; photos and videos are items."""

    ACCOUNT = "account"
    HIGHLIGHT = "highlight"
    ITEM = "item"
    PHOTO = "photo"
    VIDEO = "video"


class Field(StrEnum):
    """Where a text stands that is searched."""

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
    """What the date of something is."""

    TAKEN = "taken_at"
    CREATED = "created_at"
    FIRST_SEEN = "first_seen_at"


@dataclass(frozen=True, slots=True)
class Said:
    """A text that is searched, as it stands in its row, and where."""

    field: Field
    text: str


@dataclass(frozen=True, slots=True)
class Hit:
    """An account, a highlight or an item that was found, with the names that a person needs, as they are now.

    ``at`` is when it was made, as upstream says, else first seen: ``dated`` tells which. ``highlight_pk`` and ``title`` of an item are those of a highlight that shows
    it. ``gone``: it is shown no more. ``matched`` are its texts in which something that was sought stands.
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
