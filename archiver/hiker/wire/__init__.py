"""Answers read as the language of the program: the only place that knows the API's field names. Pure.

``verdict`` says what an Answer means; ``tray``, ``tray_page``, ``highlight_page``, ``user`` and ``balance`` read one that is OK, and
raise AnswerMalformed if it is not what its endpoint promises. Shapes: the vendor's example answers and HIKERAPI.md.

What is required: a pk (digits; or an integer; a float has lost its last digits and is refused), and an owner for a highlight of
which nobody knows whose it is. An element without them becomes a Rejected and the others stand. Everything else is optional: null,
absent or of a wrong type or range (a negative count, a NaN, a date of the year 60000) is None. An entry of a side list
(mention, link, hashtag, sticker …) that says nothing readable is left out; the kept Answer still holds it.
"""

from __future__ import annotations

from archiver.hiker.wire.answers import (
    join_pages,
    parse_balance,
    parse_highlight_page,
    parse_tray,
    parse_tray_page,
    parse_user,
)
from archiver.hiker.wire.shapes import ENTRIES_MAX
from archiver.hiker.wire.verdicts import parse_verdict

__all__ = [
    "ENTRIES_MAX",
    "join_pages",
    "parse_balance",
    "parse_highlight_page",
    "parse_tray",
    "parse_tray_page",
    "parse_user",
    "parse_verdict",
]
