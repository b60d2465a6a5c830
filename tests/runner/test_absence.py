"""What is missing from an answer: when it is evidence and when it is in doubt; it is believed only where the
answer is known to be whole, and never against what is held.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.catalog.query.account_state import AccountState
from archiver.errors import Reason
from archiver.model.upstream import Highlight, RejectedEntry, Tray, User
from archiver.runner import run
from archiver.runner.absence import (
    Doubt,
    Listing,
    believed_gone,
    doubt_about,
    highlights_gone,
    missing_in_one_answer,
)
from archiver.runner.account import AccountSync
from archiver.sandbox.world_objects import Json
from tests.support.api_faults import (
    PAGE,
    TRAY,
    Object,
    account_pk,
    answer_error,
    edit_page,
    highlight_pk,
    page,
    tray,
)
from tests.support.archive_harness import ArchiveHarness
from tests.support.standin.faulty_standin import paid_calls
from tests.support.standin.world_edits import EditableWorld
from tests.support.states import DAY, NOW, YESTERDAY, account, highlight, unresolved

pytestmark = pytest.mark.world(accounts=1, highlights=1, items=2)
PKS = st.integers(1, 2**64).map(str)
USER = User("787132", "natgeo")
ONE, HIGHLIGHT = account_pk(0), highlight_pk(0)
GONE_ITEMS = "select count(*) from highlight_items where gone_at is not null"
GONE_HIGHLIGHTS = "select count(*) from highlights where gone_at is not null"


def tray_of(*pks: str, user: User | None = USER, rejected: int = 0) -> Tray:
    """Return a tray of these highlights, some of its entries unreadable."""
    return Tray(
        user,
        tuple(Highlight(pk, USER) for pk in pks),
        (RejectedEntry("", "?", rejected),) if rejected else (),
    )


@given(st.sets(PKS, max_size=12), st.sets(PKS, max_size=12))
def test_mass_removal_is_believed_only_the_second_time(present: set[str], seen: set[str]) -> None:
    """Losing more than half is remembered, and believed when the next list says the same; less at once."""
    absent = present - seen
    gone, mark = believed_gone(present, seen, None)
    if len(absent) * 2 > len(present):
        assert gone == ()
        assert mark is not None
        assert believed_gone(present, seen, mark) == (tuple(sorted(absent)), None)
        assert believed_gone(present, seen, "something else") == ((), mark)
    else:
        assert (set(gone), mark) == (absent, None)


@pytest.mark.parametrize(
    ("listing", "before", "pk", "expected"),
    [
        (Listing(tray_of("1")), account(), "787132", None),
        (Listing(tray_of()), account(), "787132", Doubt.EMPTY),
        (Listing(tray_of()), account(verdict=Reason.EMPTY), "787132", None),
        (Listing(tray_of()), unresolved(), None, Doubt.EMPTY),
        (Listing(tray_of("1"), is_whole=True), account(tray_length=3), "787132", Doubt.HALVED),
        (Listing(tray_of("1")), account(tray_length=2), "787132", None),
        (Listing(tray_of("1"), is_cut=True), account(tray_length=3), "787132", None),
        (Listing(tray_of("1")), account(tray_length=3, shrunk_to="half"), "787132", None),
        (Listing(tray_of("1", rejected=2)), account(tray_length=3), "787132", None),
        (Listing(tray_of("1")), unresolved(), None, None),
        (Listing(tray_of("1", user=User("787132"))), unresolved(), None, Doubt.NAMELESS),
        (Listing(tray_of("1", user=User("787132"))), unresolved(), "787132", None),
    ],
)
def test_a_tray_that_a_private_account_may_show_is_in_doubt(
    listing: Listing, before: AccountState, pk: str | None, expected: Doubt | None
) -> None:
    """Empty unless it was before, halved unless that waits for this one or it is cut; nameless if asked by
    name.
    """
    assert doubt_about(listing, before, pk) is expected


def test_a_tray_is_evidence_if_it_was_not_cut() -> None:
    """Read to its last page, or shorter than the longest first page; never with unreadable entries."""
    state = account(highlight(pk="1"), highlight(pk="2"), highlight(pk="3", gone_at=NOW))
    assert highlights_gone(Listing(tray_of("1")), state, None, 2) == (("2",), None)
    assert highlights_gone(Listing(tray_of("1")), state, None, 1) == ((), None)
    assert highlights_gone(Listing(tray_of("1"), is_whole=True), state, None, 1) == (("2",), None)
    assert highlights_gone(Listing(tray_of("1"), is_cut=True), state, None, 2) == ((), None)
    assert highlights_gone(Listing(tray_of("1", rejected=1), is_whole=True), state, None, 9) == ((), None)


def test_pages_show_what_the_tray_in_one_answer_should_have_shown() -> None:
    """What is new since the last tray, what is back, and what that tray listed is not among it."""
    state = account(
        highlight(pk="1"),
        highlight(pk="2", listed_at=NOW - 9 * DAY),
        highlight(pk="3", listed_at=NOW - 9 * DAY, gone_at=YESTERDAY),
    )
    old, new = Highlight("4", USER, created_at=NOW - 2 * DAY), Highlight("5", USER, created_at=NOW)
    whole = Listing(Tray(USER, (*tray_of("1", "2", "3").highlights, old, new)), is_whole=True)
    assert missing_in_one_answer(whole, state) == {"2", "4"}
    assert missing_in_one_answer(Listing(whole.tray), state) == frozenset()
    assert missing_in_one_answer(whole, account(needs_pages=True)) == frozenset()


@pytest.fixture
def four(harness: ArchiveHarness) -> ArchiveHarness:
    """The same with four highlights of an item each."""
    harness.upstream.world = EditableWorld.generate(1, 4, 1)
    return harness


def test_fault_a28_an_item_that_a_short_page_leaves_out_is_not_gone(harness: ArchiveHarness) -> None:
    """``media_count`` says two and one comes: complete, code 0, and the other item is neither gone nor
    lost.
    """
    harness.night(ONE)
    fault = harness.upstream.faults.add(edit_page(lambda _, items: items.pop(0)), **page(0), count=None)
    summary = harness.night(ONE, full=True)
    assert (summary.exit_code, summary.highlights_fetched) == (0, 1)
    assert harness.one(GONE_ITEMS) == 0
    assert harness.one("select count(*) from changes") == 0
    harness.upstream.faults.remove(fault)
    harness.upstream.world.remove_item(HIGHLIGHT, harness.upstream.world.highlight(HIGHLIGHT).items[0].pk)
    harness.night(ONE)
    assert harness.one(GONE_ITEMS) == 1  # one counted, one came: now its absence is evidence


def last_twice(_: Object, items: list[Json]) -> None:
    items[0] = items[-1]


def test_fault_a26_a_page_that_repeats_an_item_is_no_short_page(harness: ArchiveHarness) -> None:
    """Two counted and two listed, both of them the same: the other item is gone, as from any page that is
    whole."""
    harness.night(ONE)
    harness.upstream.faults.add(edit_page(last_twice), **page(0), count=None)
    for _ in range(2):  # a loss of half is believed when a second look shows it too
        assert harness.night(ONE, full=True).exit_code == 0
    assert harness.one(GONE_ITEMS) == 1


@pytest.mark.parametrize("left", [0, pytest.param(1, marks=pytest.mark.whole)])
def test_fault_a29_a_shrunken_tray_is_believed_the_second_time(four: ArchiveHarness, left: int) -> None:
    """Three or all four highlights vanish at once: code 0 and none is gone that night; what is held stays
    also when they are.
    """
    harness = four
    harness.night(ONE)
    files = harness.one("select count(*) from files")
    for place in range(left, 4):
        harness.upstream.world.remove_highlight(highlight_pk(0, place))
    harness.sleep(days=1)
    assert harness.night(ONE).exit_code == 0
    assert harness.one(GONE_HIGHLIGHTS) == 0
    harness.sleep(days=1)
    assert harness.night(ONE).exit_code == 0
    assert harness.one(GONE_HIGHLIGHTS) == 4 - left
    assert harness.one("select count(*) from files") == files
    assert harness.one("select count(*) from blobs where lost_at is not null") == 0


@pytest.mark.whole
def test_fault_a29_a_tray_that_shrank_for_one_night_leaves_no_trace(four: ArchiveHarness) -> None:
    """An empty list between two whole ones: no change is written, nothing is fetched again."""
    harness = four
    harness.night(ONE)
    harness.upstream.faults.add(answer_error(200, []), path=TRAY)
    harness.sleep(days=1)
    assert harness.night(ONE).exit_code == 0
    harness.sleep(days=1)
    summary = harness.night(ONE)
    assert (summary.exit_code, summary.units, summary.files_new) == (0, 1, 0)
    assert harness.one(GONE_HIGHLIGHTS) == 0
    assert harness.one("select count(*) from changes") == 0


def test_fault_a5_a_tray_that_is_not_found_says_nothing_of_an_account_that_is_there(
    harness: ArchiveHarness,
) -> None:
    """404 in place of a tray, and the account itself is public: code 7, and it is neither gone nor emptied;
    the next night goes on.
    """
    harness.night(ONE)
    harness.upstream.faults.add(answer_error(404, {"detail": "no", "exc_type": "UserNotFound"}), path=TRAY)
    summary = harness.night(ONE)
    assert (summary.exit_code, summary.units) == (7, 2)
    assert harness.one("select count(*) from users where verdict is not null or gone_at is not null") == 0
    assert harness.one("select count(*) from changes") == 0
    assert harness.night(ONE).units == 1


def test_a_renewed_page_is_no_second_look(harness: ArchiveHarness) -> None:
    """A page lost most of its items and its links are past their time: the renewal says the same in the same
    run, and nothing is gone until the next night says so.
    """
    harness.night(ONE)
    world, settings = harness.upstream.world, harness.upstream.settings
    held = [item.pk for item in world.highlight(HIGHLIGHT).items]
    for pk in held:
        world.remove_item(HIGHLIGHT, pk)
    world.add_item(HIGHLIGHT)
    settings.image_life = -5

    def recover(_: object) -> None:
        settings.image_life = 86_400.0

    harness.upstream.faults.add(path=PAGE, nth=2, before=recover)
    assert harness.night(ONE).units == 1 + 2
    assert harness.one(GONE_ITEMS) == 0
    assert harness.night(ONE).units == 1 + 1
    assert harness.one(GONE_ITEMS) == len(held)
    assert harness.night(ONE).units == 1


class RepeatedSync(AccountSync):
    """A visit that another worker repeats in the same run, because the first one was lost at its end."""

    def sync(self) -> bool:
        """Visit the target twice."""
        return super().sync() and AccountSync(self._services, self._target, self._turn).sync()


@pytest.fixture
def repeats_visits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every visit of a run is made twice."""
    monkeypatch.setattr(run, "AccountSync", RepeatedSync)


