"""What the name, the folder and the metadata of another tool's file say about it."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime

from msgspec import Struct

from archiver.adopt.foreign_directory import ForeignDirectory
from archiver.model.foreign_files import ForeignTool
from archiver.model.identity import Pk

POST = "a file of a post, not of a highlight"
COVER = "a cover: the next run downloads it"


class Candidate(Struct, frozen=True):
    """A file that may belong to an item.

    If ``item_pk`` is None, the item is the one that the account ``username`` has from the second
    ``taken_at``. ``is_picture``: its name or its metadata says that the file is a picture.
    """

    source: ForeignTool
    item_pk: Pk | None
    highlight_pk: Pk | None = None
    username: str | None = None
    taken_at: datetime | None = None
    is_picture: bool = False


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
