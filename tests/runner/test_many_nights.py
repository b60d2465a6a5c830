"""Nights that follow each other: sweeps, back-offs, returns, and what is believed only the second time."""

from __future__ import annotations

import pytest

from archiver.model.target import parse_target
from tests.support.archive_harness import ArchiveHarness
from tests.support.standin import actions

NATGEO = "787132"
GIFT, BOTW, LIMITLESS = "17983616051768088", "18018069326790931", "17893209825281221"


def test_every_highlight_is_looked_at_again_within_the_sweep(harness: ArchiveHarness) -> None:
    """A swap that moves none of the tray's numbers is found within ``sweep_days``, at one unit for each
    highlight in all.
    """
    harness.environ["ARCHIVER_SYNC_SWEEP_DAYS"] = "3"
    harness.night("natgeo")
    world = harness.upstream.world
    old = world.highlight(BOTW).items[0]
    world.remove_item(BOTW, old.pk)
    new = world.add_item(BOTW, taken_at=old.taken_at)
    units = 0
    for _ in range(3):
        harness.sleep(days=1)
        units += harness.night("natgeo").units
    assert units == 3 + 3
    changes = harness.rows("select field, old, new from changes")
    assert sorted(map(str, changes)) == sorted(map(str, [("items", None, new.pk), ("items", old.pk, None)]))
    assert harness.one("select count(*) from files where item_pk = ?", old.pk) == 1


@pytest.mark.whole
def test_a_private_account_is_asked_again_after_one_three_and_seven_days(harness: ArchiveHarness) -> None:
    """One unit on each of those nights and none between; when it is public again it is kept on, with a change
    to show.
    """
    harness.night("natgeo")
    harness.upstream.world.set_private("natgeo")
    units, day = [], 0
    for night in (1, 2, 3, 4, 5, 6, 11, 12):
        harness.sleep(days=night - day)
        day = night
        units.append(harness.night("natgeo").units)
    assert units == [2, 1, 0, 0, 1, 0, 0, 1]
    harness.upstream.world.set_public("natgeo")
    item = harness.upstream.world.add_item(GIFT)
    harness.sleep(days=30)
    summary = harness.night("natgeo")
    assert (summary.exit_code, summary.items_new) == (0, 1)
    assert harness.one("select verdict from users where pk = ?", NATGEO) is None
    assert harness.one("select count(*) from files where item_pk = ?", item.pk) == 1


def test_fault_a5_a_gone_account_is_marked_and_returns(harness: ArchiveHarness) -> None:
    """404 by id, and once more when it is looked behind: ``gone_at``, one change; nothing that is held is
    touched; its return is a change too.
    """
    harness.night("natgeo")
    harness.upstream.world.delete_account("natgeo")
    assert harness.night("natgeo").units == 2
    assert harness.one("select gone_at from users where pk = ?", NATGEO) is not None
    harness.upstream.world.restore_account("natgeo")
    harness.sleep(days=2)
    harness.night("natgeo")
    assert harness.one("select gone_at from users where pk = ?", NATGEO) is None
    assert harness.rows("select field, new from changes where subject = 'user'") == [
        ("presence", "gone"),
        ("presence", "returned"),
    ]


def test_the_back_off_of_a_lost_file_ends(harness: ArchiveHarness) -> None:
    """On its due night the links of the kept answer are past their time: one unit renews them, and the file
    is kept.
    """
    item = harness.upstream.world.highlight(GIFT).items[1]
    fault = harness.upstream.faults.add(actions.respond(404), listener="cdn", item=item.pk, count=None)
    harness.night("natgeo")
    harness.sleep(days=10)
    harness.upstream.faults.remove(fault)
    summary = harness.night("natgeo")
    assert (summary.exit_code, summary.units, summary.highlights_fetched) == (0, 2, 1)
    assert harness.one("select count(*) from failures where resolved_at is null") == 0
    assert harness.night("natgeo").units == 1


@pytest.mark.whole
def test_fault_a29_an_emptied_tray_is_believed_the_second_time(harness: ArchiveHarness) -> None:
    """All highlights vanish at once: the first night says nothing, the second marks them gone, and nothing
    held is lost; what comes back is seen at the latest on the second night, since a look that is due takes
    the tray's place.
    """
    harness.night("natgeo", "salwaaa_ki")
    for pk in (GIFT, BOTW, LIMITLESS):
        harness.upstream.world.remove_highlight(pk)
    harness.sleep(days=1)
    harness.night("natgeo")
    assert harness.one("select count(*) from highlights where gone_at is not null") == 0
    harness.sleep(days=1)
    harness.night("natgeo")
    assert harness.one("select count(*) from highlights where gone_at is not null") == 3
    assert harness.one("select count(*) from blobs where lost_at is not null") == 0
    harness.upstream.world.restore_highlight(BOTW)
    harness.sleep(days=2)
    harness.night("natgeo")
    harness.night("natgeo")
    assert harness.one("select gone_at from highlights where pk = ?", BOTW) is None


