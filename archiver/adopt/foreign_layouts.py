"""What the name, the folder and the metadata of another tool's file say about it, tool by tool."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from msgspec import Struct

from archiver.adopt.foreign_directory import ForeignDirectory, MetadataFile, MetadataUnreadable
from archiver.model.foreign_files import ForeignTool
from archiver.model.identity import Pk, is_pk
from archiver.model.values import replace

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

STAMP = r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d"
"""A time, in UTC, as insta-dl and instaloader write it in names."""


def parse_stamp(text: str) -> datetime | None:
    """Return a time that matches ``STAMP``, aware and in UTC; None for an impossible one (30 February)."""
    try:
        return datetime.strptime(text, "%Y-%m-%d_%H-%M-%S").replace(tzinfo=UTC)
    except ValueError:
        return None


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


# --- instaloader

_INSTALOADER_NAME = re.compile(
    rf"({STAMP})_UTC(?:_([0-9]+|cover|profile_pic))?\.[0-9A-Za-z]{{1,10}}", re.ASCII
)
_INSTALOADER_STORIES = (":stories", "\uff1astories")  # the latter on Windows
_INSTALOADER_REFUSED = {
    "cover": COVER,
    "profile_pic": "a profile picture: a run downloads it, while Instagram shows it",
}


def recognize_instaloader(directory: ForeignDirectory, name: str) -> Recognition:
    """Recognize a file of instaloader: by its metadata, or by the second in its name.

    Its files are as instaloader 4.16 writes them (its ``instaloader.py`` and ``structures.py``).

    Highlights: ``<profile>/<title>/<time>_UTC.{jpg,mp4}``, with metadata in ``<time>_UTC.json.xz`` (or
    ``.json``): ``instaloader.node_type`` is ``StoryItem``, ``node.id`` is the pk of the item,
    ``node.owner`` its account, ``node.taken_at_timestamp`` its time. The pk of the highlight is nowhere;
    its title is the name of the folder. Two items of the same second get the same name: the picture or
    video is then that of the first, the metadata that of the last. Stories are saved in ``:stories/`` or
    ``<profile>/``, with the same metadata.
    """
    named = _INSTALOADER_NAME.fullmatch(name)
    if named is not None and named[2] is not None:
        return _INSTALOADER_REFUSED.get(named[2], "one of several files of a post")
    stem = re.sub(r"\.[0-9A-Za-z]+\Z", "", name)
    taken_at = parse_stamp(named[1]) if named is not None else None
    for metadata_name in (f"{stem}.json.xz", f"{stem}.json"):
        if metadata_name in directory.names:
            try:
                file = directory.read_metadata(metadata_name)
            except MetadataUnreadable as error:
                return None if named is None else f"its metadata: {error}"
            if _node_type(file.value) is not None:
                found = _by_instaloader_metadata(directory, file.value, taken_at)
                return replace(found, metadata=file) if isinstance(found, Candidate) else found
    if taken_at is None:
        return None
    username = directory.path.parent.name
    return Candidate(ForeignTool.INSTALOADER, None, username=username, taken_at=taken_at)


def _by_instaloader_metadata(
    directory: ForeignDirectory, metadata: object, named_at: datetime | None
) -> Recognition:
    """Return what metadata says. ``named_at``: the time in the name, which the user may have changed."""
    if _node_type(metadata) != "StoryItem":
        return POST
    node = _member(metadata, "node")
    item_pk = read_pk(_member(node, "id"))
    if item_pk is None:
        return "its metadata names no item"
    owner, folder, is_video = _member(node, "owner"), directory.path, _member(node, "is_video")
    username = read_text(_member(owner, "username"))
    is_of_highlight = folder.name not in (*_INSTALOADER_STORIES, username)
    return Candidate(
        ForeignTool.INSTALOADER,
        item_pk,
        username=username or folder.parent.name,
        taken_at=read_seconds(_member(node, "taken_at_timestamp")) or named_at,
        is_picture=is_video is False,
        user_pk=read_pk(_member(owner, "id")),
        title=folder.name if is_of_highlight else None,
        is_poster=is_video is True,
    )


def _node_type(metadata: object) -> object:
    return _member(_member(metadata, "instaloader"), "node_type")


def _member(value: object, name: str) -> object:
    return value.get(name) if isinstance(value, Mapping) else None


# --- insta-dl

_INSTA_DL_ITEM = re.compile(rf"({STAMP})_([0-9]{{1,40}})(_[0-9]+)?\.[0-9A-Za-z]{{1,10}}", re.ASCII)
_INSTA_DL_POST = re.compile(rf"{STAMP}_(?!UTC[_.])[0-9A-Za-z_-]{{5,}}\.[0-9A-Za-z]{{1,10}}", re.ASCII)
_INSTA_DL_HIGHLIGHT = re.compile(r"([0-9]{1,40})(?:_(.*))?", re.DOTALL)


def recognize_insta_dl(directory: ForeignDirectory, name: str) -> Recognition:
    """Recognize a file of insta-dl. The name of its directory begins with the pk of its highlight.

    Its files are as insta-dl 0.1.8 (package instagram-dl) writes them, in its ``filestore.py`` and
    ``downloader.py``.

    Highlights: ``<dest>/<username>/highlights/<highlight pk>_<title>/<time>_<item pk>[_<n>].<ext>``.
    Stories are in ``<username>/stories/`` under names of the same form; posts in ``<username>/`` itself,
    under their code.
    """
    item, path = _INSTA_DL_ITEM.fullmatch(name), directory.path
    highlight = _INSTA_DL_HIGHLIGHT.fullmatch(path.name) if path.parent.name == "highlights" else None
    if item is not None and (highlight is not None or path.name == "stories"):
        if item[3] is not None:
            return f"a second file of the same item (insta-dl adds {item[3]})"
        taken_at = parse_stamp(item[1])
        if highlight is None:
            return Candidate(ForeignTool.INSTA_DL, item[2], username=path.parent.name, taken_at=taken_at)
        return Candidate(
            ForeignTool.INSTA_DL,
            item[2],
            highlight[1],
            path.parent.parent.name,
            taken_at,
            title=highlight[2] or None,
        )
    return POST if _INSTA_DL_POST.fullmatch(name) else None


# --- gallery-dl

_GALLERY_DL_NAME = re.compile(r"([0-9]+_)?([0-9]{1,40})(p?)\.[0-9A-Za-z]{1,10}", re.ASCII)
_GALLERY_DL_COVER = re.compile(r"[0-9]+_cover\.[0-9A-Za-z]{1,10}", re.ASCII)


def recognize_gallery_dl(directory: ForeignDirectory, name: str) -> Recognition:
    """Recognize a file of gallery-dl. Only its metadata tells a highlight's file from a post's.

    Its files are as gallery-dl 1.32 writes them, in its ``extractor/instagram.py`` and
    ``postprocessor/metadata.py``.

    ``<base>/instagram/<username>/[<sidecar>_]<media id>[p].<ext>``, for highlights, stories and posts
    alike. ``p`` marks the preview picture of a video, ``<sidecar>_`` one of several files of a post, and
    ``<highlight pk>_cover`` a cover. With ``--write-metadata``, ``<name>.json`` beside a file has ``type``,
    ``post_id`` (for a highlight, its pk), ``highlight_title``, ``media_id``, ``date`` (UTC), ``owner_id``
    and ``username``.
    """
    if _GALLERY_DL_COVER.fullmatch(name):
        return COVER
    named = _GALLERY_DL_NAME.fullmatch(name)
    if named is not None and named[1] is not None:
        return "one of several files of a post"
    if f"{name}.json" in directory.names:
        try:
            file = directory.read_metadata(f"{name}.json")
        except MetadataUnreadable as error:
            return None if named is None else f"its metadata: {error}"
        if isinstance(file.value, dict) and file.value.get("category") == "instagram":
            found = _by_gallery_dl_metadata(directory, file.value, named and f"{named[2]}{named[3]}")
            return replace(found, metadata=file) if isinstance(found, Candidate) else found
    username = directory.path.name
    return named and Candidate(
        ForeignTool.GALLERY_DL,
        named[2],
        username=username,
        is_picture=bool(named[3]),
        is_poster=bool(named[3]),
    )


def _by_gallery_dl_metadata(
    directory: ForeignDirectory, metadata: Mapping[str, object], named: str | None
) -> Recognition:
    media_id = read_pk(metadata.get("media_id")) or read_text(metadata.get("media_id")) or ""
    if named is not None and named != media_id:
        return "its name and its metadata name different items"
    item_pk = read_pk(media_id.removesuffix("p"))
    if item_pk is None:
        return COVER if media_id.endswith("_cover") else "its metadata names no item"
    kind = metadata.get("type", "highlight" if "highlight_title" in metadata else None)
    if kind not in ("highlight", "story", None):  # older versions state no type
        return POST
    is_highlight, is_poster = kind == "highlight", media_id.endswith("p")
    return Candidate(
        ForeignTool.GALLERY_DL,
        item_pk,
        read_pk(metadata.get("post_id")) if is_highlight else None,
        read_text(metadata.get("username")) or directory.path.name,
        read_time(metadata.get("date")),
        is_picture=is_poster,
        user_pk=read_pk(metadata.get("owner_id")),
        title=read_text(metadata.get("highlight_title")) if is_highlight else None,
        is_poster=is_poster,
    )


RECOGNIZERS: dict[ForeignTool, Callable[[ForeignDirectory, str], Recognition]] = {
    ForeignTool.INSTALOADER: recognize_instaloader,
    ForeignTool.INSTA_DL: recognize_insta_dl,
    ForeignTool.GALLERY_DL: recognize_gallery_dl,
}
"""The tools in the order in which they are tried. No file name matches two of them."""
