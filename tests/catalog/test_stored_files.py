"""Files and their blobs: kept once, lost and found, and what could not be had; one by one and together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, text

from archiver import retry
from archiver.catalog import Catalog, record
from archiver.catalog.query import account_state, holdings, totals
from archiver.catalog.query.account_state import FailureState, HighlightState
from archiver.catalog.record import FileRecorded, StoredFile
from archiver.errors import DatabaseError, Reason
from archiver.model.archived import Blob, Failure, StoredBlob
from archiver.model.identity import Role, Subject
from archiver.model.values import replace
from tests.support.catalog_samples import (
    FACTS,
    LATER,
    LATEST,
    NATGEO,
    digest,
    file_of,
    page,
    rows,
    tray,
    video,
)
from tests.support.databases import NOW, SQLITE_EVERYDAY
from tests.support.states import stored_account


@pytest.fixture
def fetched(catalog: Catalog, run_id: int) -> int:
    """A highlight 1 with the items 10 and 11, fetched and without files; the run that did."""
    catalog.write(record.record_tray, run_id, NATGEO.pk, tray("1"), NOW)
    catalog.write(record.record_page, run_id, 7, page("1", "10", "11"), FACTS, NOW)
    return run_id


def _highlight(catalog: Catalog) -> HighlightState:
    held = catalog.read(account_state.highlight_state, "1")
    assert held is not None
    return held


@SQLITE_EVERYDAY
def test_a_file_is_held_once_recorded(catalog: Catalog, fetched: int) -> None:
    """With all that is known of it; it counts as new once."""
    recorded = catalog.write(record.record_files, [StoredFile(file_of("10"), 7, NOW)], run_id=fetched)[0]
    assert (recorded.is_new_file, recorded.is_new_blob) == (True, True)
    assert catalog.read(holdings.stored_roles, ["10", "11"]) == {("10", Role.VIDEO)}
    shown = "SELECT item_pk, highlight_pk, user_pk, role, sha256, run_id, answer_id, source_url FROM files"
    row = (
        "10",
        None,
        None,
        "video",
        file_of("10").blob.sha256,
        fetched,
        7,
        "https://scontent.cdninstagram.com/v/a.mp4",
    )
    assert rows(catalog, shown) == [row]
    assert rows(catalog, "SELECT size, mime, width, height FROM blobs") == [(1000, "video/mp4", 720, 1280)]


@SQLITE_EVERYDAY
def test_the_same_file_again_is_seen_again(catalog: Catalog, fetched: int) -> None:
    """It keeps where and when it came from first, and is not new."""
    catalog.write(record.record_files, [StoredFile(file_of("10"), 7, NOW)], run_id=fetched)
    again = catalog.write(
        record.record_files, [StoredFile(file_of("10", name="b.mp4"), 8, LATER)], run_id=fetched
    )[0]
    assert (again.is_new_file, again.is_new_blob) == (False, False)
    ((answer_id, url, kept_at, last_seen_at),) = rows(
        catalog, "SELECT answer_id, source_url, kept_at, last_seen_at FROM files"
    )
    assert (answer_id, str(url)[-5:]) == (7, "a.mp4")
    assert kept_at != last_seen_at


@SQLITE_EVERYDAY
def test_equal_bytes_are_one_blob(catalog: Catalog, fetched: int) -> None:
    """Two items may have the same; other bytes in the same role are a second file of the item."""
    catalog.write(record.record_files, [StoredFile(file_of("10", content="same"), 7, NOW)], run_id=fetched)
    second = catalog.write(
        record.record_files, [StoredFile(file_of("11", content="same"), 7, NOW)], run_id=fetched
    )[0]
    assert (second.is_new_file, second.is_new_blob) == (True, False)
    catalog.write(record.record_files, [StoredFile(file_of("10", content="other"), 7, LATER)], run_id=fetched)
    assert rows(catalog, "SELECT count(*) FROM files") == [(3,)]
    assert set(catalog.read(holdings.digests_of_account, NATGEO.pk)) == {digest("same"), digest("other")}


def test_a_share_of_an_account_has_the_blobs_that_begin_with_its_digits(
    catalog: Catalog, fetched: int
) -> None:
    """The shares of the sixteen digits hold each blob of the account once; several digits are one share."""
    for number in range(40):
        catalog.write(
            record.record_files, [StoredFile(file_of("10", content=str(number)), 7, NOW)], run_id=fetched
        )
    whole = set(catalog.read(holdings.digests_of_account, NATGEO.pk))
    assert len(whole) == 40
    for digits in (*"0123456789abcdef", "f01"):
        share = catalog.read(holdings.digests_of_account, NATGEO.pk, digits)
        assert sorted(share) == sorted(d for d in whole if d[0] in digits)


@SQLITE_EVERYDAY
def test_a_shape_that_was_not_known_is_learnt(catalog: Catalog, fetched: int) -> None:
    """Width and height fill in; a reader that does not tell them takes none away."""
    file = file_of("10")
    for width in (None, 720, None):
        blob = Blob(file.blob.sha256, 1000, "video/mp4", width, width)
        catalog.write(
            record.record_files,
            [StoredFile(type(file)(file.owner, file.role, blob, file.source_url), 7, NOW)],
            run_id=fetched,
        )
    assert rows(catalog, "SELECT width, height FROM blobs") == [(720, 720)]


def test_a_file_has_exactly_one_owner(catalog: Catalog, fetched: int) -> None:
    """The database itself refuses a row with two, or of nobody."""
    catalog.write(record.record_files, [StoredFile(file_of("10"), 7, NOW)], run_id=fetched)

    def alter(connection: Connection, change: str) -> None:
        connection.exec_driver_sql(f"UPDATE files SET {change}")

    for change in ("highlight_pk = '1'", "item_pk = NULL"):
        with pytest.raises(DatabaseError):
            catalog.write(alter, change)


def test_lost_bytes_are_not_held_until_they_are_back(catalog: Catalog, fetched: int) -> None:
    """Their highlight is complete no longer; the same bytes again are a new blob and an old file."""
    catalog.write(record.record_files, [StoredFile(file_of("10"), 7, NOW)], run_id=fetched)
    catalog.write(record.record_completion, "1", (), NOW)
    assert _highlight(catalog).completed_at == NOW
    catalog.write(record.record_lost_blobs, [file_of("10").blob.sha256], LATER)
    assert catalog.read(holdings.stored_roles, ["10"]) == frozenset()
    assert catalog.read(holdings.digests_of_account, NATGEO.pk) == ()
    assert _highlight(catalog).completed_at is None
    again = catalog.write(record.record_files, [StoredFile(file_of("10"), 7, LATEST)], run_id=fetched)[0]
    assert (again.is_new_file, again.is_new_blob) == (False, True)
    assert catalog.read(holdings.stored_roles, ["10"]) == {("10", Role.VIDEO)}


@SQLITE_EVERYDAY
def test_other_highlights_stay_complete(catalog: Catalog, fetched: int) -> None:
    """Only those that use the lost bytes are looked at again; the day of the loss is the first."""
    catalog.write(record.record_page, fetched, 7, page("2", "20"), FACTS, NOW)
    catalog.write(record.record_files, [StoredFile(file_of("20"), 7, NOW)], run_id=fetched)
    catalog.write(record.record_files, [StoredFile(file_of("10"), 7, NOW)], run_id=fetched)
    for pk in ("1", "2"):
        catalog.write(record.record_completion, pk, (), NOW)
    for time in (LATER, LATEST):
        catalog.write(record.record_lost_blobs, [file_of("20").blob.sha256], time)
    assert _highlight(catalog).completed_at == NOW
    (lost,) = [blob for blob in catalog.read_pages(holdings.blobs_after) if blob.lost_at is not None]
    assert (lost.sha256, lost.lost_at) == (file_of("20").blob.sha256, LATER)


@SQLITE_EVERYDAY
def test_the_picture_that_is_held_goes_by_its_name(catalog: Catalog, fetched: int) -> None:
    """Cover and avatar: the name the tray tells is not the one held until its bytes are, nor after they are
    lost.
    """

    def names() -> tuple[str | None, str | None]:
        account = stored_account(catalog, NATGEO.pk)
        return _highlight(catalog).cover_name, account.avatar_name

    assert names() == (None, None)
    cover, avatar = file_of("1", Role.COVER, name="1.jpg"), file_of(NATGEO.pk, Role.AVATAR, name="natgeo.jpg")
    for file in (cover, avatar):
        catalog.write(record.record_files, [StoredFile(file, None, NOW)], run_id=fetched)
    assert names() == ("1.jpg", "natgeo.jpg")
    assert set(catalog.read(holdings.digests_of_account, NATGEO.pk)) == {
        cover.blob.sha256,
        avatar.blob.sha256,
    }
    catalog.write(record.record_lost_blobs, [cover.blob.sha256, avatar.blob.sha256], LATER)
    assert names() == (None, None)


@SQLITE_EVERYDAY
def test_blobs_come_sorted_with_their_owners(catalog: Catalog, fetched: int) -> None:
    """Each once, in the order of their names; one without an owner too."""
    catalog.write(record.record_files, [StoredFile(file_of("10", content="same"), 7, NOW)], run_id=fetched)
    catalog.write(record.record_files, [StoredFile(file_of("11", content="same"), 7, NOW)], run_id=fetched)
    catalog.write(
        record.record_files, [StoredFile(file_of("1", Role.COVER, "cover"), 7, NOW)], run_id=fetched
    )
    catalog.write(record.record_verified_blobs, [digest("cover")], LATER)
    same = StoredBlob(digest("same"), 1000, None, None, ("item 10 video", "item 11 video"))
    cover = StoredBlob(digest("cover"), 1000, None, LATER, ("highlight 1 cover",))
    assert list(catalog.read_pages(holdings.blobs_after)) == sorted(
        (same, cover), key=lambda blob: blob.sha256
    )


@SQLITE_EVERYDAY
def test_the_blobs_of_an_account_are_its_own(catalog: Catalog, fetched: int) -> None:
    """Another account's are not among them."""
    catalog.write(record.record_files, [StoredFile(file_of("10"), 7, NOW)], run_id=fetched)
    assert catalog.read(holdings.digests_of_account, "2") == ()


