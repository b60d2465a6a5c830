"""What a media format is, and the parser that follows a file's structure while the file streams past.

A format describes its structure as a generator of steps, such as "take 8 bytes" or "skip 1000 bytes".
``StreamParser`` carries them out, whatever the sizes of the chunks. It holds a few bytes at most, decodes
nothing and never raises. It does not judge the picture, only where the file says that it ends:

============  =============================  ==========================================
completeness  the file                       is accepted
============  =============================  ==========================================
WHOLE         ends where it says             always
TAIL          continues after its end        always: a reader finds all that it needs
OPEN          says "to the end of the file"  if its length or a checksum confirms it
CUT           ends too early                 only if a checksum confirms it
============  =============================  ==========================================

This detects a ``Content-Length`` that is too small, which HTTP treats as a complete answer (faults C6 to
C10).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from enum import Enum, StrEnum, auto

from msgspec import Struct

HEAD_SIZE = 64
"""Bytes at the start of a file that detection looks at."""

MAX_SIDE = 1_000_000
"""Pixels. No picture is wider or taller; larger numbers in a header are not recorded."""


class MediaKind(StrEnum):
    """What a file shows. Its role requires one of them."""

    PICTURE = "picture"
    VIDEO = "video"


class Completeness(StrEnum):
    """Whether a file is complete by its own structure. The table above says what follows from it."""

    WHOLE = "whole"
    TAIL = "tail"
    OPEN = "open"
    CUT = "cut"


class ParseStep(Enum):
    """What the structure of a format needs next."""

    TAKE = auto()  # a number of bytes, which are passed to the generator
    TAKE_OR_END = auto()  # the same, but the file may also end here
    SKIP = auto()  # a number of bytes that are ignored
    MARKER = auto()  # everything up to the next JPEG marker, whose code is passed to the generator


Report = Callable[[int, int], None]
"""Called with a width and a height in pixels that the file states."""

Steps = Generator[tuple[ParseStep, int], bytes, Completeness]
"""Steps of one file, each with its number of bytes. Returns how complete the file is if it ends here.

If it returns WHOLE, any further byte is a tail.
"""


class MediaFormat(Struct, frozen=True):
    """An accepted format: its IANA name, what it shows, and the steps that follow the structure of a file."""

    mime: str
    kind: MediaKind
    steps: Callable[[Report], Steps]


# In coded data, FF00 is a byte FF, and FFD0 to FFD7 restart the decoder; FFFF is padding before a marker.
_JPEG_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])", re.DOTALL)


class StreamParser:
    """Follows the structure of one file of a known format, from its first byte.

    ``dimensions``: width and height in pixels, or None while no header has stated them. They are those of the
    coded picture: a rotation by EXIF, ``irot`` or the matrix of ``tkhd`` is not applied. If several are
    stated, as for tiles and thumbnails, the largest are kept.
    """

    def __init__(self, media: MediaFormat) -> None:
        self.dimensions: tuple[int, int] | None = None
        self._steps = media.steps(self._measure)
        self._held = b""  # bytes that are not yet enough for the step
        self._end: Completeness | None = None
        self._step, self._amount = next(self._steps)

    def feed(self, chunk: bytes) -> None:
        """Follow the next bytes of the file, in a chunk of any size."""
        if self._step is ParseStep.SKIP and self._amount > len(chunk):  # nearly every chunk of a video
            self._amount -= len(chunk)
            return
        window, position = self._held + chunk, 0
        self._held = b""
        while position < len(window):
            if self._end is not None:
                self._end = Completeness.TAIL if self._end is Completeness.WHOLE else self._end
                return
            position = self._perform_step(window, position)

    def completeness(self) -> Completeness:
        """Return how complete the file is if no more bytes come."""
        if self._end is not None:
            return self._end
        if self._step is ParseStep.TAKE_OR_END:
            return Completeness.TAIL if self._held else Completeness.WHOLE
        return Completeness.CUT

    def _perform_step(self, window: bytes, start: int) -> int:
        """Perform the current step on ``window[start:]`` and return where the next one starts."""
        end = start + self._amount
        if self._step is ParseStep.MARKER:
            found = _JPEG_MARKER.search(window, start)
            if found is not None:
                self._next_step(found[1])
                return found.end()
            self._held = b"\xff" if window.endswith(b"\xff") else b""
        elif end <= len(window):
            self._next_step(b"" if self._step is ParseStep.SKIP else window[start:end])
            return end
        elif self._step is ParseStep.SKIP:
            self._amount = end - len(window)
        else:
            self._held = window[start:]
        return len(window)

    def _next_step(self, taken: bytes) -> None:
        try:
            self._step, self._amount = self._steps.send(taken)
            while self._amount == 0 and self._step in (ParseStep.SKIP, ParseStep.TAKE):
                self._step, self._amount = self._steps.send(b"")
        except StopIteration as end:
            self._end, self._amount = end.value, 0

    def _measure(self, width: int, height: int) -> None:
        area = self.dimensions[0] * self.dimensions[1] if self.dimensions is not None else 0
        if 0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE and width * height > area:
            self.dimensions = (width, height)
