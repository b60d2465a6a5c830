"""What things are called: pks, digests, roles, subjects, targets, and the one clock."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from enum import StrEnum

Pk = str
"""Instagram's numeric id of a user, highlight or item, as a string of digits."""

_PK = re.compile(r"[0-9]{1,40}")


def is_pk(text: str) -> bool:
    """Whether ``text`` can be a pk: 1 to 40 ASCII digits."""
    return _PK.fullmatch(text) is not None


def utcnow() -> datetime:
    """The current time, aware, UTC. The one clock of the program; whoever tests time passes another."""
    return datetime.now(UTC)


class Digest(str):
    """A SHA-256 in 64 lower-case hexadecimal digits: the name of a Blob. Raises ValueError for anything else."""

    __slots__ = ()

    def __new__(cls, text: str) -> Digest:
        if len(text) != 64 or text.strip(
            "0123456789abcdef"
        ):  # a pattern takes five times as long, for each file of an archive
            raise ValueError("not a SHA-256 in lower-case hexadecimal")
        return str.__new__(cls, text)


class Role(StrEnum):
    """What a File is to its owner. A photo item's picture is its ``thumbnail``; a video's poster too."""

    THUMBNAIL = "thumbnail"
    VIDEO = "video"
    COVER = "cover"
    AVATAR = "avatar"


class Subject(StrEnum):
    """What a row of ``changes`` or ``failures`` is about."""

    USER = "user"
    HIGHLIGHT = "highlight"
    ITEM = "item"
    TARGET = "target"
