"""Each fault, seen on the wire."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.support.standin import actions
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin_requests import NATGEO, HttpAnswer, ask, get, page, send_raw


@pytest.fixture
def upstream() -> Iterator[FaultyStandIn]:
    with FaultyStandIn() as started:
        yield started


@pytest.fixture
def video(upstream: FaultyStandIn) -> str:
    """The URL of a video."""
    return next(str(i["video_url"]) for i in page(upstream)["items"] if i["video_url"])


@pytest.fixture
def whole(upstream: FaultyStandIn, video: str) -> bytes:
    """That video's bytes."""
    return get(video).body


def balance_url(upstream: FaultyStandIn) -> str:
    """A free call to the API."""
    return f"{upstream.base_url}/sys/balance"


def split(received: bytes) -> tuple[bytes, bytes]:
    """Head and body."""
    head, _, body = received.partition(b"\r\n\r\n")
    return head, body


def length(head: bytes) -> int:
    """The stated length."""
    return int(head.lower().partition(b"content-length: ")[2].split()[0])


def test_another_answer(upstream: FaultyStandIn) -> None:
    """``respond`` sends any status, body and headers; JSON for what is not text or bytes; only once unless
    told otherwise.
    """
    upstream.faults.add(
        actions.respond(503, {"exc_type": "InternalError"}, {"retry-after": "nan"}), listener="api"
    )
    answer = ask(upstream, "/sys/balance")
    assert (answer.status, answer.json, answer.headers["retry-after"]) == (
        503,
        {"exc_type": "InternalError"},
        "nan",
    )
    assert ask(upstream, "/sys/balance").status == 200


def test_real_broken_json(upstream: FaultyStandIn) -> None:
    """Text goes out as it is, broken or not."""
    upstream.faults.add(actions.respond(504, '{"state":false,{"error":"timeout"}'))
    assert ask(upstream, "/sys/balance").body == b'{"state":false,{"error":"timeout"}'


def test_html(upstream: FaultyStandIn, video: str) -> None:
    """``html`` is a page with 200, or any status, that costs nothing."""
    upstream.faults.add(actions.html(), listener="cdn")
    upstream.faults.add(actions.html(403), listener="api")
    units = upstream.units
    page_got, refused = get(video), ask(upstream, "/v1/user/by/id", id=NATGEO)
    assert (page_got.status, page_got.headers["content-type"], page_got.body) == (
        200,
        "text/html; charset=utf-8",
        actions.HTML,
    )
    assert (refused.status, upstream.units) == (403, units)


@pytest.mark.parametrize("location", ["http://169.254.169.254/", "file:///etc/passwd", None])
def test_redirects(upstream: FaultyStandIn, video: str, location: str | None) -> None:
    """``redirect`` leads anywhere, or nowhere."""
    upstream.faults.add(actions.redirect(location, 307), listener="cdn")
    answer = get(video)
    assert (answer.status, answer.headers.get("location")) == (307, location)


@pytest.mark.parametrize("data", [b"HTTP/1.1 abc\r\n\r\n", b"\x00\x01garbage", b""])
def test_raw_bytes(upstream: FaultyStandIn, data: bytes) -> None:
    """``raw`` sends just these bytes and ends; nothing is billed, and the log says that there was no
    answer.
    """
    upstream.faults.add(actions.raw(data))
    assert send_raw(upstream, balance_url(upstream)) == (data, "end")
    assert [a.status for a in upstream.requests] == [0]


def test_truncated(upstream: FaultyStandIn, video: str, whole: bytes) -> None:
    """``truncated`` states the true length and stops before it."""
    upstream.faults.add(actions.truncated(100), listener="cdn")
    received, ending = send_raw(upstream, video)
    head, body = split(received)
    assert (length(head), body, ending) == (len(whole), whole[:100], "end")


@pytest.mark.parametrize("by", [-500, 500])
def test_wrong_length(upstream: FaultyStandIn, video: str, whole: bytes, by: int) -> None:
    """``wrong_length`` states too little or too much, and sends the whole body."""
    upstream.faults.add(actions.wrong_length(by), listener="cdn")
    received, ending = send_raw(upstream, video)
    head, body = split(received)
    assert (length(head), body, ending) == (len(whole) + by, whole, "end")


