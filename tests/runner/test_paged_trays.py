"""The paged tray: asked for once in a sweep, kept to where the other is cut, and never needed."""

from __future__ import annotations

import pytest

from archiver.archive.archive import Archive
from archiver.model.events import Notice
from archiver.sandbox.world_objects import Json
from tests.support.api_faults import account_pk, everybody
from tests.support.archive_harness import ArchiveHarness
from tests.support.standin import actions
from tests.support.standin.world_edits import EditableWorld

pytestmark = pytest.mark.world(accounts=1, highlights=3, items=1)

ACCOUNT = account_pk(0)
LAST = "17800000000000002"
V1, V2 = "/v1/user/highlights", "/v2/user/highlights"
SWEEP = 2


@pytest.fixture
def harness(harness: ArchiveHarness) -> ArchiveHarness:
    """With sweeps. The tray in one answer shows two highlights, and a page of the other two as well."""
    harness.upstream.world.v1_page = harness.upstream.world.v2_page = 2
    harness.environ["ARCHIVER_SYNC_SWEEP_DAYS"] = str(SWEEP)
    return harness


def nights(harness: ArchiveHarness, count: int) -> list[int]:
    """So many nights; how many pages of the paged tray were asked for in each."""
    pages = []
    for _ in range(count):
        harness.sleep(days=1)
        assert harness.night(ACCOUNT).exit_code == 0
        pages.append(len(harness.upstream.requests.api_calls(V2)))
    return pages


def test_what_the_first_page_hides_is_found_within_a_sweep(harness: ArchiveHarness) -> None:
    """All pages are read on the account's turn; from then on it is listed so, and nothing is said to have
    appeared.
    """
    harness.night(ACCOUNT)
    assert harness.one("select count(*) from highlights") == 2
    pages = nights(harness, SWEEP + 2)
    turn = pages.index(2)
    assert turn < SWEEP
    assert pages == [0] * turn + [2] * (SWEEP + 2 - turn)
    assert harness.one("select completed_at is not null from highlights where pk = ?", LAST) == 1
    assert harness.one("select tray_endpoint from users") == V2
    assert harness.one("select count(*) from changes") == 0
    assert harness.upstream.requests.api_calls(V1) == []


@pytest.mark.whole
def test_an_account_whose_tray_is_whole_pays_no_more_for_its_turn(harness: ArchiveHarness) -> None:
    """One page in each sweep period, in place of that night's tray; a quiet night is a unit either way."""
    harness.upstream.world.v1_page = harness.upstream.world.v2_page = 60
    harness.night(ACCOUNT)
    paid = harness.one("select sum(units) from api_calls")
    pages = nights(harness, 2 * SWEEP)
    assert (sum(pages), max(pages)) == (2, 1)
    assert harness.one("select tray_endpoint from users") == V1
    swept = 3 * 2
    assert harness.one("select sum(units) from api_calls") == int(str(paid)) + 2 * SWEEP + swept


@pytest.mark.whole
def test_absence_from_all_pages_is_evidence(harness: ArchiveHarness) -> None:
    """A highlight beyond the first page that goes is gone the same night, whatever the longest first page
    was.
    """
    harness.night(ACCOUNT)
    nights(harness, SWEEP)
    harness.upstream.world.remove_highlight(LAST)
    nights(harness, 1)
    assert harness.rows("select subject_pk, field, new from changes") == [(LAST, "presence", "gone")]


FAILING = {
    "5xx": actions.respond(503, {"exc_type": "InstagramServerError"}, {"retry-after": "0"}),
    "another shape": actions.respond(200, {"response": {"items": []}}),
    "404": actions.respond(404, {"detail": "Not Found"}),
    "a next page that is none": actions.respond(200, {"response": {"tray": []}, "next_page_id": ["?"]}),
}


def test_where_the_pages_fail_the_first_page_serves(harness: ArchiveHarness, whole: bool) -> None:
    """The night is a good one and nobody is gone for it.

    What cost nothing is tried the next night, what was billed on its next turn. An account for each failure;
    ``--whole``: of every kind, else one that cost nothing and one that was billed.
    """
    failing = list(FAILING) if whole else ["5xx", "404"]
    world = harness.upstream.world = EditableWorld.generate(len(failing), 3, 1)
    world.v1_page = world.v2_page = 2
    accounts = {account_pk(number): kind for number, kind in enumerate(failing)}
    harness.night(*accounts)
    for account, kind in accounts.items():
        harness.upstream.faults.add(FAILING[kind], path=V2, user=account, count=None)
    asked: dict[str, list[bool]] = {account: [] for account in accounts}
    why = "the paged tray cannot be read: using the first page"
    for _ in range(2 * SWEEP):
        harness.sleep(days=1)
        assert harness.night(*accounts).exit_code == 0
        users = {request.subject.user for request in harness.upstream.requests.api_calls(V2)}
        notices = {event.text for event in harness.events if isinstance(event, Notice)}
        assert notices == {f"{account}: {why}" for account in accounts if account in users}
        for account, nights_of_one in asked.items():
            nights_of_one.append(account in users)
    for account, kind in accounts.items():
        first = asked[account].index(True)
        assert first < SWEEP, kind
        assert asked[account][first + 1] is (kind == "5xx"), kind
        assert sum(asked[account]) == (2 * SWEEP - first if kind == "5xx" else 2), kind
    assert harness.rows("select distinct tray_endpoint from users") == [(V1,)]
    assert harness.one("select count(*) from highlights where gone_at is not null") == 0
    harness.upstream.faults.clear()
    for _ in range(SWEEP):
        harness.sleep(days=1)
        harness.night(*accounts)
    assert harness.one("select count(*) from highlights") == 3 * len(accounts)


