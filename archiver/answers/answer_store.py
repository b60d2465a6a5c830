"""Stored answers: names of segments, writing, reading, and checking what is in a segment, wherever they are.

Segments are the files or objects that hold answers, ``YYYY/MM/<run>-<kind>-<time>-<hex>.warc.gz``. A run has
one series of them for its trays, and another for everything else. A name is partly random, since a restored
database assigns the same run ids again.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import secrets
from collections.abc import Container, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from types import MappingProxyType

from archiver.answers.warc import (
    GZIP_HEAD,
    LARGEST,
    Member,
    is_cut_off,
    is_own_record,
    members,
    pack_answer,
    pack_warcinfo,
    parse_answer,
    pieces,
    unpack_beginning,
    unpack_record,
)
from archiver.closeable import Closeable
from archiver.durable import storage_errors
from archiver.errors import AnswerMalformed
from archiver.model.api_calls import Answer, AnswerLocation, Origin
from archiver.model.archived import Surplus
from archiver.model.identity import Digest
from archiver.store.objects import Folder, ObjectMissing, Objects, printable

SEGMENT = re.compile(r"([0-9]{4})/([0-9]{2})/([0-9A-Za-z][0-9A-Za-z._-]*\.warc\.gz)")
TRAYS, FETCHED = "trays", "fetched"
"""The kinds of segments: with the trays of a run, and with everything else."""
ANSWERS = Folder("answers", (re.compile("[0-9]{4}"), re.compile("[0-9]{2}")), SEGMENT)
_SEGMENT_OF_RUN = re.compile(
    r"[0-9]{4}/[0-9]{2}/([0-9]{1,18})"
    rf"-({TRAYS}|{FETCHED})-"
    r"([0-9]{8}T[0-9]{6})Z-[0-9a-f]+\.warc\.gz"
)

_LAST_PART = re.compile(r"(-[0-9a-f]+)?\.warc\.gz$")

_LARGEST_APPEND = LARGEST // 2
"""The largest size in bytes of a compressed answer with its request and the head of a segment.

An answer itself has at most 16 MiB.
"""
_RECORDS_PER_APPEND = 3
_PIECE = 1 << 20


def new_segment(run_id: int, started_at: datetime, kind: str) -> str:
    """Return the name of a new segment of a run. ``started_at``, in UTC, decides the month."""
    return f"{started_at:%Y/%m}/{run_id}-{kind}-{started_at:%Y%m%dT%H%M%SZ}-{secrets.token_hex(8)}.warc.gz"


def rename_segment(segment: str) -> str:
    """Return the name of a segment that is to replace this one: of the same run, kind and time."""
    return f"{_LAST_PART.sub('', segment)}-{secrets.token_hex(8)}.warc.gz"


def pack_head(segment: str, started_at: datetime, archive_id: str) -> bytes:
    """Return the first record of a segment, which says what the others are. ``archive_id``: may be ''."""
    file = segment.rpartition("/")[2]
    run_id, kind, *_ = file.split("-")
    facts = {
        "software": "archiver",
        "format": "WARC File Format 1.1",
        "description": f"answers of run {run_id}: {kind}",
    }
    if archive_id:
        facts["isPartOf"] = archive_id
    return pack_warcinfo(file, started_at, facts)


def parse_origin(segment: str) -> Origin | None:
    """Return the run that a segment belongs to; None for a name that this program does not create."""
    match = _SEGMENT_OF_RUN.fullmatch(segment)
    if match is None:
        return None
    try:
        started_at = datetime.strptime(match[3], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None
    return Origin(started_at, int(match[1]))


def holds_trays(segment: str) -> bool:
    """Return whether a segment holds trays, according to its name."""
    match = _SEGMENT_OF_RUN.fullmatch(segment)
    return match is not None and match[2] == TRAYS


class AnswerWriter(Closeable):
    """Stores the answers of the run that began at ``started_at`` (UTC), for several threads.

    ``keeps_trays``: whether trays stay stored when the run has ended well. Methods raise StorageError, and
    DiskFull if the place is full.
    """

    def __init__(
        self, objects: Objects, run_id: int, started_at: datetime, archive_id: str, *, keeps_trays: bool
    ) -> None:
        self._run_id, self._started_at, self._archive_id = run_id, started_at, archive_id
        self.keeps_trays = keeps_trays
        self._appender = objects.appender(self._begin, () if keeps_trays else (TRAYS,))

    def _begin(self, series: str) -> tuple[str, bytes]:
        segment = new_segment(self._run_id, self._started_at, series)
        return ANSWERS.path(segment), pack_head(segment, self._started_at, self._archive_id)

    @property
    def tray_segments(self) -> tuple[str, ...]:
        """The segments of this run's trays. Their rows must be deleted before ``drop_trays``."""
        return tuple(name.partition("/")[2] for name in self._appender.names(TRAYS))

    def prepare(self) -> None:
        """Find out now whether answers can be stored, before anything is paid for."""
        self._appender.prepare(TRAYS)

    def keep(self, answer: Answer, *, is_tray: bool) -> AnswerLocation:
        """Store an answer durably and return its location. Call ``check`` once that is recorded."""
        response, request = pack_answer(answer)
        name, offset = self._appender.append(response + request, TRAYS if is_tray else FETCHED)
        digest = Digest(hashlib.sha256(answer.body).hexdigest())
        return AnswerLocation(name.partition("/")[2], offset, len(response), digest)

    def check(self) -> None:
        """Raise the StorageError that has kept an answer from its usual place, if there was one.

        Such an answer has a location, but the run must end: nothing more can be stored.
        """
        self._appender.check()

    def drop_trays(self) -> None:
        """Remove this run's trays, as ``keep_answers = "fetched"`` requires after a successful run.

        Call it before ``close``.
        """
        self._appender.remove(TRAYS)

    def close(self) -> None:
        """End the writing. What waits is put into the bucket; if that fails, the next run does it.

        Nothing is lost if this is skipped: every answer was durable when it was stored.
        """
        self._appender.close()


