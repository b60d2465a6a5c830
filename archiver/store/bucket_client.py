"""A bucket of an S3-compatible store, and the part of it below one prefix.

Objects are put whole: a reader finds the old bytes or the new ones, never a part. Only ``archiver forget``
deletes objects: see ``StoredObject.is_absent``. This is the only module that imports obstore, which the extra
``s3`` installs.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar, cast

from msgspec import Struct

from archiver.durable import storage_errors
from archiver.errors import ConfigError, StorageError, install_command
from archiver.model.values import replace
from archiver.store.bucket_errors import (
    DELETED,
    LATER_HINT,
    NOWHERE,
    NoAnswer,
    NotUnderstood,
    bucket_error,
)
from archiver.store.bucket_reader import ObjectReader
from archiver.store.bucket_settings import BucketSettings, read_bucket_settings
from archiver.store.objects import MARKER, MOST_NAMES, ObjectMissing, size_of
from archiver.temporary import open_temporary

if TYPE_CHECKING:
    from obstore import GetOptions, ObjectMeta
    from obstore.store import ClientConfig, RetryConfig, S3Config, S3Store

T = TypeVar("T")

SINGLE_PUT = 16 << 20
"""Bytes. A larger object is uploaded in parts."""

PART = 8 << 20
"""Bytes of a part. S3 allows 10,000 parts, so an object may have 78 GiB."""

_PARTS_AT_ONCE = 2  # of one upload; they are in memory
_SMALL = 1 << 20  # bytes; such a body is sent within the short time limit
_PIECE = 256 << 10  # bytes handed on at once while an object is read
_NAMES_AT_ONCE = 100  # a page of S3 has up to ten times as many
_MOST_REPEATED = 16
_MOST_OTHERS = 100_000
_REQUESTS_OF_A_PAGE = 3  # in the longest time that one may take: it is repeated if it fails


_NOT_PARTIAL = "non-partial response"
"""What obstore says of a store that answers with a whole object where a range was asked for."""

_BEYOND_END = "status code: 416"
"""What it says if the object ends before the range begins."""

_NO_BYTES = hashlib.sha256().hexdigest()


_used_by: set[int] = set()
"""The processes that have sent requests: this one, or the one that it was forked from."""


class StoredObject(Struct, frozen=True):
    """An object: its name below the prefix, its size in bytes, and its ETag without quotes ('' if none)."""

    name: str
    size: int
    etag: str

    @property
    def is_absent(self) -> bool:
        """Whether only its name is left: what is moved to ``quarantine/`` is copied, and then emptied.

        Only the blob of no bytes is empty and counts.
        """
        return self.size == 0 and not self.name.endswith(_NO_BYTES)


class TimeLimits(Struct, frozen=True):
    """How long requests may take, in seconds, and how often one is repeated.

    ``short``: for a request with a small body, and for the pause between two pieces of a body that is read.
    ``upload``: for a body of up to 16 MB; at 56 kB/s it is sent in time. ``read``: for a whole object, which
    somebody may read slowly. A store that is unavailable is reported after at most twice ``short`` and the
    pauses between the attempts, which is less than 60 s.
    """

    connect: float = 5
    short: float = 20
    upload: float = 300
    read: float = 3600
    retries: int = 7
    first_pause: float = 0.1
    longest_pause: float = 4


AT_ONCE = TimeLimits(connect=2, short=5, read=10, retries=0)
"""For a question that can do without an answer."""


class Bucket:
    """The objects below ``s3://bucket/prefix``, by names relative to it. Can be used from several threads.

    Every method that sends a request raises StorageError if the store fails or refuses it, and DiskFull
    if the store is full. Requests are repeated with growing pauses; see ``TimeLimits``.

    Once a process has sent a request, processes forked from it cannot send any: the threads that obstore
    needs are missing there. RuntimeError says so.
    """

    def __init__(
        self,
        settings: BucketSettings,
        limits: TimeLimits | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Send no request. Raises ConfigError if obstore is not installed.

        ``check``: is called before more names of a listing are fetched, and may raise to stop.
        """
        limits = limits or TimeLimits()
        self._settings, self._limits, self._check = settings, limits, check
        self._knows_preconditions = True  # until the store says otherwise
        patience = 1.25 * limits.short  # a request that was not answered in time is repeated once
        self._small = _client(settings, limits, total=limits.short, patience=patience)
        self._large = _client(settings, limits, total=limits.upload, patience=limits.upload)
        self._stream = _client(settings, limits, total=limits.read, patience=patience, read=limits.short)

    @classmethod
    def open(
        cls,
        url: str,
        environment: Mapping[str, str] = os.environ,
        *,
        allow_metadata_service: bool = False,
        limits: TimeLimits | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> Bucket:
        """Return the bucket at ``s3://bucket/prefix``; see ``read_bucket_settings`` for its arguments.

        ``limits``, ``check``: as for the class. Sends no request. Raises ConfigError, and StorageError if
        there are no access keys.
        """
        settings = read_bucket_settings(url, environment, allow_metadata_service=allow_metadata_service)
        return cls(settings, limits, check)

    @property
    def settings(self) -> BucketSettings:
        """What the bucket was opened with."""
        return self._settings

    def __repr__(self) -> str:
        return f"Bucket({self._settings.location.url!r})"

    def location(self, name: str) -> str:
        """Return the full name of an object: ``s3://bucket/prefix/name``."""
        return f"{self._settings.location.url}/{name}" if name else self._settings.location.url

    def put(self, name: str, content: bytes | BinaryIO) -> None:
        """Store an object, in place of one that may exist. When it returns, the bytes are in the store.

        ``content``: bytes, or a file that is read from its beginning. More than 16 MB are uploaded in parts,
        and up to 24 MB of them are in memory. If that fails, the store is asked to drop the parts, which are
        not an object yet. If it refuses, or the program is killed, it keeps them, unseen, until a lifecycle
        rule of the bucket removes them.
        """
        import obstore

        file = io.BytesIO(content) if isinstance(content, bytes) else content
        size = size_of(file)
        if size > SINGLE_PUT:
            self.call(
                name,
                "written",
                lambda: obstore.put(
                    self._large,
                    name,
                    file,
                    use_multipart=True,
                    chunk_size=PART,
                    max_concurrency=_PARTS_AT_ONCE,
                ),
            )
            return
        whole, client = file.read(), self._client_for(size)
        self.call(name, "written", lambda: obstore.put(client, name, whole, use_multipart=False))

    def put_if_absent(self, name: str, content: bytes) -> bool:
        """Store an object if there is none of this name, and return whether it holds these bytes now.

        False: there is another object, or another client is writing one; or the answer to this very request
        was lost, and the store's ETags are not checksums. A store that does not know If-None-Match replaces
        an existing object, or refuses the request: then the object is looked for first. At most 16 MB.
        """
        if len(content) > SINGLE_PUT:
            raise ValueError("an object of more than 16 MB cannot be put conditionally")
        if self._knows_preconditions:
            try:
                return self._put_conditionally(name, content) or self.holds(name, content)
            except NotUnderstood:
                self._knows_preconditions = False
        if self.head(name) is not None:
            return self.holds(name, content)
        self.put(name, content)
        return True

    def _put_conditionally(self, name: str, content: bytes) -> bool:
        """Store an object, and return True; return False if the store says that there is one."""
        import obstore
        from obstore.exceptions import AlreadyExistsError

        client = self._client_for(len(content))

        def put() -> bool:
            try:
                obstore.put(client, name, content, mode="create", use_multipart=False)
            except AlreadyExistsError:
                return False
            return True

        try:
            return self.call(name, "written", put)
        except NoAnswer:  # perhaps it was stored, so the client has not repeated the request
            return self.call(name, "written", put)

    def head(self, name: str) -> StoredObject | None:
        """Return size and ETag of an object; None if there is none, or if there is no such bucket."""
        import obstore

        meta = self._call_or_none(name, "looked up", lambda: obstore.head(self._small, name))
        return None if meta is None else _stored_object(name, meta)

    def holds(self, name: str, content: bytes | BinaryIO) -> bool:
        """Return whether the store states the size and checksum of exactly these bytes for an object.

        The checksum is the ETag, which most stores make from the MD5 of the bytes or of their parts. Where it
        is something else, as with keys of AWS KMS, the answer is False. The bytes are not read back: a store
        that has damaged them since still states the old checksum.
        """
        found = self.head(name)
        file = io.BytesIO(content) if isinstance(content, bytes) else content
        return found is not None and found.size == size_of(file) and found.etag in _etags(file)

    def read_range(self, name: str, start: int, length: int) -> bytes:
        """Return ``length`` bytes from ``start`` on, fewer if the object is shorter. Raises ObjectMissing."""
        if not length:
            return b""
        pieces = self.stream_from(name, start, start + length)
        return self._read(name, lambda: b"".join(pieces))

    def put_pieces(self, name: str, pieces: Iterable[bytes], root: Path) -> int:
        """Store an object like ``put``, from a temporary file of the archive at ``root``; return its size.

        It gets its bytes from ``pieces``, and is stored only if all of them come.
        """
        with open_temporary(root) as file:
            with storage_errors(f"a temporary file for {self.location(name)} cannot be written"):
                for piece in pieces:
                    file.write(piece)
                size = file.tell()
            self.put(name, file)
        return size

    def download(self, name: str, root: Path) -> BinaryIO:
        """Return an object as a temporary file of the archive at ``root``; the caller closes it.

        Raises ObjectMissing, and StorageError if it does not come whole.
        """
        import obstore

        found = self._read(name, lambda: obstore.get(self._stream, name))
        file = open_temporary(root)
        try:
            with (
                ObjectReader(self, name, 0, found.meta["size"], found.stream(_PIECE)) as reader,
                storage_errors(f"a temporary file for {self.location(name)} cannot be written"),
            ):
                shutil.copyfileobj(reader, file, _PIECE)
                file.seek(0)
        except BaseException:
            file.close()
            raise
        return file

    def open_object(self, name: str) -> BinaryIO:
        """Open an object for reading; the caller closes it. Raises ObjectMissing.

        It is read in one stream, 256 kB at a time. After a ``seek``, the rest is asked for. Reading raises
        StorageError if the store fails in between, or sends less than it stated.
        """
        import obstore

        found = self._read(name, lambda: obstore.get(self._stream, name))
        reader = ObjectReader(self, name, 0, found.meta["size"], found.stream(_PIECE))
        return io.BufferedReader(reader, _PIECE)

    def open_range(self, name: str, start: int, length: int) -> BinaryIO:
        """Open ``length`` bytes from ``start`` on, at least one, as ``open_object`` does the whole.

        The file is positioned at ``start``, and ends after these bytes: only they are asked for, 1 MB with
        each request, so that no read takes longer than a request may. Raises ObjectMissing, and
        StorageError if the object ends before ``start``.
        """
        reader = ObjectReader(self, name, start, start + length, None, at_once=_SMALL)
        return io.BufferedReader(self._read(name, reader.read_ahead), _PIECE)

    def stream_from(
        self, name: str, start: int, end: int | None = None, *, in_time: bool = False
    ) -> Iterator[bytes]:
        """Yield the bytes of an object from ``start`` to ``end``, in pieces. Raises the errors of obstore.

        ``in_time``: the request ends in the time of one with a small body, even if some bytes keep coming. A
        store that ignores the header Range sends all bytes: then those before ``start`` are skipped, and it
        has the time of a large body.
        """
        import obstore
        from obstore.exceptions import BaseError

        client = self._small if in_time else self._stream
        options: GetOptions = {"range": {"offset": start} if end is None else (start, end)}
        position = start
        try:
            found = obstore.get(client, name, options=options)
        except BaseError as exc:
            if _BEYOND_END in str(exc):
                return
            if _NOT_PARTIAL not in str(exc):
                raise
            position = 0
            found = obstore.get(self._large if in_time else self._stream, name)
        for piece in found.stream(_PIECE):
            content = bytes(piece)
            last = len(content) if end is None else end - position
            if wanted := content[max(0, start - position) : last]:
                yield wanted
            position += len(content)
            if end is not None and position >= end:
                return

    def list(
        self,
        directory: str = "",
        after: str = "",
        *,
        is_own: Callable[[str], bool] = lambda _: False,
        most: int = MOST_NAMES,
    ) -> Iterator[StoredObject]:
        """Yield the objects whose names begin with ``directory/``, in ascending order of their names.

        ``after``: begin with the first name greater than this one. Names are fetched as they are needed.
        ``is_own``: whether a name is one that the caller looks for. So that a store cannot list names without
        end, StorageError is raised after 100,000 others, after ``most`` names, after more than a few equal
        names, and if the next names do not come in time.
        """
        import obstore

        pages = obstore.list(self._small, directory or None, offset=after or None, chunk_size=_NAMES_AT_ONCE)
        last, repeated, others, names = after, 0, 0, 0
        while page := self._next_names(directory, pages):
            for meta in page:
                if meta["path"] == last and repeated < _MOST_REPEATED:
                    repeated += 1  # rclone lists a name as often as it was put at the same moment
                    continue
                if meta["path"] <= last:
                    raise StorageError(
                        f"{self.location(directory)} cannot be listed: the names are not in ascending order",
                        "this kind of bucket cannot be used: choose a general purpose bucket",
                    )
                last, repeated, names = meta["path"], 0, names + 1
                others += not is_own(last)
                if names > most:
                    raise StorageError(
                        f"{self.location(directory)} cannot be listed: it has more than {most:,} objects",
                        "check the store: does it list what is there, and nothing else?",
                    )
                if others > _MOST_OTHERS:
                    raise StorageError(
                        f"{self.location(directory)} has more than {_MOST_OTHERS:,} objects that are not"
                        " archiver's",
                        "remove them, or use another prefix",
                    )
                yield _stored_object(last, meta)
            self._check()
        if not names:
            self._require_listing()

    def find_listed(self, name: str) -> StoredObject | None:
        """Return an object as its directory lists it; None if that lacks it.

        For an object that ``head`` does not find: a store or a gateway that is away answers in the same
        words, but not to a listing.
        """
        found = next(self.list(name.rpartition("/")[0], name[:-1]), None)
        return found if found is not None and found.name == name else None

    def _require_listing(self) -> None:
        """Raise StorageError if the store does not list an object that it has: the marker of the archive.

        An answer that is no listing at all, but is XML, is an empty one to the client.
        """
        import obstore

        if self.head(MARKER) is not None:
            listed = self._next_names("", obstore.list(self._small, offset=MARKER[:-1], chunk_size=1))
            if not listed or listed[0]["path"] != MARKER:
                raise StorageError(
                    f"{self.location('')} cannot be listed: {MARKER} is there, and is not listed",
                    "check the endpoint: is it a store that understands S3?",
                )

    def find_nested(self, name: str) -> str | None:
        """Return where above or below this prefix an object has this name; None if none is seen.

        A place above may be hidden from the access keys. Of what is below, the first 100,000 objects are
        looked at. Raises StorageError.
        """
        location = self._settings.location
        prefix = location.prefix
        while prefix:
            prefix = prefix.rpartition("/")[0]
            settings = replace(self._settings, location=location._replace(prefix=prefix))
            above = Bucket(settings, self._limits)
            with suppress(StorageError):
                if above.head(name) is not None:
                    return above.location(name)
        below = (found.name for found in islice(self.list(), _MOST_OTHERS))
        return next((self.location(found) for found in below if found.endswith(f"/{name}")), None)

    def _next_names(
        self, directory: str, pages: Iterator[Sequence[ObjectMeta]]
    ) -> Sequence[ObjectMeta] | None:
        """Return the next names of a listing; None at its end. Raises StorageError also if it takes too long.

        The client asks for one page after the other until there are names, and cannot be told to stop.
        """
        found: Future[Sequence[ObjectMeta] | None] = Future()

        def read() -> None:
            try:
                found.set_result(self.call(directory, "listed", lambda: next(pages, None)))
            except BaseException as error:
                found.set_exception(error)

        threading.Thread(target=read, name="listing", daemon=True).start()
        try:
            return found.result(_REQUESTS_OF_A_PAGE * self._limits.short)
        except TimeoutError:
            raise StorageError(
                f"{self.location(directory)} cannot be listed: the store sends no names, and no end",
                LATER_HINT,
            ) from None

    def copy(self, name: str, new_name: str, size: int) -> None:
        """Copy an object of ``size`` bytes inside the store, in place of one that has the new name.

        Raises StorageError also if the copy is not complete.
        """
        import obstore

        self.call(name, "copied", lambda: obstore.copy(self._large, name, new_name))
        copy = self.head(new_name)
        if copy is None or copy.size != size:
            raise StorageError(
                f"{self.location(name)} cannot be copied: {self.location(new_name)} is not complete",
                "run again later",
            )

    def delete(self, name: str) -> None:
        """Delete an object; one that is missing is no error. Earlier versions of it are the store's affair.

        Raises StorageError also if the access keys lack the right to delete.
        """
        import obstore

        def delete() -> bool:
            try:
                obstore.delete(self._small, name)
            except FileNotFoundError:  # S3 never says so: perhaps a gateway without its store
                return False
            return True

        if not self.call(name, DELETED, delete) and self.find_listed(name) is not None:
            raise StorageError(
                f"{self.location(name)} cannot be deleted: the store lists it, and says that it is not there",
                LATER_HINT,
            )

    def _client_for(self, size: int) -> S3Store:
        return self._small if size <= _SMALL else self._large

    def call(self, name: str, action: str, function: Callable[[], T]) -> T:
        """Return what ``function`` returns; an error of the client is raised as StorageError.

        ``action``: what was to be done, as in "s3://bucket/name cannot be ``read``". The original error is
        not attached, as it quotes the answer of the store, which may quote a session token.
        """
        from obstore.exceptions import BaseError

        _used_by.add(os.getpid())
        if len(_used_by) > 1:
            raise RuntimeError("this process was forked from one that had sent requests to the store")
        try:
            return function()
        except (BaseError, FileNotFoundError) as exc:
            problem, text = f"{self.location(name)} cannot be {action}", str(exc)
            error = bucket_error(problem, text, self._settings)
        raise error

    def _read(self, name: str, function: Callable[[], T]) -> T:
        """Return what ``function`` reads of an object. Raises ObjectMissing."""
        found = self._call_or_none(name, "read", function)
        if found is None:
            raise ObjectMissing(f"{self.location(name)} cannot be read: it does not exist")
        return found

    def _call_or_none(self, name: str, action: str, function: Callable[[], T]) -> T | None:
        """Call like ``call``; return None if there is no such object."""

        def find() -> T | None:
            try:
                return function()
            except FileNotFoundError as exc:
                if "NoSuchBucket" in str(exc):
                    raise
                return None

        return self.call(name, action, find)


def _client(
    settings: BucketSettings, limits: TimeLimits, *, total: float, patience: float, read: float | None = None
) -> S3Store:
    """Return a client of obstore. Its options replace what obstore would take from the environment.

    ``total``: seconds for a request with its body. ``patience``: seconds after which nothing is repeated.
    ``read``: seconds without a byte of the answer.
    """
    try:
        from obstore.exceptions import BaseError
        from obstore.store import S3Store
    except ImportError:
        raise ConfigError(
            "the package obstore, which S3 stores need, is not installed",
            f"install it: {install_command('obstore')}",
        ) from None
    config = {
        "region": settings.region,
        "checksum_algorithm": "SHA256",
        "conditional_put": "etag",
        "skip_signature": False,
        "disable_bulk_delete": True,  # not every store knows it
        **(
            {"endpoint": settings.endpoint, "aws_endpoint_url_s3": settings.endpoint}
            if settings.endpoint
            else {}
        ),
        **settings.login,
    }
    options: ClientConfig = {
        "allow_http": settings.allow_http,
        "connect_timeout": timedelta(seconds=limits.connect),
        "timeout": timedelta(seconds=total),
    }
    if read is not None:
        options["read_timeout"] = timedelta(seconds=read)
    if settings.hosts:
        options |= {"proxy_url": f"http://{NOWHERE}", "proxy_excludes": ",".join(settings.hosts)}
    retries: RetryConfig = {
        "max_retries": limits.retries,
        "retry_timeout": timedelta(seconds=patience),
        "backoff": {
            "init_backoff": timedelta(seconds=limits.first_pause),
            "max_backoff": timedelta(seconds=limits.longest_pause),
            "base": 2,
        },
    }
    try:
        return S3Store(
            settings.location.bucket,
            prefix=settings.location.prefix or None,
            config=cast("S3Config", config),
            client_options=options,
            retry_config=retries,
        )
    except (BaseError, ValueError, TypeError):  # its text may quote an option
        pass
    raise ConfigError(
        f"the AWS variables for {settings.location.url} cannot be used",
        "check the endpoint, the region and the keys",
    )


def _stored_object(name: str, meta: ObjectMeta) -> StoredObject:
    return StoredObject(name, meta["size"], (meta["e_tag"] or "").removeprefix("W/").strip('"'))


def _etags(file: BinaryIO) -> tuple[str, str]:
    """Return the ETags that stores make for these bytes: put at once, and in parts of PART bytes.

    The latter is the MD5 of the MD5s of all parts, and their number.
    https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html
    """
    whole = hashlib.md5(usedforsecurity=False)
    parts: list[bytes] = []
    file.seek(0)
    while part := file.read(PART):
        whole.update(part)
        parts.append(hashlib.md5(part, usedforsecurity=False).digest())
    of_parts = hashlib.md5(b"".join(parts), usedforsecurity=False).hexdigest()
    return whole.hexdigest(), f"{of_parts}-{len(parts)}"
