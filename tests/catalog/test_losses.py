"""What a repair is after: only what was lost, may still be shown, and is not known to be in vain."""

from __future__ import annotations

from datetime import timedelta

import pytest

from archiver.catalog import Catalog, record
from archiver.catalog.query import gaps
from archiver.errors import Reason
from archiver.model.archived import Failure, Loss
from archiver.model.identity import Role, Subject
from archiver.model.upstream import User
from tests.support.catalog_samples import FACTS, LATER, LATEST, NATGEO, digest, file_of, page, rows, tray
from tests.support.databases import NOW, SQLITE_EVERYDAY


@pytest.fixture
def kept(catalog: Catalog, run_id: int) -> int:
    """A highlight 1 with its cover and the items 10 and 11, all held under bytes of these names; the run that
    did.
    """
    catalog.write(record.record_tray, run_id, NATGEO.pk, tray("1"), NOW)
    catalog.write(record.record_page, run_id, 7, page("1", "10", "11"), FACTS, NOW)
    for name, role in (("10", Role.VIDEO), ("11", Role.VIDEO), ("1", Role.COVER), (NATGEO.pk, Role.AVATAR)):
        catalog.write(record.record_file, run_id, file_of(name, role, name), 7, NOW)
    catalog.write(record.completion, "1", (), NOW)
    return run_id


def _lose(catalog: Catalog, *names: str) -> None:
    catalog.write(record.lost_blobs, [digest(name) for name in names], LATER)


def _losses(catalog: Catalog) -> tuple[Loss, ...]:
    return catalog.read(gaps.losses, LATEST, covers=True, avatars=True)


def _not_found(catalog: Catalog, subject: Subject, pk: str, role: Role | None, *, times: int = 3) -> None:
    for _ in range(times):
        catalog.write(record.record_failure, Failure(subject, pk, role, Reason.NOT_FOUND, "404"), LATEST)


@SQLITE_EVERYDAY
def test_what_is_whole_is_not_sought(catalog: Catalog, kept: int) -> None:
    """Nothing is lost, nothing is sought; what is lost is, by its highlight, cover and account."""
    assert _losses(catalog) == ()
    _lose(catalog, "10", "1", NATGEO.pk)
    assert _losses(catalog) == (Loss(NATGEO.pk, frozenset("1"), frozenset("1"), True, True),)


@pytest.mark.parametrize(
    ("lost", "subject", "pk", "role"),
    [
        ("10", Subject.HIGHLIGHT, "1", None),
        ("10", Subject.ITEM, "10", Role.VIDEO),
        ("1", Subject.HIGHLIGHT, "1", Role.COVER),
        (NATGEO.pk, Subject.USER, NATGEO.pk, Role.AVATAR),
    ],
)
@SQLITE_EVERYDAY
def test_what_was_not_there_waits_for_its_day(
    catalog: Catalog, kept: int, lost: str, subject: Subject, pk: str, role: Role | None
) -> None:
    """A page or file that answered 404 again and again is sought on the day when it is due, as by any night;
    so is one whose day lies further off than any back-off, which a clock that was wrong has set.
    """
    _lose(catalog, lost)
    _not_found(catalog, subject, pk, role, times=2)
    assert _losses(catalog) != ()
    _not_found(catalog, subject, pk, role, times=1)
    assert _losses(catalog) == ()
    assert catalog.read(gaps.losses, LATEST + timedelta(days=1), covers=True, avatars=True) != ()
    assert catalog.read(gaps.losses, LATEST - timedelta(days=400), covers=True, avatars=True) != ()


@SQLITE_EVERYDAY
def test_what_could_not_be_reached_is_sought_again(catalog: Catalog, kept: int) -> None:
    """A failure that says nothing of the file itself (a connection that broke) holds no repair up."""
    _lose(catalog, "10")
    for _ in range(5):
        failed = Failure(Subject.ITEM, "10", Role.VIDEO, Reason.NETWORK, "no connection")
        catalog.write(record.record_failure, failed, LATEST)
    assert _losses(catalog) != ()


@SQLITE_EVERYDAY
@pytest.mark.parametrize(("pk", "role"), [("1", Role.COVER), (NATGEO.pk, Role.AVATAR)])
def test_a_picture_that_was_replaced_is_shown_no_more(
    catalog: Catalog, kept: int, pk: str, role: Role
) -> None:
    """The one that came after it is held, so the tray cannot bring it back; the newer one lost is sought,
    though the older is held.
    """
    catalog.write(record.record_file, kept, file_of(pk, role, "newer"), 8, LATER)
    _lose(catalog, pk)
    assert _losses(catalog) == ()
    catalog.write(record.found_blobs, [digest(pk)])
    _lose(catalog, "newer")
    assert _losses(catalog) != ()


def test_a_picture_of_many_accounts_is_sought_once(catalog: Catalog, kept: int) -> None:
    """What stands for no picture at all is the avatar of many: one tray brings it back; one that can be
    seen.
    """
    for pk in ("5", "6", "7"):
        catalog.write(record.record_tray, kept, pk, tray(user=User(pk, f"user{pk}")), NOW)
        catalog.write(record.record_file, kept, file_of(pk, Role.AVATAR, "nobody"), 7, NOW)
    catalog.write(record.verdict, kept, "5", Reason.PRIVATE, NOW)
    _lose(catalog, "nobody")
    assert [loss.user_pk for loss in _losses(catalog)] == ["6"]
    _not_found(catalog, Subject.USER, "6", Role.AVATAR)
    assert [loss.user_pk for loss in _losses(catalog)] == ["7"]
    assert rows(catalog, "SELECT count(*) FROM users WHERE avatar_held IS NULL") == [(3,)]
