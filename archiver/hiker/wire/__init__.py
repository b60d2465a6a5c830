"""Parsers of API answers, which return objects of the model. Pure.

Only this package knows the names of the API's fields. ``read_document`` parses the JSON of an answer, once
for all other functions. ``parse_outcome`` returns what the answer means. The others read an answer that is
OK, and raise AnswerMalformed if it is not what its endpoint promises.
Sources: the vendor's example answers and HIKERAPI.md.

- A pk is required, and so is the owner of a highlight if the call does not name it. An entry without them is
  rejected; the other entries are kept.
- Everything else is optional: a value that is null, absent or of a wrong type or range (a negative count, a
  date in the year 60000) is None.
- An entry of a side list (mention, link, hashtag, sticker …) with no usable value is left out. The stored
  answer still has it.
"""

from __future__ import annotations

from archiver.hiker.wire.answer_parser import (
    join_pages,
    parse_balance,
    parse_highlight_page,
    parse_tray,
    parse_tray_page,
    parse_user,
)
from archiver.hiker.wire.call_outcomes import parse_outcome
from archiver.hiker.wire.json_document import PARSE_LOCK, Document, read_document
from archiver.hiker.wire.shapes import ENTRIES_MAX

__all__ = [
    "ENTRIES_MAX",
    "PARSE_LOCK",
    "Document",
    "join_pages",
    "parse_balance",
    "parse_highlight_page",
    "parse_outcome",
    "parse_tray",
    "parse_tray_page",
    "parse_user",
    "read_document",
]
