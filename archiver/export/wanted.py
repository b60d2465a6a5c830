"""What an export wants to stand where, and what came of it: values."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256
from typing import NamedTuple, Self

from archiver.model.identity import Digest

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Way(StrEnum):
    """How a blob becomes a file of an export. ``AUTO`` takes the first of the others that the file system can."""

    AUTO = "auto"
    REFLINK = "reflink"
    HARDLINK = "hardlink"
    COPY = "copy"


@dataclass(frozen=True, slots=True)
class Scratch:
    """A file that was made in the export's own scratch directory: its name there, and its bytes' SHA-256."""

    name: str
    digest: Digest


@dataclass(frozen=True, slots=True)
class Text:
    """Bytes that this program has made up, and their SHA-256."""

    bytes: bytes
    digest: Digest


class Wanted(NamedTuple):
    """A file that the export wants to have.

    ``id`` says what it is, the same in every rerun («17983 3456 video»); ``path`` where it belongs, by names that are safe. ``content`` is the
    digest of a blob, a Text or a Scratch, of ``size`` bytes. ``at_ns`` is when it shall say that it was changed (``nanoseconds``). ``marks`` tell it from others
    that want its path: behind the name is put the first, or as many as it takes.
    """

    id: str
    path: tuple[str, ...]
    content: Digest | Text | Scratch
    size: int
    at_ns: int | None = None
    marks: tuple[str, ...] = ()

    @classmethod
    def text(
        cls,
        id_: str,
        path: tuple[str, ...],
        content: bytes,
        at_ns: int | None = None,
        marks: tuple[str, ...] = (),
    ) -> Self:
        """A file of these bytes."""
        return cls(id_, path, Text(content, Digest(sha256(content).hexdigest())), len(content), at_ns, marks)

    @property
    def digest(self) -> Digest:
        """The SHA-256 of the content."""
        return self.content if isinstance(self.content, Digest) else self.content.digest


def nanoseconds(at: datetime) -> int:
    """An aware time as nanoseconds since the epoch, exactly."""
    since = at - _EPOCH
    return ((since.days * 86400 + since.seconds) * 1_000_000 + since.microseconds) * 1000


@dataclass(frozen=True, slots=True)
class Trouble:
    """A file that could not be had as it was wanted: its path, and why."""

    path: str
    why: str


@dataclass(slots=True)
class Tally:
    """What an export did. ``files`` stand where they are wanted; of these some are ``new`` or ``replaced`` (with ``bytes`` in all), some ``moved``.

    ``ways`` counts those that were placed by how. ``others`` are files of earlier exports that this one does not want, which stay;
    ``removed`` those of them that went. ``avoided``: names that a file of somebody else's has. ``troubles`` are the first thousand
    of ``failed`` files.
    """

    files: int = 0
    new: int = 0
    replaced: int = 0
    moved: int = 0
    bytes: int = 0
    ways: dict[str, int] = field(
        default_factory=lambda: {"reflink": 0, "hardlink": 0, "copy": 0, "written": 0}
    )
    others: int = 0
    removed: int = 0
    avoided: int = 0
    failed: int = 0
    troubles: list[Trouble] = field(default_factory=list)

    def placed(self, how: str, size: int, *, new: bool) -> None:
        """Note a file that was placed."""
        self.new += new
        self.replaced += not new
        self.bytes += size
        self.ways[how] += 1

    def fail(self, path: str, why: str) -> None:
        """Note a file that is not as it was wanted."""
        self.failed += 1
        if len(self.troubles) < 1000:
            self.troubles.append(Trouble(path, why))
