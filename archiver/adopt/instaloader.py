"""Files as instaloader 4.16 writes them (its ``instaloader.py`` and ``structures.py``).

Highlights: ``<profile>/<title>/<time>_UTC.{jpg,mp4}``, with metadata in ``<time>_UTC.json.xz`` (or
``.json``): ``instaloader.node_type`` is ``StoryItem``, and ``node.id`` is the pk of the item. The pk of the
highlight is nowhere. Two items of the same second get the same name: the picture or video is then that of the
first, the metadata that of the last.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from archiver.adopt.candidate import COVER, POST, STAMP, Candidate, Recognition, parse_stamp, split_extension
from archiver.adopt.foreign_directory import ForeignDirectory, MetadataUnreadable
from archiver.model.foreign_files import ForeignTool
from archiver.model.identity import is_pk

_NAME = re.compile(rf"({STAMP})_UTC(?:_([0-9]+|cover|profile_pic))?\.[0-9A-Za-z]{{1,10}}", re.ASCII)
_REFUSED = {"cover": COVER, "profile_pic": "a profile picture: the next run downloads it"}


def recognize(directory: ForeignDirectory, name: str) -> Recognition:
    """Recognize a file of instaloader: by its metadata, or by the second in its name."""
    named = _NAME.fullmatch(name)
    if named is not None and named[2] is not None:
        return _REFUSED.get(named[2], "one of several files of a post")
    stem = split_extension(name)
    for metadata_name in (f"{stem}.json.xz", f"{stem}.json"):
        if metadata_name in directory.names:
            try:
                metadata = directory.read_metadata(metadata_name)
            except MetadataUnreadable as error:
                return None if named is None else f"its metadata: {error}"
            if _node_type(metadata) is not None:
                return _by_metadata(directory, metadata)
    taken_at = parse_stamp(named[1]) if named is not None else None
    if taken_at is None:
        return None
    username = directory.path.parent.name
    return Candidate(ForeignTool.INSTALOADER, None, username=username, taken_at=taken_at)


def _by_metadata(directory: ForeignDirectory, metadata: object) -> Recognition:
    if _node_type(metadata) != "StoryItem":
        return POST
    node = _member(metadata, "node")
    item_pk = str(_member(node, "id"))
    if not is_pk(item_pk):
        return "its metadata names no item"
    username = _member(_member(node, "owner"), "username")
    return Candidate(
        ForeignTool.INSTALOADER,
        item_pk,
        username=username if isinstance(username, str) and username else directory.path.parent.name,
        is_picture=_member(node, "is_video") is False,
    )


def _node_type(metadata: object) -> object:
    return _member(_member(metadata, "instaloader"), "node_type")


def _member(value: object, name: str) -> object:
    return value.get(name) if isinstance(value, Mapping) else None
