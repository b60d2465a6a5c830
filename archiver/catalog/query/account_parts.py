"""What belongs to one account and to no other, for ``archiver forget``; and what is left to remove."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from itertools import chain, islice
from typing import Any, TypeVar

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, Select, and_, exists, func, or_, select

from archiver.catalog import tables
from archiver.errors import ArchiveDamaged
from archiver.model.account_removal import AccountParts, LeftBehind, PlacedAnswer, RemovalRequest
from archiver.model.api_calls import AnswerLocation
from archiver.model.identity import Digest, Pk, Subject

T = TypeVar("T")

_users, _usernames, _targets = tables.users, tables.usernames, tables.targets
_highlights, _items, _members = tables.highlights, tables.items, tables.highlight_items
_files, _adopted, _blobs = tables.files, tables.adopted, tables.blobs
_calls, _answers = tables.api_calls, tables.answers
_changes, _failures = tables.changes, tables.failures

_AT_ONCE = 500
_NUMBER = re.compile(r"[0-9]+")

_PLACED: Select[Any] = select(
    _answers.c.id,
    _answers.c.api_call_id,
    _calls.c.path,
    _calls.c.subject,
    _answers.c.segment,
    _answers.c.offset,
    _answers.c.length,
    _answers.c.sha256,
).join(_calls, _calls.c.id == _answers.c.api_call_id)
_IS_BY_NAME = _calls.c.path.like("%/username")
"""Then the subject of a call is a username, else a pk."""


def in_chunks(values: Iterable[T]) -> Iterator[tuple[T, ...]]:
    """Yield the values, as many at a time as fit into one statement."""
    left = iter(values)
    while chunk := tuple(islice(left, _AT_ONCE)):
        yield chunk


def read_parts(connection: Connection, request: RemovalRequest) -> AccountParts:
    """Return what belongs to the account of a request."""
    pk = request.user_pk
    names = request.names | _names(connection, pk)
    shared = _names_of_others(connection, pk, names)
    own_names = names - shared
    highlights = tuple(connection.scalars(select(_highlights.c.pk).where(_highlights.c.user_pk == pk)))
    items = connection.execute(_own_items(pk)).all() if pk is not None else []
    item_pks = tuple(row.pk for row in items)
    owned = _OwnedFiles(pk, own_names, frozenset(highlights), frozenset(item_pks))
    waiting = connection.execute(select(_adopted)).all()
    files, digests = _own_files(connection, owned)
    digests |= {row.sha256 for row in waiting if owned.has_waiting(row)}
    subjects = {*highlights, *([pk] if pk is not None else [])}
    call_ids = _ids(connection, _calls.c.id, _calls.c.subject, subjects, ~_IS_BY_NAME)
    call_ids += _ids(connection, _calls.c.id, func.lower(_calls.c.subject), own_names, _IS_BY_NAME)
    answers = [
        *_read_answers(connection, _calls.c.subject, subjects, ~_IS_BY_NAME),
        *_read_answers(connection, func.lower(_calls.c.subject), own_names, _IS_BY_NAME),
    ]
    doubtful = [*_read_answers(connection, func.lower(_calls.c.subject), shared, _IS_BY_NAME)]
    if pk is not None:
        doubtful += _unknown(connection)
    certain = {answer.id for answer in answers}
    return AccountParts(
        user_pk=pk,
        names=names,
        shared_names=shared,
        highlight_pks=highlights,
        item_pks=item_pks,
        item_codes=tuple(row.code for row in items if row.code),
        files=files,
        waiting=tuple(row.id for row in waiting if owned.has_waiting(row)),
        blobs=tuple(_without_others(connection, owned, digests, waiting)),
        calls=tuple(call_ids),
        answers=tuple(answers),
        doubtful=tuple(answer for answer in doubtful if answer.id not in certain),
        changes=sum(_count(connection, _changes, subject, pks) for subject, pks in owned.subjects())
        + _count_moves(connection, owned),
        failures=tuple(_own_failures(connection, owned)),
    )


def read_full_names(connection: Connection, pk: Pk) -> frozenset[str]:
    """Return the full names that an account has or had."""
    of_account = _changes.c.subject == Subject.USER, _changes.c.subject_pk == pk
    former = select(_changes.c.old).where(*of_account, _changes.c.field == "full_name")
    present = select(_users.c.full_name).where(_users.c.pk == pk)
    found = chain(connection.scalars(present), connection.scalars(former))
    return frozenset(name for name in found if name)


def names_owner(pk: Pk) -> ColumnElement[bool]:
    """Return the condition for a change that says that a highlight came from the account, or went to it."""
    return and_(_changes.c.field == "user_pk", or_(_changes.c.old == pk, _changes.c.new == pk))


def count_left(connection: Connection, parts: AccountParts) -> LeftBehind:
    """Return what other accounts show of this one."""
    names, removed = list(parts.names), set(parts.item_pks)

    def count(table: Any, condition: ColumnElement[bool]) -> int:
        pks = connection.scalars(select(table.c.item_pk).where(condition))
        return sum(pk not in removed for pk in pks)

    def has_name(table: Any) -> ColumnElement[bool]:
        return or_(table.c.user_pk == parts.user_pk, func.lower(table.c.username).in_(names))

    return LeftBehind(
        mentions=count(tables.mentions, has_name(tables.mentions)),
        reshares=count(tables.reshares, tables.reshares.c.user_pk == parts.user_pk),
        sponsors=count(tables.sponsors, has_name(tables.sponsors)),
        shared_items=_count_kept_items(connection, parts),
    )


def is_unfinished(connection: Connection) -> bool:
    """Return whether a removal was begun, and has not ended."""
    has_request = exists(select(tables.removal_requests.c.id))
    return bool(connection.scalar(select(or_(has_request, exists(select(tables.deletions.c.name))))))


def read_request(connection: Connection) -> RemovalRequest | None:
    """Return what was asked for, if its rows are not removed yet.

    Raises ArchiveDamaged for a request that does not name one account, by its pk or by one name.
    """
    row = connection.execute(select(tables.removal_requests)).first()
    if row is None:
        return None
    names = frozenset(msgspec.json.decode(row.names, type=list[str]))
    if len(names) + (row.user_pk is not None) != 1:
        raise ArchiveDamaged(
            "the database has a request to remove several accounts at once, which archiver forget never does:"
            " another program has changed this archive; nothing was deleted",
            "restore a copy that you trust; or, if you trust the rest, remove the row of the table"
            " removal_requests",
        )
    return RemovalRequest(row.at, row.user_pk, names, row.reason)


def read_deletions(connection: Connection) -> list[str]:
    """Return the names of the files that are still to be deleted."""
    return list(
        map(str, connection.scalars(select(tables.deletions.c.name).order_by(tables.deletions.c.name)))
    )


def count_removals(connection: Connection) -> int:
    """Return how many accounts were removed."""
    return int(connection.scalar(select(func.count()).select_from(tables.removals)) or 0)


class _OwnedFiles:
    """Which rows of files, adopted files, changes and failures belong to an account."""

    def __init__(
        self, pk: Pk | None, names: frozenset[str], highlights: frozenset[Pk], items: frozenset[Pk]
    ) -> None:
        self.pk, self.names, self.highlights, self.items = pk, names, highlights, items

    def has(self, row: Row[Any]) -> bool:
        """Return whether a row of ``files`` belongs to it."""
        return (
            (row.user_pk is not None and row.user_pk == self.pk)
            or row.highlight_pk in self.highlights
            or row.item_pk in self.items
        )

    def has_waiting(self, row: Row[Any]) -> bool:
        """Return whether a row of ``adopted`` belongs to it."""
        is_named = row.username is not None and row.username.lower() in self.names
        is_own = row.user_pk is not None and row.user_pk == self.pk
        return is_own or is_named or row.highlight_pk in self.highlights or row.item_pk in self.items

    def subjects(self) -> Iterator[tuple[Subject, Collection[str]]]:
        """Yield the subjects of changes and failures."""
        yield Subject.USER, [] if self.pk is None else [self.pk]
        yield Subject.HIGHLIGHT, self.highlights
        yield Subject.ITEM, self.items


def _names(connection: Connection, pk: Pk | None) -> frozenset[str]:
    if pk is None:
        return frozenset()
    found = chain(
        connection.scalars(select(_users.c.username).where(_users.c.pk == pk)),
        connection.scalars(select(_usernames.c.username).where(_usernames.c.user_pk == pk)),
        connection.scalars(select(_targets.c.text).where(_targets.c.user_pk == pk)),
    )
    return frozenset(name.removeprefix("@").lower() for name in found if name and name != pk)


def _names_of_others(connection: Connection, pk: Pk | None, names: frozenset[str]) -> frozenset[str]:
    others: set[str] = set()
    for chunk in in_chunks(sorted(names)):
        for table, owner in ((_users, _users.c.pk), (_usernames, _usernames.c.user_pk)):
            name = func.lower(table.c.username)
            query = select(name).where(name.in_(chunk))
            others.update(connection.scalars(query if pk is None else query.where(owner != pk)))
    return frozenset(others)


def _own_items(pk: Pk) -> Select[Any]:
    """Select the items that the account shows, or that are its own, unless another account shows them.

    Where an answer has shown an item, a place that only another tool names says nothing.
    """
    is_evidence = or_(_members.c.source.is_(None), _items.c.source.is_not(None))

    def is_shown_by(owner: ColumnElement[bool]) -> ColumnElement[bool]:
        is_place = _members.c.item_pk == _items.c.pk, _highlights.c.pk == _members.c.highlight_pk
        return exists().where(*is_place, is_evidence, owner)

    return select(_items.c.pk, _items.c.code).where(
        or_(_items.c.user_pk == pk, is_shown_by(_highlights.c.user_pk == pk)),
        ~is_shown_by(_highlights.c.user_pk != pk),
    )


def _own_files(connection: Connection, owned: _OwnedFiles) -> tuple[int, set[str]]:
    """Return how many files the account has, and their digests."""
    count, digests = 0, set()
    owners = (
        (_files.c.user_pk, [] if owned.pk is None else [owned.pk]),
        (_files.c.highlight_pk, owned.highlights),
        (_files.c.item_pk, owned.items),
    )
    for column, pks in owners:
        for chunk in in_chunks(sorted(pks)):
            for digest in connection.scalars(select(_files.c.sha256).where(column.in_(chunk))):
                count += 1
                digests.add(digest)
    return count, digests


def _without_others(
    connection: Connection, owned: _OwnedFiles, digests: Iterable[str], waiting: Iterable[Row[Any]]
) -> Iterator[tuple[Digest, int]]:
    """Yield the blobs of these digests that no file of another account has, with their sizes."""
    others = {row.sha256 for row in waiting if not owned.has_waiting(row)}
    for chunk in in_chunks(sorted(digests)):
        rows = connection.execute(select(_files).where(_files.c.sha256.in_(chunk)))
        others.update(row.sha256 for row in rows if not owned.has(row))
        sizes = select(_blobs.c.sha256, _blobs.c.size).where(_blobs.c.sha256.in_(chunk))
        for blob in connection.execute(sizes):
            if blob.sha256 not in others:
                yield Digest(blob.sha256), blob.size


def _ids(
    connection: Connection,
    ids: ColumnElement[int],
    column: ColumnElement[str],
    values: Iterable[str],
    *conditions: ColumnElement[bool],
) -> list[int]:
    return [
        found
        for chunk in in_chunks(sorted(values))
        for found in connection.scalars(select(ids).where(column.in_(chunk), *conditions))
    ]


def _read_answers(
    connection: Connection, column: ColumnElement[str], values: Iterable[str], condition: ColumnElement[bool]
) -> Iterator[PlacedAnswer]:
    for chunk in in_chunks(sorted(values)):
        yield from map(_answer, connection.execute(_PLACED.where(column.in_(chunk), condition)))


def _unknown(connection: Connection) -> list[PlacedAnswer]:
    """Return the answers whose subject is in no row: nothing was recorded of them, or by an older version."""
    name = func.lower(_calls.c.subject)
    is_known = or_(
        and_(~_IS_BY_NAME, _calls.c.subject.in_(select(_users.c.pk))),
        and_(~_IS_BY_NAME, _calls.c.subject.in_(select(_highlights.c.pk))),
        and_(_IS_BY_NAME, name.in_(select(func.lower(_usernames.c.username)))),
    )
    return list(map(_answer, connection.execute(_PLACED.where(_calls.c.subject != "", ~is_known))))


def _answer(row: Row[Any]) -> PlacedAnswer:
    location = AnswerLocation(row.segment, row.offset, row.length, Digest(row.sha256))
    return PlacedAnswer(row.id, row.api_call_id, row.path, row.subject, location)


def _count(connection: Connection, table: Any, subject: Subject, pks: Iterable[str]) -> int:
    return len(_ids(connection, table.c.id, table.c.subject_pk, pks, table.c.subject == subject))


def _count_moves(connection: Connection, owned: _OwnedFiles) -> int:
    """Return how many changes say that highlights of others were the account's."""
    if owned.pk is None:
        return 0
    pks = connection.scalars(select(_changes.c.subject_pk).where(names_owner(owned.pk)))
    return sum(pk not in owned.highlights for pk in pks)


