"""Nights on which an answer is about another account than was asked for, or about none; and targets that do
not exist."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from archiver.errors import Reason
from archiver.model.events import Notice
from archiver.model.target import parse_target
from archiver.runner.tally import Summary
from archiver.sandbox.world_objects import Json
from tests.support.api_faults import TRAY, account_pk, answer_error, attempts, edit_answer, highlight_pk
from tests.support.archive_harness import ArchiveHarness
from tests.support.standin.faulty_standin import paid_calls
from tests.support.standin.world_edits import EditableWorld

pytestmark = pytest.mark.world(accounts=3, highlights=2, items=1)

ONE, NAME = account_pk(0), "account0000"
BY_NAME, LOOK, LOOK_BY_NAME = f"{TRAY}/by/username", "/v1/user/by/id", "/v1/user/by/username"
NOBODY: Json = {"detail": "Target user not found", "exc_type": "UserNotFound"}
PRIVATE: Json = {"detail": "This account is private", "exc_type": "PrivateAccount"}


def with_owner(**fields: Json) -> Callable[[Json], None]:
    """Change the owner in an answer that is a tray or an account."""

    def change(tree: Json) -> None:
        for entry in tree if isinstance(tree, list) else [tree]:
            assert isinstance(entry, dict)
            owner = entry.get("user", entry)
            assert isinstance(owner, dict)
            owner.update(fields)

    return change


def called(name: str | None) -> Callable[[Json], None]:
    return with_owner(username=name)


def paths(harness: ArchiveHarness) -> list[str]:
    """The endpoints that were paid for tonight, in order."""
    return [asked.path for asked in paid_calls(harness.upstream.requests)]


def is_malformed(harness: ArchiveHarness, summary: Summary, told: str) -> None:
    """The target alone failed, nothing was bound, and the archive has no account."""
    (failure,) = summary.failures
    assert (failure.subject, failure.subject_pk, failure.reason) == ("target", NAME, Reason.MALFORMED)
    assert told in failure.detail
    assert harness.rows("select * from targets") == []
    assert harness.rows("select pk from users") == harness.rows("select pk from highlights") == []


# --- asked for by name


def test_fault_a42_a_tray_of_another_name_is_not_bound(harness: ArchiveHarness) -> None:
    """A list of highlights that is consistent and somebody else's: code 3 beside an account that is well,
    nothing of it recorded; the next night asks again and binds the right one. Reading the kept answer again
    records nothing of it either."""
    harness.upstream.faults.add(edit_answer(with_owner(username="mallory", pk="666")), path=BY_NAME)
    summary = harness.night(NAME, account_pk(1))
    assert (summary.exit_code, summary.units) == (3, 2 + 3)
    assert f"account 666 (mallory) instead of {NAME}" in summary.failures[0].detail
    assert harness.rows("select text from targets where text = ?", NAME) == []
    harness.reread()
    assert harness.rows("select pk from users") == [(account_pk(1),)]
    assert harness.night(NAME).exit_code == 0
    assert harness.rows("select user_pk from targets where text = ?", NAME) == [(ONE,)]


def test_fault_a42_upper_and_lower_case_are_the_same_name(harness: ArchiveHarness) -> None:
    """Names are asked for in lower case, and shown as their owner writes them."""
    harness.upstream.faults.add(edit_answer(called("Account0000")), path=BY_NAME)
    assert harness.night(NAME).exit_code == 0
    assert harness.rows("select user_pk from targets") == [(ONE,)]


@pytest.mark.parametrize(
    "change",
    [pytest.param("a letter that only becomes the same", marks=pytest.mark.whole), "the second entry"],
)
def test_fault_a42_every_entry_must_have_that_very_name(harness: ArchiveHarness, change: str) -> None:
    """Names are ASCII, so the Kelvin sign is no k; and one entry with another name spoils the list."""

    def edit(tree: Json) -> None:
        assert isinstance(tree, list)
        if change == "the second entry":
            called("mallory")(tree[1])
        else:
            called("\N{KELVIN SIGN}eeper")(tree)

    target = "account0000" if change == "the second entry" else "keeper"
    harness.upstream.world.rename(ONE, target)
    harness.upstream.faults.add(edit_answer(edit), path=BY_NAME)
    assert harness.night(target, account_pk(1)).exit_code == 3
    assert harness.rows("select user_pk from targets where text = ?", target) == []


def test_fault_a42_a_tray_without_a_name_is_looked_behind_once(harness: ArchiveHarness) -> None:
    """``username: null``: one look at the account, a unit more, decides whose it is."""
    harness.upstream.faults.add(edit_answer(called(None)), path=BY_NAME)
    summary = harness.night(NAME)
    assert (summary.exit_code, summary.units) == (0, 2 + 1 + 2)
    assert paths(harness)[:2] == [BY_NAME, LOOK_BY_NAME]
    assert harness.rows("select user_pk from targets") == [(ONE,)]


def nameless(harness: ArchiveHarness) -> None:
    harness.upstream.faults.add(edit_answer(called(None)), path=BY_NAME)


def emptied(harness: ArchiveHarness) -> None:
    for highlight in list(harness.upstream.world.accounts[0].highlights):
        harness.upstream.world.remove_highlight(highlight.pk)


def failed_before(harness: ArchiveHarness) -> None:
    harness.upstream.faults.add(answer_error(404, NOBODY), path=BY_NAME)
    harness.night(NAME)


MALLORY = f"(mallory) instead of {NAME}"
WHOLE = pytest.mark.whole
LOOKS = [
    pytest.param(
        nameless, {"username": "mallory"}, 3, MALLORY, id="test_fault_a42_another_name", marks=WHOLE
    ),
    pytest.param(
        nameless,
        {"username": None},
        3,
        f"without a name instead of {NAME}",
        id="test_fault_a42_no_name",
        marks=WHOLE,
    ),
    pytest.param(nameless, {"pk": "666"}, 3, f"account 666 instead of {ONE}", id="test_fault_a42_another_pk"),
    pytest.param(emptied, {"username": "mallory"}, 3, MALLORY, id="test_fault_a42_behind_an_empty_tray"),
    pytest.param(failed_before, {"username": "mallory"}, 1, MALLORY, id="test_fault_a42_at_a_first_look"),
]
"""Why the account of a name is looked at, what differs in that answer, the units, and what is told."""


@pytest.mark.parametrize(("prepare", "owner", "units", "told"), LOOKS)
def test_a_look_that_shows_another_account(
    harness: ArchiveHarness,
    prepare: Callable[[ArchiveHarness], None],
    owner: dict[str, Json],
    units: int,
    told: str,
) -> None:
    """Behind a tray that is nameless or empty, which says nothing of its owner, or in its place, if the name
    failed before: name and pk must agree, else nothing is bound, and nobody's tray is asked for.
    """
    prepare(harness)
    harness.upstream.faults.add(edit_answer(with_owner(**owner)), path=LOOK_BY_NAME)
    summary = harness.night(NAME)
    assert (summary.exit_code, summary.units) == (7, units)
    is_malformed(harness, summary, told)
    harness.reread()
    assert harness.rows("select pk from users") == harness.rows("select pk from highlights") == []


def test_fault_a43_a_tray_that_is_not_found_after_the_account_was_seen_is_an_error(
    harness: ArchiveHarness,
) -> None:
    """The name failed once; now the look shows a public account and its list is not found: no "no such
    account".
    """
    harness.upstream.faults.add(answer_error(404, NOBODY), path=BY_NAME)
    assert harness.night(NAME, account_pk(1)).exit_code == 3
    harness.upstream.faults.add(answer_error(404, NOBODY), path=TRAY, user=ONE, count=None)
    harness.sleep(days=2)
    summary = harness.night(NAME, account_pk(1))
    (failure,) = summary.failures
    assert (summary.exit_code, failure.reason) == (3, Reason.UPSTREAM)
    assert "exists" in failure.detail or "is there" in failure.detail


@pytest.mark.whole
def test_fault_a42_an_account_asked_for_by_id_may_have_any_name(harness: ArchiveHarness) -> None:
    """A name that is bound, and an id, are asked for by pk: another name in the answer is a rename."""
    harness.night(NAME)
    harness.upstream.world.rename(NAME, "elsewhere")
    assert harness.night(NAME, account_pk(1)).exit_code == 0
    assert harness.rows("select field, new from changes") == [("username", "elsewhere")]


# --- no account in the answer


UNREADABLE: dict[str, Json] = {
    "a list": [[]],
    "an object": [{}],
    "null": [None],
    "a pk that is no number": [{"pk": "17", "title": "T", "user": {"pk": "x", "username": NAME}}],
    "no user": [{"pk": "17", "title": "T"}, {"pk": "18", "title": "U"}],
}


def test_fault_a43_a_first_tray_that_cannot_be_read_is_malformed(
    harness: ArchiveHarness, whole: bool
) -> None:
    """Not "no account has this name": a failure of the answer, code 3 beside an account that is well, and
    asked again. An account for each kind of such an answer; ``--whole``: for all kinds, else for two."""
    unreadable = UNREADABLE if whole else {kind: UNREADABLE[kind] for kind in ("null", "no user")}
    harness.upstream.world = EditableWorld.generate(1 + len(unreadable), 2, 1)
    names = [f"account{number:04}" for number in range(len(unreadable))]
    for number, answer in enumerate(unreadable.values()):
        harness.upstream.faults.add(answer_error(200, answer), path=BY_NAME, user=account_pk(number))
    summary = harness.night(*names, account_pk(len(names)))
    assert summary.exit_code == 3
    found = {failure.subject_pk: (failure.reason, failure.detail) for failure in summary.failures}
    assert list(map(str, sorted(found))) == names
    for kind, name in zip(unreadable, names, strict=True):
        reason, detail = found[name]
        assert (reason, "does not state their owner" in detail) == (Reason.MALFORMED, True), kind
    assert harness.rows("select text from targets") == []
    assert harness.night(*names).exit_code == 0


# --- targets that do not exist


MISSING = {"nobody.here": [2, 1, 1, 0], "4": [1, 1, 1, 0], "highlight:4": [1, 1, 1, 0]}
"""What each of these targets costs night by night."""


def test_fault_e7_a_target_that_does_not_exist_fails_the_runs_that_ask_for_it(
    harness: ArchiveHarness,
) -> None:
    """Beside an account that is there: code 3 when the API was asked. While it waits it costs nothing, and
    the summary names it, with the day on which it was first missed: code 0. Alone it is code 6 every night.
    """
    harness.night(ONE)
    names = sorted(target.removeprefix("highlight:") for target in MISSING)
    first_day = harness.now.date()
    for price in (sum(units) for units in zip(*MISSING.values(), strict=True)):
        summary = harness.night(*MISSING, ONE)
        failed = sorted(failure.subject_pk for failure in summary.failures)
        waiting = sorted(missing.target for missing in summary.missing_targets)
        assert (summary.exit_code, summary.units) == (3 if price else 0, 1 + price)
        assert (failed, waiting) == ((names, []) if price else ([], names))
        assert all(missing.since.date() == first_day for missing in summary.missing_targets)
    assert harness.night(*MISSING).exit_code == 6
    for target in MISSING:
        alone = harness.night(target)
        assert (alone.exit_code, alone.units) == (6, 0)
    assert harness.rows("select pk from users where pk = '4'") == []


def test_fault_e7_what_only_backup_asked_for_is_no_open_work(harness: ArchiveHarness) -> None:
    """A mistyped ``backup NAME`` stays in the history only. What a run of the list has missed stays open."""
    names = sorted(target.removeprefix("highlight:") for target in MISSING)
    for _ in range(2):
        assert harness.night(*MISSING, insist=True, bound=False).exit_code == 6
        assert (harness.status().missing_targets, harness.status().open_failures) == ((), 0)
        assert list(harness.gaps()) == []
    assert harness.one("select count(*) from failures where resolved_at is not null") == 2 * len(names)
    for bound in (True, False):
        harness.night(*MISSING, insist=True, bound=bound)
        assert sorted(missing.target for missing in harness.status().missing_targets) == names


def test_fault_a5_an_id_whose_tray_is_empty_and_that_does_not_exist(harness: ArchiveHarness) -> None:
    """An empty list for an id that nobody has: the look behind it says so, and it is no account that was
    there and is gone."""
    harness.upstream.faults.add(answer_error(200, []), path=TRAY, user="4", count=None)
    assert [harness.night("4").exit_code for _ in range(5)] == [6] * 5
    assert paid_calls(harness.upstream.requests) == []
    assert harness.rows("select pk from users") == []


def test_fault_a5_a_private_account_is_a_fact_that_is_reported_once(harness: ArchiveHarness) -> None:
    """Code 0 beside another account; one note and one line of the report, on the night when it is news;
    ``gaps`` lists it."""
    harness.environ["ARCHIVER_API_PRIVACY_CHECK"] = "true"
    harness.upstream.faults.add(answer_error(403, PRIVATE), path="/v1/user", user="account0001", count=None)
    harness.upstream.faults.add(answer_error(403, PRIVATE), path=BY_NAME, user=account_pk(1), count=None)
    harness.upstream.faults.add(answer_error(403, PRIVATE), path=LOOK_BY_NAME, user=account_pk(1), count=None)
    told = []
    for _ in range(3):
        summary = harness.night("account0001", ONE)
        assert summary.exit_code == 0
        loud = [event for event in harness.events if isinstance(event, Notice) and event.is_loud]
        told.append((len(loud), [failure.reason for failure in summary.failures]))
        harness.sleep(days=1)
    assert told == [(1, [Reason.PRIVATE]), *[(0, [])] * 2]
    assert harness.rows("select reason from failures where resolved_at is null") == [("private",)]


def test_an_account_that_was_archived_and_is_gone_is_a_fact(harness: ArchiveHarness) -> None:
    """It did exist: code 0 beside another account, and reported on the night when it is news."""
    harness.night(NAME, account_pk(1))
    harness.upstream.world.delete_account(NAME)
    assert [harness.night(NAME, account_pk(1)).exit_code for _ in range(3)] == [0, 0, 0]
    assert harness.rows("select subject_pk from failures where resolved_at is null") == []


@pytest.mark.whole
def test_a_name_that_does_not_exist_beside_a_private_account(harness: ArchiveHarness) -> None:
    """The private one exists, so the run is not one in which no target resolved."""
    harness.upstream.world.set_private(account_pk(1))
    assert [harness.night("nobody.here", account_pk(1)).exit_code for _ in range(4)] == [3, 3, 3, 0]


# --- one look per visit


def test_a_visit_looks_at_an_account_once(harness: ArchiveHarness) -> None:
    """Private until now, then public and without highlights: the look that is due says public, and the empty
    tray is not looked behind again."""
    harness.night(ONE)
    harness.upstream.world.set_private(ONE)
    harness.night(ONE)
    harness.upstream.world.set_public(ONE)
    for number in (0, 1):
        harness.upstream.world.remove_highlight(highlight_pk(0, number))
    harness.sleep(days=2)
    assert harness.night(ONE).units == 2
    assert paths(harness) == [LOOK, TRAY]
    assert harness.one("select verdict from users where pk = ?", ONE) == "empty"


@pytest.mark.whole
def test_a_name_that_is_looked_up_first_is_not_looked_at_again(harness: ArchiveHarness) -> None:
    """The account of an empty tray was seen a moment before."""
    for number in (0, 1):
        harness.upstream.world.remove_highlight(highlight_pk(0, number))
    harness.upstream.faults.add(answer_error(404, NOBODY), path=BY_NAME)
    harness.night(NAME)
    assert harness.night(NAME).units == 2
    assert paths(harness) == [LOOK_BY_NAME, TRAY]
    assert attempts(harness, ONE) == [(200, 1)]


# --- titles that are asked for and not there


def test_fault_a44_a_pattern_that_matches_nothing_is_in_the_report(harness: ArchiveHarness) -> None:
    """Code 0, and a note that names the pattern, and the title that differs only in case."""
    summary = harness.night(parse_target(NAME, highlights=("highlight 0", "Paris*")))
    assert (summary.exit_code, summary.highlights_fetched) == (0, 0)
    assert summary.notes == (
        f"{NAME}: no highlight matches 'highlight 0':"
        " matching is case-sensitive; did you mean 'Highlight 0'?",
        f"{NAME}: no highlight matches 'Paris*'",
    )
    assert [event.text for event in harness.events if isinstance(event, Notice)] == list(summary.notes)
    assert harness.night(parse_target(NAME, highlights=("Highlight *",))).notes == ()