@pytest.mark.usefixtures("repeats_visits")
def test_fault_w1_a_repeated_visit_confirms_no_loss_of_items(harness: ArchiveHarness) -> None:
    """Its page, which has lost most of its items, is not paid for again, and they are gone the next night."""
    harness.night(ONE)
    world = harness.upstream.world
    held = [item.pk for item in world.highlight(HIGHLIGHT).items]
    for pk in held:
        world.remove_item(HIGHLIGHT, pk)
    world.add_item(HIGHLIGHT)
    assert harness.night(ONE).units == 2 + 1
    assert harness.one(GONE_ITEMS) == 0
    assert harness.night(ONE).units == 2 + 1
    assert harness.one(GONE_ITEMS) == len(held)


@pytest.mark.usefixtures("repeats_visits")
def test_fault_w1_a_repeated_visit_confirms_no_loss_of_highlights(four: ArchiveHarness) -> None:
    """Three of four are missing on both of its trays: they are gone the next night."""
    four.night(ONE)
    for place in range(1, 4):
        four.upstream.world.remove_highlight(highlight_pk(0, place))
    four.night(ONE)
    assert four.one(GONE_HIGHLIGHTS) == 0
    four.night(ONE)
    assert four.one(GONE_HIGHLIGHTS) == 3


@pytest.mark.usefixtures("repeats_visits")
def test_fault_w1_a_repeated_visit_with_full_pays_for_no_page_again(harness: ArchiveHarness) -> None:
    """A page that this run has paid for is the newest that ``--full`` can ask for."""
    harness.night(ONE)
    summary = harness.night(ONE, full=True)
    pages = [call for call in paid_calls(harness.upstream.requests) if call.path == PAGE]
    assert (summary.exit_code, len(pages)) == (0, 1)


