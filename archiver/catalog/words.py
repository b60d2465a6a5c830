"""Text → the words by which it is found, the same on every database. Pure.

Letters and digits are folded (NFKC, case, accents of alphabets that have them: café = cafe) and cut into words. A word is of one script:
letters of others are much used as ornaments, and 𓆩salwa𓆪 is found as salwa. Scripts without spaces become pairs of characters and a last
single one, so that every part of them is the beginning of a word. An emoji is a word of its own: skin tones are left out, families become
their members, a flag is one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from enum import Enum, auto
from functools import lru_cache
from itertools import groupby
from urllib.parse import parse_qs, unquote, urlsplit

GAP = "|"
"""Stands between two texts of one field, so that no phrase is found across them. No word has it."""

_LONGEST = 64
"""Characters of a word, so at most 256 bytes (PostgreSQL takes 2,046); a longer one is cut into several that follow each other."""
_FIELD_WORDS, _FIELD_BYTES = 4_000, 200_000
"""Of one field. PostgreSQL's tsvector counts positions up to 16,383, and takes one megabyte; there are four fields."""

_ASCII = re.compile(r"[a-z0-9]+")
_SIGN = re.compile(
    "[\U0001f1e6-\U0001f1ff]{2}|\U0001f3f4[\U000e0020-\U000e007e]{1,8}\U000e007f|[^\U000e0020-\U000e007f]"
)
_PLAIN = str.maketrans(
    "ıøłđħŧ" + "ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘꞯʀꜱᴛᴜᴠᴡʏᴢ",  # to Unicode no letters with a mark, and none of a font
    "ioldht" + "abcdefghijklmnopqrstuvwyz",
)
# Latin to Arabic: there, marks over a letter are often left out when it is typed. Elsewhere they tell words apart.
_ACCENTED = (
    (0x0000, 0x06FF),
    (0x1C80, 0x1C8F),
    (0x1D00, 0x1FFF),
    (0x2C60, 0x2C7F),
    (0xA640, 0xA69F),
    (0xA720, 0xA7FF),
    (0xAB30, 0xAB6F),
)
_WITHOUT_SPACES = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1100, 0x11FF),  # Hangul: it has spaces, but words grow together
    (0x1780, 0x17FF),  # Khmer
    (0x19E0, 0x19FF),
    (0x2E80, 0x2FDF),
    (0x3005, 0x3007),
    (0x3021, 0x312F),  # Hiragana, Katakana, Bopomofo
    (0x3130, 0x318F),
    (0x31A0, 0x31FF),
    (0x3400, 0x4DBF),  # Han
    (0x4E00, 0x9FFF),
    (0xA960, 0xA97F),
    (0xA9E0, 0xA9FF),
    (0xAA60, 0xAA7F),
    (0xAC00, 0xD7FF),
    (0xF900, 0xFAFF),
    (0x1AFF0, 0x1B16F),
    (0x20000, 0x3FFFF),
)
_WINGS = frozenset("ʚɞ")
"""Two Latin letters that no language of today writes, and many a name wears."""
_LOOSE = "loose"
_WITH_LOOSE = frozenset({"LATIN", "GREEK", "CYRILLIC", "ARMENIAN", "HEBREW", "ARABIC"})
"""The scripts whose words have digits in them, as covid19; so the 2 of 𓆩2pac𓆪 is of what follows."""
_SHIM = "l.instagram.com"


class _Kind(Enum):
    WORD = auto()
    RUN = auto()  # of a script without spaces
    SIGN = auto()  # emoji and their like: each is a word
    NOTHING = auto()  # as if it were not there: joiners, variation selectors, skin tones, marks of direction
    BREAK = auto()


def words(text: str) -> list[str]:
    """The words of ``text`` in its order, each without blanks, quotes or control characters."""
    return [word for _, found in _cut(text) for word in found]


def sought(text: str, *, whole: bool = False) -> tuple[tuple[str, ...], bool]:
    """The words that must follow each other where ``text`` is found, and whether the last of them may be the beginning of one.

    () where ``text`` has no words. With ``whole`` the last word must end too; in scripts without spaces nobody knows where one ends.
    """
    parts = list(_cut(text))
    if not parts:
        return (), False
    found = [word for _, part in parts for word in part]
    kind, last = parts[-1]
    if kind is _Kind.RUN:
        return (tuple(found), True) if len(last) == 1 else (tuple(found[:-1]), False)
    return tuple(found), kind is _Kind.WORD and not whole


