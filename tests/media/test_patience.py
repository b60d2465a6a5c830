"""Waiting: for slow servers, for a limit, and never for long once a stop is asked."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from archiver.errors import DownloadFailed, Reason, StoppedBySignal, StorageError
from archiver.media import direct_transport, speed_limits
from archiver.media.downloader import Downloader
from archiver.media.speed_limits import SpeedWatchdog, TokenBucket
from archiver.work import StopFlag
from tests.support.media_samples import jpeg
from tests.support.scripted_cdn import (
    AfterReply,
    CallingFlag,
    MemoryWriter,
    Reply,
    Waits,
    downloader,
    head,
    ok,
    picture,
    scripted_cdn,
    status,
)

BODY = jpeg(300_000)
LENGTH = len(BODY)
HALF = LENGTH // 2


def test_fault_c11_a_drip_is_cut_off() -> None:
    """A byte now and then keeps no socket timeout busy; the minimum speed ends it, and the next attempt
    serves.
    """
    drip = Reply((head(content_length=LENGTH) + BODY[:100], *[b"x"] * 500), AfterReply.HOLD, gap=0.02)
    sink, began = MemoryWriter(), time.monotonic()
    with scripted_cdn(drip, ok(BODY)) as server, downloader(speed_window=0.3) as cdn_downloader:
        cdn_downloader.download(picture(server.link()), sink, Waits())
    assert sink.bytes == BODY
    assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply((head(content_length=LENGTH) + BODY[:HALF],), AfterReply.HOLD), Reason.TOO_SLOW),
        (Reply((head(transfer_encoding="chunked"),), AfterReply.HOLD), Reason.TOO_SLOW),
        (Reply((b"HTTP/1.1 200 OK\r\n",), AfterReply.HOLD), Reason.NETWORK),
        (Reply((head("103 Early Hints"),), gap=0.01, endless=True), Reason.NETWORK),
        (Reply((b"HTTP/1.1 200 OK\r\nx: ", *[b"y"] * 300), gap=0.01), Reason.NETWORK),
        (Reply((head(transfer_encoding="chunked") + b"9;x=", *[b"y"] * 300), gap=0.01), Reason.TOO_SLOW),
    ],
    ids=["body", "chunks", "head", "hints", "a head that drips", "a chunk's size that drips"],
)
def test_fault_c11_silence_is_not_waited_out(
    reply: Reply, reason: Reason, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that stops in its head or in its body, or comes to no end of it, is left after ``timeout``,
    and tried again.
    """
    monkeypatch.setattr(speed_limits, "SLICE", 0.1)
    began = time.monotonic()
    with scripted_cdn(reply, reply, reply) as server, downloader(timeout=0.1) as cdn_downloader:
        with pytest.raises(DownloadFailed) as caught:
            cdn_downloader.download(picture(server.link()), MemoryWriter(), Waits())
        assert len(server.requests) == 3
        assert time.monotonic() - began < 4
    assert (caught.value.reason, caught.value.is_retryable) == (reason, True)


def test_fault_c11_the_total_deadline_ends_every_attempt() -> None:
    """A file that keeps the minimum speed but never ends is given up for good."""
    steady = Reply((head() + BODY[:-2], b"x" * 500), gap=0.02, endless=True)
    hasty = downloader(total_deadline=0.4, speed_window=0.2)
    with scripted_cdn(steady) as server, hasty as cdn_downloader, pytest.raises(DownloadFailed) as caught:
        cdn_downloader.download(picture(server.link()), MemoryWriter(), Waits())
    assert (caught.value.reason, caught.value.is_retryable) == (Reason.TOO_SLOW, False)


def test_a_connection_that_the_server_closed_meanwhile_is_replaced_unseen() -> None:
    """A kept connection that died is no failed attempt."""
    waits = Waits()
    with scripted_cdn(ok(BODY, AfterReply.CLOSE), ok(BODY)) as server, downloader() as cdn_downloader:
        for _ in range(2):
            cdn_downloader.download(picture(server.link()), MemoryWriter(), waits)
        assert server.connections == 2
    assert waits.seconds == []


