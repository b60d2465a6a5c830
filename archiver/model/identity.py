"""Pks, digests, roles, subjects, the clock and the epoch."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from enum import StrEnum

Pk = str
"""Instagram's numeric id of a user, highlight or item, as a string of digits."""

_PK = re.compile(r"[0-9]{1,40}")

ADOPTED_PREFIX = "adopted-"
"""What the pk of a highlight begins with if no tool and no answer has named its own."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""The beginning of Unix time: earlier than anything that an archive has."""


def is_pk(text: str) -> bool:
    """Return whether ``text`` can be a pk: 1 to 40 ASCII digits."""
    return _PK.fullmatch(text) is not None


def utcnow() -> datetime:
    """Return the current time, aware, in UTC.

    Code that depends on the time takes a clock instead, for tests.
    """
    return datetime.now(UTC)


class Digest(str):
    """A SHA-256 in 64 lower-case hexadecimal digits: the name of a Blob. Raises ValueError for other text."""

    __slots__ = ()

    def __new__(cls, text: str) -> Digest:
        # Called for each file of an archive: a regular expression would take five times as long.
        if len(text) != 64 or text.strip("0123456789abcdef"):
            raise ValueError("not a SHA-256 in lower-case hexadecimal")
        return str.__new__(cls, text)


class Role(StrEnum):
    """What a File is to its owner. ``thumbnail`` is the picture of a photo item, or the poster of a video.

    ``metadata`` is what another tool wrote about an item: only ``adopted`` has it.
    """

    THUMBNAIL = "thumbnail"
    VIDEO = "video"
    COVER = "cover"
    AVATAR = "avatar"
    METADATA = "metadata"


class Subject(StrEnum):
    """The kind of thing that a row of ``changes`` or ``failures`` is about."""

    USER = "user"
    HIGHLIGHT = "highlight"
    ITEM = "item"
    TARGET = "target"


MEDIA_TYPES = {"photo": 1, "video": 2}
"""The numbers of ``media_type`` in the API, by name."""
MEDIA_TYPE_NAMES: dict[int | None, str] = {number: word for word, number in MEDIA_TYPES.items()}
"""``MEDIA_TYPES`` reversed. The API may return other numbers."""
