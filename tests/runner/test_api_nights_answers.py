"""One night among broken answers: each harms only its own account, is paid for once, and is told with its
first words.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from archiver.errors import Reason
from archiver.model.archived import Failure
from archiver.runner.tally import Summary
from archiver.sandbox.world_objects import Json
from tests.support.api_faults import account_pk, answer_error, attempts, edit_answer, highlight_pk, page, tray
from tests.support.archive_harness import ArchiveHarness
from tests.support.standin import actions
from tests.support.standin.actions import Action
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld


def json_body(body: bytes) -> Action:
    return actions.respond(200, body, {"content-type": "application/json"})


def owned_by_somebody(tree: Json) -> None:
    assert isinstance(tree, list)
    for entry in tree:
        assert isinstance(entry, dict)
        assert isinstance(entry["user"], dict)
        entry["user"]["pk"] = "1"


def another_highlight(tree: Json) -> None:
    assert isinstance(tree, dict)
    tree["pk"] = "1"


ERROR_OBJECTS: dict[str, Json] = {
    "state": {"state": False},
    "detail": {"detail": "Instagram did not respond"},
    "exc_type": {"detail": "?", "exc_type": "NobodyKnowsThis"},
}
TRAYS: dict[str, Action] = {
    **{kind: answer_error(200, body) for kind, body in ERROR_OBJECTS.items()},
    "truncated": json_body(b'[{"pk": "1", "title": "\x1b[2Jcut'),
    "trailing": json_body(b"[] trailing"),
    "bom": json_body(b"\xef\xbb\xbf[]"),
    "utf16": json_body("[]".encode("utf-16")),
    "empty": json_body(b""),
    "null": json_body(b"null"),
    "text": json_body(b'""'),
    "cut gzip": actions.gzipped(40),
    "50 MB": json_body(b"[" + b" " * 50_000_000 + b"]"),
    "bomb": actions.gzipped(expands_to=100_000_000),
    "endless": actions.endless(),
    "nested": json_body(b"[" * 100_000 + b"]" * 100_000),
    "digits": json_body(b"[" + b"9" * 5_000 + b"]"),
    "nan": json_body(b'[{"pk": "1", "media_count": NaN}]'),
    "owner": edit_answer(owned_by_somebody),
}
NUMBERS = {kind: number for number, kind in enumerate(TRAYS)}
WRONG_PAGE, GOOD = len(TRAYS), len(TRAYS) + 1


@dataclass(frozen=True)
class Night:
    """The night's summary and what the archive says of it."""

    harness: ArchiveHarness
    summary: Summary

    def failure(self, subject_pk: str) -> Failure:
        """The one failure of this subject."""
        (found,) = [f for f in self.summary.failures if f.subject_pk == subject_pk]
        return found

    def failed_alone(self, kind: str) -> str:
        """What was told of an account whose tray was broken in this way, after what holds of all of them."""
        pk = account_pk(NUMBERS[kind])
        assert attempts(self.harness, pk) == [(200, 1)]
        assert self.harness.one("select count(*) from users where pk = ?", pk) == 0
        detail = self.failure(pk).detail
        assert len(detail) <= 200
        assert detail.isprintable()
        return detail


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Night]:
    """One night over an account for each kind of broken tray, one with a wrong page, and one that is well."""
    with FaultyStandIn(EditableWorld.generate(GOOD + 1, 2, 1)) as upstream:
        for kind, number in NUMBERS.items():
            upstream.faults.add(TRAYS[kind], **tray(number), count=None)
        upstream.faults.add(edit_answer(another_highlight), **page(WRONG_PAGE), count=None)
        harness = ArchiveHarness(tmp_path_factory.mktemp("answers") / "archive", upstream)
        summary = harness.night(account_pk(GOOD), account_pk(WRONG_PAGE), *map(account_pk, NUMBERS.values()))
        yield Night(harness, summary)


def test_fault_a17_a_broken_answer_harms_nobody_else(night: Night) -> None:
    """Among all of them the account that is well is whole, the code is 3, and no unit is spent that upstream
    did not bill.
    """
    assert night.summary.exit_code == 3
    assert night.summary.units == night.harness.upstream.units
    done = "select count(*) from highlights where completed_at is not null and user_pk = ?"
    assert night.harness.one(done, account_pk(GOOD)) == 2


@pytest.mark.parametrize("kind", ERROR_OBJECTS)
def test_fault_a15_an_error_object_with_200_is_no_empty_tray(night: Night, kind: str) -> None:
    """The account has failed with what the API said; it is not empty, not gone and not private; asked once,
    since it was billed.
    """
    assert night.failed_alone(kind).startswith("200: ")
    looked = [
        a for a in night.harness.upstream.requests.api_calls() if a.subject.user == account_pk(NUMBERS[kind])
    ]
    assert len(looked) == 1


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("truncated", '[{"pk": "1", "title": " [2Jcut'),
        ("trailing", "[] trailing"),
        ("bom", "BOM"),
        ("utf16", "Expecting value"),
        ("empty", "the body is empty"),
        ("null", "null"),
        ("text", '""'),
        ("cut gzip", "the answer's gzip stream ends too early"),
    ],
)
def test_fault_a17_a_broken_body_is_paid_for_once_and_told(night: Night, kind: str, told: str) -> None:
    """One attempt and one unit; the failure shows the first words of the body, without control characters."""
    assert told in night.failed_alone(kind)


@pytest.mark.parametrize("kind", ["50 MB", "bomb", "endless"])
def test_fault_a18_a_body_is_read_up_to_16_mib(night: Night, kind: str) -> None:
    """A huge body, one that inflates to 100 MB and one that never ends are given up at the limit; that
    account alone fails.
    """
    assert "larger than 16777216 bytes" in night.failed_alone(kind)


def test_fault_a19_deep_nesting_is_a_broken_answer_like_any_other(night: Night) -> None:
    """100,000 brackets: no RecursionError, one failed account."""
    assert "nested too deeply" in night.failed_alone("nested")


def test_fault_a20_an_absurd_integer_is_a_broken_answer_like_any_other(night: Night) -> None:
    """5,000 digits are more than Python reads: one failed account."""
    assert "limit" in night.failed_alone("digits")


def test_fault_a27_nan_is_no_json(night: Night) -> None:
    """An answer with a NaN in it is refused as a whole."""
    assert "NaN is not JSON" in night.failed_alone("nan")


def test_fault_a30_a_tray_of_another_user_is_refused(night: Night) -> None:
    """Nothing of it gets a row, under neither account."""
    assert f"highlights of user 1 among those of {account_pk(NUMBERS['owner'])}" in night.failed_alone(
        "owner"
    )
    assert night.harness.one("select count(*) from users where pk = '1'") == 0


def test_fault_a30_a_page_of_another_highlight_is_refused(night: Night) -> None:
    """It fails alone and leaves no item; the other highlight of its account is whole."""
    pk = highlight_pk(WRONG_PAGE)
    failure = night.failure(pk)
    assert (failure.reason, f"highlight 1 instead of {pk}" in failure.detail) == (Reason.MALFORMED, True)
    assert night.harness.one("select count(*) from highlights where pk = '1'") == 0
    assert night.harness.one("select count(*) from highlight_items where highlight_pk = ?", pk) == 0
    done = "select count(*) from highlights where completed_at is not null and user_pk = ?"
    assert night.harness.one(done, account_pk(WRONG_PAGE)) == 1