def test_a_kept_connection_that_dies_at_the_next_request_is_replaced_unseen() -> None:
    """The server closes just as it is asked: the request is sent again at once on a new connection."""
    waits, sink = Waits(), MemoryWriter()
    with (
        scripted_cdn(ok(BODY), Reply((), AfterReply.CLOSE), ok(BODY)) as server,
        downloader() as cdn_downloader,
    ):
        cdn_downloader.download(picture(server.link()), MemoryWriter(), waits)
        cdn_downloader.download(picture(server.link()), sink, waits)
        assert (len(server.requests), server.connections) == (3, 2)
    assert sink.bytes == BODY
    assert waits.seconds == []


def test_connections_are_kept_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more of them than ``concurrency``, none for long, none after the end."""

    def connections(cdn_downloader: Downloader, check: Callable[[], None] = lambda: None) -> int:
        with scripted_cdn(ok(BODY), ok(BODY)) as server, cdn_downloader:
            for _ in range(2):
                cdn_downloader.download(picture(server.link()), MemoryWriter(), CallingFlag(check))
            return server.connections

    assert connections(downloader()) == 1
    assert connections(downloader(concurrency=0)) == 2
    closed = downloader()
    closings = iter([closed.close, closed.close])  # before the first request, and at its first chunk
    assert connections(closed, lambda: next(closings, lambda: None)()) == 2
    monkeypatch.setattr(direct_transport, "KEEP_FOR", 0.0)
    assert connections(downloader()) == 2


def test_nobody_listening_is_the_networks_fault() -> None:
    """A refused connection is retried, then NETWORK."""
    with scripted_cdn() as server:
        url = server.link()
    waits = Waits()
    with downloader() as cdn_downloader, pytest.raises(DownloadFailed) as caught:
        cdn_downloader.download(picture(url), MemoryWriter(), waits)
    assert caught.value.reason is Reason.NETWORK
    assert waits.seconds == [0.5, 1.0]


def stopper(after: float) -> Callable[[], None]:
    """A ``check`` that raises once so many seconds have gone."""
    ends = time.monotonic() + after

    def check() -> None:
        if time.monotonic() >= ends:
            raise StoppedBySignal(15)

    return check


@pytest.mark.parametrize(
    "reply",
    [
        Reply((head() + BODY[:-2], b"x" * 5000), gap=0.01, endless=True),
        Reply((head(content_length=LENGTH) + BODY[:HALF],), AfterReply.HOLD),
        Reply((), AfterReply.HOLD),
        Reply((b"HTTP/1.1 200 OK\r\nx: ", *[b"y"] * 300), gap=0.01),
    ],
    ids=["while bytes come", "while none come", "before the answer", "while its head drips"],
)
def test_a_stop_is_heard_at_once(reply: Reply) -> None:
    """What ``check`` raises passes through within a second, and is no failed attempt."""
    with scripted_cdn(reply) as server, downloader() as cdn_downloader:
        began = time.monotonic()
        with pytest.raises(StoppedBySignal):
            cdn_downloader.download(picture(server.link()), MemoryWriter(), CallingFlag(stopper(0.1)))
        assert time.monotonic() - began < 1.5
        assert len(server.requests) == 1


def test_a_stop_while_waiting_passes_through() -> None:
    """A stop during a pause ends the retries."""

    class StoppedAtPause(StopFlag):
        def wait(self, seconds: float) -> None:
            raise StoppedBySignal(2)

    with (
        scripted_cdn(status("503 Busy")) as server,
        downloader() as cdn_downloader,
        pytest.raises(StoppedBySignal),
    ):
        cdn_downloader.download(picture(server.link()), MemoryWriter(), StoppedAtPause())


def test_an_error_of_the_sink_passes_through() -> None:
    """A full disk is not the CDN's failure and is not retried."""
    with scripted_cdn(ok(BODY)) as server, downloader() as cdn_downloader:
        with pytest.raises(StorageError):
            cdn_downloader.download(picture(server.link()), MemoryWriter(full_at=HALF), Waits())
        assert len(server.requests) == 1


