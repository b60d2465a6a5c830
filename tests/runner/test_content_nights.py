"""Nights on which upstream tries to get at the key, or to have it kept: over real sockets, whole runs."""

from __future__ import annotations

import gzip
import json
import logging
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.support.archive_harness import ArchiveHarness
from tests.support.standin import actions
from tests.support.standin.faulty_standin import FaultyExchange, FaultyStandIn, requests_with

BOTW = "18018069326790931"


@pytest.fixture
def elsewhere() -> Iterator[FaultyStandIn]:
    """Another host, which notes whatever it is asked."""
    with FaultyStandIn() as other:
        yield other


def quoting(exchange: FaultyExchange) -> None:
    """The true answer, with the key of the request in a title and in a header."""
    true, key = exchange.reply(), exchange.request.headers["x-access-key"]
    tray = json.loads(true.body)
    next(h for h in tray if h["pk"] == BOTW)["title"] = f"yours is {key}"
    exchange.deliver(replace(true, body=json.dumps(tray).encode(), headers={**true.headers, "x-echo": key}))


def test_fault_l3_an_answer_that_quotes_the_key_is_kept_without_it(harness: ArchiveHarness) -> None:
    """In a title, in a header: the row and the kept answer hold ``***``, and so does the failure of an error
    that quotes it.
    """
    harness.upstream.faults.add(quoting, path="/v1/user/highlights")
    refusal = {"detail": f"no access for {harness.upstream.key}", "exc_type": "ValidationError"}
    harness.upstream.faults.add(
        actions.respond(400, json.dumps(refusal), {"content-type": "application/json"}),
        listener="api",
        highlight=BOTW,
    )
    assert harness.night("natgeo").exit_code == 3
    assert ("yours is ***",) in harness.rows("select title from highlights")
    assert "no access for ***" in str(harness.one("select detail from failures"))
    kept = b"".join(gzip.decompress(p.read_bytes()) for p in harness.root.rglob("*.warc.gz"))
    assert b"x-echo: ***\r\n" in kept
    assert b"no access for ***" in kept
    everything = kept + b"".join(p.read_bytes() for p in harness.root.rglob("*") if p.is_file())
    assert harness.upstream.key.encode() not in everything


def test_fault_l5_a_redirect_of_the_cdn_takes_nothing_along(
    harness: ArchiveHarness, elsewhere: FaultyStandIn
) -> None:
    """The other host is asked as if it had been the first: no key, no cookie that was set before, no
    referrer; so is the CDN itself.
    """
    cookie = {
        "set-cookie": "session=canary; Path=/; Domain=127.0.0.1",
        "location": f"http://{elsewhere.cdn_hosts[0]}/v/x.jpg",
    }
    harness.upstream.faults.add(actions.respond(302, b"", cookie), listener="cdn", role="video", count=None)
    assert harness.night("natgeo").exit_code == 3
    theirs = elsewhere.requests.cdn_requests()
    assert theirs != []
    for asked in (*theirs, *harness.upstream.requests.cdn_requests()):
        assert not {"x-access-key", "authorization", "cookie", "referer", "origin"} & set(asked.headers)
        assert asked.headers["user-agent"].startswith("archiver/")
    for log in (elsewhere.requests, harness.upstream.requests):
        assert requests_with(log, harness.upstream.key) == []


def test_fault_l1_no_library_tells_what_it_sends(
    harness: ArchiveHarness, caplog: pytest.LogCaptureFixture
) -> None:
    """With every logger of the process at DEBUG: not a word of the HTTP libraries, and no key and no
    signature in any record.
    """
    caplog.set_level(logging.DEBUG)
    harness.upstream.faults.add(actions.respond(500), listener="cdn", count=2)
    assert harness.night("natgeo").exit_code == 0
    assert [r for r in caplog.records if r.name.startswith(("httpx", "httpcore", "hpack", "h11"))] == []
    assert harness.upstream.key not in caplog.text
    assert "00_Af" not in caplog.text
