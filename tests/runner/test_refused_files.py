"""Files that our own settings refuse: reported while they are refused, and fetched once the settings allow
them.
"""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from archiver.archive.archive import Archive
from archiver.archive.subject_details import AccountDetails
from archiver.cli import run_report
from archiver.model.archived import GapReason
from archiver.model.identity import Subject
from archiver.model.target import parse_target
from archiver.sandbox import item_factory
from archiver.sandbox.world_objects import SandboxAccount, SandboxHighlight, SandboxItem
from tests.support.archive_harness import ArchiveHarness
from tests.support.cdn_account import offering
from tests.support.databases import postgres_when_whole
from tests.support.standin import actions
from tests.support.standin.world_edits import EditableWorld

ACCOUNT = "keeper"
HOSTS, SIZE = "ARCHIVER_DOWNLOAD_ALLOWED_HOSTS", "ARCHIVER_DOWNLOAD_MAX_FILE_SIZE"
WRONG = "*.cdninstagram.example"
SWEEP = "ARCHIVER_SYNC_SWEEP_DAYS"


@pytest.fixture
def harness(harness: ArchiveHarness) -> ArchiveHarness:
    """One account with two highlights of three items; links live for 5 days, those of videos for 2."""
    world = harness.upstream.world = EditableWorld()
    world.add_account(SandboxAccount("900", ACCOUNT, "Keeper", item_factory.avatar("900")))
    for title in ("Second", "First"):
        world.add_highlight(ACCOUNT, title, items=3)
    return harness


def highlights(harness: ArchiveHarness) -> list[SandboxHighlight]:
    """The account's highlights, in the order of its tray."""
    return list(harness.upstream.world.account(ACCOUNT).highlights)


def files_of(items: Iterable[SandboxItem]) -> int:
    """How many files these items offer."""
    return sum((item.thumbnail is not None) + (item.video is not None) for item in items)


def offered(harness: ArchiveHarness) -> int:
    """How many files the account offers: its avatar, covers and items."""
    return 1 + len(highlights(harness)) + sum(files_of(h.items) for h in highlights(harness))


def files(harness: ArchiveHarness) -> int:
    """How many files are stored."""
    return int(str(harness.one("select count(*) from files")))


@postgres_when_whole
def test_fault_c31_a_night_that_downloads_nothing_is_never_ok(either: ArchiveHarness) -> None:
    """Four nights with a wrong ``allowed_hosts``: each ends with 3 and counts every file, and costs what a
    quiet night costs.
    """
    either.environ[HOSTS] = WRONG
    number = offered(either)
    for night in range(4):
        summary = either.night(ACCOUNT)
        assert (summary.exit_code, summary.outcome) == (3, "partial")
        assert summary.hosts_not_allowed == (("127.0.0.1", number),)
        assert summary.files_failed == len(summary.failures) == number
        assert summary.units == (2 + 2 if night == 0 else 1)
        line = (
            f"archiver: run: {number} files not downloaded: host 127.0.0.1 is not in download.allowed_hosts"
        )
        assert list(run_report.outcome_lines(summary)) == [line]
        assert list(run_report.failure_lines(summary)) == []
        assert run_report.json_fields(summary)["hosts_not_allowed"] == [
            {"host": "127.0.0.1", "files": number}
        ]
        either.sleep(days=1)
    assert either.upstream.requests.cdn_requests() == []
    assert either.one("select count(*) from highlights where completed_at is not null") == 0


@pytest.mark.whole
@postgres_when_whole
def test_fault_c31_the_first_night_with_the_right_hosts_fetches_all_of_it(either: ArchiveHarness) -> None:
    """While the links of the kept answers are valid no highlight is paid for again; once they have expired
    each costs one unit.
    """
    either.environ[HOSTS] = WRONG
    either.night(ACCOUNT)
    del either.environ[HOSTS]
    [plan] = either.plan(ACCOUNT)
    assert (plan.units, [job.reason.value for job in plan.highlights]) == (1, ["incomplete"] * 2)
    summary = either.night(ACCOUNT)
    assert (summary.exit_code, summary.units, files(either)) == (0, 1, offered(either))
    assert either.one("select count(*) from failures where resolved_at is null") == 0
    assert either.one("select count(*) from highlights where completed_at is null") == 0


