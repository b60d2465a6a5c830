"""Split a text into the words by which it is found, the same way on every database. Pure.

- Letters and digits are folded (NFKC, case, accents in alphabets that have them: café = cafe), then cut into
  words. A word has one script: letters of other scripts are often ornaments, and 𓆩salwa𓆪 is found as salwa.
- Scripts without spaces become pairs of characters and a last single one, so that every part of such a text
  is the beginning of a word.
- An emoji is a word of its own: skin tones are dropped, families become their members, a flag is one word.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from enum import Enum, auto
from functools import lru_cache
from itertools import groupby
from urllib.parse import parse_qs, unquote, urlsplit

TEXT_SEPARATOR = "|"
"""Separates two texts of one field, so that no phrase is found across them. No word contains it."""

_MAX_WORD_LENGTH = 64
"""Characters: at most 256 bytes (PostgreSQL takes 2,046). A longer word is cut into several that follow each
other."""
_MAX_FIELD_WORDS, _MAX_FIELD_BYTES = 4_000, 200_000
"""PostgreSQL's tsvector counts positions up to 16,383 and takes one megabyte; a document has four fields."""

_ASCII_WORD = re.compile(r"[a-z0-9]+")
_SYMBOL = re.compile(
    "[\U0001f1e6-\U0001f1ff]{2}|\U0001f3f4[\U000e0020-\U000e007e]{1,8}\U000e007f|[^\U000e0020-\U000e007f]"
)
_BASE_LETTERS = str.maketrans(
    "ıøłđħŧ" + "ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘꞯʀꜱᴛᴜᴠᴡʏᴢ",  # Unicode does not decompose these
    "ioldht" + "abcdefghijklmnopqrstuvwyz",
)
# Latin to Arabic, where people often type letters without their marks. In other scripts marks tell words
# apart.
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
    (0x1100, 0x11FF),  # Hangul: it has spaces, but words are joined
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
_ORNAMENT_LETTERS = frozenset("ʚɞ")
"""Two Latin letters that no language uses today, and that many names have as ornaments."""
_SHARED = "shared"
_WITH_DIGITS = frozenset({"LATIN", "GREEK", "CYRILLIC", "ARMENIAN", "HEBREW", "ARABIC"})
"""Scripts whose words may contain digits, as in covid19: the 2 of 𓆩2pac𓆪 belongs to the letters after it."""
_REDIRECTOR = "l.instagram.com"


class _CharKind(Enum):
    WORD = auto()
    UNSPACED = auto()  # of a script without spaces
    SYMBOL = auto()  # emoji and the like: each is a word
    IGNORED = auto()  # joiners, variation selectors, skin tones, direction marks
    SEPARATOR = auto()


def tokenize(text: str) -> list[str]:
    """Return the words of ``text`` in order. None contains blanks, quotes or control characters."""
    return [word for _, words in _segments(text) for word in words]


def phrase_words(text: str, *, whole: bool = False) -> tuple[tuple[str, ...], bool]:
    """Return the words to search for, and whether the last one may be the beginning of a longer word.

    () if ``text`` has no words. ``whole``: the last word must end there, too; this has no effect in scripts
    without spaces, which do not show where a word ends.
    """
    segments = list(_segments(text))
    if not segments:
        return (), False
    words = tuple(word for _, part in segments for word in part)
    kind, last = segments[-1]
    if kind is _CharKind.UNSPACED:
        return (words, True) if len(last) == 1 else (words[:-1], False)
    return words, kind is _CharKind.WORD and not whole


def join_texts(texts: Iterable[str]) -> str:
    """Return the words of several texts as one field, separated by blanks and ``TEXT_SEPARATOR``.

    A text that occurs twice counts once. Words beyond the limits of a field are left out.
    """
    field: list[str] = []
    seen: set[tuple[str, ...]] = set()
    size = 0
    for text in texts:
        words = tuple(tokenize(text[:_MAX_FIELD_BYTES]))
        if not words or words in seen:
            continue
        seen.add(words)
        for word in (TEXT_SEPARATOR, *words) if field else words:
            size += len(word.encode()) + 1
            if len(field) >= _MAX_FIELD_WORDS or size > _MAX_FIELD_BYTES:
                return " ".join(field)
            field.append(word)
    return " ".join(field)


