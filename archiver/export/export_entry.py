"""Values of an export: the files that it should contain, also as bytes, and the counts of what was done."""

from __future__ import annotations

from datetime import datetime
from hashlib import sha256
from typing import NamedTuple, Self

import msgspec
from msgspec import Struct, field

from archiver.model.identity import EPOCH, Digest

_MOST_FAILURES = 1000
_MEDIA = ("account ", "highlight ", "item ", "adopted ", "media ")
"""How the ids of pictures and videos begin, and those of the sidecars beside them."""


class StagedFile(Struct, frozen=True):
    """A file in the staging directory of the export: its name there, and the SHA-256 of its bytes."""

    name: str
    digest: Digest


class GeneratedText(Struct, frozen=True):
    """Bytes that this program generated, and their SHA-256."""

    bytes: bytes
    digest: Digest


class ExportEntry(NamedTuple):
    """A file that an export should contain.

    ``id`` identifies the file, the same in every export: "item 17983 3456 video". ``path`` is where it
    belongs, as names that are safe on every system. ``content`` is the digest of a blob, or text, or a staged
    file, of ``size`` bytes. ``at_ns`` is the modification time that the file should get, in nanoseconds since
    the epoch; None for any. ``suffixes`` distinguish it from other files that want the same path: as many as
    needed are added to its name.
    """

    id: str
    path: tuple[str, ...]
    content: Digest | GeneratedText | StagedFile
    size: int
    at_ns: int | None = None
    suffixes: tuple[str, ...] = ()

    @classmethod
    def of_text(
        cls,
        id_: str,
        path: tuple[str, ...],
        content: bytes,
        at_ns: int | None = None,
        suffixes: tuple[str, ...] = (),
    ) -> Self:
        """Return an entry for a file of these bytes."""
        text = GeneratedText(content, Digest(sha256(content).hexdigest()))
        return cls(id_, path, text, len(content), at_ns, suffixes)

    @property
    def digest(self) -> Digest:
        """Return the SHA-256 of the content."""
        return self.content if isinstance(self.content, Digest) else self.content.digest

    @property
    def default_method(self) -> str:
        """Return how the file was placed, if the manifest does not say."""
        return "copy" if isinstance(self.content, Digest) else "written"


def is_media(id_: str) -> bool:
    """Return whether the file with this id is a picture or a video of the archive, and not a text."""
    return id_.startswith(_MEDIA) and not id_.endswith((" json", " xmp"))


class CompanionText(NamedTuple):
    """A text beside another file of the export, which must be put first.

    ``beside``: the id of that file. The text gets the name that the file got, plus ``ending``. If a foreign
    file has that name, the text is left out. ``at_ns`` as in ``ExportEntry``.
    """

    id: str
    beside: str
    ending: str
    text: bytes
    at_ns: int | None = None


def to_nanoseconds(at: datetime) -> int:
    """Return an aware time as nanoseconds since the epoch, without rounding.

    The earliest is that of 1677-09-21, the latest that of 2262-04-11: no file has one outside of 64 bits.
    """
    since = at - EPOCH
    nanoseconds = ((since.days * 86400 + since.seconds) * 1_000_000 + since.microseconds) * 1000
    return min(max(nanoseconds, -(2**63)), 2**63 - 1)


class ExportFailure(Struct, frozen=True):
    """A file that could not be exported: its path, and why."""

    path: str
    why: str


class ExportStats(Struct):
    """What an export did.

    ``files`` counts the files in place. Of these, some are ``new`` or ``replaced`` (``bytes`` in total), and
    some were ``moved``. ``methods`` counts the new and replaced ones by how they were placed. ``others`` are
    files of earlier exports that were not selected this time and stay; ``removed`` counts those that were
    removed. ``avoided``: names that were not used because a foreign file has them. ``failures`` holds the
    first thousand of the ``failed`` files. ``expected``: how many files there will be, if that is known, or
    how many there were last time.
    """

    files: int = 0
    new: int = 0
    replaced: int = 0
    moved: int = 0
    bytes: int = 0
    methods: dict[str, int] = field(
        default_factory=lambda: {"reflink": 0, "hardlink": 0, "copy": 0, "written": 0}
    )
    others: int = 0
    removed: int = 0
    avoided: int = 0
    failed: int = 0
    failures: list[ExportFailure] = field(default_factory=list)
    expected: int | None = None

    def add_placed(self, method: str, size: int, *, is_new: bool) -> None:
        """Count a file that was placed."""
        self.new += is_new
        self.replaced += not is_new
        self.bytes += size
        self.methods[method] += 1

    def add_failure(self, path: str, why: str) -> None:
        """Count a file that could not be exported."""
        self.failed += 1
        if len(self.failures) < _MOST_FAILURES:
            self.failures.append(ExportFailure(path, why))


class _EntryFields(Struct, frozen=True, array_like=True):
    """An ``ExportEntry``. Of ``text``, ``staged`` and neither, one says what its content is."""

    id: str
    path: tuple[str, ...]
    digest: str
    size: int
    at_ns: int | None
    suffixes: tuple[str, ...]
    text: bytes | None
    staged: str | None


_encode = msgspec.msgpack.Encoder().encode
_decode_entry = msgspec.msgpack.Decoder(_EntryFields).decode
_decode_companion = msgspec.msgpack.Decoder(CompanionText).decode


def pack_entry(entry: ExportEntry | CompanionText) -> bytes:
    """Return an entry as bytes, for a temporary file that is read after the database."""
    if isinstance(entry, CompanionText):
        return b"c" + _encode(entry)
    content = entry.content
    text = content.bytes if isinstance(content, GeneratedText) else None
    staged = content.name if isinstance(content, StagedFile) else None
    digest, at_ns, suffixes = str(entry.digest), entry.at_ns, entry.suffixes
    return b"e" + _encode(
        _EntryFields(entry.id, entry.path, digest, entry.size, at_ns, suffixes, text, staged)
    )


def unpack_entry(packed: bytes) -> ExportEntry | CompanionText:
    """Return the entry that was packed."""
    if packed[:1] == b"c":
        return _decode_companion(packed[1:])
    each = _decode_entry(packed[1:])
    content: Digest | GeneratedText | StagedFile = Digest(each.digest)
    if each.text is not None:
        content = GeneratedText(each.text, Digest(each.digest))
    elif each.staged is not None:
        content = StagedFile(each.staged, Digest(each.digest))
    return ExportEntry(each.id, each.path, content, each.size, each.at_ns, each.suffixes)