class Hand:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_watchdog_counts_each_window_and_the_whole() -> None:
    """Enough in one window does not pay for the next; the deadline is for all attempts together."""
    clock = Hand()
    watchdog = SpeedWatchdog(min_speed=10, window=30, total=100, clock=clock)
    watchdog.add(300)
    clock.now += 30
    watchdog.check()
    watchdog.add(299)
    clock.now += 30
    with pytest.raises(DownloadFailed) as slow:
        watchdog.check()
    assert (slow.value.reason, slow.value.is_retryable) == (Reason.TOO_SLOW, True)
    watchdog.begin()
    clock.now += 39
    with pytest.raises(DownloadFailed):
        watchdog.check()
    clock.now += 1
    with pytest.raises(DownloadFailed) as late:
        watchdog.check()
    assert not late.value.is_retryable


def test_the_watchdog_forgives_waits_on_purpose() -> None:
    """Neither the window nor the deadline counts them."""
    clock = Hand()
    watchdog = SpeedWatchdog(min_speed=10, window=30, total=100, clock=clock)
    clock.now += 1000
    watchdog.excuse(1000)
    clock.now += 29
    watchdog.check()
    clock.now += 1
    with pytest.raises(DownloadFailed):
        watchdog.check()


def test_the_limit_is_shared_by_all_threads() -> None:
    """So many bytes a second over all, with at most a second's worth at once."""
    clock = Hand()
    bucket = TokenBucket(1000, clock)
    assert [bucket.take(n) for n in (1000, 500, 500)] == [1.0, 1.5, 2.0]
    clock.now += 10
    assert [bucket.take(n) for n in (1000, 500)] == [0.0, 0.5]


def test_a_limited_download_waits_and_is_not_called_slow() -> None:
    """Waiting for the limit counts neither against the minimum speed nor against the deadline."""
    body, sink, began = jpeg(200_000), MemoryWriter(), time.monotonic()
    limited = downloader(limit_rate=400_000, min_speed=10**5, speed_window=0.2, total_deadline=0.3)
    with scripted_cdn(ok(body)) as server, limited as cdn_downloader:
        cdn_downloader.download(picture(server.link()), sink)
    assert sink.bytes == body
    assert time.monotonic() - began >= 0.4


def test_a_limited_download_takes_small_pieces() -> None:
    """No connection pauses for long between two reads, since a server closes one that takes nothing."""
    body, sizes = jpeg(40_000), []

    class Sizes(MemoryWriter):
        def write(self, chunk: bytes) -> None:
            sizes.append(len(chunk))
            super().write(chunk)

    with scripted_cdn(ok(body)) as server, downloader(limit_rate=80_000, concurrency=16) as limited:
        limited.download(picture(server.link()), Sizes())
    assert sum(sizes) == len(body)
    assert max(sizes[1:]) <= 80_000 / 16


def test_many_threads_share_one_downloader() -> None:
    """Forty files by eight threads: each gets its own bytes, over at most eight connections."""
    bodies = [jpeg(40_000, seed=n) for n in range(8)]
    replies = [ok(bodies[0])] * 40
    with scripted_cdn(*replies) as server, downloader() as cdn_downloader:
        wrong: list[int] = []

        def work() -> None:
            for n in range(5):
                sink = MemoryWriter()
                cdn_downloader.download(picture(server.link()), sink)
                if sink.bytes != bodies[0]:
                    wrong.append(n)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert len(server.requests) == 40
        assert server.connections <= 8