@pytest.mark.parametrize("after", [None, 200])
def test_unsized(upstream: FaultyStandIn, video: str, whole: bytes, after: int | None) -> None:
    """``unsized`` states no length: only the end of the connection tells the end, true or early."""
    upstream.faults.add(actions.unsized(after), listener="cdn")
    received, ending = send_raw(upstream, video)
    head, body = split(received)
    assert (b"content-length" in head, body, ending) == (False, whole[:after], "end")


def test_reset_before_the_head(upstream: FaultyStandIn) -> None:
    """``reset`` is a RST before anything was done: no byte, no units."""
    upstream.faults.add(actions.reset())
    url = f"{upstream.base_url}/v1/user/by/id?id={NATGEO}"
    assert send_raw(upstream, url) == (b"", "reset")
    assert upstream.units == 0


def test_reset_after_some_bytes(upstream: FaultyStandIn, video: str, whole: bytes) -> None:
    """``reset(after)`` is a RST in the middle of the body."""
    upstream.faults.add(actions.reset(after=1000), listener="cdn")
    received, ending = send_raw(upstream, video)
    assert ending == "reset"
    assert split(received)[1] == whole[:1000]


def test_lost_answers_are_billed(upstream: FaultyStandIn) -> None:
    """``lose`` carries the call out, bills it, and ends the connection without an answer."""
    upstream.faults.add(actions.lose())
    url = f"{upstream.base_url}/v1/user/highlights?user_id={NATGEO}"
    assert send_raw(upstream, url) == (b"", "end")
    assert (upstream.units, [a.status for a in upstream.requests]) == (2, [0])


def test_hang_up_is_free(upstream: FaultyStandIn) -> None:
    """``hang_up`` ends the connection before anything was done."""
    upstream.faults.add(actions.hang_up())
    assert send_raw(upstream, f"{upstream.base_url}/v1/user/highlights?user_id={NATGEO}") == (b"", "end")
    assert upstream.units == 0


def test_a_stall_is_released(upstream: FaultyStandIn, video: str, whole: bytes) -> None:
    """``stall`` falls silent after some bytes; released, the rest comes."""
    fault = upstream.faults.add(actions.stall(after=100), listener="cdn")
    silence, ending = send_raw(upstream, video, 0.2)
    assert (split(silence)[1], ending) == (whole[:100], "silence")
    fault = upstream.faults.add(actions.stall(after=100), listener="cdn")
    got: list[HttpAnswer] = []
    client = threading.Thread(target=lambda: got.append(get(video)))
    client.start()
    assert fault.reached.wait(5)
    fault.release()
    client.join(5)
    assert got[0].body == whole


def test_a_stall_before_the_head_is_billed(upstream: FaultyStandIn) -> None:
    """``stall(None)`` sends nothing at all, but the call was made; after its seconds the answer comes."""
    fault = upstream.faults.add(actions.stall(None, seconds=0.01))
    assert ask(upstream, "/v1/user/by/id", id=NATGEO).status == 200
    assert fault.acted == 1
    upstream.faults.add(actions.stall(None))
    assert send_raw(upstream, f"{upstream.base_url}/v1/user/by/id?id={NATGEO}", 0.2) == (b"", "silence")
    deadline = time.monotonic() + 5
    while len(upstream.requests) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)  # the stand-in notices the lost peer within 20 ms
    assert [(a.status, a.units) for a in upstream.requests] == [(200, 1), (0, 1)]


def test_closing_ends_a_stall(video: str, upstream: FaultyStandIn) -> None:
    """``close`` does not wait for connections that a fault holds."""
    fault = upstream.faults.add(actions.stall(after=10), listener="cdn")
    client = threading.Thread(target=lambda: send_raw(upstream, video))
    client.start()
    assert fault.reached.wait(5)
    started = time.monotonic()
    upstream.close()
    client.join(5)
    assert time.monotonic() - started < 2


