"""Files as instaloader 4.16 writes them (its ``instaloader.py`` and ``structures.py``).

Highlights: ``<profile>/<title>/<time>_UTC.{jpg,mp4}``, with metadata in ``<time>_UTC.json.xz`` (or
``.json``): ``instaloader.node_type`` is ``StoryItem``, ``node.id`` is the pk of the item, ``node.owner`` its
account, ``node.taken_at_timestamp`` its time. The pk of the highlight is nowhere; its title is the name of
the folder. Two items of the same second get the same name: the picture or video is then that of the first,
the metadata that of the last. Stories are saved in ``:stories/`` or ``<profile>/``, with the same metadata.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime

from archiver.adopt.candidate import (
    COVER,
    POST,
    STAMP,
    Candidate,
    Recognition,
    parse_stamp,
    read_pk,
    read_seconds,
    read_text,
    split_extension,
)
from archiver.adopt.foreign_directory import ForeignDirectory, MetadataUnreadable
from archiver.model.foreign_files import ForeignTool
from archiver.model.values import replace

_NAME = re.compile(rf"({STAMP})_UTC(?:_([0-9]+|cover|profile_pic))?\.[0-9A-Za-z]{{1,10}}", re.ASCII)
_OF_STORIES = (":stories", "\uff1astories")  # the latter on Windows
_REFUSED = {"cover": COVER, "profile_pic": "a profile picture: a run downloads it, while Instagram shows it"}


def recognize(directory: ForeignDirectory, name: str) -> Recognition:
    """Recognize a file of instaloader: by its metadata, or by the second in its name."""
    named = _NAME.fullmatch(name)
    if named is not None and named[2] is not None:
        return _REFUSED.get(named[2], "one of several files of a post")
    stem, taken_at = split_extension(name), parse_stamp(named[1]) if named is not None else None
    for metadata_name in (f"{stem}.json.xz", f"{stem}.json"):
        if metadata_name in directory.names:
            try:
                file = directory.read_metadata(metadata_name)
            except MetadataUnreadable as error:
                return None if named is None else f"its metadata: {error}"
            if _node_type(file.value) is not None:
                found = _by_metadata(directory, file.value, taken_at)
                return replace(found, metadata=file) if isinstance(found, Candidate) else found
    if taken_at is None:
        return None
    username = directory.path.parent.name
    return Candidate(ForeignTool.INSTALOADER, None, username=username, taken_at=taken_at)


def _by_metadata(directory: ForeignDirectory, metadata: object, named_at: datetime | None) -> Recognition:
    """Return what metadata says. ``named_at``: the time in the name, which the user may have changed."""
    if _node_type(metadata) != "StoryItem":
        return POST
    node = _member(metadata, "node")
    item_pk = read_pk(_member(node, "id"))
    if item_pk is None:
        return "its metadata names no item"
    owner, folder, is_video = _member(node, "owner"), directory.path, _member(node, "is_video")
    username = read_text(_member(owner, "username"))
    is_of_highlight = folder.name not in (*_OF_STORIES, username)
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
