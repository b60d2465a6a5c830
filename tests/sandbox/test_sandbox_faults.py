"""The stand-in's refusals, with what they cost, and the faults that it can be told to have."""

from __future__ import annotations

import base64
import contextlib
import gzip
import http.client
import threading
import time
from collections.abc import Iterator
from typing import Literal
from urllib.parse import urlsplit

import pytest

from tests.support.standin import actions
from tests.support.standin.actions import Action
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin_requests import GIFTS, NATGEO, HttpAnswer, ask, get, page, send_raw, tray


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


@pytest.mark.parametrize(
    ("action", "more", "sent"),
    [
        (actions.truncated(100), 0, 100),
        (actions.wrong_length(-500), -500, None),
        (actions.wrong_length(500), 500, None),
        (actions.unsized(), None, None),
        (actions.unsized(200), None, 200),
    ],
)
def test_a_length_that_is_not_that_of_the_body(
    upstream: FaultyStandIn, video: str, whole: bytes, action: Action, more: int | None, sent: int | None
) -> None:
    """``truncated`` stops before the stated length, ``wrong_length`` states too little or too much;
    ``unsized`` states none: only the end of the connection tells the end, true or early.
    """
    upstream.faults.add(action, listener="cdn")
    received, ending = send_raw(upstream, video)
    head, body = split(received)
    assert (body, ending) == (whole[:sent], "end")
    if more is None:
        assert b"content-length" not in head
    else:
        assert length(head) == len(whole) + more


@pytest.mark.parametrize(
    ("action", "ending", "units"),
    [(actions.reset(), "reset", 0), (actions.lose(), "end", 2), (actions.hang_up(), "end", 0)],
)
def test_no_byte_of_an_answer(upstream: FaultyStandIn, action: Action, ending: str, units: int) -> None:
    """``reset`` is a RST and ``hang_up`` an end before anything was done, for no units; ``lose`` carries the
    call out and bills it.
    """
    upstream.faults.add(action)
    url = f"{upstream.base_url}/v1/user/highlights?user_id={NATGEO}"
    assert send_raw(upstream, url) == (b"", ending)
    assert (upstream.units, [a.status for a in upstream.requests]) == (units, [0])


def test_reset_after_some_bytes(upstream: FaultyStandIn, video: str, whole: bytes) -> None:
    """``reset(after)`` is a RST in the middle of the body."""
    upstream.faults.add(actions.reset(after=1000), listener="cdn")
    received, ending = send_raw(upstream, video)
    assert ending == "reset"
    assert split(received)[1] == whole[:1000]


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


SHARED = base64.urlsafe_b64encode(f"highlight:{GIFTS}".encode()).decode()
PAGE = f"https://www.instagram.com/stories/highlights/{GIFTS}/"
CALLS = [
    ("/v1/user/highlights", {"user_id": NATGEO}, 2),
    ("/v1/user/highlights", {"user_id": NATGEO, "force": "on"}, 1),
    ("/v1/user/highlights", {"user_id": NATGEO, "force": "true"}, 1),
    ("/v1/user/highlights", {"user_id": NATGEO, "force": "1"}, 1),
    ("/v1/user/highlights", {"user_id": NATGEO, "force": "off"}, 2),
    ("/v1/user/highlights/by/username", {"username": "natgeo"}, 3),
    ("/v1/user/highlights/by/username", {"username": "natgeo", "force": "on"}, 2),
    ("/v2/user/highlights", {"user_id": NATGEO}, 2),
    ("/v2/user/highlights", {"user_id": NATGEO, "force": "on"}, 1),
    ("/v2/user/highlights/by/username", {"username": "natgeo"}, 3),
    ("/v2/user/highlights/by/username", {"username": "natgeo", "force": "on"}, 2),
    ("/v1/highlight/by/url", {"url": PAGE}, 1),
    ("/v1/user/by/id", {"id": NATGEO}, 1),
    ("/v1/user/by/username", {"username": "natgeo"}, 1),
    ("/v2/user/by/id", {"id": NATGEO}, 1),
    ("/v2/user/by/username", {"username": "natgeo"}, 1),
    ("/v2/highlight/by/id", {"id": GIFTS}, 1),
    ("/v1/share/by/code", {"code": SHARED}, 1),
    ("/v1/share/by/url", {"url": f"https://www.instagram.com/s/{SHARED}?igsh=x"}, 1),
]


@pytest.fixture
def paid() -> Iterator[FaultyStandIn]:
    with FaultyStandIn(balance=100) as started:
        yield started