def field(texts: Iterable[str]) -> str:
    """The words of several texts as one field of a document: divided by blanks, and the texts by ``GAP``.

    A text that comes twice counts once. What is beyond some thousand words cannot be searched for.
    """
    kept: list[str] = []
    seen: set[tuple[str, ...]] = set()
    size = 0
    for text in texts:
        found = tuple(words(text[:_FIELD_BYTES]))
        if not found or found in seen:
            continue
        seen.add(found)
        for word in (GAP, *found) if kept else found:
            size += len(word.encode()) + 1
            if len(kept) >= _FIELD_WORDS or size > _FIELD_BYTES:
                return " ".join(kept)
            kept.append(word)
    return " ".join(kept)


def address(url: str) -> str:
    """What is searched for of a web address: its host and path. Of one that goes by way of Instagram the one it goes to."""
    for _ in range(2):
        try:
            parts = urlsplit(url if "://" in url else f"//{url}")
            host = parts.hostname or ""
        except ValueError:
            return url
        onward = parse_qs(parts.query).get("u") if host == _SHIM else None
        if not onward:
            return f"{host} {unquote(parts.path)}"
        url = onward[0]
    return url


def _cut(text: str) -> Iterator[tuple[_Kind, list[str]]]:
    """The words of each stretch of one kind."""
    if text.isascii():
        for word in _ASCII.findall(text.lower()):
            yield _Kind.WORD, _chunks(word)
        return
    for kind, stretch in groupby(_folded(text), key=_kind):
        if kind is _Kind.BREAK:
            continue
        run = "".join(stretch)
        if kind is _Kind.WORD:
            for word in _of_one_script(run):
                yield kind, _chunks(word)
        elif kind is _Kind.RUN:
            yield kind, [run[at : at + 2] for at in range(len(run))]
        elif signs := _SIGN.findall(run):
            yield kind, signs


def _of_one_script(run: str) -> Iterator[str]:
    """The run, cut where a script begins that is not the word's. Only what stands before decides: a beginning is cut as the whole is."""
    start, script = 0, ""
    for at, c in enumerate(run):
        its = _script(c)
        if its in ("", script) or (its == _LOOSE and script in _WITH_LOOSE):
            continue
        if script and not (script == _LOOSE and its in _WITH_LOOSE):
            yield run[start:at]
            start = at
        script = its
    yield run[start:]


def _chunks(word: str) -> list[str]:
    return [word[at : at + _LONGEST] for at in range(0, len(word), _LONGEST)]


def _folded(text: str) -> str:
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    bare: list[str] = []
    base = False
    for c in unicodedata.normalize("NFD", text):
        if _kind(c) is _Kind.NOTHING:
            continue
        mark = unicodedata.category(c) in ("Mn", "Me")
        if not mark:
            base = _within(ord(c), _ACCENTED)
        if not (mark and base):
            bare.append(c)
    return unicodedata.normalize("NFC", "".join(bare)).translate(_PLAIN)


@lru_cache(maxsize=8192)
def _kind(c: str) -> _Kind:
    code, category = ord(c), unicodedata.category(c)
    if category == "Cf" and 0xE0020 <= code <= 0xE007F:
        return _Kind.SIGN  # the letters of a flag
    if category == "Cf" or 0xFE00 <= code <= 0xFE0F or 0xE0100 <= code <= 0xE01EF or code == 0x0640:
        return _Kind.NOTHING
    if 0x1F3FB <= code <= 0x1F3FF:
        return _Kind.NOTHING
    if c in _WINGS:
        return _Kind.SIGN
    if category[0] in "LNM":
        return _Kind.RUN if _within(code, _WITHOUT_SPACES) else _Kind.WORD
    if category == "So" and code not in (0xFFFC, 0xFFFD):
        return _Kind.SIGN
    # Emoji that are newer than this Python's tables.
    return _Kind.SIGN if category == "Cn" and 0x1F000 <= code <= 0x1FFFD else _Kind.BREAK


@lru_cache(maxsize=8192)
def _script(c: str) -> str:
    """The script of a character, as its name begins; ``_LOOSE`` of digits and modifier letters; "" of what goes with any letter."""
    if unicodedata.category(c) in ("Nd", "Lm") and _within(ord(c), _ACCENTED):
        return _LOOSE
    first = unicodedata.name(c, "unnamed").partition(" ")[0]
    return "" if first == "COMBINING" else first


def _within(code: int, ranges: tuple[tuple[int, int], ...]) -> bool:
    return any(first <= code <= last for first, last in ranges)
