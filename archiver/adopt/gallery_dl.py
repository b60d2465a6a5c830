"""Files as gallery-dl 1.32 writes them (its ``extractor/instagram.py`` and ``postprocessor/metadata.py``).

``<base>/instagram/<username>/[<sidecar>_]<media id>[p].<ext>``, for highlights, stories and posts alike.
``p`` marks the preview picture of a video, ``<sidecar>_`` one of several files of a post, and
``<highlight pk>_cover`` a cover. With ``--write-metadata``, ``<name>.json`` beside a file has ``type``,
``post_id`` (for a highlight, its pk), ``highlight_title``, ``media_id``, ``date`` (UTC), ``owner_id`` and
``username``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from archiver.adopt.candidate import (
    COVER,
    POST,
    Candidate,
    Recognition,
    read_pk,
    read_text,
    read_time,
)
from archiver.adopt.foreign_directory import ForeignDirectory, MetadataUnreadable
from archiver.model.foreign_files import ForeignTool
from archiver.model.values import replace

_NAME = re.compile(r"([0-9]+_)?([0-9]{1,40})(p?)\.[0-9A-Za-z]{1,10}", re.ASCII)
_COVER = re.compile(r"[0-9]+_cover\.[0-9A-Za-z]{1,10}", re.ASCII)


def recognize(directory: ForeignDirectory, name: str) -> Recognition:
    """Recognize a file of gallery-dl. Only its metadata tells a highlight's file from a post's."""
    if _COVER.fullmatch(name):
        return COVER
    named = _NAME.fullmatch(name)
    if named is not None and named[1] is not None:
        return "one of several files of a post"
    if f"{name}.json" in directory.names:
        try:
            file = directory.read_metadata(f"{name}.json")
        except MetadataUnreadable as error:
            return None if named is None else f"its metadata: {error}"
        if isinstance(file.value, dict) and file.value.get("category") == "instagram":
            found = _by_metadata(directory, file.value, named and f"{named[2]}{named[3]}")
            return replace(found, metadata=file) if isinstance(found, Candidate) else found
    username = directory.path.name
    return named and Candidate(
        ForeignTool.GALLERY_DL,
        named[2],
        username=username,
        is_picture=bool(named[3]),
        is_poster=bool(named[3]),
    )


def _by_metadata(
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