@pytest.mark.whole
def test_an_emptied_account_that_turns_private_is_noticed(harness: ArchiveHarness) -> None:
    """Its tray is as empty as before: the look that is due after 1, 3, 7 days tells, however often it was
    listed between.
    """
    harness.night("natgeo")
    for pk in (GIFT, BOTW, LIMITLESS):
        harness.upstream.world.remove_highlight(pk)
    looks, last = [], -1
    for night in (0, 1, 2, 4, 5, 8, 11, 12, 13, 15):
        if night == 8:
            harness.upstream.world.set_private("natgeo")
        harness.sleep(days=night - last)
        last = night
        assert harness.night("natgeo").units <= 1 + (night == 0)
        looks += [night] * len(harness.upstream.requests.api_calls("/v1/user/by/id"))
    assert looks == [0, 2, 5, 12, 13]
    assert harness.one("select verdict from users where pk = ?", NATGEO) == "private"
    assert harness.rows("select old, new from changes where field = 'is_private'") == [("false", "true")]


def test_an_emptied_account_is_listed_however_seldom_the_runs_are(harness: ArchiveHarness) -> None:
    """A look is due at each monthly run, and does not take the place of the tray twice running: what came
    back is seen.
    """
    harness.night("natgeo")
    for pk in (GIFT, BOTW, LIMITLESS):
        harness.upstream.world.remove_highlight(pk)
    for _ in range(4):
        harness.night("natgeo")
        harness.sleep(days=31)
    harness.upstream.world.restore_highlight(BOTW)
    for _ in range(2):
        harness.sleep(days=31)
        assert harness.night("natgeo").units == 1
    assert harness.one("select gone_at from highlights where pk = ?", BOTW) is None


@pytest.mark.whole
def test_one_highlight_of_three_may_go_in_one_night(harness: ArchiveHarness) -> None:
    """Less than half, from a tray shorter than the longest ever seen: gone at once, as a change."""
    harness.night("natgeo")
    harness.upstream.world.remove_highlight(LIMITLESS)
    harness.night("natgeo")
    assert harness.rows("select subject_pk, field, new from changes") == [(LIMITLESS, "presence", "gone")]


def test_a_name_that_somebody_else_took(harness: ArchiveHarness) -> None:
    """The entry of the configuration stays with its account; ``backup NAME`` looks the name up and finds the
    other one.
    """
    harness.night("natgeo")
    harness.upstream.world.rename("natgeo", "natgeo2")
    other = harness.upstream.world.take_username("natgeo")
    summary = harness.night("natgeo")
    assert (summary.units, harness.one("select username from users where pk = ?", NATGEO)) == (1, "natgeo2")
    harness.night(parse_target("natgeo"), bound=False, insist=True)
    assert any(f"account {NATGEO} had that name before" in str(event) for event in harness.events)
    assert harness.one("select count(*) from users where pk = ?", other.pk) == 1
    assert harness.one("select username from users where pk = ?", NATGEO) == "natgeo2"


@pytest.mark.whole
def test_a_renamed_account_that_shows_nothing_is_not_taken_for_the_other(harness: ArchiveHarness) -> None:
    """An empty tray names nobody: the name that the account bore last counts, though another account bears
    the old one.
    """
    harness.night("natgeo")
    harness.upstream.world.rename("natgeo", "natgeo2")
    harness.upstream.world.take_username("natgeo")
    harness.night("natgeo")
    harness.night(parse_target("natgeo"), bound=False, insist=True)
    for pk in (GIFT, BOTW, LIMITLESS):
        harness.upstream.world.remove_highlight(pk)
    harness.sleep(days=1)
    harness.night("natgeo")
    harness.sleep(days=1)
    harness.night("natgeo")
    assert "had that name before" not in str(harness.events)
    assert "natgeo is now called natgeo2" in str(harness.events)