def test_fault_c31_links_that_have_expired_cost_one_unit_a_highlight(harness: ArchiveHarness) -> None:
    """``plan`` says so before; after that night the account is quiet."""
    harness.environ[HOSTS] = WRONG
    harness.night(ACCOUNT)
    harness.sleep(days=9)
    assert harness.night(ACCOUNT).units == 1
    del harness.environ[HOSTS]
    assert [plan.units for plan in harness.plan(ACCOUNT)] == [1 + 2]
    summary = harness.night(ACCOUNT)
    assert (summary.exit_code, summary.units, files(harness)) == (0, 1 + 2, offered(harness))
    assert (harness.night(ACCOUNT).exit_code, harness.night(ACCOUNT).units) == (0, 1)


@pytest.mark.whole
def test_fault_c31_no_sweep_is_paid_for_while_a_host_is_refused(harness: ArchiveHarness) -> None:
    """Two months later, with the sweep on, a night still costs one unit."""
    harness.environ |= {HOSTS: WRONG, SWEEP: "30"}
    harness.night(ACCOUNT)
    for _ in range(3):
        harness.sleep(days=30)
        summary = harness.night(ACCOUNT)
        assert summary.exit_code == 3
        assert harness.upstream.requests.api_calls("/v1/highlight/by/url") == []


def test_fault_c31_files_of_other_hosts_go_on_beside_the_refused_ones(harness: ArchiveHarness) -> None:
    """One file behind a host that is not allowed: the others are stored, a file that fails otherwise has its
    own back-off.
    """
    first, second = highlights(harness)
    elsewhere = {item.pk: f"https://cdn.example/{item.pk}.jpg" for item in first.items[:1]}
    harness.upstream.faults.add(offering(elsewhere), path="/v1/highlight/by/url", count=None)
    harness.upstream.faults.add(
        actions.respond(404, b"gone"), listener="cdn", item=second.items[0].pk, count=None
    )
    summary = harness.night(ACCOUNT)
    assert (summary.exit_code, dict(summary.hosts_not_allowed)) == (3, {"cdn.example": 1})
    assert files(harness) == offered(harness) - 1 - files_of(second.items[:1])
    assert [line.partition(": ")[2] for line in run_report.outcome_lines(summary)] == [
        "run: not everything could be archived",
        "run: 1 file not downloaded: host cdn.example is not in download.allowed_hosts",
    ]
    for _ in range(4):
        summary = harness.night(ACCOUNT)
    assert (summary.exit_code, summary.units, dict(summary.hosts_not_allowed)) == (3, 1, {"cdn.example": 1})


@postgres_when_whole
def test_fault_c31_status_show_and_gaps_tell_what_is_not_downloaded(either: ArchiveHarness) -> None:
    """The status names host and number and knows no success; every refused file is a gap; once allowed
    nothing is left of it.
    """
    either.environ[HOSTS] = WRONG
    either.night(ACCOUNT)
    status = either.status()
    assert status.hosts_not_allowed == (("127.0.0.1", offered(either)),)
    assert status.last_success_at is None
    reasons = {gap.reason.value for gap in either.gaps()}
    assert reasons == {"host_not_allowed"}
    with Archive(either.config) as archive:
        details = archive.show(ACCOUNT)
        assert isinstance(details, AccountDetails)
        assert {summary.highlight.completed_at for summary in details.highlights} == {None}
        assert not any(summary.due for summary in details.highlights)
    del either.environ[HOSTS]
    assert either.status().hosts_not_allowed == ()
    either.night(ACCOUNT)
    assert list(either.gaps()) == []


