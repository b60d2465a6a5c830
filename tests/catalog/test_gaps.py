"""What the archive knows that it lacks; and what a repair is after: what was lost and may still be shown."""

from __future__ import annotations

from datetime import timedelta

import pytest

from archiver import retry
from archiver.catalog import Catalog, record
from archiver.catalog.query import gaps as gap_query
from archiver.catalog.record.stored_files import StoredFile
from archiver.errors import Reason
from archiver.model.archived import Failure, Gap, GapReason, Loss
from archiver.model.identity import Role, Subject
from archiver.model.upstream import Item, Link, TrayNumbers, User
from tests.support.catalog_samples import (
    FACTS,
    LATER,
    LATEST,
    NATGEO,
    digest,
    file_of,
    highlight,
    page,
    rows,
    tray,
    video,
)
from tests.support.databases import NOW, SQLITE_EVERYDAY

BOTH = (Role.THUMBNAIL, Role.VIDEO)
TWO_COUNTED = TrayNumbers(1, 2)


def gaps(catalog: Catalog) -> list[Gap]:
    return list(catalog.stream(gap_query.gaps))


def short(catalog: Catalog) -> list[tuple[str, str, str | None]]:
    """(reason, pk, role) of every gap."""
    return [(gap.reason.value, gap.subject_pk, gap.role) for gap in gaps(catalog)]


def kept(
    catalog: Catalog,
    run_id: int,
    pk: str,
    *items: Item | str,
    done: bool = True,
    roles: tuple[Role, ...] = BOTH,
) -> None:
    """A highlight of natgeo that was listed and fetched, whose items have files in these roles; ``done``: to
    the end.
    """
    numbers = TrayNumbers(FACTS.latest_reel_media, len(items))
    catalog.write(record.record_tray, run_id, NATGEO.pk, tray(highlight(pk, numbers=numbers)), NOW)
    shown = page(pk, *items, numbers=numbers)
    catalog.write(record.record_page, run_id, None, shown, numbers, LATER)
    for item in shown.items:
        for role in roles if item.media_type == 2 else (Role.THUMBNAIL,):
            catalog.write(
                record.record_files, [StoredFile(file_of(item.pk, role), None, LATER)], run_id=run_id
            )
    if done:
        catalog.write(record.record_completion, pk, (), LATER)


def failed(
    catalog: Catalog, subject: Subject, pk: str, role: Role | None, reason: Reason, **more: bool
) -> None:
    catalog.write(record.record_failure, Failure(subject, pk, role, reason, "told so"), LATER, **more)


@SQLITE_EVERYDAY
def test_where_all_is_held_there_is_no_gap(catalog: Catalog, run_id: int) -> None:
    """A photo needs no video, and what was fetched and had to the end is nothing to tell."""
    kept(catalog, run_id, "18", "1", video("2", media_type=1))
    assert gaps(catalog) == []


@SQLITE_EVERYDAY
def test_a_failure_of_an_item_is_told_with_all_that_is_known(catalog: Catalog, run_id: int) -> None:
    """Reason, attempts, times, and whose it is: the account, the highlight, the item's code."""
    kept(catalog, run_id, "18", "1", done=False, roles=(Role.THUMBNAIL,))
    failed(catalog, Subject.ITEM, "1", Role.VIDEO, Reason.EXPIRED)
    failed(catalog, Subject.ITEM, "1", Role.VIDEO, Reason.NETWORK)
    assert gaps(catalog) == [
        Gap(
            Reason.NETWORK,
            Subject.ITEM,
            "1",
            Role.VIDEO,
            user_pk=NATGEO.pk,
            username="natgeo",
            highlight_pk="18",
            title="Gift Guide",
            code="C1",
            detail="told so",
            attempts=2,
            first_at=LATER,
            last_at=LATER,
            next_try_at=LATER,
        )
    ]