@pytest.mark.whole
def test_pages_without_an_end_are_left(harness: ArchiveHarness) -> None:
    """A next page that was read already ends the reading: the tray counts as cut."""
    harness.night(ACCOUNT)
    page: dict[str, Json] = {"response": {"tray": []}, "next_page_id": "again"}
    harness.upstream.faults.add(actions.respond(200, page), path=V2, count=None)
    assert max(nights(harness, SWEEP)) == 2
    assert harness.one("select count(*) from highlights where gone_at is not null") == 0


@pytest.mark.whole
def test_one_night_without_pages_changes_nothing(harness: ArchiveHarness) -> None:
    """An account that is listed page by page gets its first page on a night on which those fail: a third of
    what it has, which is no reason to look at the account, and no highlight is missed or back.
    """
    for title in ("one", "two", "three"):
        harness.upstream.world.add_highlight(ACCOUNT, title, 1)
    harness.night(ACCOUNT)
    nights(harness, SWEEP)
    harness.upstream.faults.add(actions.respond(500, headers={"retry-after": "0"}), path=V2, count=3)
    assert nights(harness, 1) == [3]
    assert harness.upstream.requests.api_calls("/v1/user/by/id") == []
    assert harness.one("select tray_endpoint from users") == V2
    assert nights(harness, 1) == [3]
    assert harness.one("select count(*) from changes") == 0


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(actions.respond(503, headers={"retry-after": "0"}), id="free", marks=pytest.mark.whole),
        pytest.param(actions.respond(404, {"detail": "Not Found"}), id="billed"),
    ],
)
def test_a_first_page_that_is_known_to_lack_something_is_no_evidence(
    harness: ArchiveHarness, fault: actions.Action
) -> None:
    """Also where it is shorter than the longest that was ever seen, as a first page of another size is:
    nobody is gone for it.
    """
    for title in ("one", "two"):
        harness.upstream.world.add_highlight(ACCOUNT, title, 1)
    harness.upstream.world.v1_page = 4
    harness.night(ACCOUNT)
    nights(harness, SWEEP)
    harness.upstream.world.v1_page = 3
    harness.upstream.faults.add(fault, path=V2, count=3)
    nights(harness, 1)
    assert harness.one("select count(*) from highlights where gone_at is not null") == 0


@pytest.mark.whole
def test_until_their_next_turn_failed_pages_make_nobody_gone(harness: ArchiveHarness) -> None:
    """Pages that were paid for in vain are not asked again before their turn; the first pages until then are
    known to be cut, whatever their size is, and the account stays with its pages.
    """
    for title in ("one", "two"):
        harness.upstream.world.add_highlight(ACCOUNT, title, 1)
    harness.upstream.world.v1_page = 4
    harness.night(ACCOUNT)
    nights(harness, SWEEP)
    harness.upstream.faults.add(actions.respond(404, {"detail": "Not Found"}), path=V2, count=None)
    asked = []
    for size in (3, 2, 4, 3, 4, 2):
        harness.upstream.world.v1_page = size
        asked += nights(harness, 1)
    assert asked[0] == 1
    assert sum(asked) <= 1 + len(asked) // SWEEP
    assert harness.one("select tray_endpoint from users") == V2
    assert harness.one("select pages_failed_at from users") is not None
    harness.upstream.faults.clear()
    assert 3 in nights(harness, SWEEP)
    assert harness.one("select pages_failed_at from users") is None
    assert harness.one("select count(*) from changes") == 0


def test_too_few_units_for_all_pages_are_reported_as_that(harness: ArchiveHarness) -> None:
    """The first page is read instead, and no notice says that the pages cannot be read."""
    harness.night(ACCOUNT)
    nights(harness, SWEEP)
    harness.sleep(days=1)
    harness.events.clear()
    harness.upstream.requests.reset()
    with Archive(harness.config) as archive:
        archive.run([ACCOUNT], max_units=2, observe=harness.events.append, clock=lambda: harness.now)
    why = "too few units for all pages of the list: reading the first page"
    assert [event.text for event in harness.events if isinstance(event, Notice)] == [f"{ACCOUNT}: {why}"]
    assert (len(harness.upstream.requests.api_calls(V2)), len(harness.upstream.requests.api_calls(V1))) == (
        0,
        1,
    )


@pytest.mark.world(accounts=5, highlights=1, items=1)
def test_pages_that_are_refused_say_nothing_of_the_key(harness: ArchiveHarness) -> None:
    """Where a plan does not include the paged tray, and every account has its turn: the other tray serves,
    and the run is a good one.
    """
    harness.environ.clear()
    names = everybody(5)
    harness.night(*names)
    refusal = actions.respond(403, {"detail": "not in your plan"})
    harness.upstream.faults.add(refusal, path=V2, count=None)
    summary = harness.night(*names, full=True)
    assert (summary.exit_code, summary.accounts) == (0, len(names)), summary.message
