"""Targets that overlap: nothing is paid for twice."""

from __future__ import annotations

import time

import pytest

from archiver.archive.archive import Archive
from archiver.hiker import wire
from archiver.model.api_calls import Answer
from archiver.model.target import parse_target
from tests.support.archive_harness import ArchiveHarness

BOTW = "18018069326790931"


def test_an_account_and_one_of_its_highlights_pay_for_its_page_once(harness: ArchiveHarness) -> None:
    """Even if the answer takes a while: the second to need the page waits for it."""
    harness.upstream.faults.add(
        path="/v1/highlight/by/url", highlight=BOTW, count=None, before=lambda _: time.sleep(0.3)
    )
    summary = harness.night(parse_target(f"highlight:{BOTW}"), "natgeo")
    assert summary.exit_code == 0
    pages = "select count(*) from api_calls where path = '/v1/highlight/by/url' and subject = ?"
    assert harness.one(pages, BOTW) == 1


def test_one_answer_is_parsed_at_a_time(harness: ArchiveHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it was paid for now or is stored: its values take ten times the memory of its bytes."""
    read, held = wire.read_document, []

    def observe(answer: Answer) -> wire.Document:
        held.append(wire.PARSE_LOCK.locked())
        return read(answer)

    monkeypatch.setattr(wire, "read_document", observe)
    harness.night("natgeo", parse_target(f"highlight:{BOTW}"))
    stored = 1
    assert held == [True] * (len(harness.upstream.requests.api_calls()) + stored)


def test_a_highlight_that_was_never_fetched_is_not_kept_waiting_by_a_budget(harness: ArchiveHarness) -> None:
    """It comes before accounts that were listed, although it is a single highlight."""
    harness.night("salwaaa_ki")
    harness.sleep(days=1)
    targets = [parse_target("salwaaa_ki"), parse_target(f"highlight:{BOTW}")]
    with Archive(harness.config) as archive:
        summary = archive.run(targets, max_units=1, clock=lambda: harness.now)
    assert summary.exit_code == 5
    assert harness.one("select count(*) from highlights where pk = ? and completed_at is not null", BOTW) == 1