def address_text(url: str) -> str:
    """Return the part of a web address that is searched: its host and path.

    For an address of Instagram's redirector, that is the part of the address it leads to.
    """
    for _ in range(2):
        try:
            parts = urlsplit(url if "://" in url else f"//{url}")
            host = parts.hostname or ""
        except ValueError:
            return url
        target = parse_qs(parts.query).get("u") if host == _REDIRECTOR else None
        if not target:
            return f"{host} {unquote(parts.path)}"
        url = target[0]
    return url


def _segments(text: str) -> Iterator[tuple[_CharKind, list[str]]]:
    """Yield the words of ``text``, segment by segment; the characters of a segment have one kind."""
    if text.isascii():
        for word in _ASCII_WORD.findall(text.lower()):
            yield _CharKind.WORD, _split_long(word)
        return
    for kind, characters in groupby(_fold(text), key=_char_kind):
        if kind is _CharKind.SEPARATOR:
            continue
        segment = "".join(characters)
        if kind is _CharKind.WORD:
            for word in _split_scripts(segment):
                yield kind, _split_long(word)
        elif kind is _CharKind.UNSPACED:
            yield kind, [segment[at : at + 2] for at in range(len(segment))]
        elif symbols := _SYMBOL.findall(segment):
            yield kind, symbols


def _split_scripts(segment: str) -> Iterator[str]:
    """Cut a segment where another script begins.

    Where to cut depends only on what precedes a letter, so a prefix is cut in the same places as the whole.
    """
    start, current = 0, ""
    for at, c in enumerate(segment):
        script = _script(c)
        if script in ("", current) or (script == _SHARED and current in _WITH_DIGITS):
            continue
        if current and not (current == _SHARED and script in _WITH_DIGITS):
            yield segment[start:at]
            start = at
        current = script
    yield segment[start:]


def _split_long(word: str) -> list[str]:
    return [word[at : at + _MAX_WORD_LENGTH] for at in range(0, len(word), _MAX_WORD_LENGTH)]


def _fold(text: str) -> str:
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    folded: list[str] = []
    drops_marks = False
    for c in unicodedata.normalize("NFD", text):
        if _char_kind(c) is _CharKind.IGNORED:
            continue
        is_mark = unicodedata.category(c) in ("Mn", "Me")
        if not is_mark:
            drops_marks = _is_within(ord(c), _ACCENTED)
        if not (is_mark and drops_marks):
            folded.append(c)
    return unicodedata.normalize("NFC", "".join(folded)).translate(_BASE_LETTERS)


@lru_cache(maxsize=8192)
def _char_kind(c: str) -> _CharKind:
    code, category = ord(c), unicodedata.category(c)
    if category == "Cf" and 0xE0020 <= code <= 0xE007F:
        return _CharKind.SYMBOL  # the letters of a flag
    if category == "Cf" or 0xFE00 <= code <= 0xFE0F or 0xE0100 <= code <= 0xE01EF or code == 0x0640:
        return _CharKind.IGNORED
    if 0x1F3FB <= code <= 0x1F3FF:
        return _CharKind.IGNORED
    if c in _ORNAMENT_LETTERS:
        return _CharKind.SYMBOL
    if category[0] in "LNM":
        return _CharKind.UNSPACED if _is_within(code, _WITHOUT_SPACES) else _CharKind.WORD
    if category == "So" and code not in (0xFFFC, 0xFFFD):
        return _CharKind.SYMBOL
    # Emoji that are newer than this Python's Unicode tables.
    return _CharKind.SYMBOL if category == "Cn" and 0x1F000 <= code <= 0x1FFFD else _CharKind.SEPARATOR


@lru_cache(maxsize=8192)
def _script(c: str) -> str:
    """Return the first word of a character's name.

    ``_SHARED`` for digits and modifier letters, "" for combining marks, which join any letter.
    """
    if unicodedata.category(c) in ("Nd", "Lm") and _is_within(ord(c), _ACCENTED):
        return _SHARED
    first = unicodedata.name(c, "unnamed").partition(" ")[0]
    return "" if first == "COMBINING" else first


def _is_within(code: int, ranges: tuple[tuple[int, int], ...]) -> bool:
    return any(first <= code <= last for first, last in ranges)
