"""``archiver forget``: the rows of an account are removed, and what is left to delete is recorded.

The request and the names of files that are to be deleted are journaled: so a database that is rebuilt from
the journal knows of them too. The removal of the rows is not journaled. The journal that has the request is
deleted in the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import Column, ColumnElement, Connection, bindparam, delete, update

from archiver.catalog import counters, journal_triggers, tables
from archiver.catalog.query.account_parts import in_chunks, names_owner
from archiver.catalog.record.answer_records import lost_answers, remove_references
from archiver.model.account_removal import AccountParts, RemovalRequest
from archiver.model.identity import Subject

_ENTRIES = (
    tables.mentions,
    tables.links,
    tables.hashtags,
    tables.locations,
    tables.stickers,
    tables.reshares,
    tables.sponsors,
)
_answers, _calls = tables.answers, tables.api_calls
_MOVE = (
    update(_answers)
    .where(_answers.c.id == bindparam("answer"))
    .values(segment=bindparam("to"), offset=bindparam("at"))
)


class Rewriting(Struct, frozen=True):
    """What became of the answers in the segments that held some of the account.

    ``moved``: id → segment and offset of each answer of others. ``lost``: ids of those that cannot be read.
    """

    moved: Mapping[int, tuple[str, int]]
    lost: Sequence[int]


def removal_request(
    connection: Connection, request: RemovalRequest, new_segments: Iterable[str] = ()
) -> None:
    """Record what is asked for, and the names of files that are to be deleted if it does not come to its end.

    Workers of runs that have ended leave nothing behind: they name the accounts that they visited.
    """
    connection.execute(delete(tables.shared_runs))
    connection.execute(delete(tables.removal_requests))
    connection.execute(
        tables.removal_requests.insert(),
        {
            "id": 1,
            "at": request.at,
            "user_pk": request.user_pk,
            "names": msgspec.json.encode(sorted(request.names)).decode(),
            "reason": request.reason,
        },
    )
    _insert_deletions(connection, new_segments)


def removal(
    connection: Connection,
    request: RemovalRequest,
    parts: AccountParts,
    rewriting: Rewriting,
    deletions: Iterable[str],
) -> None:
    """Remove the rows of an account, record that something was removed, and what files are to be deleted.

    Nothing of this is journaled: a new journal must begin. Answers of other accounts get their new places.
    """
    is_sqlite = connection.dialect.name == "sqlite"
    if is_sqlite:
        connection.exec_driver_sql("PRAGMA secure_delete = ON")
    counters.drop(connection)
    journal_triggers.drop(connection)
    _delete_rows(connection, parts)
    _delete_answers(connection, parts)
    _move_answers(connection, rewriting)
    lost_answers(connection, rewriting.lost, request.at)
    _update_search(connection, is_sqlite)
    connection.execute(tables.removals.insert(), {"at": request.at, "reason": request.reason})
    connection.execute(delete(tables.removal_requests))
    connection.execute(delete(tables.deletions))
    _insert_deletions(connection, deletions)
    for table in (tables.journal_outbox, tables.journal_commits):
        connection.execute(delete(table))
    counters.create(connection)
    journal_triggers.create(connection)


def deleted_files(connection: Connection, names: Iterable[str]) -> None:
    """Record that files are deleted."""
    _delete(connection, tables.deletions.c.name, names)


def _delete_rows(connection: Connection, parts: AccountParts) -> None:
    own_pks = [] if parts.user_pk is None else [parts.user_pk]
    items, highlights = parts.item_pks, parts.highlight_pks
    for table in _ENTRIES:
        _delete(connection, table.c.item_pk, items)
    members, files = tables.highlight_items.c, tables.files.c
    _delete(connection, members.item_pk, items)
    _delete(connection, members.highlight_pk, highlights)
    for column, pks in ((files.item_pk, items), (files.highlight_pk, highlights), (files.user_pk, own_pks)):
        _delete(connection, column, pks)
    _delete(connection, tables.adopted.c.id, parts.waiting)
    _delete(connection, tables.highlights.c.pk, highlights)
    _delete(connection, tables.items.c.pk, items)
    for owner in (tables.usernames.c.user_pk, tables.targets.c.user_pk):
        _delete(connection, owner, own_pks)
    _delete(connection, tables.users.c.pk, own_pks)
    _delete(connection, tables.blobs.c.sha256, [digest for digest, _ in parts.blobs])
    for subject, of in ((Subject.USER, own_pks), (Subject.HIGHLIGHT, highlights), (Subject.ITEM, items)):
        _delete(connection, tables.changes.c.subject_pk, of, tables.changes.c.subject == subject)
        documents = tables.search_documents.c
        _delete(connection, documents.subject_pk, of, documents.subject == subject)
    for pk in own_pks:
        connection.execute(delete(tables.changes).where(names_owner(pk)))
    _delete(connection, tables.failures.c.id, parts.failures)


def _delete_answers(connection: Connection, parts: AccountParts) -> None:
    """Delete the answers; their calls keep path, units and times, so that the ledger stays true."""
    ids = [answer.id for answer in parts.answers]
    for chunk in in_chunks(ids):
        remove_references(connection, chunk)
    _delete(connection, _answers.c.id, ids)
    for chunk in in_chunks([*parts.calls, *(answer.call_id for answer in parts.answers)]):
        connection.execute(update(_calls).where(_calls.c.id.in_(chunk)).values(subject=""))


def _move_answers(connection: Connection, rewriting: Rewriting) -> None:
    moved = [{"answer": answer, "to": to, "at": at} for answer, (to, at) in rewriting.moved.items()]
    if moved:
        connection.execute(_MOVE, moved)


def _update_search(connection: Connection, is_sqlite: bool) -> None:
    """Write the documents of items that stay, and build the index again: it keeps removed words."""
    from archiver.catalog.search import search_index, stale_documents

    stale_documents.update_documents(connection)
    if is_sqlite:
        search_index.rebuild_index(connection)


def _insert_deletions(connection: Connection, names: Iterable[str]) -> None:
    for chunk in in_chunks(sorted(set(names))):
        connection.execute(tables.deletions.insert(), [{"name": name} for name in chunk])


def _delete(
    connection: Connection, column: Column[Any], values: Iterable[Any], *conditions: ColumnElement[bool]
) -> None:
    for chunk in in_chunks(values):
        connection.execute(delete(column.table).where(column.in_(chunk), *conditions))
