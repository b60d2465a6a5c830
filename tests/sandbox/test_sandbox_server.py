"""The stand-in as a server, and what it answers."""

from __future__ import annotations

import base64
import http.client
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from archiver.sandbox.__main__ import _parser
from archiver.sandbox.world import example
from archiver.sandbox.world_objects import SandboxAccount
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld
from tests.support.standin_requests import (
    BOOKS,
    GIFTS,
    LIMITLESS,
    ME,
    NATGEO,
    SALWAAA,
    ask,
    connect,
    get,
    page,
    tray,
)


def test_the_log_is_whole() -> None:
    """Each request is logged once, with path, parameters, headers, status, units, subject and a time in
    UTC.
    """
    with FaultyStandIn() as upstream:
        tray(upstream)
        ask(upstream, "/v1/user/by/username", username="salwaaa_ki")
        first, second = upstream.requests
        assert (first.listener, first.method, first.path, first.status, first.units) == (
            "api",
            "GET",
            "/v1/user/highlights",
            200,
            1,
        )
        assert first.params == {"user_id": NATGEO, "force": "on"}
        assert first.headers["x-access-key"] == upstream.key
        assert abs(datetime.now(UTC) - first.at) < timedelta(seconds=5)
        assert (first.subject.user, second.subject.user) == (NATGEO, SALWAAA)
        assert upstream.requests.api_calls("/v1/user/by/username") == [second]
        assert (len(upstream.requests), upstream.units) == (2, 2)
        upstream.requests.reset()
        assert (len(upstream.requests), upstream.units) == (0, 0)


def test_a_connection_is_kept_alive() -> None:
    """Many requests go over one connection, pipelined ones too; ``connection: close`` ends it."""
    with FaultyStandIn() as upstream, connect(upstream.cdn_hosts[0]) as sock:
        sock.sendall(b"GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\nconnection: close\r\n\r\n")
        received = b"".join(iter(lambda: sock.recv(65_536), b""))
        assert received.count(b"HTTP/1.1 404 Not Found") == 2
        assert [a.path for a in upstream.requests] == ["/a", "/b"]


def test_what_is_not_http_ends_the_connection() -> None:
    """Garbage gets no answer and does no harm."""
    with FaultyStandIn() as upstream:
        with connect(upstream.cdn_hosts[0]) as sock:
            sock.sendall(b"\x16\x03\x01 garbage\r\n\r\n")
            assert sock.recv(10) == b""
        assert page(upstream)["items"]


def test_many_at_once_are_billed_exactly() -> None:
    """Concurrent calls lose no unit and no line of the log."""
    with FaultyStandIn(EditableWorld.generate(8, 3, 2), balance=1000) as upstream:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda n: tray(upstream, str(70_000_000_000 + n % 8)), range(200)))
        assert (upstream.units, upstream.balance, len(upstream.requests)) == (200, 800, 200)


def test_key_balance_and_world_can_be_changed() -> None:
    """Key, balance and world are what they were last set to, while serving."""
    with FaultyStandIn(EditableWorld(), key="first", balance=1) as upstream:
        assert (upstream.key, upstream.balance) == ("first", 1)
        old = {"x-access-key": "first", "user-agent": "x"}
        upstream.key, upstream.balance = "second", 7
        upstream.world = EditableWorld([SandboxAccount("1", "one", "One", None)])
        assert ask(upstream, "/sys/balance", old).status == 401
        assert ask(upstream, "/sys/balance").json["requests"] == 7
        assert ask(upstream, "/v1/user/by/id", id="1").json["profile_pic_url"] is None


def test_closing_frees_the_port_and_the_threads() -> None:
    """After ``close`` nothing listens and no thread of it runs; the port can be had again; closing twice is
    harmless.
    """
    before = set(threading.enumerate())  # another stand-in may serve other tests of this process
    upstream = FaultyStandIn().start()
    connection = http.client.HTTPConnection(urlsplit(upstream.base_url).netloc, timeout=5)
    connection.connect()
    upstream.close()
    upstream.close()
    connection.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("stand-in") and t not in before]
    port = urlsplit(upstream.base_url).port
    assert port is not None
    with pytest.raises(ConnectionRefusedError):
        ask(upstream, "/sys/balance")
    with FaultyStandIn(port=port) as again:
        assert again.base_url == upstream.base_url


