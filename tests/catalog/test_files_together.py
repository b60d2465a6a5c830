"""Files that are recorded by one call, against the same files recorded one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, text

from archiver.catalog import Catalog, record
from archiver.catalog.record import FileRecorded, StoredFile
from archiver.errors import DatabaseError, Reason
from archiver.model.archived import Failure
from archiver.model.identity import Role
from archiver.model.values import replace
from tests.support.catalog_samples import FACTS, LATER, NATGEO, digest, file_of, page, tray
from tests.support.databases import NOW, SQLITE_EVERYDAY

OWNERS = [
    *(("1", Role.COVER), (NATGEO.pk, Role.AVATAR)),
    *((pk, role) for pk in ("10", "11") for role in (Role.VIDEO, Role.THUMBNAIL)),
]
CONTENTS = ("a", "b", "c")


@st.composite
def _stored_files(draw: st.DrawFn) -> StoredFile:
    """A file of one of a few owners, with one of a few contents."""
    (pk, role), content = draw(st.sampled_from(OWNERS)), draw(st.sampled_from(CONTENTS))
    file = file_of(pk, role, content, draw(st.sampled_from(["a.mp4", "b.mp4"])))
    file = replace(file, source=draw(st.sampled_from([None, "gallery-dl"])))
    at = NOW + timedelta(seconds=draw(st.integers(0, 3)))
    seen_at = draw(st.sampled_from([None, NOW]))
    return StoredFile(file, draw(st.sampled_from([None, 7])), at, seen_at)


_TABLES = {
    "files": "user_pk, highlight_pk, item_pk, role, sha256, run_id, answer_id, source_url, source, kept_at,"
    " last_seen_at",
    "blobs": "sha256, size, mime, width, height, stored_at, lost_at",
    "failures": "subject, subject_pk, role, resolved_at",
    "users": "pk, avatar_held",
    "highlights": "pk, cover_held",
}


def _content(connection: Connection) -> list[object]:
    """Return what files change, and how many changes of each table wait for the journal."""
    found: list[object] = []
    for table, columns in _TABLES.items():
        rows = connection.execute(text(f"SELECT {columns} FROM {table}")).all()
        found.append(sorted(map(str, rows)))
    counts = text("SELECT table_name, count(*) FROM journal_outbox GROUP BY table_name ORDER BY table_name")
    return [*found, connection.execute(counts).all()]


Way = Callable[[Connection, Sequence[StoredFile]], list[FileRecorded]]


def _try(connection: Connection, way: Way, stored: Sequence[StoredFile]) -> tuple[object, list[object]]:
    """Return the results of recording files in one way, and the rows after that, which are rolled back."""
    savepoint = connection.begin_nested()
    try:
        return way(connection, stored), _content(connection)
    finally:
        savepoint.rollback()


@SQLITE_EVERYDAY
@given(
    held=st.lists(_stored_files(), max_size=4),
    lost=st.sets(st.sampled_from(CONTENTS)),
    failed=st.sets(st.sampled_from(OWNERS)),
    stored=st.lists(_stored_files(), min_size=1, max_size=12),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_files_recorded_by_one_call_give_the_same_rows(
    catalog: Catalog,
    run_id: int,
    held: list[StoredFile],
    lost: set[str],
    failed: set[tuple[str, Role]],
    stored: list[StoredFile],
) -> None:
    """The rows, the changes and the results are those of one call for each, whatever was stored before."""

    def one_by_one(rows: Connection, files: Sequence[StoredFile]) -> list[FileRecorded]:
        return [record.files(rows, [each], run_id=run_id)[0] for each in files]

    def together(rows: Connection, files: Sequence[StoredFile]) -> list[FileRecorded]:
        return record.files(rows, files, run_id=run_id)

    def compare(rows: Connection) -> None:
        before = rows.begin_nested()
        record.record_tray(rows, run_id, NATGEO.pk, tray("1"), NOW)
        record.record_page(rows, run_id, 7, page("1", "10", "11"), FACTS, NOW)
        one_by_one(rows, held)
        record.lost_blobs(rows, sorted(map(digest, lost)), LATER)
        for pk, role in sorted(failed):
            owner = file_of(pk, role).owner
            record.record_failure(rows, Failure(owner.subject, pk, role, Reason.NETWORK, ""), NOW)
        single, joint = _try(rows, one_by_one, stored), _try(rows, together, stored)
        before.rollback()
        assert joint == single

    catalog.write(compare)


def test_a_file_that_cannot_be_recorded_fails_alone(catalog: Catalog, run_id: int) -> None:
    """Files that wait together are recorded one by one if one of them fails."""
    catalog.write(record.record_tray, run_id, NATGEO.pk, tray("1"), NOW)
    catalog.write(record.record_page, run_id, 7, page("1", "10", "11"), FACTS, NOW)
    calls: list[int] = []

    def files(rows: Connection, stored: Sequence[StoredFile]) -> list[FileRecorded]:
        calls.append(len(stored))
        return record.files(rows, stored, run_id=run_id)

    def submit(rows: Connection) -> None:
        stored = [StoredFile(file_of(pk), 7, NOW) for pk in ("10", "999", "11")]
        futures.extend(catalog.submit_each(files, each) for each in stored)

    futures: list[Future[FileRecorded]] = []
    catalog.write(submit)  # in the writer's thread, which takes the three together then
    assert futures[0].result().is_new_file
    assert futures[2].result().is_new_file
    with pytest.raises(DatabaseError):
        futures[1].result()
    assert calls[:1] == [3]
    assert sorted(calls[1:]) == [1, 1, 1]
