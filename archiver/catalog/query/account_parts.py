"""What belongs to one account and to no other, for ``archiver forget``; and what is left to remove."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection

from archiver.catalog.query.holdings import OWNER_COLUMNS
from archiver.catalog.query.totals import CALL_IS_BY_NAME
from archiver.catalog.sql import Query
from archiver.errors import ArchiveDamaged
from archiver.model.account_removal import AccountParts, LeftBehind, PlacedAnswer, RemovalRequest
from archiver.model.api_calls import AnswerLocation
from archiver.model.identity import Digest, Pk, Subject

_NUMBER = re.compile(r"[0-9]+")


class _Waiting(NamedTuple):
    """An adopted file."""

    id: int
    user_pk: Pk | None
    username: str | None
    highlight_pk: Pk | None
    item_pk: Pk
    sha256: str


class _File(NamedTuple):
    user_pk: Pk | None
    highlight_pk: Pk | None
    item_pk: Pk | None
    sha256: str


def _answer(
    answer_id: int, call_id: int, path: str, subject: str, segment: str, offset: int, length: int, sha256: str
) -> PlacedAnswer:
    location = AnswerLocation(segment, offset, length, Digest(sha256))
    return PlacedAnswer(answer_id, call_id, path, subject, location)


_HIGHLIGHTS = Query("SELECT pk FROM highlights WHERE user_pk = :pk", Pk)
# The items that the account shows, or that are its own, unless another account shows them. Where an answer
# has shown an item, a place that only another tool names says nothing.
_OWN_ITEMS = Query(
    """
    SELECT pk, code FROM items WHERE (
        user_pk = :pk
        OR pk IN (
            SELECT item_pk FROM highlight_items JOIN highlights ON highlights.pk = highlight_pk
            WHERE highlights.user_pk = :pk AND highlight_items.source IS NULL
        )
        OR source IS NOT NULL AND pk IN (
            SELECT item_pk FROM highlight_items JOIN highlights ON highlights.pk = highlight_pk
            WHERE highlights.user_pk = :pk
        )
    ) AND NOT EXISTS (
        SELECT 1 FROM highlight_items AS member, highlights
        WHERE item_pk = items.pk AND highlights.pk = highlight_pk AND highlights.user_pk <> :pk
            AND (member.source IS NULL OR items.source IS NOT NULL)
    )
    """,
    lambda pk, code: (pk, code),
)
_WAITING = Query("SELECT id, user_pk, username, highlight_pk, item_pk, sha256 FROM adopted", _Waiting)
_NAMES = Query(
    """
    SELECT username FROM users WHERE pk = :pk AND username IS NOT NULL
    UNION SELECT username FROM usernames WHERE user_pk = :pk
    UNION SELECT text FROM targets WHERE user_pk = :pk
    """,
    str,
)
_NAMES_OF_OTHERS = Query(
    """
    SELECT lower(username) FROM users WHERE lower(username) IN :names
        AND pk <> :pk -- if pk
    UNION
    SELECT lower(username) FROM usernames WHERE lower(username) IN :names
        AND user_pk <> :pk -- if pk
    """,
    str,
)
_FULL_NAMES = Query(
    """
    SELECT full_name FROM users WHERE pk = :pk
    UNION
    SELECT old FROM changes WHERE subject = 'user' AND subject_pk = :pk AND field = 'full_name'
    """,
    lambda name: name,
)
_DIGESTS: Mapping[str, Query[str]] = {
    subject: Query(f"SELECT sha256 FROM files WHERE {column} IN :pks", str)
    for subject, column in OWNER_COLUMNS.items()
}
_FILES = Query("SELECT user_pk, highlight_pk, item_pk, sha256 FROM files WHERE sha256 IN :digests", _File)
_SIZES = Query(
    "SELECT sha256, size FROM blobs WHERE sha256 IN :digests", lambda sha256, size: (Digest(sha256), size)
)
_CALLS = {
    False: Query(f"SELECT id FROM api_calls WHERE subject IN :subjects AND NOT {CALL_IS_BY_NAME}", int),
    True: Query(f"SELECT id FROM api_calls WHERE lower(subject) IN :subjects AND {CALL_IS_BY_NAME}", int),
}
_PLACED = """
    SELECT answers.id, api_call_id, path, subject, segment, "offset", length, sha256
    FROM answers JOIN api_calls ON api_calls.id = api_call_id