@SQLITE_EVERYDAY
def test_the_blobs_of_an_account_are_those_of_its_highlights(catalog: Catalog, fetched: int) -> None:
    """An item that names another account is its highlight's all the same; one of a highlight also counts when
    it is gone.
    """
    catalog.write(record.record_page, fetched, 7, page("2", video("20", user_pk="2"), "21"), FACTS, NOW)
    cover = file_of("2", Role.COVER, "cover")
    for file in (file_of("20"), file_of("21"), file_of("10"), cover):
        catalog.write(record.record_files, [StoredFile(file, 7, NOW)], run_id=fetched)
    catalog.write(record.record_page, fetched, 8, page("2", "21"), FACTS, LATER, gone=("20",))
    second = {file_of("20").blob.sha256, file_of("21").blob.sha256, cover.blob.sha256}
    assert set(catalog.read(holdings.digests_of_highlight, "2")) == second
    assert set(catalog.read(holdings.digests_of_account, NATGEO.pk)) == {*second, file_of("10").blob.sha256}
    assert catalog.read(holdings.digests_of_account, "2") == ()
    catalog.write(record.record_lost_blobs, [cover.blob.sha256], LATEST)
    assert set(catalog.read(holdings.digests_of_highlight, "2")) == second - {cover.blob.sha256}