@SQLITE_EVERYDAY
def test_a_gap_by_choice_has_no_next_try(catalog: Catalog, run_id: int) -> None:
    """Too large: looked at again at the sweep, and no reason to call the highlight unfinished."""
    kept(catalog, run_id, "18", "1", roles=(Role.THUMBNAIL,), done=False)
    failed(catalog, Subject.ITEM, "1", Role.VIDEO, Reason.TOO_LARGE, is_gap=True)
    catalog.write(record.record_completion, "18", (), LATER)
    (gap,) = gaps(catalog)
    assert (gap.reason, gap.next_try_at, gap.attempts) == (Reason.TOO_LARGE, None, 1)


@pytest.mark.parametrize("role", BOTH)
@SQLITE_EVERYDAY
def test_what_was_never_offered(catalog: Catalog, run_id: int, role: Role) -> None:
    """No file, no failure, and the highlight is complete: upstream offered no link."""
    kept(catalog, run_id, "18", "1", "2", roles=tuple(r for r in BOTH if r is not role))
    assert short(catalog) == [("never_offered", "1", role), ("never_offered", "2", role)]
    assert gaps(catalog)[0].attempts is None


@SQLITE_EVERYDAY
def test_what_failed_until_it_was_offered_no_more_keeps_its_reason(catalog: Catalog, run_id: int) -> None:
    """The failure is resolved, the file never came: the reason stays the last one, and no next try is
    told.
    """
    kept(catalog, run_id, "18", "1", done=False, roles=(Role.THUMBNAIL,))
    failed(catalog, Subject.ITEM, "1", Role.VIDEO, Reason.FORBIDDEN)
    catalog.write(record.record_completion, "18", (), LATER)
    (gap,) = gaps(catalog)
    assert (gap.reason, gap.attempts, gap.next_try_at) == (Reason.FORBIDDEN, 1, None)


@SQLITE_EVERYDAY
def test_a_highlight_is_not_yet_had(catalog: Catalog, run_id: int) -> None:
    """Listed and never fetched, or fetched and cut short without a failure: told as a whole, once, its items
    not one by one.
    """
    catalog.write(record.record_tray, run_id, NATGEO.pk, tray("17"), NOW)
    kept(catalog, run_id, "18", "1", "2", done=False, roles=())
    assert short(catalog) == [("not_yet", "17", None), ("not_yet", "18", None)]
    assert gaps(catalog)[0].counted == 2


@SQLITE_EVERYDAY
def test_beside_a_failure_the_rest_of_a_highlight_is_not_yet_had(catalog: Catalog, run_id: int) -> None:
    """Where the highlight is not complete nobody can say that a thing was never offered."""
    kept(catalog, run_id, "18", "1", "2", done=False, roles=(Role.THUMBNAIL,))
    failed(catalog, Subject.ITEM, "1", Role.VIDEO, Reason.EXPIRED)
    assert short(catalog) == [("expired", "1", "video"), ("not_yet", "2", "video")]


@SQLITE_EVERYDAY
def test_a_highlight_without_a_page_is_told_by_its_failure(catalog: Catalog, run_id: int) -> None:
    """404: not_found, with its title, and not as not yet fetched besides."""
    catalog.write(record.record_tray, run_id, NATGEO.pk, tray("18"), NOW)
    failed(catalog, Subject.HIGHLIGHT, "18", None, Reason.NOT_FOUND)
    (gap,) = gaps(catalog)
    assert (gap.reason, gap.subject, gap.title, gap.username) == (
        Reason.NOT_FOUND,
        Subject.HIGHLIGHT,
        "Gift Guide",
        "natgeo",
    )


@SQLITE_EVERYDAY
def test_a_highlight_nobody_knows_is_told_all_the_same(catalog: Catalog) -> None:
    """One that was asked for by its link and was not there has no account."""
    failed(catalog, Subject.HIGHLIGHT, "99", None, Reason.NOT_FOUND)
    (gap,) = gaps(catalog)
    assert (gap.subject_pk, gap.highlight_pk, gap.user_pk, gap.username) == ("99", "99", None, None)