@pytest.mark.whole
def test_a_name_that_was_taken_is_told_once(harness: ArchiveHarness) -> None:
    """Whoever names in the configuration what somebody bore before hears of it on the first night, and is not
    mailed every night.
    """
    harness.night("787132")
    harness.upstream.world.rename("natgeo", "natgeo2")
    harness.upstream.world.take_username("natgeo")
    harness.night("787132")
    harness.night("natgeo")
    assert str(harness.events).count(f"account {NATGEO} had that name before") == 1
    harness.night("natgeo")
    assert "had that name before" not in str(harness.events)


@pytest.mark.whole
def test_an_account_listed_by_name_and_by_id_is_paid_for_once(harness: ArchiveHarness) -> None:
    """The second target is told to be the same account; each highlight is read once, and a quiet night costs
    one unit.
    """
    first = harness.night("natgeo", "787132", "https://www.instagram.com/natgeo/")
    assert (first.exit_code, first.highlights_fetched) == (0, 3)
    assert harness.night("natgeo", "787132").units == 1
    assert "is the same account as" in str(harness.events)


def test_new_covers_and_avatars_are_kept_beside_the_old(harness: ArchiveHarness) -> None:
    """They come with the tray: no highlight is fetched for them, and the old ones stay."""
    harness.night("natgeo")
    harness.upstream.world.recover(BOTW)
    harness.upstream.world.change_avatar("natgeo")
    summary = harness.night("natgeo")
    assert (summary.units, summary.files_new, summary.highlights_fetched) == (1, 2, 0)
    assert harness.one("select count(*) from files where highlight_pk = ? and role = 'cover'", BOTW) == 2
    assert harness.one("select count(*) from files where user_pk = ?", NATGEO) == 2
    assert harness.night("natgeo").files_new == 0


@pytest.mark.whole
def test_a_failing_cover_causes_no_fetch(harness: ArchiveHarness) -> None:
    """It is tried again with the next tray and holds no watermark."""
    harness.upstream.faults.add(actions.respond(500), listener="cdn", role="cover", count=None)
    first = harness.night("natgeo")
    assert (first.exit_code, first.files_failed) == (3, 3)
    assert harness.one("select count(*) from highlights where completed_at is not null") == 3
    harness.upstream.faults.clear()
    second = harness.night("natgeo")
    assert (second.exit_code, second.units, second.files_new) == (0, 1, 3)


@pytest.mark.whole
def test_full_fetches_everything_again_and_downloads_nothing(harness: ArchiveHarness) -> None:
    """``--full`` pays for every highlight, finds nothing new, and writes no change."""
    harness.night("natgeo")
    summary = harness.night("natgeo", full=True)
    assert (summary.units, summary.highlights_fetched, summary.files_new) == (4, 3, 0)
    assert harness.one("select count(*) from changes") == 0


@pytest.mark.parametrize("is_complete", [False, True])
def test_an_account_that_is_found_under_a_new_name_is_finished(
    harness: ArchiveHarness, is_complete: bool
) -> None:
    """What a limit left over is fetched by the run that first hears the new name, and nothing held is fetched
    again.
    """
    if not is_complete:
        harness.environ["ARCHIVER_BUDGET_MAX_UNITS_PER_RUN"] = "3"
    harness.night("natgeo")
    harness.environ.pop("ARCHIVER_BUDGET_MAX_UNITS_PER_RUN", None)
    missing = harness.one("select count(*) from highlights where completed_at is null")
    assert (missing == 0) == is_complete
    harness.upstream.world.rename("natgeo", "natgeo_official")
    summary = harness.night("natgeo_official")
    assert (summary.exit_code, summary.highlights_fetched) == (0, missing)
    assert harness.one("select count(*) from highlights where completed_at is null") == 0
    if is_complete:
        assert harness.upstream.requests.cdn_requests() == []


def test_a_page_that_a_bug_cannot_read_is_not_paid_for_again(
    harness: ArchiveHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call is settled before its answer is read, so the next night finds the answer."""
    harness.environ["ARCHIVER_BUDGET_MAX_UNITS_PER_RUN"] = "50"

    met: list[str] = []

    def fail(_: object, pk: str) -> None:
        met.append(pk)
        raise RuntimeError("a bug of the reader")

    with monkeypatch.context() as patch:
        patch.setattr("archiver.hiker.wire.parse_highlight_page", fail)
        with pytest.raises(RuntimeError, match="a bug"):
            harness.night("natgeo")
    assert harness.night("natgeo").exit_code == 0
    for pk in met:
        assert harness.rows("select status, units from api_calls where subject = ?", pk) == [(200, 1)]
