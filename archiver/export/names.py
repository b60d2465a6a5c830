"""Names of files that Linux, macOS and Windows can all have, of texts that may be hostile. Pure.

What each system refuses: «Naming Files, Paths, and Namespaces» (Microsoft Learn) for Windows, where a trailing dot or blank is dropped
and ``NUL.txt`` is a device; 255 bytes of UTF-8 a name on Linux, 255 UTF-16 units on Windows and on macOS, which may compose and
decompose letters; both of the latter do not tell case apart.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

LONGEST = 200
"""Of one name: bytes of UTF-8, and UTF-16 units however it is composed. Leaves room for what makes a name unique."""
LONGEST_PATH = 240
"""UTF-16 units of a whole path below the export: Windows' programs take 260 with its drive and directory."""

ARCHIVE = "archive.json"
"""What has a file of that name is an archive, and no place for an export."""

_EXTENSIONS = {
    "image/jpeg": "jpg",
    "image/png": "png",
    "image/gif": "gif",
    "image/webp": "webp",
    "image/heic": "heic",
    "image/avif": "avif",
    "video/mp4": "mp4",
    "video/quicktime": "mov",
}
_FORBIDDEN = re.compile(r'[<>:"/\\|?*]')
_BLANKS = re.compile(r"\s+")
_HARMLESS = re.compile(r"(?:[!#-)+-.0-9;=@-\[\]-{}~]| (?! ))*")
"""ASCII that ``clean`` leaves as it is: most of all names."""
_DEVICE = r"(?:con|prn|aux|nul|conin\$|conout\$|clock\$|(?:com|lpt)[0-9¹²³])"
_DEVICES = re.compile(_DEVICE, re.IGNORECASE)
_PLAIN = re.compile(
    rf"(?!(?i:{_DEVICE} *(?:\.|\Z)|archive(?:\.json)?\Z))"  # ARCHIVE, and what an extension makes it
    r"[!#-)+\-0-9;=@-\[\]-{}~][ !#-)+-.0-9;=@-\[\]-{}~]*(?<![. ])"
)
_JOINERS = "\u200c\u200d"
"""Format characters without which a script or an emoji is written wrong; of the others some turn the text around."""
_FLAG_LETTERS = range(0x1F1E6, 0x1F200)
_TONES = range(0x1F3FB, 0x1F400)
_TAGS = range(0xE0020, 0xE0080)
_FLAG_OF_A_REGION = re.compile("\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{1,8}\U000e007f")


def extension(mime: str) -> str:
    """The extension of a file by what its bytes are, ``bin`` for what is no media: never by a URL or a name."""
    return _EXTENSIONS.get(mime, "bin")


def clean(text: str) -> str:
    """``text`` as a part of a name: composed, on one line, without what a file system, a shell's listing or a reader's eye could take otherwise.

    Emoji and all scripts stay. May be empty; what a whole name may not be is ``whole``'s to see.
    """
    if _HARMLESS.fullmatch(text):
        return text
    flags = [range(*flag.span()) for flag in _FLAG_OF_A_REGION.finditer(text)]
    kept = (c for at, c in enumerate(text) if _stays(c) or any(at in flag for flag in flags))
    composed = unicodedata.normalize("NFC", _BLANKS.sub(" ", "".join(kept)))
    return _FORBIDDEN.sub("_", composed)


def _stays(c: str) -> bool:
    kind = unicodedata.category(c)
    if kind in ("Cc", "Cf", "Cs"):
        return c in _JOINERS or c in "\t\n\r"
    return kind != "Cn" or (ord(c) & 0xFFFE != 0xFFFE and not 0xFDD0 <= ord(c) <= 0xFDEF)


def is_plain(text: str) -> bool:
    """Whether this is ASCII that ``clean`` and ``whole`` leave as it is; said of most names, but not of all that are."""
    return _PLAIN.fullmatch(text) is not None and "  " not in text


def whole(name: str, ending: str = "") -> str:
    """A clean text as a name of its own: no device, no archive's marker, nothing hidden, no blank or dot at its end, never empty, ``.`` or ``..``.

    ``ending`` is an extension with its dot, which stands behind it as it is.
    """
    name = name if name.isascii() else unicodedata.normalize("NFC", name)
    name = name.strip(" ").rstrip(". ")
    if name.startswith("."):
        name = f"_{name[1:]}"
    base, dot, rest = name.partition(".")
    if _DEVICES.fullmatch(base.rstrip(" ")) or f"{name}{ending}".lower() == ARCHIVE:
        name = f"{base.rstrip(' ')}_{dot}{rest}"
    return f"{name or '_'}{ending}"


def length(text: str) -> int:
    """How long a name is where it is longest: in bytes of UTF-8, or in UTF-16 units when its letters are taken apart."""
    if text.isascii():
        return len(text)
    return max(len(text.encode()), units(unicodedata.normalize("NFD", text)))


def units(text: str) -> int:
    """UTF-16 units."""
    if text.isascii():
        return len(text)
    return len(text.encode("utf-16-le")) // 2


def cut(text: str, longest: int) -> str:
    """The beginning of a clean text, at most so ``length``y, cut where no letter loses its accent and no emoji its parts."""
    if length(text) <= longest:
        return text
    low, high = 0, len(text)
    while low < high:  # the longest beginning that fits
        middle = (low + high + 1) // 2
        low, high = (middle, high) if length(text[:middle]) <= longest else (low, middle - 1)
    while low and _belong_together(text, low):
        low -= 1
    return text[:low].rstrip(" .")


def _belong_together(text: str, at: int) -> bool:
    """Whether what is before ``at`` and what is behind it are one character to a reader."""
    before, behind = text[at - 1], text[at]
    if before == "\u200d" or behind in _JOINERS or unicodedata.category(behind) in ("Mn", "Me", "Mc"):
        return True
    if ord(behind) in _TONES or ord(behind) in _TAGS:
        return True
    if ord(before) in _FLAG_LETTERS and ord(behind) in _FLAG_LETTERS:
        run = 0
        while run < at and ord(text[at - 1 - run]) in _FLAG_LETTERS:
            run += 1
        return run % 2 == 1
    return False


def joined(parts: Sequence[tuple[str, bool]], longest: int = LONGEST) -> str:
    """A name of these clean texts. Where it is too long those marked True give way, the longest first. Not yet ``whole``."""
    texts = [text for text, _ in parts]
    while (over := length("".join(texts)) - longest) > 0:
        yielding = [at for at, (_, yields) in enumerate(parts) if yields and texts[at]]
        if not yielding:
            break
        at = max(yielding, key=lambda n: length(texts[n]))
        texts[at] = cut(texts[at], max(length(texts[at]) - over, 0))
    return "".join(texts)


def with_suffix(name: str, suffix: str) -> str:
    """A file's whole name with `` [suffix]`` before its extension; the rest gives way where it is too long."""
    stem, dot, ending = name.rpartition(".")
    if not dot:
        stem, ending = name, ""
    return whole(joined([(stem, True), (f" [{suffix}]", False), (f"{dot}{ending}", False)], LONGEST))


def key(path: str) -> str:
    """What two paths share that are one on a system which tells neither case nor composition apart."""
    if path.isascii():
        return path.lower()
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFD", path).casefold())
    return unicodedata.normalize("NFC", folded.casefold())