@SQLITE_EVERYDAY
def test_fewer_items_than_counted(catalog: Catalog, run_id: int) -> None:
    """A page brought one of two: told with both numbers, until it is gone."""
    catalog.write(record.record_tray, run_id, NATGEO.pk, tray(highlight("18", numbers=TWO_COUNTED)), NOW)
    catalog.write(record.record_page, run_id, None, page("18", video("1", media_type=1)), TWO_COUNTED, LATER)
    catalog.write(record.record_files, [StoredFile(file_of("1", Role.THUMBNAIL), None, LATER)], run_id=run_id)
    catalog.write(record.record_completion, "18", (), LATER)
    (gap,) = gaps(catalog)
    assert (gap.reason, gap.present, gap.counted) == (GapReason.FEWER_THAN_COUNTED, 1, 2)
    catalog.write(record.record_tray, run_id, NATGEO.pk, tray(), LATER, gone=("18",))
    assert gaps(catalog) == []


@SQLITE_EVERYDAY
def test_an_empty_page_has_fewer_too(catalog: Catalog, run_id: int) -> None:
    """None of two."""
    catalog.write(record.record_tray, run_id, NATGEO.pk, tray("18"), NOW)
    catalog.write(record.record_page, run_id, None, page("18"), TWO_COUNTED, LATER)
    catalog.write(record.record_completion, "18", (), LATER)
    assert [(gap.reason, gap.present, gap.counted) for gap in gaps(catalog)] == [
        (GapReason.FEWER_THAN_COUNTED, 0, 2)
    ]


@SQLITE_EVERYDAY
def test_what_was_lost(catalog: Catalog, run_id: int) -> None:
    """Of an item, a cover, an avatar; not where another file of the same owner and role is sound."""
    kept(catalog, run_id, "18", "1", "2")
    for pk, role in (("18", Role.COVER), (NATGEO.pk, Role.AVATAR)):
        catalog.write(record.record_files, [StoredFile(file_of(pk, role), None, LATER)], run_id=run_id)
    catalog.write(
        record.record_files,
        [StoredFile(file_of("2", Role.VIDEO, "encoded anew"), None, LATER)],
        run_id=run_id,
    )
    lost = ["1 video", "2 video", "18 cover", f"{NATGEO.pk} avatar"]
    catalog.write(record.record_lost_blobs, [digest(text) for text in lost], LATER)
    found = [gap for gap in gaps(catalog) if gap.reason is Reason.LOST]
    assert [(g.subject, g.subject_pk, g.role, g.username, g.first_at) for g in found] == [
        (Subject.USER, NATGEO.pk, Role.AVATAR, "natgeo", LATER),
        (Subject.HIGHLIGHT, "18", Role.COVER, "natgeo", LATER),
        (Subject.ITEM, "1", Role.VIDEO, "natgeo", LATER),
    ]
    assert found[2].code == "C1"


@SQLITE_EVERYDAY
def test_an_item_in_two_highlights_is_told_once(catalog: Catalog, run_id: int) -> None:
    """By one that shows it still; ``gone`` only where none does."""
    for pk in ("17", "18"):
        kept(catalog, run_id, pk, "1", roles=(Role.THUMBNAIL,))
    catalog.write(record.record_tray, run_id, NATGEO.pk, tray("18"), LATER, gone=("17",))
    (gap,) = gaps(catalog)
    assert (gap.highlight_pk, gap.gone) == ("18", False)
    catalog.write(record.record_tray, run_id, NATGEO.pk, tray(), LATER, gone=("18",))
    (gap,) = gaps(catalog)
    assert (gap.reason, gap.gone) == (GapReason.NEVER_OFFERED, True)


@pytest.mark.parametrize("reason", [Reason.PRIVATE, Reason.GONE])
@SQLITE_EVERYDAY
def test_an_account_that_cannot_be_seen(catalog: Catalog, run_id: int, reason: Reason) -> None:
    """Private or gone: told with its checks and the next one; its highlights are not waited for besides."""
    catalog.write(record.record_tray, run_id, NATGEO.pk, tray("18"), NOW)
    for _ in range(2):
        catalog.write(record.record_verdict, run_id, NATGEO.pk, reason, LATER)
    (gap,) = gaps(catalog)
    assert (gap.reason, gap.subject, gap.subject_pk, gap.username) == (
        reason,
        Subject.USER,
        NATGEO.pk,
        "natgeo",
    )
    assert (gap.attempts, gap.last_at, gap.next_try_at) == (2, LATER, retry.next_check(2, LATER))