@pytest.mark.whole
def test_a_page_that_is_no_evidence_ends_the_doubt(harness: ArchiveHarness) -> None:
    """Most items are gone, and the second look counts more than it shows: it is not asked for again, and the
    first loss is forgotten.
    """
    harness.night(ONE)
    world = harness.upstream.world
    first = [world.remove_item(HIGHLIGHT, item.pk) for item in list(world.highlight(HIGHLIGHT).items)]
    assert harness.night(ONE).units == 1 + 1
    world.highlight(HIGHLIGHT).uncounted = 1
    assert [harness.night(ONE).units for _ in range(2)] == [1 + 1, 1]
    world.highlight(HIGHLIGHT).uncounted = 0
    assert [harness.night(ONE).units for _ in range(3)] == [1 + 1, 1 + 1, 1]
    assert harness.one(GONE_ITEMS) == len(first)


def test_an_outage_is_one_beside_an_account_that_is_known_to_be_private(harness: ArchiveHarness) -> None:
    """Nobody asks for the private account, so no account could be read: code 7. Found private in the same
    night, it shows that the API answers: code 3. Alone it is code 0.
    """
    harness.upstream.world = EditableWorld.generate(2, 1, 1)
    other = account_pk(1)
    harness.night(ONE, other)
    harness.upstream.world.set_private(other)
    fault = harness.upstream.faults.add(answer_error(500, {"detail": "down"}), **tray(0), count=None)
    assert harness.night(ONE, other).exit_code == 3
    assert harness.night(ONE, other).exit_code == 7
    assert harness.night(other).exit_code == 0
    harness.upstream.faults.remove(fault)
    assert harness.night(ONE, other).exit_code == 0