def _failure(reason: Reason = Reason.NETWORK, role: Role | None = Role.VIDEO, pk: str = "10") -> Failure:
    subject = Subject.ITEM if len(pk) > 1 else Subject.HIGHLIGHT
    return Failure(subject, pk, role, reason, "the connection broke")


@SQLITE_EVERYDAY
def test_a_failure_counts_up_and_waits_longer(catalog: Catalog, fetched: int) -> None:
    """One open row for a thing, whatever the reasons; each role and subject has its own."""
    for attempts in range(1, 5):
        now = NOW + timedelta(days=attempts)
        assert catalog.write(record.record_failure, _failure(), now) == attempts
        found = catalog.read(account_state.open_failure, Subject.ITEM, "10", Role.VIDEO)
        assert found is not None
        assert (found.attempts, found.next_try_at) == (attempts, retry.next_try(attempts, now))
        assert (found.first_at, found.last_at) == (NOW + timedelta(days=1), now)
    assert catalog.write(record.record_failure, _failure(role=None), NOW) == 1
    assert catalog.write(record.record_failure, _failure(role=Role.THUMBNAIL), NOW) == 1
    assert rows(catalog, "SELECT count(*) FROM failures WHERE resolved_at IS NULL") == [(3,)]


def test_a_resolved_failure_is_history(catalog: Catalog, fetched: int) -> None:
    """The next one of the same thing begins anew, in a row of its own."""
    for role in (None, Role.VIDEO):
        catalog.write(record.record_failure, _failure(role=role), NOW)
        catalog.write(record.resolve_failure, Subject.ITEM, "10", role, LATER)
        assert catalog.read(account_state.open_failure, Subject.ITEM, "10", role) is None
        assert catalog.write(record.record_failure, _failure(role=role), LATEST) == 1
    assert rows(catalog, "SELECT count(*) FROM failures") == [(4,)]


