"""Gaps as a person reads them: when each is tried again, in lines that no terminal obeys."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from archiver.cli.gaps_command import AccountGaps
from archiver.errors import Reason
from archiver.model.archived import Gap, GapReason
from archiver.model.identity import Role, Subject
from archiver.model.values import replace
from archiver.text_format import make_safe
from archiver.wording import next_try
from tests.support.hostile_world import ESCAPES, FORGED

NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)
GAP = Gap(Reason.EXPIRED, Subject.ITEM, "1", Role.VIDEO, code="C1")


@pytest.mark.parametrize(
    ("gap", "told"),
    [
        (replace(GAP, next_try_at=NOW + timedelta(days=1)), "2026-04-01 12:00"),
        (replace(GAP, next_try_at=NOW), "next run"),
        (replace(GAP, next_try_at=NOW + timedelta(days=1), gone=True), "never: no longer shown"),
        (replace(GAP, reason=Reason.TOO_LARGE), "when max_file_size allows it"),
        (replace(GAP, reason=Reason.HOST_NOT_ALLOWED), "when its host is allowed"),
        (replace(GAP, reason=Reason.REFUSED), "next periodic re-fetch"),
        (replace(GAP, reason=GapReason.NEVER_OFFERED), "next periodic re-fetch"),
        (replace(GAP, reason=GapReason.NOT_YET), "next run"),
        (replace(GAP, reason=Reason.LOST), "next run"),
    ],
)
def test_when_it_is_tried_again(gap: Gap, told: str) -> None:
    """A day to come, the next run or periodic re-fetch, a setting; never, if it is not shown any more."""
    assert next_try(gap, NOW) == told


def test_nothing_in_a_gap_is_obeyed() -> None:
    """Names, titles, codes and details from upstream: one line each, however they try to be more."""
    account = AccountGaps(f"{ESCAPES}{FORGED}")
    account.add(replace(GAP, title=ESCAPES, code=f"{FORGED}{ESCAPES}", detail=FORGED), is_listed=True)
    lines = list(account.lines(NOW, 80))
    assert len(lines) == 4
    assert [make_safe(line) for line in lines] == lines


def test_what_is_not_shown_is_counted_all_the_same() -> None:
    """By reason, the most frequent first; numbers of items in words."""
    account = AccountGaps("natgeo")
    fewer = Gap(GapReason.FEWER_THAN_COUNTED, Subject.HIGHLIGHT, "18", title="BOTW", present=3, counted=1_098)
    account.add(fewer, is_listed=True)
    for _ in range(2):
        account.add(GAP, is_listed=False)
    lines = list(account.lines(NOW))
    assert lines[0] == "natgeo: 3 gaps: 2 expired, 1 fewer_than_counted"
    assert lines[3].endswith("  3 of 1,098 items")
    assert lines[-1] == "  and 2 more (-v shows all)"