@SQLITE_EVERYDAY
def test_an_empty_account_lacks_nothing(catalog: Catalog, run_id: int) -> None:
    """It shows no highlights: there is nothing to have."""
    catalog.write(record.record_verdict, run_id, NATGEO.pk, Reason.EMPTY, NOW)
    assert gaps(catalog) == []


@SQLITE_EVERYDAY
def test_a_name_that_nobody_has(catalog: Catalog, run_id: int) -> None:
    """Told by the name; a private account that was asked for by its name is told once, by its verdict."""
    failed(catalog, Subject.TARGET, "nobody.here", None, Reason.GONE)
    catalog.write(record.record_user, run_id, User("5", "hidden", is_private=True), NOW)
    catalog.write(record.record_verdict, run_id, "5", Reason.PRIVATE, NOW)
    failed(catalog, Subject.TARGET, "hidden", None, Reason.PRIVATE)
    assert [(gap.subject, gap.subject_pk, gap.username, gap.reason) for gap in gaps(catalog)] == [
        (Subject.USER, "5", "hidden", Reason.PRIVATE),
        (Subject.TARGET, "nobody.here", "nobody.here", Reason.GONE),
    ]


@SQLITE_EVERYDAY
def test_what_was_had_after_all_is_no_gap(catalog: Catalog, run_id: int) -> None:
    """A resolved failure with its file."""
    kept(catalog, run_id, "18", "1", done=False, roles=(Role.THUMBNAIL,))
    failed(catalog, Subject.ITEM, "1", Role.VIDEO, Reason.NETWORK)
    catalog.write(record.record_files, [StoredFile(file_of("1", Role.VIDEO), None, LATER)], run_id=run_id)
    catalog.write(record.record_completion, "18", (), LATER)
    assert gaps(catalog) == []


@SQLITE_EVERYDAY
def test_gaps_come_account_by_account_in_the_order_of_what_is_shown(catalog: Catalog, run_id: int) -> None:
    """By name, then by the tray's order, then by the highlight's; so that nobody must hold them all to group
    them.
    """
    other = User("9", "aaa")
    catalog.write(record.record_tray, run_id, other.pk, tray(user=other), NOW)
    listed = tray(highlight("30"), highlight("20"), highlight("10"))
    catalog.write(record.record_tray, run_id, NATGEO.pk, listed, NOW)
    numbers = TrayNumbers(1, 2)
    link = (Link(Role.THUMBNAIL, "https://scontent.cdninstagram.com/a"),)
    shown = page("20", video("7", links=link), video("3", links=link), numbers=numbers)
    catalog.write(record.record_page, run_id, None, shown, numbers, NOW)
    for pk in ("7", "3"):
        catalog.write(
            record.record_files, [StoredFile(file_of(pk, Role.THUMBNAIL), None, NOW)], run_id=run_id
        )
    catalog.write(record.record_completion, "20", (), NOW)
    catalog.write(record.record_verdict, run_id, other.pk, Reason.PRIVATE, NOW)
    assert [(gap.username, gap.subject_pk) for gap in gaps(catalog)] == [
        ("aaa", "9"),
        ("natgeo", "30"),
        ("natgeo", "7"),
        ("natgeo", "3"),
        ("natgeo", "10"),
    ]


@pytest.fixture
def archived(catalog: Catalog, run_id: int) -> int:
    """A highlight 1 with its cover and the items 10 and 11, all held under bytes of these names; the run that
    did.
    """
    catalog.write(record.record_tray, run_id, NATGEO.pk, tray("1"), NOW)
    catalog.write(record.record_page, run_id, 7, page("1", "10", "11"), FACTS, NOW)
    for name, role in (("10", Role.VIDEO), ("11", Role.VIDEO), ("1", Role.COVER), (NATGEO.pk, Role.AVATAR)):
        catalog.write(record.record_files, [StoredFile(file_of(name, role, name), 7, NOW)], run_id=run_id)
    catalog.write(record.record_completion, "1", (), NOW)
    return run_id