def test_the_database_holds_one_open_row_for_a_thing(catalog: Catalog) -> None:
    """A second one is refused, with a role and without."""

    def add(connection: Connection, role: str) -> None:
        connection.exec_driver_sql(
            "INSERT INTO failures (subject, subject_pk, role, reason, detail, attempts, first_at, last_at)"
            f" VALUES ('item', '10', {role}, 'gone', '', 1, '2026-01-01T00:00:00.000000Z', "
            f"'2026-01-01T00:00:00.000000Z')"
        )

    for role in ("NULL", "'video'"):
        catalog.write(add, role)
        with pytest.raises(DatabaseError):
            catalog.write(add, role)


@SQLITE_EVERYDAY
def test_a_file_that_comes_after_all_resolves_its_failure(catalog: Catalog, fetched: int) -> None:
    """That of its own role and no other."""
    for role in (Role.VIDEO, Role.THUMBNAIL):
        catalog.write(record.record_failure, _failure(role=role), NOW)
    catalog.write(record.record_files, [StoredFile(file_of("10"), 7, LATER)], run_id=fetched)
    assert catalog.read(account_state.open_failure, Subject.ITEM, "10", Role.VIDEO) is None
    assert catalog.read(account_state.open_failure, Subject.ITEM, "10", Role.THUMBNAIL) is not None


@SQLITE_EVERYDAY
def test_a_highlight_knows_what_holds_it(catalog: Catalog, fetched: int) -> None:
    """The failures of its page and of its items' files, with what decides when they are due; covers and
    others' are not.
    """
    catalog.write(record.record_failure, _failure(Reason.TOO_LARGE), NOW)
    catalog.write(record.record_failure, _failure(pk="1", role=Role.COVER), NOW)
    catalog.write(record.record_failure, _failure(pk="99"), NOW)
    too_large = FailureState(Role.VIDEO, Reason.TOO_LARGE)
    assert _highlight(catalog).failures == (too_large,)
    catalog.write(record.record_failure, _failure(pk="11"), LATEST)
    catalog.write(record.record_failure, _failure(Reason.NOT_FOUND, pk="1", role=None), LATER)
    held = _highlight(catalog)
    of_file = FailureState(Role.VIDEO, Reason.NETWORK, LATEST)
    of_page = FailureState(None, Reason.NOT_FOUND, LATER)
    assert (set(held.failures), held.page_retry_at) == ({too_large, of_file, of_page}, LATER)
    assert stored_account(catalog, NATGEO.pk).highlights == (held,)
    catalog.write(record.resolve_failure, Subject.HIGHLIGHT, "1", None, LATEST)
    held = _highlight(catalog)
    assert (set(held.failures), held.page_retry_at) == ({too_large, of_file}, None)


def test_a_refused_file_keeps_what_was_refused(catalog: Catalog, fetched: int) -> None:
    """A host or a length stays with the failure, has no next try, and goes when the file fails for another
    reason.
    """
    host = replace(_failure(Reason.HOST_NOT_ALLOWED), host="cdn.example")
    catalog.write(record.record_failure, host, NOW)
    catalog.write(record.record_failure, replace(_failure(Reason.TOO_LARGE, pk="11"), size=900), NOW)
    assert set(_highlight(catalog).failures) == {
        FailureState(Role.VIDEO, Reason.HOST_NOT_ALLOWED, host="cdn.example"),
        FailureState(Role.VIDEO, Reason.TOO_LARGE, size=900),
    }
    assert catalog.read(account_state.files_refused_for_host, user_pk=NATGEO.pk) == (
        (_highlight(catalog).title, host),
    )
    assert catalog.read(totals.refused_hosts, list(Role)) == (("cdn.example", 1),)
    catalog.write(record.record_failure, _failure(), NOW)
    assert FailureState(Role.VIDEO, Reason.NETWORK, retry.next_try(2, NOW)) in _highlight(catalog).failures
    assert catalog.read(totals.refused_hosts, list(Role)) == ()


