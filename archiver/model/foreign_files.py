"""Files that other tools downloaded, and what becomes of them when an archive adopts them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from msgspec import Struct

from archiver.model.archived import Blob
from archiver.model.identity import Pk, Role


class ForeignTool(StrEnum):
    """A tool whose folders can be adopted: the values of ``files.source`` and ``adopted.source``."""

    INSTA_DL = "insta-dl"
    GALLERY_DL = "gallery-dl"
    INSTALOADER = "instaloader"


class ForeignFile(Struct, frozen=True):
    """A file of an item, and what the other tool says about it: by its name, its folders and its metadata.

    ``highlight_pk`` and ``title``: the highlight in which the tool found the item. ``username`` and
    ``user_pk``: the account. ``taken_at``: aware, in UTC. ``is_poster``: the picture of a video.
    ``file_name`` is that of a metadata file.
    """

    source: ForeignTool
    item_pk: Pk
    role: Role
    highlight_pk: Pk | None = None
    username: str | None = None
    user_pk: Pk | None = None
    title: str | None = None
    taken_at: datetime | None = None
    is_poster: bool = False
    file_name: str | None = None


class WaitingFile(Struct, frozen=True):
    """An adopted file that waits for its item: a row of ``adopted`` with its blob.

    ``reason``: why it still waits although its item is known; None if no answer has reported the item yet.
    ``lost_at``: when its bytes were found to be missing. The rest is as in ForeignFile.
    """

    item_pk: Pk
    highlight_pk: Pk | None
    role: Role
    blob: Blob
    username: str | None
    source: str
    adopted_at: datetime
    reason: str | None = None
    lost_at: datetime | None = None
    user_pk: Pk | None = None
    title: str | None = None
    taken_at: datetime | None = None


class Fate(StrEnum):
    """What becomes of a file of another tool."""

    ADOPTED = "adopted"  # recorded as a file of its item
    WAITING = "waiting"  # stored until an answer reports the item
    KNOWN = "known"  # the archive has these bytes in this place
    REFUSED = "refused"  # left alone


class AdoptionResult(Struct, frozen=True):
    """What became of a file, why if it is refused, and whether metadata was recorded with it."""

    fate: Fate
    reason: str = ""
    has_new_metadata: bool = False


class RefusedFile(Struct, frozen=True):
    """A file or directory that was left alone: its path, absolute, and the reason."""

    path: str
    reason: str


class AdoptionReport(Struct, frozen=True):
    """What became of the files of other tools: counts, and the refused ones.

    ``bytes``: the total size of the adopted and waiting files. ``metadata``: how many metadata files of the
    other tools were stored; they count nowhere else.
    """

    adopted: int
    waiting: int
    known: int
    refused: tuple[RefusedFile, ...]
    bytes: int = 0
    metadata: int = 0
