"""The directories of other tools, walked without following links, and their metadata files.

The sizes of metadata files, packed and unpacked, are limited.
"""

from __future__ import annotations

import lzma
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
from msgspec import Struct

from archiver.blobs import marker
from archiver.durable import open_directory, open_regular, open_root
from archiver.errors import UsageError
from archiver.model.foreign_files import RefusedFile

_MAX_DEPTH = 40
_MAX_STORED = 4 << 20
_MAX_METADATA = 16 << 20
"""The most bytes of metadata, unpacked. instaloader's largest file has a tenth of that."""
_MAX_LZMA_MEMORY = 64 << 20


class MetadataUnreadable(Exception):
    """The metadata beside a file cannot be read. The message says why, for people."""


class MetadataFile(Struct, frozen=True):
    """A metadata file as it was when it was read: its name, its bytes, and the JSON value in them."""

    name: str
    data: bytes
    value: object


class ForeignDirectory(Struct, frozen=True):
    """An open directory: its absolute path, its descriptor, and the names of its regular files."""

    path: Path
    fd: int
    names: frozenset[str]

    def read_metadata(self, name: str) -> MetadataFile:
        """Read a JSON file, which may be packed (``.xz``). Raises MetadataUnreadable."""
        try:
            fd = open_regular(name, within=self.fd)
            with os.fdopen(fd, "rb") as file:
                data = file.read(_MAX_STORED + 1)
        except OSError as exc:
            raise MetadataUnreadable(f"{name} cannot be read: {exc.strerror}") from exc
        if len(data) > _MAX_STORED:
            raise MetadataUnreadable(f"{name} is larger than {_MAX_STORED >> 20} MiB")
        text = _unpack(name, data) if name.endswith(".xz") else data
        try:
            return MetadataFile(name, data, msgspec.json.decode(text))
        except (ValueError, RecursionError) as exc:
            raise MetadataUnreadable(f"{name} is not JSON: {exc}") from exc


def require_foreign(directory: Path) -> Path:
    """Return the real path of a directory whose files can be adopted.

    Raises UsageError if it is not a directory, or is an archive or an export, or inside one.
    """
    hint = "name a folder that the other tool has filled"
    try:
        path = directory.resolve(strict=True)
        is_directory = path.is_dir()
    except (OSError, RuntimeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "its symbolic links form a loop"
        raise UsageError(f"the directory {directory} cannot be opened: {reason}", hint) from exc
    if not is_directory:
        raise UsageError(f"not a directory: {directory}", hint)
    for parent in (path, *path.parents):
        if marker.holds_copies(parent):
            raise UsageError(f"{directory} is inside an archive or an export of this program: {parent}", hint)
    return path


def walk_foreign(top: Path) -> Iterator[ForeignDirectory | RefusedFile]:
    """Yield ``top`` and each directory below it, sorted by name, and a RefusedFile for whatever is skipped.

    A directory stays open until the next value is requested. Symbolic links below ``top`` are not followed.
    """
    try:
        fd = open_root(top)
    except OSError as exc:
        yield RefusedFile(str(top), f"it cannot be opened: {exc.strerror}")
        return
    try:
        yield from _walk(top, fd, 0)
    finally:
        os.close(fd)


def _walk(path: Path, fd: int, depth: int) -> Iterator[ForeignDirectory | RefusedFile]:
    if marker.holds_copies(path):
        yield RefusedFile(str(path), "an archive or an export of this program")
        return
    try:
        with os.scandir(fd) as entries:
            modes = dict[str, int]()
            for entry in entries:
                with suppress(FileNotFoundError):  # the other tool has removed it since
                    modes[entry.name] = entry.stat(follow_symlinks=False).st_mode
    except OSError as exc:
        yield RefusedFile(str(path), f"it cannot be listed: {exc.strerror}")
        return
    for name, mode in sorted(modes.items()):
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            what = "a symbolic link" if stat.S_ISLNK(mode) else "not a regular file"
            yield RefusedFile(str(path / name), what)
    yield ForeignDirectory(path, fd, frozenset(name for name, mode in modes.items() if stat.S_ISREG(mode)))
    for name, mode in sorted(modes.items()):
        if not stat.S_ISDIR(mode):
            continue
        if depth == _MAX_DEPTH:
            yield RefusedFile(str(path / name), f"more than {_MAX_DEPTH} directories deep")
            continue
        try:
            inner = open_directory(name, within=fd)
        except OSError as exc:
            yield RefusedFile(str(path / name), f"it cannot be opened: {exc.strerror}")
            continue
        try:
            yield from _walk(path / name, inner, depth + 1)
        finally:
            os.close(inner)


def _unpack(name: str, data: bytes) -> bytes:
    unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MAX_LZMA_MEMORY)
    try:
        unpacked = unpacker.decompress(data, _MAX_METADATA + 1)
    except lzma.LZMAError as exc:
        raise MetadataUnreadable(f"{name} cannot be unpacked: {exc}") from exc
    if len(unpacked) > _MAX_METADATA:
        raise MetadataUnreadable(f"{name} unpacks to more than {_MAX_METADATA >> 20} MiB")
    if not unpacker.eof:
        raise MetadataUnreadable(f"{name} ends too early")
    return unpacked