@SQLITE_EVERYDAY
@pytest.mark.parametrize("reason", [Reason.MALFORMED, Reason.UPSTREAM])
def test_a_page_that_could_not_be_read_may_be_fetched_when_it_changes(
    catalog: Catalog, fetched: int, reason: Reason
) -> None:
    """It counts as a failure that is due again, and does not hold the highlight back: only a page that is not
    there does.
    """
    catalog.write(record.record_failure, _failure(reason, pk="1", role=None), NOW)
    held = _highlight(catalog)
    assert (held.failures, held.page_retry_at) == (
        (FailureState(None, reason, retry.next_try(1, NOW)),),
        None,
    )


def test_what_is_not_offered_any_more_is_not_missing(catalog: Catalog, fetched: int) -> None:
    """A page that was worked through leaves the failures of what it offers open, and those of other
    highlights.
    """
    catalog.write(record.record_page, fetched, 7, page("2", "20", "12"), FACTS, NOW)
    catalog.write(record.record_page, fetched, 7, page("1", "10", "11", "12", "13"), FACTS, NOW)
    for pk in ("10", "12", "13", "20", "1"):
        catalog.write(record.record_failure, _failure(pk=pk), NOW)
    catalog.write(record.record_failure, _failure(Reason.TOO_LARGE, pk="11"), NOW)
    catalog.write(record.record_page, fetched, 8, page("1", "10", "11"), FACTS, LATER, gone=("12", "13"))
    catalog.write(record.record_completion, "1", {("11", Role.VIDEO)}, LATER)
    still = rows(catalog, "SELECT subject_pk FROM failures WHERE resolved_at IS NULL ORDER BY subject_pk")
    assert still == [("1",), ("11",), ("12",), ("20",)]


@SQLITE_EVERYDAY
def test_an_item_that_is_gone_holds_its_highlight_no_longer(catalog: Catalog, fetched: int) -> None:
    """What the owner took away can not be waited for."""
    catalog.write(record.record_failure, _failure(pk="11"), NOW)
    catalog.write(record.record_page, fetched, 8, page("1", "10"), FACTS, LATER, gone=("11",))
    assert _highlight(catalog).failures == ()


@SQLITE_EVERYDAY
def test_the_status_counts_everything(catalog: Catalog, fetched: int) -> None:
    """Accounts, highlights, items, files, blobs, lost ones, failures; the last good run; only bytes that are
    there.
    """
    for content in ("a", "b"):
        catalog.write(
            record.record_files, [StoredFile(file_of("10", content=content), 7, NOW)], run_id=fetched
        )
    catalog.write(record.record_lost_blobs, [digest("b")], NOW)
    catalog.write(record.record_failure, _failure(), NOW)
    catalog.write(record.finish_run, fetched, LATER, "ok", 0)
    other = catalog.write(record.start_run, "run", LATEST)
    catalog.write(record.finish_run, other, LATEST, "partial", 3)
    status = catalog.read(totals.status, NOW)
    counted = (status.accounts, status.highlights, status.items, status.files, status.blobs, status.bytes)
    assert counted == (1, 1, 2, 2, 1, 1000)
    assert (status.lost, status.open_failures, status.units, status.units_this_month) == (1, 1, 0, 0)
    assert status.last_success_at == LATER
    assert [(run.id, run.outcome, run.exit_code) for run in status.last_runs] == [
        (other, "partial", 3),
        (fetched, "ok", 0),
    ]


@SQLITE_EVERYDAY
def test_a_sound_database_has_no_damage(catalog: Catalog, fetched: int) -> None:
    """Every page is what it should be, every row refers to something."""
    assert catalog.read(totals.damage) == ()


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
        return [record.record_files(rows, [each], run_id=run_id)[0] for each in files]

    def together(rows: Connection, files: Sequence[StoredFile]) -> list[FileRecorded]:
        return record.record_files(rows, files, run_id=run_id)

    def compare(rows: Connection) -> None:
        before = rows.begin_nested()
        record.record_tray(rows, run_id, NATGEO.pk, tray("1"), NOW)
        record.record_page(rows, run_id, 7, page("1", "10", "11"), FACTS, NOW)
        one_by_one(rows, held)
        record.record_lost_blobs(rows, sorted(map(digest, lost)), LATER)
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
        return record.record_files(rows, stored, run_id=run_id)

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
