"""Makes the parts of a world: pks as Instagram forms them, and items, covers and avatars with their files. Pure."""

from __future__ import annotations

import base64
import hashlib
from typing import Literal

from archiver.sandbox import media
from archiver.sandbox.things import Item, Media, Role

Kind = Literal["photo", "video"]

_INSTAGRAM_EPOCH = (
    1_314_220_021_721  # milliseconds: a media pk holds the time since then above its 23 lowest bits
)
_CODE = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_FOLDERS = {
    "thumbnail": "t51.2885-15",
    "poster": "t51.71878-15",
    "cover": "t51.71878-15",
    "avatar": "t51.82787-19",
}


def media_pk(taken_at: int, number: int) -> str:
    """A media pk for that second (Unix); ``number`` (below 2**23) tells those of one second apart."""
    return str(((taken_at * 1000 - _INSTAGRAM_EPOCH) << 23) | number)


def code(pk: str) -> str:
    """The short code of a media pk: its number in base 64."""
    number = int(pk)
    digits = []
    while number:
        number, rest = divmod(number, 64)
        digits.append(_CODE[rest])
    return "".join(reversed(digits))


def file(
    role: Role | Literal["poster"], mark: str, base: str, *, size: int | None = None, suffix: str = ""
) -> Media:
    """A file for one role, with a path like Instagram's. ``suffix``: the ending of its name, if not that of its content."""
    digest = hashlib.sha256(f"{role} {mark}".encode()).digest()
    suffix = suffix or base.rpartition(".")[2]
    if role == "video":
        name = "AQ" + base64.urlsafe_b64encode(digest + digest[:16]).decode()
        return Media(f"/o1/v/t2/f2/m78/{name}.{suffix}", base, f"{mark} {role}", size)
    numbers = (int.from_bytes(digest[i : i + 8]) for i in (0, 8, 16))
    first, second, third = numbers
    name = f"{first % 10**9:09}_{second % 10**17:017}_{third % 10**19:019}_n"
    return Media(f"/v/{_FOLDERS[role]}/{name}.{suffix}", base, f"{mark} {role}", size)


def item(
    pk: str,
    user_pk: str,
    taken_at: int,
    kind: Kind,
    number: int = 0,
    *,
    thumbnail_size: int | None = None,
    video_size: int | None = None,
) -> Item:
    """A story item with its files; ``number`` chooses among the pictures at hand."""
    photo = media.PHOTOS[number % len(media.PHOTOS)]
    if kind == "photo":
        return Item(pk, user_pk, taken_at, file("thumbnail", pk, photo, size=thumbnail_size))
    clip = media.VIDEOS[number % len(media.VIDEOS)]
    return Item(
        pk,
        user_pk,
        taken_at,
        file("poster", pk, photo, size=thumbnail_size),
        file("video", pk, clip, size=video_size),
        media_type=2,
        duration=1.0,
    )


def cover(highlight_pk: str, version: int = 0) -> Media:
    """The picture of a highlight, 150x150."""
    return file("cover", f"{highlight_pk} {version}", media.COVER)


def avatar(user_pk: str, version: int = 0) -> Media:
    """The picture of an account, 150x150."""
    return file("avatar", f"{user_pk} {version}", media.AVATAR)
