"""``archiver forget``: the rows of an account are removed, and what is left to delete is recorded.

The request and the names of files that are to be deleted are journaled: so a database that is rebuilt from
the journal knows of them too. The removal of the rows is not journaled. The journal that has the request is
deleted in the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec
from msgspec import Struct
from sqlalchemy import Connection

from archiver.catalog import counters, outbox
from archiver.catalog.dialects import dialect_of
from archiver.catalog.entry_kinds import ENTRY_KINDS
from archiver.catalog.query.account_parts import NAMES_OWNER
from archiver.catalog.record.runs import delete_answers, record_lost_answers
from archiver.catalog.sql import Command
from archiver.model.account_removal import AccountParts, RemovalRequest
from archiver.model.identity import Subject


def _delete(table: str, column: str, condition: str = "") -> Command:
    return Command(f"DELETE FROM {table} WHERE {column} IN :values {condition}")


_CLEAR_RUNS = Command("DELETE FROM shared_runs")
_CLEAR_REQUEST = Command("DELETE FROM removal_requests")
_CLEAR_DELETIONS = Command("DELETE FROM deletions")
_REQUEST = Command(
    """
    INSERT INTO removal_requests (id, at, user_pk, names, reason) VALUES (1, :at, :user_pk, :names, :reason)
    """
)
_REMOVAL = Command("INSERT INTO removals (at, reason) VALUES (:at, :reason)")
_DELETION = Command("INSERT INTO deletions (name) VALUES (:name)")
_DELETED = _delete("deletions", "name")
_OF_PARTS = tuple(  # in the order of the foreign keys
    (_delete(table, column), part)
    for table, column, part in (
        *((kind.table, "item_pk", "items") for kind in ENTRY_KINDS),
        ("highlight_items", "item_pk", "items"),
        ("files", "item_pk", "items"),
        ("highlight_items", "highlight_pk", "highlights"),
        ("files", "highlight_pk", "highlights"),
        ("usernames", "user_pk", "accounts"),
        ("targets", "user_pk", "accounts"),
        ("files", "user_pk", "accounts"),
        ("adopted", "id", "waiting"),
        ("highlights", "pk", "highlights"),
        ("items", "pk", "items"),
        ("users", "pk", "accounts"),
        ("blobs", "sha256", "blobs"),
        ("failures", "id", "failures"),
    )
)
_OF_SUBJECT = tuple(
    _delete(table, "subject_pk", "AND subject = :subject") for table in ("changes", "search_documents")
)
_MOVES = Command(f"DELETE FROM changes WHERE {NAMES_OWNER}")
_UNNAME_CALLS = Command("UPDATE api_calls SET subject = '' WHERE id IN :calls")
_MOVE_ANSWER = Command('UPDATE answers SET segment = :to, "offset" = :at WHERE id = :answer')


class Rewriting(Struct, frozen=True):
    """What became of the answers in the segments that held some of the account.

    ``moved``: id → segment and offset of each answer of others. ``lost``: ids of those that cannot be read.
    """

    moved: Mapping[int, tuple[str, int]]
    lost: Sequence[int]


def record_removal_request(
    connection: Connection, request: RemovalRequest, new_segments: Iterable[str] = ()
) -> None:
    """Record what is asked for, and the names of files that are to be deleted if it does not come to its end.

    Workers of runs that have ended leave nothing behind: they name the accounts that they visited.
    """
    _CLEAR_RUNS.run(connection)
    _CLEAR_REQUEST.run(connection)
    _REQUEST.run(
        connection,
        at=request.at,
        user_pk=request.user_pk,
        names=msgspec.json.encode(sorted(request.names)).decode(),
        reason=request.reason,
    )
    _insert_deletions(connection, new_segments)


def remove_account(
    connection: Connection,
    request: RemovalRequest,
    parts: AccountParts,
    rewriting: Rewriting,
    deletions: Iterable[str],
) -> None:
    """Remove the rows of an account, record that something was removed, and what files are to be deleted.

    Nothing of this is journaled: a new journal must begin. Answers of other accounts get their new places.
    """
    dialect = dialect_of(connection)
    dialect.erase_removed_rows(connection)
    counters.drop(connection)
    dialect.drop_journal_triggers(connection)
    _delete_rows(connection, parts)
    _delete_answers(connection, parts)
    _move_answers(connection, rewriting)
    record_lost_answers(connection, rewriting.lost, request.at)
    _update_search(connection)
    _REMOVAL.run(connection, at=request.at, reason=request.reason)
    _CLEAR_REQUEST.run(connection)
    _CLEAR_DELETIONS.run(connection)
    _insert_deletions(connection, deletions)
    outbox.clear(connection)
    counters.create(connection)
    dialect.create_journal_triggers(connection)


def record_deleted_files(connection: Connection, names: Iterable[str]) -> None:
    """Record that files are deleted."""
    _DELETED.run_for(connection, "values", names)


def _delete_rows(connection: Connection, parts: AccountParts) -> None:
    own_pks = [] if parts.user_pk is None else [parts.user_pk]
    values: dict[str, Sequence[object]] = {
        "accounts": own_pks,
        "highlights": parts.highlight_pks,
        "items": parts.item_pks,
        "waiting": parts.waiting,
        "blobs": [digest for digest, _ in parts.blobs],
        "failures": parts.failures,
    }
    for statement, part in _OF_PARTS:
        statement.run_for(connection, "values", values[part])
    subjects = ((Subject.USER, "accounts"), (Subject.HIGHLIGHT, "highlights"), (Subject.ITEM, "items"))
    for subject, part in subjects:
        for statement in _OF_SUBJECT:
            statement.run_for(connection, "values", values[part], subject=subject)
    for pk in own_pks:
        _MOVES.run(connection, pk=pk)


def _delete_answers(connection: Connection, parts: AccountParts) -> None:
    """Delete the answers; their calls keep path, units and times, so that the ledger stays true."""
    delete_answers(connection, [answer.id for answer in parts.answers])
    calls = [*parts.calls, *(answer.call_id for answer in parts.answers)]
    _UNNAME_CALLS.run_for(connection, "calls", calls)


def _move_answers(connection: Connection, rewriting: Rewriting) -> None:
    moved = ({"answer": answer, "to": to, "at": at} for answer, (to, at) in rewriting.moved.items())
    _MOVE_ANSWER.run_each(connection, moved)


def _update_search(connection: Connection) -> None:
    """Write the documents of items that stay, and build the index again: it keeps removed words."""
    from archiver.catalog.search import search_index, update_documents

    update_documents(connection)
    if search_index.has_own_index(connection):
        search_index.rebuild_index(connection)


def _insert_deletions(connection: Connection, names: Iterable[str]) -> None:
    _DELETION.run_each(connection, ({"name": name} for name in sorted(set(names))))