def test_fault_c31_titles_that_are_not_wanted_do_not_fail_a_night(harness: ArchiveHarness) -> None:
    """Refused files count only for the highlights that the configuration asks for."""
    harness.environ[HOSTS] = WRONG
    harness.night(ACCOUNT)
    harness.environ |= {"ARCHIVER_DOWNLOAD_COVERS": "false", "ARCHIVER_DOWNLOAD_AVATARS": "false"}
    one = parse_target(ACCOUNT, highlights=("First",))
    none = parse_target(ACCOUNT, highlights=("nothing is called so",))
    assert harness.night(one).files_failed == files_of(highlights(harness)[0].items)
    assert harness.status().hosts_not_allowed == (
        ("127.0.0.1", sum(files_of(highlight.items) for highlight in highlights(harness))),
    )
    assert harness.night(none).exit_code == 0


@pytest.mark.whole
def test_fault_c31_a_highlight_that_is_a_target_itself_reports_its_host(harness: ArchiveHarness) -> None:
    """``highlight:<pk>`` ends with 3 and the line as well."""
    harness.environ[HOSTS] = WRONG
    first = highlights(harness)[0]
    number = files_of(first.items)
    assert harness.night(f"highlight:{first.pk}").hosts_not_allowed == (("127.0.0.1", number),)
    both = harness.night(f"highlight:{first.pk}", ACCOUNT)
    assert both.files_failed == offered(harness)  # each file once
    del harness.environ[HOSTS]
    summary = harness.night(f"highlight:{first.pk}")
    assert (summary.exit_code, summary.units, files(harness)) == (0, 0, number)


def test_fault_c32_a_file_over_the_limit_is_due_once_the_limit_allows_it(harness: ArchiveHarness) -> None:
    """The gap keeps the stated length, ends no night, and shows no highlight as complete; a raised limit
    fetches it for 0 units.
    """
    harness.environ[SIZE] = "1 kB"
    summary = harness.night(ACCOUNT)
    assert (summary.exit_code, summary.files_failed) == (0, 0)
    left_out = int(str(harness.one("select count(*) from failures where reason = 'too_large'")))
    assert list(run_report.note_lines(summary)) == [
        f"left out: {left_out} over download.max_file_size (archiver gaps)"
    ]
    assert list(run_report.failure_lines(summary)) == []
    lengths = harness.rows("select size from failures where reason = 'too_large' and subject = 'item'")
    assert lengths
    assert all(int(str(size)) > 1000 for (size,) in lengths)
    assert harness.one("select count(*) from highlights where completed_at is not null") == 0
    assert harness.night(ACCOUNT).units == 1
    largest = max(int(str(size)) for (size,) in lengths)
    harness.environ[SIZE] = str(largest)
    assert [plan.units for plan in harness.plan(ACCOUNT)] == [1]
    summary = harness.night(ACCOUNT)
    assert (summary.exit_code, summary.units, files(harness)) == (0, 1, offered(harness))
    assert harness.one("select count(*) from highlights where completed_at is null") == 0


@pytest.mark.whole
def test_a_refused_file_that_is_not_offered_any_more_is_not_waited_for(harness: ArchiveHarness) -> None:
    """The owner removes the item: its failure is resolved, and the night is good again."""
    harness.environ |= {
        HOSTS: WRONG,
        "ARCHIVER_DOWNLOAD_COVERS": "false",
        "ARCHIVER_DOWNLOAD_AVATARS": "false",
    }
    harness.night(ACCOUNT)
    for highlight in highlights(harness):
        for item in list(highlight.items)[1:]:
            harness.upstream.world.remove_item(highlight.pk, item.pk)
    left = sum(files_of(h.items) for h in highlights(harness))
    counts = [
        harness.night(ACCOUNT).files_failed for _ in range(2)
    ]  # a loss of more than half is believed the second time
    assert counts[-1] == left
    gaps = [gap for gap in harness.gaps() if gap.subject is Subject.ITEM and not gap.gone]
    assert len(gaps) == left
    assert GapReason.NOT_YET not in {gap.reason for gap in gaps}


