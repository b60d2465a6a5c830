"""What does not grow with the archive. SQLite's steps are counted, because a time says nothing certain."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection

from archiver.catalog import ledger, locate, record, tables
from archiver.catalog.query.account_state import account_state, files_refused_for_host
from archiver.errors import Reason
from archiver.model.api_calls import Limits
from archiver.model.archived import Blob, Failure
from archiver.model.foreign_files import ForeignFile, ForeignTool
from archiver.model.identity import Role, Subject
from archiver.model.target import Target
from archiver.model.upstream import User
from tests.support.catalog_samples import FACTS, LATER, NATGEO, call, digest, highlight, page, tray
from tests.support.databases import NOW, count_steps


@pytest.fixture
def connection(tmp_path: Path, sqlite_template: Path) -> Iterator[Connection]:
    """A transaction in an archive without rows."""
    writer = locate(shutil.copy(sqlite_template, tmp_path / "archive.db")).create_writer()
    with writer.begin() as opened:
        yield opened
    writer.dispose()


def test_a_reserve_does_as_much_however_many_calls_there_are(connection: Connection) -> None:
    """Whether there is one call in the month, or a thousand in several runs and days."""
    run_id = record.start_run(connection, "run", NOW)
    limits = Limits(10_000, 10_000, 10_000)

    def reserve() -> int:
        return count_steps(connection, lambda: ledger.reserve(connection, run_id, call(), NOW, limits))

    reserve()
    second = reserve()
    for number in range(1000):
        other = record.start_run(connection, "run", NOW) if number % 100 == 0 else run_id
        ledger.reserve(connection, other, call(), NOW - timedelta(days=number % 20), limits)
    assert reserve() == second


def test_an_account_takes_as_much_whatever_the_others_have(connection: Connection) -> None:
    """To read its state and its refused files, and to record its tray again: with few other accounts, or with
    many, which have failures of all kinds.
    """
    run_id = record.start_run(connection, "run", NOW)
    natgeo = Target(NATGEO.pk, user_pk=NATGEO.pk)
    _record(connection, run_id, NATGEO, 0)
    found = []
    for others in (range(1, 4), range(4, 6), range(6, 60)):
        for number in others:
            _record(connection, run_id, User(f"9{number}", f"other{number}"), number)
        found.append(_steps(connection, run_id, natgeo))
    assert found[1:] == [found[1]] * 2
    assert len(connection.execute(tables.failures.select()).all()) == 59 * 5


def test_a_page_takes_as_much_whatever_other_tools_say_of_other_items(connection: Connection) -> None:
    """With the metadata of one other item, or of hundreds."""
    run_id = record.start_run(connection, "run", NOW)
    _record(connection, run_id, NATGEO, 0)
    again, found = page("h0", "i0.1", "i0.2"), []
    for others in (range(1), range(1, 2), range(2, 300)):
        for number in others:
            said = ForeignFile(
                ForeignTool.GALLERY_DL, f"m{number}", Role.METADATA, file_name=f"m{number}.json"
            )
            blob = Blob(digest(str(number)), 1000, "application/json")
            record.record_adopted_row(connection, said, blob, NOW)
        found.append(
            count_steps(connection, lambda: record.record_page(connection, run_id, None, again, FACTS, LATER))
        )
    assert found[1] == found[2]


def _record(connection: Connection, run_id: int, user: User, number: int) -> None:
    """Record an account with a highlight of two items, each of which lacks a file, and so do its pictures."""
    pk, items = f"h{number}", (f"i{number}.1", f"i{number}.2")
    record.record_tray(connection, run_id, user.pk, tray(highlight(pk), user=user), NOW)
    record.record_page(connection, run_id, None, page(pk, *items), FACTS, NOW)
    if not number:
        return
    failed = [(Subject.ITEM, item, Role.VIDEO) for item in items]
    failed += [(Subject.HIGHLIGHT, pk, Role.COVER), (Subject.USER, user.pk, Role.AVATAR)]
    for subject, subject_pk, role in failed:
        refused = Failure(subject, subject_pk, role, Reason.HOST_NOT_ALLOWED, "cdn.example", "cdn.example")
        record.record_failure(connection, refused, NOW)
    record.record_failure(connection, Failure(Subject.HIGHLIGHT, pk, None, Reason.NOT_FOUND, "404"), NOW)


def _steps(connection: Connection, run_id: int, target: Target) -> tuple[int, int, int]:
    user_pk = str(target.user_pk)
    same = tray(highlight("h0"))
    return (
        count_steps(connection, lambda: account_state(connection, target)),
        count_steps(connection, lambda: files_refused_for_host(connection, user_pk=user_pk)),
        count_steps(connection, lambda: record.record_tray(connection, run_id, user_pk, same, LATER)),
    )