def test_fault_a15_an_error_object_takes_nothing_away_from_an_account(harness: ArchiveHarness) -> None:
    """``state: false`` with 200 in place of a tray: code 7, and the account keeps its highlights, its
    standing and its history.
    """
    harness.night(ONE)
    harness.upstream.faults.add(answer_error(200, {"state": False}), path=TRAY)
    assert harness.night(ONE).exit_code == 7
    assert harness.one(GONE_HIGHLIGHTS) == 0
    assert harness.one("select count(*) from users where verdict is not null or gone_at is not null") == 0
    assert harness.one("select count(*) from changes") == 0
    assert harness.night(ONE).units == 1


def test_fault_a24_what_was_not_offered_is_taken_when_it_is(harness: ArchiveHarness) -> None:
    """An item whose picture is null on the first night has it when its highlight is read again."""
    world = harness.upstream.world
    item = world.highlight(HIGHLIGHT).items[0]
    picture, item.thumbnail = item.thumbnail, None
    assert harness.night(ONE).exit_code == 0
    held = "select count(*) from files where item_pk = ?"
    assert harness.one(held, item.pk) == 0
    item.thumbnail = picture
    assert harness.night(ONE, full=True).exit_code == 0
    assert harness.one(held, item.pk) == 1


@pytest.mark.whole
def test_fault_a26_other_bytes_under_the_same_pk_are_a_second_file(harness: ArchiveHarness) -> None:
    """Bytes that were lost come back different: a new file beside the old row, and nothing is overwritten."""
    harness.night(ONE)
    item = harness.upstream.world.highlight(HIGHLIGHT).items[0]
    of_item = "select sha256 from files where item_pk = ? order by id"
    ((old,),) = harness.rows(of_item, item.pk)
    (harness.root / "blobs" / str(old)[:2] / str(old)).unlink()
    harness.sleep_until_turn(str(old))
    harness.upstream.world.change_bytes(HIGHLIGHT, item.pk, "thumbnail")
    assert harness.night(ONE).exit_code == 0
    first, second = harness.rows(of_item, item.pk)
    assert first == (old,)
    assert second != first
    assert harness.one("select count(*) from blobs where lost_at is not null and sha256 = ?", old) == 1


def test_fault_a29_no_highlights_told_as_an_error_are_an_empty_tray(harness: ArchiveHarness) -> None:
    """404 ``HighlightNotFound`` in place of a tray: the account is looked at once and is empty, not gone;
    code 0."""
    nothing = answer_error(404, {"detail": "no highlights", "exc_type": "HighlightNotFound"})
    harness.upstream.faults.add(nothing, path=TRAY, count=None)
    summary = harness.night(ONE)
    assert (summary.exit_code, summary.units, summary.failures) == (0, 2, ())
    assert harness.rows("select verdict, gone_at from users where pk = ?", ONE) == [("empty", None)]
    harness.sleep(days=1)
    assert harness.night(ONE).exit_code == 0