def test_the_control_endpoint() -> None:
    """Counts can be read and reset over HTTP without a key; that is neither billed nor logged."""
    with FaultyStandIn(balance=10) as upstream:
        tray(upstream)
        get(tray(upstream)[0]["user"]["profile_pic_url"])
        counts = get(f"{upstream.base_url}/_standin/counts").json
        assert counts == {
            "units": 2,
            "api_calls": 2,
            "cdn_requests": 1,
            "paths": {"/v1/user/highlights": 2},
            "balance": 8,
        }
        assert get(f"{upstream.base_url}/_standin/reset", method="POST").json["units"] == 0
        assert len(upstream.requests) == 0
        assert get(f"{upstream.base_url}/_standin/reset").status == 404


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_on_its_own(number: signal.Signals) -> None:
    """``python -m archiver.sandbox`` prints how to reach it, serves the asked world, and ends on a signal
    with its counts on stderr.
    """
    command = [
        sys.executable,
        "-m",
        "archiver.sandbox",
        "--accounts",
        "2",
        "--highlights",
        "3",
        "--items",
        "4",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            lines = [process.stdout.readline().strip() for _ in range(3)]
            shown = dict(line.removeprefix("export ").split("=", 1) for line in lines)
            assert shown.keys() == {
                "HIKERAPI_TOKEN",
                "ARCHIVER_API_BASE_URL",
                "ARCHIVER_DOWNLOAD_ALLOWED_HOSTS",
            }
            headers = {"x-access-key": shown["HIKERAPI_TOKEN"], "user-agent": "x"}
            answer = get(f"{shown['ARCHIVER_API_BASE_URL']}/v1/user/highlights?user_id=70000000001", headers)
            assert [h["media_count"] for h in answer.json] == [4, 4, 4]
            process.send_signal(number)
            assert process.stdout.read() == ""  # a shell can source what is redirected into a file
            counts = json.loads(process.stderr.read())
            assert (counts["units"], counts["api_calls"], counts["cdn_requests"]) == (2, 1, 0)
            assert process.wait(5) == 0
        finally:
            process.kill()


def test_its_help_tells_what_holds_unless_one_says_otherwise() -> None:
    """Of each option."""
    command = [sys.executable, "-m", "archiver.sandbox", "--help"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    options = " ".join(told.split()).split(" --")[1:]
    help_of = {option.split()[0]: option for option in options if "default" in option}
    every = {action.option_strings[0].removeprefix("--") for action in _parser()._actions} - {"-h"}
    assert help_of.keys() == every
    assert "(default: 1000000)" in help_of["balance"]
    assert "(default: no limit)" in help_of["rate"]


def test_it_is_an_independent_witness() -> None:
    """The stand-in imports nothing else of the program and nothing outside the standard library; the program
    does not import it.
    """
    script = (
        "import sys; import archiver; assert 'archiver.sandbox' not in sys.modules; "
        "import archiver.sandbox.__main__;"
        "print([m for m in sys.modules if m.startswith('archiver.') and not m.startswith('archiver.sandbox')"
        " or m.partition('.')[0] in ('httpx', 'click', 'sqlalchemy', 'msgspec')])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture
def upstream() -> Iterator[FaultyStandIn]:
    with FaultyStandIn() as started:
        yield started


def without_urls(value: Any) -> Any:
    """The value with every URL of a file replaced by one word."""
    if isinstance(value, dict):
        return {k: without_urls(v) for k, v in value.items()}
    if isinstance(value, list):
        return [without_urls(v) for v in value]
    is_url = isinstance(value, str) and (
        ".cdninstagram.com/" in value or value.startswith("http://127.0.0.1")
    )
    return "URL" if is_url else value


def urls(value: Any) -> list[str]:
    """Every URL of a file in the value, in its order."""
    if isinstance(value, dict):
        return [url for v in value.values() for url in urls(v)]
    if isinstance(value, list):
        return [url for v in value for url in urls(v)]
    return [value] if isinstance(value, str) and value.startswith("http://127.0.0.1") else []


@pytest.mark.parametrize(
    ("path", "params", "documented"),
    [
        ("/v1/user/highlights", {"user_id": NATGEO}, "user_highlights"),
        ("/v1/user/highlights/by/username", {"username": "NatGeo"}, "user_highlights_by_username"),
        (
            "/v1/highlight/by/url",
            {"url": f"https://www.instagram.com/stories/highlights/{ME}/"},
            "highlight_by_url",
        ),
    ],
)
def test_an_answer_is_the_documented_one(
    upstream: FaultyStandIn, path: str, params: dict[str, str], documented: str
) -> None:
    """Every field but the URLs is the vendor's, with its nulls and its ``Z``; names are found in any case;
    ids beyond 2**53 are numbers, and of 98 that are counted 3 are shown.
    """
    answer = ask(upstream, path, **params)
    assert without_urls(answer.json) == without_urls(example(documented))
    assert answer.headers["content-type"] == "application/json"
    if documented == "highlight_by_url":
        assert min(answer.json["media_ids"]) > 2**53


def test_the_examples_keep_the_field_order_of_the_document(upstream: FaultyStandIn) -> None:
    """The text of a tray, URLs aside, equals the document's text byte for byte."""
    answer = without_urls(tray(upstream))
    assert json.dumps(answer) == json.dumps(without_urls(example("user_highlights")))


def test_natgeo_is_completed_as_counted(upstream: FaultyStandIn) -> None:
    """natgeo's highlights hold 12, 11 and 11 items, oldest first, photos and videos."""
    pages = [page(upstream, pk) for pk in (GIFTS, BOOKS, LIMITLESS)]
    assert [len(p["items"]) for p in pages] == [p["media_count"] for p in pages] == [12, 11, 11]
    for shown in pages:
        taken = [item["taken_at"] for item in shown["items"]]
        assert taken == sorted(taken)
        assert {item["media_type"] for item in shown["items"]} == {1, 2}
        assert all((item["media_type"] == 2) == bool(item["video_url"]) for item in shown["items"])


def test_one_of_everything_is_there(upstream: FaultyStandIn) -> None:
    """Some item carries each kind of thing that an item can carry."""
    items = page(upstream, GIFTS)["items"]
    for field in (
        "mentions",
        "links",
        "hashtags",
        "locations",
        "stickers",
        "polls",
        "medias",
        "sponsor_tags",
    ):
        assert any(item.get(field) for item in items), field
    links = [s["story_link"] for item in items for s in item["stickers"] if s["story_link"]]
    assert set(links[0]) == {"url", "link_title", "display_url"}
    assert [item["links"][0]["webUri"] for item in items if item["links"]] != []


def test_one_item_sits_in_two_highlights(upstream: FaultyStandIn) -> None:
    """Exactly one item stands in two of natgeo's highlights."""
    gifts, books = (set(page(upstream, pk)["media_ids"]) for pk in (GIFTS, BOOKS))
    assert len(gifts & books) == 1


def test_the_other_tray_has_the_tray_shape(upstream: FaultyStandIn) -> None:
    """salwaaa_ki's tray, which is not documented, has the fields of the documented one."""
    (entry,) = tray(upstream, SALWAAA)
    (model, *_) = tray(upstream, NATGEO)
    assert entry.keys() == model.keys()
    assert (entry["media_count"], entry["media_ids"], entry["items"]) == (98, [], [])
    assert entry["created_at"] == "2025-11-26T06:32:13Z"


def test_profiles(upstream: FaultyStandIn) -> None:
    """``/v1/user/by/id`` and ``by/username`` answer the same user, whose pk is a number there."""
    by_id = ask(upstream, "/v1/user/by/id", id=NATGEO).json
    by_name = ask(upstream, "/v1/user/by/username", username="natgeo").json
    assert without_urls(by_id) == without_urls(by_name)
    assert (by_id["pk"], by_id["username"], by_id["is_verified"]) == (787132, "natgeo", True)


@pytest.mark.parametrize("prefixed", [True, False])
def test_the_v2_tray_pages_to_the_end(upstream: FaultyStandIn, prefixed: bool) -> None:
    """The v2 tray shows raw entries page by page; the last page names no next one; ``pk`` reads either
    way.
    """
    upstream.world.v2_page, upstream.world.v2_prefixed = 2, prefixed
    first = ask(upstream, "/v2/user/highlights", user_id=NATGEO).json
    second = ask(upstream, "/v2/user/highlights", user_id=NATGEO, page_id=first["next_page_id"]).json
    entries = first["response"]["tray"] + second["response"]["tray"]
    assert [e["id"] for e in entries] == [f"highlight:{pk}" for pk in (GIFTS, BOOKS, LIMITLESS)]
    assert entries[0]["pk"] == (f"highlight:{GIFTS}" if prefixed else GIFTS)
    assert entries[0]["created_at"] == 1764846391
    assert second["next_page_id"] is None


def test_the_v2_tray_by_name_is_the_one_by_id(upstream: FaultyStandIn) -> None:
    """``/v2/user/highlights/by/username`` answers what ``/v2/user/highlights`` does, page by page."""
    upstream.world.v2_page = 2
    by_id = ask(upstream, "/v2/user/highlights", user_id=NATGEO).json
    by_name = ask(upstream, "/v2/user/highlights/by/username", username="NatGeo").json
    assert without_urls(by_name) == without_urls(by_id)
    following = {"username": "natgeo", "page_id": by_name["next_page_id"]}
    last = ask(upstream, "/v2/user/highlights/by/username", **following).json
    assert [e["id"] for e in last["response"]["tray"]] == [f"highlight:{LIMITLESS}"]


def test_v2_profiles(upstream: FaultyStandIn) -> None:
    """``/v2/user/by/id`` and ``by/username`` put the user of v1 into an envelope, and add its pk as text."""
    by_id = ask(upstream, "/v2/user/by/id", id=NATGEO).json
    by_name = ask(upstream, "/v2/user/by/username", username="natgeo").json
    assert without_urls(by_id) == without_urls(by_name)
    assert by_id["status"] == "ok"
    v1 = ask(upstream, "/v1/user/by/id", id=NATGEO).json
    ids = {"id": NATGEO, "pk_id": NATGEO, "strong_id__": NATGEO}
    assert without_urls(by_id["user"]) == without_urls({**v1, **ids})


def test_the_v2_page_is_instagrams_own_with_the_items_of_v1(upstream: FaultyStandIn) -> None:
    """``/v2/highlight/by/id`` shows the items of ``by/url``, dated with ``Z``, in a raw highlight."""
    answer = ask(upstream, "/v2/highlight/by/id", id=ME).json["response"]
    ((named, reel),) = answer["reels"].items()
    v1 = page(upstream, ME)
    assert (named, answer["status"]) == (f"highlight:{ME}", "ok")
    for item in v1["items"]:
        item["taken_at"] = item["taken_at"].replace("+00:00", "Z")
    same = ("pk", "id", "title", "latest_reel_media", "cover_media", "media_count", "media_ids", "items")
    assert without_urls({k: reel[k] for k in same}) == without_urls({k: v1[k] for k in same})
    assert (reel["created_at"], reel["reel_type"]) == (1764138733, "highlight_reel")
    assert (reel["user"]["username"], reel["user"]["pk_id"]) == ("salwaaa_ki", SALWAAA)


def test_share_links(upstream: FaultyStandIn) -> None:
    """A share code, alone or in a ``/s/`` link, with or without padding, answers the pk that it encodes."""
    code = "aGlnaGxpZ2h0OjE4MTQ2MjE2Njk4MDIyMTc0"  # the vendor's own example, which is nobody's in this world
    link = f"https://www.instagram.com/s/{code}?story_media_id=1"
    expected = {"pk": "18146216698022174", "type": "highlight"}
    assert ask(upstream, "/v1/share/by/code", code=code).json == expected
    assert ask(upstream, "/v1/share/by/url", url=link).json == expected
    assert ask(upstream, "/v1/share/by/code", code="aGlnaGxpZ2h0OjE=").json["pk"] == "1"
    assert ask(upstream, "/v1/share/by/code", code="aGlnaGxpZ2h0OjE").json["pk"] == "1"


def test_the_v1_tray_is_cut_at_its_amount(upstream: FaultyStandIn) -> None:
    """The v1 tray shows at most ``amount`` entries, if that is a number above 0; the v2 tray ignores it."""
    by_name = {"username": "natgeo", "amount": "1"}
    assert len(ask(upstream, "/v1/user/highlights", user_id=NATGEO, amount="2").json) == 2
    assert len(ask(upstream, "/v1/user/highlights/by/username", **by_name).json) == 1
    for nothing in ("", "0", "9", "-1", "two", "9" * 5000):
        assert len(ask(upstream, "/v1/user/highlights", user_id=NATGEO, amount=nothing).json) == 3
    assert len(ask(upstream, "/v2/user/highlights", user_id=NATGEO, amount="2").json["response"]["tray"]) == 3


def test_the_v1_tray_is_cut_at_its_first_page() -> None:
    """The v1 tray shows ``v1_page`` entries without a word of the rest; the v2 tray has them all."""
    with FaultyStandIn(EditableWorld.generate(1, 5, 1)) as upstream:
        upstream.world.v1_page = 3
        pk = "70000000000"
        whole = ask(upstream, "/v2/user/highlights", user_id=pk).json["response"]["tray"]
        assert (len(tray(upstream, pk)), len(whole)) == (3, 5)


def test_every_answer_signs_anew(upstream: FaultyStandIn) -> None:
    """Two answers give every file another host, ``oh`` and ``_nc_gid``, under the same basename."""
    one, two = (urls(page(upstream, GIFTS)) for _ in range(2))
    assert len(one) == len(two) > 15
    for first, second in zip(one, two, strict=True):
        a, b = urlsplit(first), urlsplit(second)
        assert a.path == b.path
        assert {a.netloc, b.netloc} == set(upstream.cdn_hosts)
        queries = parse_qs(a.query), parse_qs(b.query)
        assert all(queries[0][name] != queries[1][name] for name in ("oh", "_nc_gid", "_nc_ht"))


def test_story_images_carry_their_pk(upstream: FaultyStandIn) -> None:
    """``ig_cache_key`` of a thumbnail is the base64 of its item's pk; videos and covers carry none."""
    shown = page(upstream, GIFTS)
    item = next(i for i in shown["items"] if i["video_url"])
    key = parse_qs(urlsplit(item["thumbnail_url"]).query)["ig_cache_key"][0].partition(".")[0]
    assert base64.b64decode(key).decode() == item["pk"]
    for url in (item["video_url"], shown["cover_media"]["cropped_image_version"]["url"]):
        assert "ig_cache_key" not in url


def test_paths_look_like_upstream(upstream: FaultyStandIn) -> None:
    """Pictures lie under ``/v/t51.*``, videos under ``/o1/v/t2/f2/m78/AQ*.mp4``."""
    shown = page(upstream, GIFTS)
    videos = {urlsplit(i["video_url"]).path for i in shown["items"] if i["video_url"]}
    assert all(path.startswith("/o1/v/t2/f2/m78/AQ") and path.endswith(".mp4") for path in videos)
    assert all(urlsplit(i["thumbnail_url"]).path.startswith("/v/t51.") for i in shown["items"])


def test_codes_are_the_pk_in_base_64(upstream: FaultyStandIn) -> None:
    """The short code that the document gives follows from the pk, so those made here do too."""
    assert [i["code"] for i in page(upstream, ME)["items"]] == ["DRZBsWEDz8A", "DReeHq0j583", "DRtlWAGj0ql"]