def _lose(catalog: Catalog, *names: str) -> None:
    catalog.write(record.record_lost_blobs, [digest(name) for name in names], LATER)


def _losses(catalog: Catalog) -> tuple[Loss, ...]:
    return catalog.read(gap_query.losses, LATEST, covers=True, avatars=True)


def _not_found(catalog: Catalog, subject: Subject, pk: str, role: Role | None, *, times: int = 3) -> None:
    for _ in range(times):
        catalog.write(record.record_failure, Failure(subject, pk, role, Reason.NOT_FOUND, "404"), LATEST)


@SQLITE_EVERYDAY
def test_what_is_whole_is_not_sought(catalog: Catalog, archived: int) -> None:
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
    catalog: Catalog, archived: int, lost: str, subject: Subject, pk: str, role: Role | None
) -> None:
    """A page or file that answered 404 again and again is sought on the day when it is due, as by any night;
    so is one whose day lies further off than any back-off, which a clock that was wrong has set.
    """
    _lose(catalog, lost)
    _not_found(catalog, subject, pk, role, times=2)
    assert _losses(catalog) != ()
    _not_found(catalog, subject, pk, role, times=1)
    assert _losses(catalog) == ()
    assert catalog.read(gap_query.losses, LATEST + timedelta(days=1), covers=True, avatars=True) != ()
    assert catalog.read(gap_query.losses, LATEST - timedelta(days=400), covers=True, avatars=True) != ()


@SQLITE_EVERYDAY
def test_what_could_not_be_reached_is_sought_again(catalog: Catalog, archived: int) -> None:
    """A failure that says nothing of the file itself (a connection that broke) holds no repair up."""
    _lose(catalog, "10")
    for _ in range(5):
        failed = Failure(Subject.ITEM, "10", Role.VIDEO, Reason.NETWORK, "no connection")
        catalog.write(record.record_failure, failed, LATEST)
    assert _losses(catalog) != ()


@SQLITE_EVERYDAY
@pytest.mark.parametrize(("pk", "role"), [("1", Role.COVER), (NATGEO.pk, Role.AVATAR)])
def test_a_picture_that_was_replaced_is_shown_no_more(
    catalog: Catalog, archived: int, pk: str, role: Role
) -> None:
    """The one that came after it is held, so the tray cannot bring it back; the newer one lost is sought,
    though the older is held.
    """
    catalog.write(record.record_files, [StoredFile(file_of(pk, role, "newer"), 8, LATER)], run_id=archived)
    _lose(catalog, pk)
    assert _losses(catalog) == ()
    catalog.write(record.record_found_blobs, [digest(pk)])
    _lose(catalog, "newer")
    assert _losses(catalog) != ()


def test_a_picture_of_many_accounts_is_sought_once(catalog: Catalog, archived: int) -> None:
    """What stands for no picture at all is the avatar of many: one tray brings it back; one that can be
    seen.
    """
    for pk in ("5", "6", "7"):
        catalog.write(record.record_tray, archived, pk, tray(user=User(pk, f"user{pk}")), NOW)
        catalog.write(
            record.record_files, [StoredFile(file_of(pk, Role.AVATAR, "nobody"), 7, NOW)], run_id=archived
        )
    catalog.write(record.record_verdict, archived, "5", Reason.PRIVATE, NOW)
    _lose(catalog, "nobody")
    assert [loss.user_pk for loss in _losses(catalog)] == ["6"]
    _not_found(catalog, Subject.USER, "6", Role.AVATAR)
    assert [loss.user_pk for loss in _losses(catalog)] == ["7"]
    assert rows(catalog, "SELECT count(*) FROM users WHERE avatar_held IS NULL") == [(3,)]