@pytest.mark.parametrize("hide", ["set_private", pytest.param("delete_account", marks=pytest.mark.whole)])
def test_fault_c31_an_account_that_is_hidden_since_is_reported_and_served_from_holdings(
    harness: ArchiveHarness, hide: str
) -> None:
    """Each run ends with 3 while the host is refused; then all item files come from the stored answers, for 0
    units.
    """
    harness.environ[HOSTS] = WRONG
    number = offered(harness)
    harness.night(ACCOUNT)
    getattr(harness.upstream.world, hide)(ACCOUNT)
    nights = []
    for _ in range(3):
        harness.sleep(hours=3)
        nights.append(harness.night(ACCOUNT))
    assert {(night.exit_code, night.files_failed) for night in nights} == {(3, number)}
    assert nights[-1].units == 0
    del harness.environ[HOSTS]
    summary = harness.night(ACCOUNT)
    assert (summary.exit_code, summary.units) == (0, 0)
    assert files(harness) == number - 1 - len(highlights(harness))  # no tray offers the avatar and the covers
    assert harness.one("select count(*) from highlights where completed_at is null") == 0


@pytest.mark.whole
def test_fault_c31_covers_count_where_no_unit_is_left_for_the_tray(harness: ArchiveHarness) -> None:
    """The unit that is left goes to the new item, not to the tray: what was refused before is reported all
    the same.
    """
    harness.environ[HOSTS] = WRONG
    number = offered(harness)
    harness.night(ACCOUNT)
    first = highlights(harness)[0]
    harness.upstream.world.add_item(first.pk)
    harness.environ["ARCHIVER_BUDGET_MAX_UNITS_PER_RUN"] = "1"
    nights = [harness.night(ACCOUNT) for _ in range(2)]
    assert [(night.exit_code, night.units) for night in nights] == [(5, 1), (3, 1)]
    assert harness.upstream.requests.api_calls("/v1/user/highlights") == []
    assert nights[-1].files_failed == number + 1


@pytest.mark.whole
def test_fault_c31_covers_count_on_a_night_that_ends_at_its_budget(harness: ArchiveHarness) -> None:
    """Covers and the avatar are refused while the limit ends the paying: recorded and named that very night,
    and never ok after.
    """
    harness.environ |= {HOSTS: WRONG, "ARCHIVER_BUDGET_MAX_UNITS_PER_RUN": "3"}
    first = harness.night(ACCOUNT)
    pictures = "select count(*) from failures where role in ('cover', 'avatar') and resolved_at is null"
    assert (first.exit_code, harness.one(pictures)) == (5, 1 + len(highlights(harness)))
    assert first.files_failed == offered(harness) - files_of(highlights(harness)[0].items)
    harness.environ["ARCHIVER_BUDGET_MAX_UNITS_PER_RUN"] = "1"
    assert 0 not in {harness.night(ACCOUNT).exit_code for _ in range(2)}


@pytest.mark.whole
def test_fault_c31_a_refused_cover_that_is_not_offered_any_more_is_not_waited_for(
    harness: ArchiveHarness,
) -> None:
    """The stored cover is back in the tray: the refused one is resolved, and the night is good."""
    harness.night(ACCOUNT)
    first = highlights(harness)[0]
    before = first.cover
    harness.upstream.world.recover(first.pk)
    harness.environ[HOSTS] = WRONG
    assert harness.night(ACCOUNT).files_failed == 1
    first.cover = before
    assert harness.night(ACCOUNT).exit_code == 0
    assert harness.one("select count(*) from failures where resolved_at is null") == 0
