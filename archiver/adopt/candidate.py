"""What the name, the folder and the metadata of another tool's file say about it."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime

from msgspec import Struct

from archiver.adopt.foreign_directory import ForeignDirectory, MetadataFile
from archiver.model.foreign_files import ForeignTool
from archiver.model.identity import Pk, is_pk

POST = "a file of a post, not of a highlight"
COVER = "a cover: a run downloads it, while Instagram shows it"


class Candidate(Struct, frozen=True):
    """A file that may belong to an item, and what its name, its folders and its metadata say.

    If ``item_pk`` is None, the item is the one that the account ``username`` has from the second
    ``taken_at``. ``is_picture``: its name or its metadata says that the file is a picture; ``is_poster``: of
    a video. ``metadata``: the metadata file beside it.
    """

    source: ForeignTool
    item_pk: Pk | None
    highlight_pk: Pk | None = None
    username: str | None = None
    taken_at: datetime | None = None
    is_picture: bool = False
    user_pk: Pk | None = None
    title: str | None = None
    is_poster: bool = False
    metadata: MetadataFile | None = None


Recognition = Candidate | str | None
"""A candidate; or the reason why a file of this tool is refused; or None if it is not from this tool."""

Recognizer = Callable[[ForeignDirectory, str], Recognition]
"""A function that recognizes a file of one tool by its directory and its name."""

STAMP = r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d"
"""A time, in UTC, as insta-dl and instaloader write it in names."""

_STAMP_FORMAT = "%Y-%m-%d_%H-%M-%S"


def parse_stamp(text: str) -> datetime | None:
    """Return a time that matches ``STAMP``, aware and in UTC; None for an impossible one (30 February)."""
    try:
        return datetime.strptime(text, _STAMP_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        return None


def split_extension(name: str) -> str:
    """Return a name without its extension: the last dot and the ASCII letters and digits after it."""
    return re.sub(r"\.[0-9A-Za-z]+\Z", "", name)


def read_pk(value: object) -> Pk | None:
    """Return a pk from a value of another tool's metadata: digits, as text or as a number."""
    text = str(value) if isinstance(value, str) or (type(value) is int and 0 <= value < 1 << 64) else ""
    return text if is_pk(text) else None


def read_text(value: object) -> str | None:
    """Return a text of another tool's metadata; None if it is empty or something else."""
    return value if isinstance(value, str) and value else None


def read_seconds(value: object) -> datetime | None:
    """Return a time from Unix seconds in another tool's metadata, aware and in UTC."""
    if type(value) is not int:
        return None
    try:
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def read_time(value: object) -> datetime | None:
    """Return a time from ISO 8601 in another tool's metadata: UTC if it states no offset."""
    try:
        at = datetime.fromisoformat(value) if isinstance(value, str) else None
        return at if at is None else at.replace(tzinfo=at.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