@pytest.mark.parametrize(("path", "params", "units"), CALLS)
def test_prices(paid: FaultyStandIn, path: str, params: dict[str, str], units: int) -> None:
    """A call that is answered costs its price, states it in ``x-hiker-info``, and sinks the balance by it."""
    answer = ask(paid, path, **params)
    assert (answer.status, answer.headers["x-hiker-info"]) == (200, f'{{"reqs": {units}}}')
    assert (paid.units, paid.balance) == (units, 100 - units)


def test_the_balance_is_free(paid: FaultyStandIn) -> None:
    """``/sys/balance`` tells what is left and the allowed rate, and costs nothing."""
    paid.settings.rate = 11
    tray(paid)
    shown = ask(paid, "/sys/balance").json
    assert (shown["requests"], shown["rate"], shown["currency"]) == (99, 11, "USD")
    assert paid.balance == 99


@pytest.mark.parametrize("headers", [{"user-agent": "x"}, {"user-agent": "x", "x-access-key": "wrong"}])
def test_no_or_another_key(paid: FaultyStandIn, headers: dict[str, str]) -> None:
    """Without the right key in the header, also with it in the query: 401, free."""
    for query in ({}, {"access_key": paid.key}):
        answer = ask(paid, "/v1/user/highlights", headers, user_id=NATGEO, **query)
        assert answer.status == 401
        assert answer.json["state"] is False
        assert answer.json["error"].startswith("Unauthorized request: ")
    assert paid.units == 0


def test_no_user_agent(paid: FaultyStandIn) -> None:
    """Without a User-Agent: Cloudflare's 403 in plain text, free, key or not."""
    answer = ask(paid, "/v1/user/highlights", {"x-access-key": paid.key}, user_id=NATGEO)
    assert (answer.status, answer.body) == (403, b"error code: 1010")
    assert paid.units == 0


@pytest.mark.parametrize("status", [402, 200])
def test_out_of_units(paid: FaultyStandIn, status: Literal[402, 200]) -> None:
    """A balance below the price: InsufficientFunds, free, with 402 or 200 as set; the call is not made."""
    paid.balance, paid.settings.funds_status = 1, status
    answer = ask(paid, "/v1/user/highlights", user_id=NATGEO)
    assert (answer.status, answer.json["exc_type"], answer.json["state"]) == (
        status,
        "InsufficientFunds",
        False,
    )
    assert (paid.balance, paid.units) == (1, 0)
    assert ask(paid, "/v1/user/by/id", id=NATGEO).status == 200


def test_private_accounts(paid: FaultyStandIn) -> None:
    """A private account's tray, with the check, and its highlights are a billed 403; its profile answers."""
    paid.world.set_private("natgeo")
    answer = ask(paid, "/v1/user/highlights", user_id=NATGEO)
    assert (answer.status, answer.json["exc_type"], paid.units) == (403, "PrivateAccount", 2)
    assert ask(paid, "/v2/highlight/by/id", id=GIFTS).json["exc_type"] == "PrivateAccount"
    assert ask(paid, "/v1/user/by/id", id=NATGEO).json["is_private"] is True


@pytest.mark.parametrize(("choice", "status"), [("empty", 200), ("403", 403), ("404", 404)])
@pytest.mark.parametrize("path", ["/v1/user/highlights", "/v2/user/highlights"])
def test_private_accounts_with_force(
    paid: FaultyStandIn, path: str, choice: Literal["empty", "403", "404"], status: int
) -> None:
    """Without the check, a private account answers whatever the world is set to, for one unit."""
    paid.world.set_private("natgeo")
    paid.world.private_with_force = choice
    answer = ask(paid, path, user_id=NATGEO, force="on")
    assert (answer.status, paid.units) == (status, 1)
    if choice == "empty":
        assert answer.json in ([], {"response": {"tray": []}, "next_page_id": None})


USER, HIGHLIGHT, URL = "UserNotFound", "HighlightNotFound", "ValidationError"