"""
_ANSWERS = {
    False: Query(f"{_PLACED} WHERE subject IN :subjects AND NOT {CALL_IS_BY_NAME}", _answer),
    True: Query(f"{_PLACED} WHERE lower(subject) IN :subjects AND {CALL_IS_BY_NAME}", _answer),
}
# The answers whose subject is in no row: nothing was recorded of them, or by an older version.
_UNKNOWN = Query(
    f"""
    {_PLACED} WHERE subject <> '' AND NOT (
        NOT {CALL_IS_BY_NAME} AND subject IN (SELECT pk FROM users)
        OR NOT {CALL_IS_BY_NAME} AND subject IN (SELECT pk FROM highlights)
        OR {CALL_IS_BY_NAME} AND lower(subject) IN (SELECT lower(username) FROM usernames)
    )
    """,
    _answer,
)
_CHANGES = Query("SELECT id FROM changes WHERE subject = :subject AND subject_pk IN :pks", int)
NAMES_OWNER = "field = 'user_pk' AND (old = :pk OR new = :pk)"
"""SQL: a change says that a highlight came from the account, or went to it."""
_MOVED = Query(f"SELECT subject_pk FROM changes WHERE {NAMES_OWNER}", Pk)
_FAILURES = Query("SELECT id FROM failures WHERE subject = :subject AND subject_pk IN :pks", int)
_FAILED_TARGETS = Query(
    "SELECT id FROM failures WHERE subject = 'target' AND lower(subject_pk) IN :keys", int
)
_NAMING = Query(  # digits only: no sign of LIKE is among them
    "SELECT id, detail FROM failures WHERE subject = 'target' AND detail LIKE '%' || :pk || '%'",
    lambda failure_id, detail: (failure_id, detail),
)
_SHOWN = Query("SELECT item_pk FROM highlight_items WHERE highlight_pk IN :pks", Pk)
_ITEMS_OF = Query("SELECT pk FROM items WHERE user_pk = :pk", Pk)
_MENTIONING, _SPONSORED = (
    Query(f"SELECT item_pk FROM {table} WHERE user_pk = :pk OR lower(username) IN :names", Pk)
    for table in ("mentions", "sponsors")
)
_RESHARING = Query("SELECT item_pk FROM reshares WHERE user_pk = :pk", Pk)
_IS_UNFINISHED = Query(
    "SELECT EXISTS (SELECT 1 FROM removal_requests) OR EXISTS (SELECT 1 FROM deletions)", bool
)
_REQUEST = Query(
    "SELECT at, user_pk, names, reason FROM removal_requests",
    lambda at, user_pk, names, reason: RemovalRequest(
        at, user_pk, frozenset(msgspec.json.decode(names, type=list[str])), reason
    ),
)
_DELETIONS = Query("SELECT name FROM deletions ORDER BY name", str)
_REMOVALS = Query("SELECT count(*) FROM removals", int)


def read_parts(connection: Connection, request: RemovalRequest) -> AccountParts:
    """Return what belongs to the account of a request."""
    pk = request.user_pk
    names = request.names | _names(connection, pk)
    shared = _names_of_others(connection, pk, names)
    own_names = names - shared
    highlights = tuple(_HIGHLIGHTS.all(connection, pk=pk))
    items = _OWN_ITEMS.all(connection, pk=pk) if pk is not None else []
    item_pks = tuple(item_pk for item_pk, _ in items)
    owned = _OwnedFiles(pk, own_names, frozenset(highlights), frozenset(item_pks))
    waiting = _WAITING.all(connection)
    digests = _own_files(connection, owned)
    files = len(digests)
    own_digests = {*digests, *(row.sha256 for row in waiting if owned.has_waiting(row))}
    subjects = sorted({*highlights, *([pk] if pk is not None else [])})
    by_name = sorted(own_names)
    call_ids = _CALLS[False].all_of(connection, "subjects", subjects)
    call_ids += _CALLS[True].all_of(connection, "subjects", by_name)
    answers = _ANSWERS[False].all_of(connection, "subjects", subjects)
    answers += _ANSWERS[True].all_of(connection, "subjects", by_name)
    doubtful = _ANSWERS[True].all_of(connection, "subjects", sorted(shared))
    if pk is not None:
        doubtful += _UNKNOWN.all(connection)
    certain = {answer.id for answer in answers}
    return AccountParts(
        user_pk=pk,
        names=names,
        shared_names=shared,
        highlight_pks=highlights,
        item_pks=item_pks,
        item_codes=tuple(code for _, code in items if code),
        files=files,
        waiting=tuple(row.id for row in waiting if owned.has_waiting(row)),
        blobs=tuple(_without_others(connection, owned, own_digests, waiting)),
        calls=tuple(call_ids),
        answers=tuple(answers),
        doubtful=tuple(answer for answer in doubtful if answer.id not in certain),
        changes=sum(
            len(_CHANGES.all_of(connection, "pks", pks, subject=subject)) for subject, pks in owned.subjects()
        )
        + _count_moves(connection, owned),
        failures=tuple(_own_failures(connection, owned)),
    )


def read_full_names(connection: Connection, pk: Pk) -> frozenset[str]:
    """Return the full names that an account has or had."""
    return frozenset(name for name in _FULL_NAMES.all(connection, pk=pk) if name)


def count_left(connection: Connection, parts: AccountParts) -> LeftBehind:
    """Return what other accounts show of this one."""
    removed = set(parts.item_pks)

    def count(query: Query[Pk], **values: object) -> int:
        return sum(pk not in removed for pk in query.all(connection, pk=parts.user_pk, **values))

    return LeftBehind(
        mentions=count(_MENTIONING, names=parts.names),
        reshares=count(_RESHARING),
        sponsors=count(_SPONSORED, names=parts.names),
        shared_items=_count_kept_items(connection, parts),
    )


def is_unfinished(connection: Connection) -> bool:
    """Return whether a removal was begun, and has not ended."""
    return _IS_UNFINISHED.one(connection)


def read_request(connection: Connection) -> RemovalRequest | None:
    """Return what was asked for, if its rows are not removed yet.

    Raises ArchiveDamaged for a request that does not name one account, by its pk or by one name.
    """
    request = _REQUEST.first(connection)
    if request is not None and len(request.names) + (request.user_pk is not None) != 1:
        raise ArchiveDamaged(
            "the database has a request to remove several accounts at once, which archiver forget never does:"
            " another program has changed this archive; nothing was deleted",
            "restore a copy that you trust; or, if you trust the rest, remove the row of the table"
            " removal_requests",
        )
    return request


def read_deletions(connection: Connection) -> list[str]:
    """Return the names of the files that are still to be deleted."""
    return _DELETIONS.all(connection)


def count_removals(connection: Connection) -> int:
    """Return how many accounts were removed."""
    return _REMOVALS.one(connection)


class _OwnedFiles:
    """Which rows of files, adopted files, changes and failures belong to an account."""

    def __init__(
        self, pk: Pk | None, names: frozenset[str], highlights: frozenset[Pk], items: frozenset[Pk]
    ) -> None:
        self.pk, self.names, self.highlights, self.items = pk, names, highlights, items

    def has(self, row: _File) -> bool:
        """Return whether a row of ``files`` belongs to it."""
        return (
            (row.user_pk is not None and row.user_pk == self.pk)
            or row.highlight_pk in self.highlights
            or row.item_pk in self.items
        )

    def has_waiting(self, row: _Waiting) -> bool:
        """Return whether a row of ``adopted`` belongs to it."""
        is_named = row.username is not None and row.username.lower() in self.names
        is_own = row.user_pk is not None and row.user_pk == self.pk
        return is_own or is_named or row.highlight_pk in self.highlights or row.item_pk in self.items

    def subjects(self) -> Iterator[tuple[Subject, list[str]]]:
        """Yield the subjects of changes and failures."""
        yield Subject.USER, [] if self.pk is None else [self.pk]
        yield Subject.HIGHLIGHT, sorted(self.highlights)
        yield Subject.ITEM, sorted(self.items)


def _names(connection: Connection, pk: Pk | None) -> frozenset[str]:
    if pk is None:
        return frozenset()
    found = _NAMES.all(connection, pk=pk)
    return frozenset(name.removeprefix("@").lower() for name in found if name and name != pk)


def _names_of_others(connection: Connection, pk: Pk | None, names: frozenset[str]) -> frozenset[str]:
    return frozenset(_NAMES_OF_OTHERS.all_of(connection, "names", sorted(names), pk=pk))


def _own_files(connection: Connection, owned: _OwnedFiles) -> list[str]:
    """Return the digest of each file of the account."""
    return [
        digest
        for subject, pks in owned.subjects()
        for digest in _DIGESTS[subject].all_of(connection, "pks", pks)
    ]


def _without_others(
    connection: Connection, owned: _OwnedFiles, digests: Iterable[str], waiting: Iterable[_Waiting]
) -> Iterator[tuple[Digest, int]]:
    """Yield the blobs of these digests that no file of another account has, with their sizes."""
    others = {row.sha256 for row in waiting if not owned.has_waiting(row)}
    in_order = sorted(digests)
    others.update(row.sha256 for row in _FILES.all_of(connection, "digests", in_order) if not owned.has(row))
    for digest, size in _SIZES.all_of(connection, "digests", in_order):
        if digest not in others:
            yield digest, size


def _count_moves(connection: Connection, owned: _OwnedFiles) -> int:
    """Return how many changes say that highlights of others were the account's."""
    if owned.pk is None:
        return 0
    return sum(pk not in owned.highlights for pk in _MOVED.all(connection, pk=owned.pk))


def _own_failures(connection: Connection, owned: _OwnedFiles) -> Iterator[int]:
    for subject, pks in owned.subjects():
        yield from _FAILURES.all_of(connection, "pks", pks, subject=subject)
    keys = {*owned.names, *owned.highlights, *([owned.pk] if owned.pk is not None else [])}
    found = set(_FAILED_TARGETS.all_of(connection, "keys", sorted(keys)))
    if owned.pk is not None:  # as for a name that another account has had
        named = _NAMING.all(connection, pk=owned.pk)
        found.update(failure_id for failure_id, detail in named if owned.pk in _NUMBER.findall(detail))
    yield from sorted(found)


def _count_kept_items(connection: Connection, parts: AccountParts) -> int:
    removed = set(parts.item_pks)
    shown = set(_SHOWN.all_of(connection, "pks", parts.highlight_pks))
    own = set(_ITEMS_OF.all(connection, pk=parts.user_pk))
    return len((shown | own) - removed)