def test_drip(upstream: FaultyStandIn, video: str, whole: bytes) -> None:
    """``drip`` sends the body in small pieces over time."""
    upstream.faults.add(actions.drip(len(whole) // 4 + 1, 0.03), listener="cdn")
    started = time.monotonic()
    assert get(video).body == whole
    assert time.monotonic() - started >= 0.09


@pytest.mark.parametrize("stated", [None, 10**12])
def test_endless(upstream: FaultyStandIn, video: str, stated: int | None) -> None:
    """``endless`` goes on until the client has enough, with or without a stated length."""
    upstream.faults.add(actions.endless(stated), listener="cdn")
    received, ending = send_raw(upstream, video)
    assert ending == "endless"
    assert (b"content-length: 1000000000000" in received[:500]) == (stated is not None)


def test_gzip(upstream: FaultyStandIn, video: str, whole: bytes) -> None:
    """``gzipped`` packs the body, whole or cut with a length that fits the cut, or sends a bomb."""
    upstream.faults.add(actions.gzipped(), listener="cdn")
    upstream.faults.add(actions.gzipped(keep=500), listener="cdn")
    upstream.faults.add(actions.gzipped(expands_to=3_000_001), listener="cdn")
    packed, cut, bomb = get(video), get(video), get(video)
    assert {a.headers["content-encoding"] for a in (packed, cut, bomb)} == {"gzip"}
    assert gzip.decompress(packed.body) == whole
    assert len(cut.body) == int(cut.headers["content-length"]) == 500
    assert len(bomb.body) < 30_000
    assert len(gzip.decompress(bomb.body)) == 3_000_001


@pytest.mark.parametrize("body", [actions.HTML, actions.ELF, actions.jpeg(), b""])
def test_other_bytes(upstream: FaultyStandIn, video: str, body: bytes) -> None:
    """``other_bytes`` come under the true type, with a length that fits."""
    upstream.faults.add(actions.other_bytes(body), listener="cdn", role="video")
    answer = get(video)
    assert (answer.status, answer.headers["content-type"], answer.body) == (200, "video/mp4", body)


def test_other_headers(upstream: FaultyStandIn, video: str, whole: bytes) -> None:
    """``headers`` changes or adds headers of the true answer."""
    changed = {"set-cookie": "a=b", "content-type": "text/plain", "content-digest": "adler32=1"}
    upstream.faults.add(actions.headers(changed), listener="cdn")
    answer = get(video)
    assert answer.body == whole
    assert changed.items() <= answer.headers.items()


def test_wrong_range(upstream: FaultyStandIn, video: str, whole: bytes) -> None:
    """``wrong_range`` answers 206 to anything, with a range that was not asked."""
    upstream.faults.add(actions.wrong_range(start=7, total=99_999), listener="cdn")
    answer = get(video)
    assert (answer.status, answer.body) == (206, whole)
    assert answer.headers["content-range"] == f"bytes 7-{6 + len(whole)}/99999"


def test_chunked(upstream: FaultyStandIn, video: str, whole: bytes) -> None:
    """``chunked`` sends the body in chunks; cut, the last chunk never comes."""
    upstream.faults.add(actions.chunked(), listener="cdn")
    assert get(video).body == whole
    upstream.faults.add(actions.chunked(cut=2), listener="cdn")
    with pytest.raises(http.client.IncompleteRead) as caught:
        get(video)
    assert caught.value.partial == whole[:2000]


def test_slow_head(upstream: FaultyStandIn) -> None:
    """``slow_head`` sends the head byte by byte."""
    upstream.faults.add(actions.slow_head(0.001))
    started = time.monotonic()
    assert ask(upstream, "/sys/balance").status == 200
    assert time.monotonic() - started > 0.05


def test_pace(upstream: FaultyStandIn, video: str, whole: bytes) -> None:
    """``pace`` delays the first byte and limits the rate; so do the settings, for every file."""
    upstream.faults.add(actions.pace(0.05, bytes_per_second=len(whole) * 20), listener="cdn")
    started = time.monotonic()
    assert get(video).body == whole
    assert time.monotonic() - started >= 0.1
    upstream.settings.latency = 0.05
    started = time.monotonic()
    assert ask(upstream, "/sys/balance").status == 200
    assert time.monotonic() - started >= 0.05


def test_a_stale_connection(upstream: FaultyStandIn) -> None:
    """``close_after`` answers and then ends the kept-alive connection without having said so."""
    upstream.faults.add(actions.close_after())
    connection = http.client.HTTPConnection(urlsplit(upstream.base_url).netloc, timeout=5)
    headers = {"user-agent": "x", "x-access-key": upstream.key}
    connection.request("GET", "/sys/balance", headers=headers)
    answer = connection.getresponse()
    assert (answer.status, answer.will_close, len(answer.read()) > 0) == (200, False, True)
    with contextlib.suppress(ConnectionError):  # the first write may still go through
        connection.request("GET", "/sys/balance", headers=headers)
    with pytest.raises(ConnectionError):  # http.client.RemoteDisconnected is one
        connection.getresponse()
    connection.close()
