"""Files of an export as bytes, for a temporary file that is read after the database."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from archiver.export.export_entry import CompanionText, ExportEntry, GeneratedText, StagedFile
from archiver.model.identity import Digest


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
    """Return an entry as bytes."""
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