class AnswerStore:
    """The stored answers, among the ``objects`` of an archive. Creating this object accesses nothing.

    ``keeps_trays``: as for ``AnswerWriter``.
    """

    def __init__(self, objects: Objects, *, archive_id: str = "", keeps_trays: bool = True) -> None:
        """New segments name the archive to which they belong."""
        self.objects = objects
        self._archive_id, self._keeps_trays = archive_id, keeps_trays

    def writer(self, run_id: int, started_at: datetime) -> AnswerWriter:
        """Return the writer of one run. It creates its files when it stores the first answer.

        ``started_at`` (aware) decides the directory of the month.
        """
        return AnswerWriter(
            self.objects,
            run_id,
            started_at.astimezone(UTC),
            self._archive_id,
            keeps_trays=self._keeps_trays,
        )

    def segments(self) -> Iterator[str]:
        """Yield all segments in ascending order, the oldest month first. Raises StorageError."""
        return (each.name for each in self.objects.list(ANSWERS) if SEGMENT.fullmatch(each.name))

    def sizes(self) -> Iterator[tuple[str, int]]:
        """Yield the segments in ascending order, with their sizes. Raises StorageError."""
        for each in self.objects.list(ANSWERS):
            if SEGMENT.fullmatch(each.name) and each.is_object:
                size = self.size(each.name) if each.size is None else each.size
                if size is not None:
                    yield each.name, size

    def foreign_names(self) -> Iterator[str]:
        """Yield each name below ``answers/`` that this program does not create, in printable form."""
        for each in self.objects.list(ANSWERS):
            if parse_origin(each.name) is None or not each.is_object:
                yield printable(each.name)

    def size(self, segment: str) -> int | None:
        """Return the size of a segment; None if there is none. Raises StorageError."""
        return None if SEGMENT.fullmatch(segment) is None else self.objects.size(ANSWERS.path(segment))

    @contextmanager
    def open(self, segment: str) -> Iterator[int]:
        """Open a whole segment, as a descriptor of a file that can be read at any position.

        Raises AnswerMalformed if there is no such segment, or the name is not one; StorageError.
        """
        with ExitStack() as stack:
            with _missing_segments(segment):
                file = stack.enter_context(self.objects.open_file(_object_of(segment)))
            yield file.fileno()

    def read(self, location: AnswerLocation) -> Answer:
        """Return the answer at a location, after checking its body against ``location.sha256``.

        Raises AnswerMalformed if it is missing or differs: only this answer is lost. Raises StorageError if
        the disk fails.
        """
        where = f"the answer in answers/{location.segment} at offset {location.offset}"
        if location.offset < 0 or not 0 < location.length <= LARGEST:
            raise AnswerMalformed(f"{where} cannot have {location.length} bytes")
        with _missing_segments(location.segment):
            packed = self.objects.read(_object_of(location.segment), location.offset, location.length)
        record = unpack_record(packed)
        answer = None if record is None else parse_answer(record)
        if answer is None or hashlib.sha256(answer.body).hexdigest() != location.sha256:
            raise AnswerMalformed(f"{where} is damaged")
        return answer

    def iterate(
        self, segment: str, known_lengths: Mapping[int, int] = MappingProxyType({})
    ) -> Iterator[tuple[AnswerLocation, Answer]]:
        """Yield the whole answers of a segment with their locations, in file order. Needs no database.

        ``known_lengths``: the lengths of known answers, by offset. These answers are skipped without reading.
        Damage and a record that a kill left incomplete are skipped too. Raises AnswerMalformed if there is no
        such segment, StorageError if the disk fails.
        """
        with self.open(segment) as fd, storage_errors(f"answers/{segment} cannot be read"):
            for member in members(fd, known_lengths):
                try:
                    answer = parse_answer(member.plain)
                except AnswerMalformed:
                    continue
                if answer is not None:
                    sha256 = Digest(hashlib.sha256(answer.body).hexdigest())
                    yield AnswerLocation(segment, member.offset, member.length, sha256), answer

    def records(self, segment: str) -> Iterator[tuple[bytes, tuple[AnswerLocation, Answer] | None]]:
        """Yield the whole records of a segment in file order, packed, each with its answer, if it has one.

        The bytes are those that are stored, unless the head of a gzip member is not as this program writes
        it: that record is packed again. Damage, foreign bytes and a record that a kill left incomplete are
        skipped. Raises the same errors as ``iterate``.
        """
        with self.open(segment) as fd, storage_errors(f"answers/{segment} cannot be read"):
            for member in members(fd):
                try:
                    answer = parse_answer(member.plain)
                except AnswerMalformed:
                    continue
                if answer is None and not is_own_record(member.plain):
                    continue
                packed = os.pread(fd, member.length, member.offset)
                if not packed.startswith(GZIP_HEAD):
                    packed = gzip.compress(member.plain, mtime=0)
                if answer is None:
                    yield packed, None
                else:
                    sha256 = Digest(hashlib.sha256(answer.body).hexdigest())
                    yield packed, (AnswerLocation(segment, member.offset, member.length, sha256), answer)

    def copy_without(self, segment: str, dropped: Container[int], new_segment: str) -> dict[int, int]:
        """Store the whole records of a segment as ``new_segment``, without some answers and their requests.

        ``dropped``: the offsets of these answers. Return the new offset of each other answer by its old one.
        Bytes that are no whole record are left out, and so is a request whose answer is. Raises the errors of
        ``iterate``, DiskFull.
        """
        moved: dict[int, int] = {}
        origin = parse_origin(new_segment)
        started_at = datetime.now(UTC) if origin is None else origin.started_at

        def records() -> Iterator[bytes]:
            head = pack_head(new_segment, started_at, self._archive_id)
            yield head
            end, has_answer = len(head), False
            for member in members(fd):
                answer = _answer_in(member)
                if answer is None and not (has_answer and is_own_record(member.plain)):
                    has_answer = False
                    continue
                has_answer = answer is not None and member.offset not in dropped
                if answer is not None and not has_answer:
                    continue
                if has_answer:
                    moved[member.offset] = end
                yield os.pread(fd, member.length, member.offset)
                end += member.length

        with self.open(segment) as fd, storage_errors(f"answers/{segment} cannot be read"):
            self.objects.put(ANSWERS.path(new_segment), records())
        return moved

    def fragments(self, segment: str, known_lengths: Mapping[int, int]) -> Iterator[bytes]:
        """Yield the text of what is in a segment beside whole records of this program, as far as it unpacks.

        ``known_lengths``: as for ``surplus``. Raises the same errors as ``iterate``.
        """
        with self.open(segment) as fd, storage_errors(f"answers/{segment} cannot be read"):
            for piece in pieces(fd, known_lengths):
                if not isinstance(piece, Member):
                    yield unpack_beginning(fd, piece)
                elif not is_own_record(piece.plain):
                    yield piece.plain

    def surplus(
        self, segment: str, known_lengths: Mapping[int, int] = MappingProxyType({})
    ) -> Iterator[Surplus]:
        """Yield the bytes of a segment that are not whole records of this program: foreign or damaged bytes.

        ``known_lengths``: the lengths of answers that have rows, by offset. These answers are not read. An
        incomplete last record left by a kill or a power loss is not surplus, nor are bytes that ``set_aside``
        has already copied. Raises the same errors as ``iterate``.
        """
        with self.open(segment) as fd, storage_errors(f"answers/{segment} cannot be read"):
            spans: list[tuple[Surplus, int]] = []  # each with the number of whole records before it
            last_row, records = max(known_lengths, default=-1), 0
            for piece in pieces(fd, known_lengths):
                if isinstance(piece, Member) and is_own_record(piece.plain):
                    records += 1
                    continue
                start, before = piece.offset, records
                if spans and spans[-1][0].end == start:
                    surplus, before = spans.pop()
                    start = surplus.offset
                spans.append((Surplus(segment, start, piece.offset + piece.length - start), before))
            for surplus, before in spans:
                is_last = surplus.offset > last_row and records - before < _RECORDS_PER_APPEND
                may_be_ours = is_last and surplus.length <= _LARGEST_APPEND
                if may_be_ours and is_cut_off(fd, surplus.offset, surplus.end):
                    continue
                if self.objects.size(_name_aside(surplus)) != surplus.length:
                    yield surplus

    def set_aside(self, surplus: Surplus) -> None:
        """Copy these bytes of a segment to ``quarantine/`` durably. The caller holds the archive's lock.

        On a disk they are cut off if nothing follows them; otherwise they stay. If it fails, the segment is
        unchanged, or complete without them. Raises StorageError.
        """
        with self.open(surplus.segment) as fd:

            def pieces() -> Iterator[bytes]:
                for at in range(surplus.offset, surplus.end, _PIECE):
                    yield os.pread(fd, min(_PIECE, surplus.end - at), at)

            self.objects.put(_name_aside(surplus), pieces())
            is_end = os.fstat(fd).st_size == surplus.end
        if is_end:
            self.objects.cut(_object_of(surplus.segment), surplus.offset)


def _name_aside(surplus: Surplus) -> str:
    """Return the name of a copy in ``quarantine/``."""
    return f"quarantine/{surplus.segment.replace('/', '-')}-{surplus.offset}-{surplus.length}"


def _object_of(segment: str) -> str:
    """Return the object of a segment, whose name comes from the database. Raises AnswerMalformed."""
    if SEGMENT.fullmatch(segment) is None:
        raise AnswerMalformed(f"{segment!r} is not a segment of stored answers")
    return ANSWERS.path(segment)


@contextmanager
def _missing_segments(segment: str) -> Iterator[None]:
    """Convert the error about an object that is missing: only the answers of this segment are lost."""
    try:
        yield
    except ObjectMissing as exc:
        is_gone = exc.__cause__ is None or isinstance(exc.__cause__, FileNotFoundError)
        raise AnswerMalformed(
            f"answers/{segment} {'no longer exists' if is_gone else 'is not a regular file'}"
        ) from exc


def _answer_in(member: Member) -> Answer | None:
    """Return the answer of a record; None if it has none, or one that cannot be read."""
    try:
        return parse_answer(member.plain)
    except AnswerMalformed:
        return None