def _own_failures(connection: Connection, owned: _OwnedFiles) -> Iterator[int]:
    for subject, pks in owned.subjects():
        yield from _ids(
            connection, _failures.c.id, _failures.c.subject_pk, pks, _failures.c.subject == subject
        )
    keys = {*owned.names, *owned.highlights, *([owned.pk] if owned.pk is not None else [])}
    key = func.lower(_failures.c.subject_pk)
    of_target = _failures.c.subject == Subject.TARGET
    found = set(_ids(connection, _failures.c.id, key, keys, of_target))
    if owned.pk is not None:  # as for a name that another account has had
        named = select(_failures.c.id, _failures.c.detail).where(
            of_target, _failures.c.detail.contains(owned.pk, autoescape=True)
        )
        found.update(row.id for row in connection.execute(named) if owned.pk in _NUMBER.findall(row.detail))
    yield from sorted(found)


def _count_kept_items(connection: Connection, parts: AccountParts) -> int:
    removed = set(parts.item_pks)
    shown: set[str] = set()
    for chunk in in_chunks(parts.highlight_pks):
        shown.update(connection.scalars(select(_members.c.item_pk).where(_members.c.highlight_pk.in_(chunk))))
    own = set(connection.scalars(select(_items.c.pk).where(_items.c.user_pk == parts.user_pk)))
    return len((shown | own) - removed)
