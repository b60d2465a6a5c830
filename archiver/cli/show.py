"""What is written for people and for programs: text that no terminal obeys, sizes, JSON. stdout is data, stderr is talk."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Mapping
from typing import TextIO

from archiver.cli import signals
from archiver.errors import StorageError
from archiver.export.cells import plain

# Format characters without which a script or an emoji is written wrong: joiners, the Mongolian vowel separator, the visible
# Arabic, Syriac and Kaithi number signs. Marks and overrides of direction are not among them.
_JOINERS = frozenset(
    "\u200c\u200d\u180e\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd"
)
_FLAG = re.compile("\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{1,8}\U000e007f")  # England, Texas
_UNITS = ("kB", "MB", "GB", "TB", "PB")


def safe(text: str) -> str:
    """``text`` on one line with everything that a terminal might obey made visible; emoji and all scripts stay.

    Escaped as in Python's string literals: control characters and line breaks, marks and overrides of direction, invisible
    and lone surrogate code points. Characters newer than this Python's tables stay, since most of them are emoji.
    """
    if text.isprintable():
        return text
    parts, at = [], 0
    for flag in _FLAG.finditer(text):
        parts += [_escaped(text[at : flag.start()]), flag.group()]
        at = flag.end()
    return "".join((*parts, _escaped(text[at:])))


def _escaped(text: str) -> str:
    return "".join(c if c.isprintable() or _harmless(c) else _escape(c) for c in text)


def _harmless(c: str) -> bool:
    return c in _JOINERS or (
        unicodedata.category(c) in ("Zs", "Co", "Cn") and not "\U000e0000" <= c <= "\U000e0fff"
    )


def _escape(c: str) -> str:
    return c.encode("unicode_escape").decode("ascii")


def size(count: int) -> str:
    """A number of bytes for people, in decimal units: ``999 B``, ``1.2 MB``."""
    if count < 1_000:
        return f"{count} B"
    power = min(int(math.log10(count)) // 3, len(_UNITS))
    if round(count / 1_000**power, 1) >= 1_000 and power < len(_UNITS):
        power += 1
    return f"{count / 1_000**power:.1f} {_UNITS[power - 1]}"


def count(number: int, one: str, many: str = "") -> str:
    """``1 file``, ``2 files``, ``1,234 files``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def json_text(value: object, *, indent: int | None = None) -> str:
    """``value`` as JSON, readable where stdout can show it, with nothing in it that a terminal obeys."""
    unicode = (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "") == "utf8"
    text = json.dumps(plain(value), ensure_ascii=not unicode, allow_nan=False, indent=indent)
    if text.isascii():
        return text.replace("\x7f", "\\u007f")
    if text.replace("\n", "").isprintable():
        return text
    return "".join(c if c == "\n" or safe(c) == c else json.dumps(c)[1:-1] for c in text)


def data(text: str | bytes) -> None:
    """Write data to stdout, at once; bytes as they are. Raises StorageError where it cannot be written.

    Where nobody reads on (``| head``) the process ends as any writer of a pipe does: quietly, by SIGPIPE.
    """
    if sys.stdout is None:
        raise StorageError("there is no standard output to write to")
    try:
        if isinstance(text, bytes):
            sys.stdout.buffer.write(text)
        else:
            sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        signals.die(signals.SIGPIPE)
    except OSError as exc:
        _drop(sys.stdout)
        raise StorageError(f"standard output cannot be written: {exc.strerror}") from exc


def document(fields: Mapping[str, object]) -> None:
    """Write the one object that ``--json`` promises."""
    data(json_text(fields, indent=2) + "\n")


def width() -> int | None:
    """Columns of the terminal on stdout; None where stdout is none: then nothing is cut."""
    if sys.stdout is None or not sys.stdout.isatty():
        return None
    return shutil.get_terminal_size().columns


def say(*lines: str) -> None:
    """Talk: lines on stderr, made safe. A stderr that is gone is no reason to stop."""
    tell(safe(line) for line in lines)


def tell(lines: Iterable[str]) -> None:
    """Write lines that are safe already to stderr."""
    try:
        for line in lines:
            sys.stderr.write(line + "\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):  # closed, full, or None where there is no stderr at all
        _drop(sys.stderr)


def _drop(stream: TextIO | None) -> None:
    """What the stream still holds goes nowhere, so that Python does not fail a second time when it ends."""
    if stream is None:
        return
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    except (OSError, ValueError):
        return
