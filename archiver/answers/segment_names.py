"""Segments: the files or objects that hold answers, ``YYYY/MM/<run>-<kind>-<time>-<hex>.warc.gz``.

A name is partly random, since a restored database assigns the same run ids again.
"""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime

from archiver.answers.warc_record import pack_warcinfo
from archiver.model.api_calls import Origin
from archiver.store.objects import Folder

SEGMENT = re.compile(r"([0-9]{4})/([0-9]{2})/([0-9A-Za-z][0-9A-Za-z._-]*\.warc\.gz)")
TRAYS, FETCHED = "trays", "fetched"
"""The kinds of segments: with the trays of a run, and with everything else."""
ANSWERS = Folder("answers", (re.compile("[0-9]{4}"), re.compile("[0-9]{2}")), SEGMENT)
_SEGMENT_OF_RUN = re.compile(
    r"[0-9]{4}/[0-9]{2}/([0-9]{1,18})"
    rf"-({TRAYS}|{FETCHED})-"
    r"([0-9]{8}T[0-9]{6})Z-[0-9a-f]+\.warc\.gz"
)

_LAST_PART = re.compile(r"(-[0-9a-f]+)?\.warc\.gz$")


def new_segment(run_id: int, started_at: datetime, kind: str) -> str:
    """Return the name of a new segment of a run. ``started_at``, in UTC, decides the month."""
    return f"{started_at:%Y/%m}/{run_id}-{kind}-{started_at:%Y%m%dT%H%M%SZ}-{secrets.token_hex(8)}.warc.gz"


def rename_segment(segment: str) -> str:
    """Return the name of a segment that is to replace this one: of the same run, kind and time."""
    return f"{_LAST_PART.sub('', segment)}-{secrets.token_hex(8)}.warc.gz"


def pack_head(segment: str, started_at: datetime, archive_id: str) -> bytes:
    """Return the first record of a segment, which says what the others are. ``archive_id``: may be ''."""
    file = segment.rpartition("/")[2]
    run_id, kind, *_ = file.split("-")
    facts = {
        "software": "archiver",
        "format": "WARC File Format 1.1",
        "description": f"answers of run {run_id}: {kind}",
    }
    if archive_id:
        facts["isPartOf"] = archive_id
    return pack_warcinfo(file, started_at, facts)


def parse_origin(segment: str) -> Origin | None:
    """Return the run that a segment belongs to; None for a name that this program does not create."""
    match = _SEGMENT_OF_RUN.fullmatch(segment)
    if match is None:
        return None
    try:
        started_at = datetime.strptime(match[3], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None
    return Origin(started_at, int(match[1]))


def holds_trays(segment: str) -> bool:
    """Return whether a segment holds trays, according to its name."""
    match = _SEGMENT_OF_RUN.fullmatch(segment)
    return match is not None and match[2] == TRAYS
