"""Targets that overlap: nothing is paid for twice."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from archiver.model.target import parse_target
from tests.support.archive_harness import ArchiveHarness
from tests.support.standin.faulty_standin import FaultyStandIn

BOTW = "18018069326790931"


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[ArchiveHarness]:
    """An archive that is not there yet, and the two accounts of the vendor's page."""
    with FaultyStandIn() as upstream:
        upstream.world.shorten(items=2)
        yield ArchiveHarness(tmp_path / "archive", upstream)


def test_an_account_and_one_of_its_highlights_pay_for_its_page_once(harness: ArchiveHarness) -> None:
    """Even if the answer takes a while: the highlight is visited when the accounts are done."""
    harness.upstream.faults.add(
        path="/v1/highlight/by/url", highlight=BOTW, count=None, before=lambda _: time.sleep(0.3)
    )
    summary = harness.night(parse_target(f"highlight:{BOTW}"), "natgeo")
    assert summary.exit_code == 0
    pages = "select count(*) from api_calls where path = '/v1/highlight/by/url' and subject = ?"
    assert harness.one(pages, BOTW) == 1
