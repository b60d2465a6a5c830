"""Statuses that bring no file, and what they say of the next try."""

from __future__ import annotations

from datetime import timedelta

import pytest

from archiver.errors import DownloadFailed, Reason
from archiver.model.identity import Role, utcnow
from archiver.model.upstream import Link
from tests.support.scripted_cdn import (
    BODY,
    AfterReply,
    MemoryWriter,
    Reply,
    Waits,
    downloader,
    failure,
    fetch_body,
    head,
    ok,
    picture,
    scripted_cdn,
    status,
)


def test_fault_c1_an_expired_link_is_not_asked() -> None:
    """A signature past its time, or about to be, costs no request."""
    with scripted_cdn() as server, downloader() as cdn_downloader:
        for life in (-3600, 2):
            link = Link(Role.COVER, server.link(), utcnow() + timedelta(seconds=life))
            with pytest.raises(DownloadFailed) as caught:
                cdn_downloader.download(link, MemoryWriter())
            assert (caught.value.reason, caught.value.is_retryable) == (Reason.EXPIRED, False)
        assert server.requests == []


def test_fault_c1_the_cdn_says_that_the_signature_expired() -> None:
    """403 with that text is an expiry, whatever our clock says."""
    assert failure(status("403 Forbidden", b"URL signature expired")).reason is Reason.EXPIRED


def test_fault_c2_another_403_is_tried_once_more() -> None:
    """A 403 that is no expiry is forbidden after two requests, after one if the signature is wrong."""
    assert failure(*[status("403 Forbidden", b"no")] * 2, requests=2).reason is Reason.FORBIDDEN
    assert failure(status("403 Forbidden", b"URL signature mismatch")).reason is Reason.FORBIDDEN


@pytest.mark.parametrize("line", ["404 Not Found", "410 Gone"])
def test_fault_c3_what_is_not_there_is_not_asked_again(line: str) -> None:
    """404 and 410 are final for this run."""
    assert failure(status(line)).reason is Reason.NOT_FOUND


@pytest.mark.parametrize(
    "line", ["429 Too Many", "500 Error", "502 Bad", "503 Busy", "504 Late", "408 Timeout"]
)
def test_fault_c5_a_passing_refusal_is_retried(line: str) -> None:
    """429, 408 and 5xx are tried three times; a good answer in between serves."""
    failed = failure(*[status(line)] * 3, requests=3)
    assert (failed.reason, failed.is_retryable) == (Reason.HTTP_STATUS, True)
    fetch_body(status(line), ok(BODY), requests=2)


@pytest.mark.parametrize(
    "line", ["400 Bad", "401 No", "451 Legal", "206 Partial Content", "300 Choice", "304 Same", "204 None"]
)
def test_other_statuses_bring_no_file(line: str) -> None:
    """A status that is neither success nor passing is refused; a part that nobody asked for is never a
    file.
    """
    repeated = line.startswith("206")
    replies = [Reply((head(line) + b"",), AfterReply.CLOSE)] * (3 if repeated else 1)
    assert failure(*replies, requests=len(replies)).reason is Reason.HTTP_STATUS


@pytest.mark.parametrize(
    ("asked", "least", "most"),
    [
        ("7", 7, 7),
        ("nan", 0.5, 0.5),
        ("inf", 0.5, 0.5),
        ("-5", 0.5, 0.5),
        ("abc", 0.5, 0.5),
        (None, 0.5, 0.5),
    ],
)
def test_fault_c5_retry_after_is_honoured(asked: str | None, least: float, most: float) -> None:
    """A wait that the CDN asks for is kept; nonsense is our own back-off."""
    waits = Waits()
    busy = status("503 Busy", retry_after=asked) if asked else status("503 Busy")
    with scripted_cdn(busy, ok(BODY)) as server, downloader() as cdn_downloader:
        cdn_downloader.download(picture(server.link()), MemoryWriter(), waits)
    assert least <= waits.seconds[0] <= most


def test_fault_c5_a_host_that_asks_for_quiet_is_left_alone_by_every_file() -> None:
    """What one file hears from a host, the next one keeps to."""
    waits = Waits()
    busy = [status("429 Slow", retry_after=50)] * 3
    with scripted_cdn(*busy, ok(BODY)) as server, downloader() as cdn_downloader:
        with pytest.raises(DownloadFailed):
            cdn_downloader.download(picture(server.link()), MemoryWriter(), waits)
        before = len(waits.seconds)
        cdn_downloader.download(picture(server.link()), MemoryWriter(), waits)
    assert [seconds > 40 for seconds in waits.seconds[before:]] == [True]


def test_fault_c5_a_host_that_asks_for_hours_is_left_for_the_next_run() -> None:
    """A wait beyond a minute is not waited, and no file asks that host meanwhile."""
    waits = Waits()
    with scripted_cdn(status("503 Busy", retry_after=7200)) as server, downloader() as cdn_downloader:
        asked: list[float] = []
        for _ in range(3):
            with pytest.raises(DownloadFailed) as caught:
                cdn_downloader.download(picture(server.link()), MemoryWriter(), waits)
            assert caught.value.reason is Reason.HTTP_STATUS
            asked.append(caught.value.retry_after or 0)
        assert len(server.requests) == 1
    assert asked[0] == 7200
    assert 890 < asked[2] <= asked[1] <= 900
    assert waits.seconds == []
