"""Makes the parts of a world: pks as Instagram makes them, items, covers, avatars, and their files."""

from __future__ import annotations

import base64
import hashlib
from typing import Literal

from archiver.sandbox import media_files
from archiver.sandbox.world_objects import Role, SandboxFile, SandboxItem

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
    """Return a media pk of that second (Unix). ``number`` (below 2**23) distinguishes those of one second."""
    return str(((taken_at * 1000 - _INSTAGRAM_EPOCH) << 23) | number)


def code(pk: str) -> str:
    """Return the short code of a media pk: its number in base 64."""
    number = int(pk)
    digits = []
    while number:
        number, rest = divmod(number, 64)
        digits.append(_CODE[rest])
    return "".join(reversed(digits))


def file(
    role: Role | Literal["poster"], mark: str, base: str, *, size: int | None = None, suffix: str = ""
) -> SandboxFile:
    """Return a file with a path like Instagram's.

    ``suffix``: the end of its name, if it should not match the content.
    """
    digest = hashlib.sha256(f"{role} {mark}".encode()).digest()
    suffix = suffix or base.rpartition(".")[2]
    if role == "video":
        name = "AQ" + base64.urlsafe_b64encode(digest + digest[:16]).decode()
        return SandboxFile(f"/o1/v/t2/f2/m78/{name}.{suffix}", base, f"{mark} {role}", size)
    numbers = (int.from_bytes(digest[i : i + 8]) for i in (0, 8, 16))
    first, second, third = numbers
    name = f"{first % 10**9:09}_{second % 10**17:017}_{third % 10**19:019}_n"
    return SandboxFile(f"/v/{_FOLDERS[role]}/{name}.{suffix}", base, f"{mark} {role}", size)


def item(
    pk: str,
    user_pk: str,
    taken_at: int,
    kind: Kind,
    number: int = 0,
    *,
    thumbnail_size: int | None = None,
    video_size: int | None = None,
) -> SandboxItem:
    """Return a story item with its files. ``number`` selects its picture or video."""
    photo = media_files.PHOTOS[number % len(media_files.PHOTOS)]
    if kind == "photo":
        return SandboxItem(pk, user_pk, taken_at, file("thumbnail", pk, photo, size=thumbnail_size))
    clip = media_files.VIDEOS[number % len(media_files.VIDEOS)]
    return SandboxItem(
        pk,
        user_pk,
        taken_at,
        file("poster", pk, photo, size=thumbnail_size),
        file("video", pk, clip, size=video_size),
        media_type=2,
        duration=1.0,
    )


def cover(highlight_pk: str, version: int = 0) -> SandboxFile:
    """Return the cover of a highlight, 150x150."""
    return file("cover", f"{highlight_pk} {version}", media_files.COVER)


def avatar(user_pk: str, version: int = 0) -> SandboxFile:
    """Return the avatar of an account, 150x150."""
    return file("avatar", f"{user_pk} {version}", media_files.AVATAR)
