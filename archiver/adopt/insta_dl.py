"""Files as insta-dl 0.1.8 (package instagram-dl) writes them (its ``filestore.py`` and ``downloader.py``).

Highlights: ``<dest>/<username>/highlights/<highlight pk>_<title>/<time>_<item pk>[_<n>].<ext>``. Stories are
in ``<username>/stories/`` under names of the same form; posts in ``<username>/`` itself, under their code.
"""

from __future__ import annotations

import re

from archiver.adopt.candidate import POST, STAMP, Candidate, Recognition, parse_stamp
from archiver.adopt.foreign_directory import ForeignDirectory
from archiver.model.foreign_files import ForeignTool

_ITEM = re.compile(rf"({STAMP})_([0-9]{{1,40}})(_[0-9]+)?\.[0-9A-Za-z]{{1,10}}", re.ASCII)
_POST = re.compile(rf"{STAMP}_(?!UTC[_.])[0-9A-Za-z_-]{{5,}}\.[0-9A-Za-z]{{1,10}}", re.ASCII)
_HIGHLIGHT = re.compile(r"([0-9]{1,40})(?:_(.*))?", re.DOTALL)


def recognize(directory: ForeignDirectory, name: str) -> Recognition:
    """Recognize a file of insta-dl. The name of its directory begins with the pk of its highlight."""
    item, path = _ITEM.fullmatch(name), directory.path
    highlight = _HIGHLIGHT.fullmatch(path.name) if path.parent.name == "highlights" else None
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
    return POST if _POST.fullmatch(name) else None
