"""File names that Linux, macOS and Windows all accept, made from texts that may be hostile.

- Windows refuses some characters and device names (also ``NUL.txt``), and drops a dot or blank at the end
  ("Naming Files, Paths, and Namespaces", Microsoft Learn).
- A name has at most 255 bytes of UTF-8 on Linux, 255 UTF-16 units on Windows and macOS.
- macOS may compose and decompose letters. Neither macOS nor Windows distinguishes upper and lower case.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from archiver.media.formats import EXTENSIONS
from archiver.store.objects import MARKER

MAX_LENGTH = 200
"""The maximum ``length`` of a name. It leaves room for a suffix that makes the name unique."""
MAX_PATH_LENGTH = 240
"""The maximum of UTF-16 units in a path below the export.

Programs on Windows accept 260, including the drive and directory.
"""

_MIMES = {extension: mime for mime, extension in EXTENSIONS.items()}
_FORBIDDEN = re.compile(r'[<>:"/\\|?*]')
_BLANKS = re.compile(r"\s+")
# ASCII texts that ``clean`` does not change, which most texts are.
_CLEAN_ASCII = re.compile(r"(?:[!#-)+-.0-9;=@-\[\]-{}~]| (?! ))*")
# Not pathvalidate: it takes "CON .txt" and "CONIN$" for usable, and importing it costs 27 ms.
_DEVICE = r"(?:con|prn|aux|nul|conin\$|conout\$|clock\$|(?:com|lpt)[0-9¹²³])"
_DEVICES = re.compile(_DEVICE, re.IGNORECASE)
_SAFE_ASCII = re.compile(
    rf"(?!(?i:{_DEVICE} *(?:\.|\Z)|archive(?:\.json)?\Z))"  # MARKER, also once it gets its extension
    r"[!#-)+\-0-9;=@-\[\]-{}~][ !#-)+-.0-9;=@-\[\]-{}~]*(?<![. ])"
)
# Some scripts and emoji need these format characters. Others reverse the direction of the text.
_JOINERS = "\u200c\u200d"
_FLAG_LETTERS = range(0x1F1E6, 0x1F200)
_SKIN_TONES = range(0x1F3FB, 0x1F400)
_TAGS = range(0xE0020, 0xE0080)
_REGION_FLAG = re.compile("\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{1,8}\U000e007f")


def mime_for(extension: str) -> str:
    """Return the media type whose extension this is, ``application/octet-stream`` if there is none."""
    return _MIMES.get(extension, "application/octet-stream")


def clean(text: str) -> str:
    """Return a text as part of a name: composed, on one line, without misleading or forbidden characters.

    Emoji and all scripts stay. The result may be empty; ``safe_name`` turns it into a complete name.
    """
    if _CLEAN_ASCII.fullmatch(text):
        return text
    flags = [range(*flag.span()) for flag in _REGION_FLAG.finditer(text)]
    visible = (c for at, c in enumerate(text) if _is_allowed(c) or any(at in flag for flag in flags))
    composed = unicodedata.normalize("NFC", _BLANKS.sub(" ", "".join(visible)))
    return _FORBIDDEN.sub("_", composed)


def _is_allowed(c: str) -> bool:
    category = unicodedata.category(c)
    if category in ("Cc", "Cf", "Cs"):
        return c in _JOINERS or c in "\t\n\r"
    return category != "Cn" or (ord(c) & 0xFFFE != 0xFFFE and not 0xFDD0 <= ord(c) <= 0xFDEF)


def is_safe_ascii(text: str) -> bool:
    """Return whether a text is ASCII that neither ``clean`` nor ``safe_name`` changes, as most names are."""
    return _SAFE_ASCII.fullmatch(text) is not None and "  " not in text


def safe_name(text: str, ending: str = "") -> str:
    """Return a clean text as a safe name.

    It is not empty, hidden, ``.``, ``..``, a device or the marker of an archive, and does not end in a blank
    or a dot. ``ending`` is an extension with its dot, added unchanged.
    """
    name = text if text.isascii() else unicodedata.normalize("NFC", text)
    name = name.strip(" ").rstrip(". ")
    if name.startswith("."):
        name = f"_{name[1:]}"
    base, dot, rest = name.partition(".")
    if _DEVICES.fullmatch(base.rstrip(" ")) or f"{name}{ending}".lower() == MARKER:
        name = f"{base.rstrip(' ')}_{dot}{rest}"
    return f"{name or '_'}{ending}"


def length(text: str) -> int:
    """Return the greater of two lengths: bytes of UTF-8, and UTF-16 units of the decomposed text."""
    if text.isascii():
        return len(text)
    return max(len(text.encode()), utf16_units(unicodedata.normalize("NFD", text)))


def utf16_units(text: str) -> int:
    """Return the length of a text in UTF-16 units."""
    if text.isascii():
        return len(text)
    return len(text.encode("utf-16-le")) // 2


def truncate(text: str, limit: int) -> str:
    """Return the beginning of a clean text, of at most this ``length``, cut between grapheme clusters."""
    if length(text) <= limit:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if length(text[:middle]) <= limit else (low, middle - 1)
    while low and _is_inside_character(text, low):
        low -= 1
    return text[:low].rstrip(" .")


def _is_inside_character(text: str, at: int) -> bool:
    """Return whether a reader sees the characters before and after ``at`` as one."""
    before, after = text[at - 1], text[at]
    if before == "\u200d" or after in _JOINERS or unicodedata.category(after) in ("Mn", "Me", "Mc"):
        return True
    if ord(after) in _SKIN_TONES or ord(after) in _TAGS:
        return True
    if ord(before) in _FLAG_LETTERS and ord(after) in _FLAG_LETTERS:
        run = 0
        while run < at and ord(text[at - 1 - run]) in _FLAG_LETTERS:
            run += 1
        return run % 2 == 1
    return False


def join_parts(parts: Sequence[tuple[str, bool]], limit: int = MAX_LENGTH) -> str:
    """Join clean texts. If the result is too long, those marked True are shortened, the longest first."""
    texts = [text for text, _ in parts]
    while (excess := length("".join(texts)) - limit) > 0:
        shrinkable = [at for at, (_, can_shrink) in enumerate(parts) if can_shrink and texts[at]]
        if not shrinkable:
            break
        at = max(shrinkable, key=lambda n: length(texts[n]))
        texts[at] = truncate(texts[at], max(length(texts[at]) - excess, 0))
    return "".join(texts)


def with_suffix(name: str, suffix: str) -> str:
    """Return a file name with `` [suffix]`` before its extension; the rest is shortened if it is too long."""
    stem, dot, ending = name.rpartition(".")
    if not dot:
        stem, ending = name, ""
    return safe_name(join_parts([(stem, True), (f" [{suffix}]", False), (f"{dot}{ending}", False)]))


def collision_key(path: str) -> str:
    """Return a key that two paths share if some system treats them as one: it ignores case and
    composition.
    """
    if path.isascii():
        return path.lower()
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFD", path).casefold())
    return unicodedata.normalize("NFC", folded.casefold())