@pytest.mark.parametrize(
    ("path", "params", "status", "problem", "units"),
    [
        ("/v1/user/highlights", {"user_id": "1"}, 404, USER, 2),
        ("/v1/user/highlights/by/username", {"username": "nobody"}, 404, USER, 3),
        ("/v2/user/highlights", {"user_id": "1"}, 404, USER, 2),
        ("/v2/user/highlights/by/username", {"username": "nobody"}, 404, USER, 3),
        ("/v1/user/by/id", {"id": "1"}, 404, USER, 1),
        ("/v1/user/by/username", {"username": "nobody"}, 404, USER, 1),
        ("/v2/user/by/id", {"id": "1"}, 404, USER, 1),
        ("/v2/user/by/username", {"username": "nobody"}, 404, USER, 1),
        (
            "/v1/highlight/by/url",
            {"url": "https://www.instagram.com/stories/highlights/1/"},
            404,
            HIGHLIGHT,
            1,
        ),
        ("/v2/highlight/by/id", {"id": "1"}, 404, HIGHLIGHT, 1),
        (
            "/v1/share/reel/by/url",
            {"url": "https://www.instagram.com/reel/DRqAYKuAIUx/"},
            404,
            "MediaNotFound",
            1,
        ),
        ("/v1/highlight/by/url", {"url": "https://www.instagram.com/natgeo/"}, 400, URL, 1),
        ("/v1/share/by/url", {"url": PAGE}, 400, URL, 1),
        ("/v1/share/by/url", {"url": "https://www.instagram.com/s/bWVkaWE6MQ"}, 400, URL, 1),
        ("/v1/share/by/code", {"code": "ä"}, 400, URL, 1),
        ("/v1/share/by/code", {"code": "aGlnaGxpZ2h0Ong"}, 400, URL, 1),
        ("/v1/highlight/by/id", {"id": GIFTS}, 410, "EndpointDeprecated", 0),
    ],
)
def test_what_cannot_be_had(
    paid: FaultyStandIn, path: str, params: dict[str, str], status: int, problem: str, units: int
) -> None:
    """A user or a highlight that is not there (or a reel, of which there are none), and a URL or share code
    that names no highlight, are billed; the retired endpoint is free.
    """
    answer = ask(paid, path, **params)
    assert (answer.status, answer.json["exc_type"], paid.units) == (status, problem, units)


@pytest.mark.parametrize(
    ("path", "params", "field"),
    [
        ("/v1/user/highlights", {}, "user_id"),
        ("/v1/user/highlights", {"user_id": "natgeo"}, "user_id"),
        ("/v1/user/highlights", {"user_id": NATGEO, "force": "maybe"}, "force"),
        ("/v1/user/highlights/by/username", {}, "username"),
        ("/v2/user/highlights", {"user_id": NATGEO, "page_id": "?"}, "page_id"),
        ("/v2/user/highlights", {"user_id": NATGEO, "page_id": "dHJheTp4"}, "page_id"),
        ("/v1/user/by/id", {}, "id"),
        ("/v1/highlight/by/url", {}, "url"),
        ("/v2/highlight/by/id", {"id": "highlight"}, "id"),
        ("/v1/share/by/code", {}, "code"),
        ("/v1/share/by/url", {}, "url"),
    ],
)
def test_malformed_parameters(paid: FaultyStandIn, path: str, params: dict[str, str], field: str) -> None:
    """A malformed call: 422 that names the parameter, free."""
    answer = ask(paid, path, **params)
    assert (answer.status, paid.units) == (422, 0)
    assert answer.json["detail"][0]["loc"] == ["query", field]
    assert {"loc", "msg", "type"} == answer.json["detail"][0].keys()


def test_unknown_paths_and_methods(paid: FaultyStandIn) -> None:
    """What is no endpoint: 404; what is not GET: 405; both free."""
    headers = {"x-access-key": paid.key, "user-agent": "x"}
    assert ask(paid, "/v1/nothing").status == 404
    assert get(f"{paid.base_url}/v1/user/by/id?id={NATGEO}", headers, "POST").status == 405
    assert paid.units == 0


def test_the_rate_limit(paid: FaultyStandIn) -> None:
    """Beyond ``rate`` calls in a second: 429, free, with ``Retry-After`` if set; off by default."""
    assert {ask(paid, "/sys/balance").status for _ in range(30)} == {200}
    paid.settings.rate, paid.settings.retry_after = 3, "2"
    answers = [ask(paid, "/v1/user/by/id", id=NATGEO) for _ in range(5)]
    assert [a.status for a in answers] == [200, 200, 200, 429, 429]
    assert answers[-1].headers["retry-after"] == "2"
    assert paid.units == 3


@pytest.mark.parametrize(
    ("status", "units"),
    [
        (200, 2),
        (400, 2),
        (403, 2),
        (404, 2),
        (401, 0),
        (402, 0),
        (408, 0),
        (410, 0),
        (422, 0),
        (429, 0),
        (500, 0),
        (503, 0),
    ],
)
def test_which_statuses_are_charged(paid: FaultyStandIn, status: int, units: int) -> None:
    """200, 400, 403 and 404 cost the price of the call, all others nothing: for injected answers too."""
    paid.faults.add(actions.respond(status, {"detail": ""}))
    assert ask(paid, "/v1/user/highlights", user_id=NATGEO).status == status
    assert (paid.units, paid.balance) == (units, 100 - units)
