"""Real clients as judges of the stand-in, and of what our own client sends.

The vendor's client runs in this process. insta-dl needs another version of it: it has its own environment.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, get_type_hints

import hikerapi
import pytest

from archiver.hiker import endpoints
from archiver.hiker.client import HikerClient
from archiver.model.api_calls import Call
from archiver.sandbox.http_server import LoggedRequest
from archiver.secret import Secret
from tests.support.archive_harness import ArchiveHarness
from tests.support.foreign_tools import run_insta_dl
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin_requests import BOOKS, GIFTS, LIMITLESS, NATGEO

PAGE_ID = "dHJheToy"
URL = f"https://www.instagram.com/stories/highlights/{GIFTS}/"
Vendor = Any  # hikerapi.Client has no types

# Each call that our client makes, and how the vendor's client makes the same.
CALLS: list[tuple[Callable[..., Call], tuple[str, ...], dict[str, bool], Callable[[Vendor], object]]] = [
    (endpoints.tray_call, (NATGEO,), {}, lambda v: v.user_highlights_v1(NATGEO, force="on")),
    (endpoints.tray_call, (NATGEO,), {"privacy_check": True}, lambda v: v.user_highlights_v1(NATGEO)),
    (
        endpoints.tray_by_name_call,
        ("natgeo",),
        {},
        lambda v: v.user_highlights_by_username_v1("natgeo", force="on"),
    ),
    (
        endpoints.tray_by_name_call,
        ("natgeo",),
        {"privacy_check": True},
        lambda v: v.user_highlights_by_username_v1("natgeo"),
    ),
    (endpoints.tray_page_call, (NATGEO,), {}, lambda v: v.user_highlights_v2(NATGEO, force="on")),
    (
        endpoints.tray_page_call,
        (NATGEO, PAGE_ID),
        {"privacy_check": True},
        lambda v: v.user_highlights_v2(NATGEO, page_id=PAGE_ID),
    ),
    (
        endpoints.tray_page_call,
        (NATGEO, PAGE_ID),
        {},
        lambda v: v.user_highlights_v2(NATGEO, page_id=PAGE_ID, force="on"),
    ),
    (endpoints.highlight_call, (GIFTS,), {}, lambda v: v.highlight_by_url_v1(URL)),
    (endpoints.user_call, (NATGEO,), {}, lambda v: v.user_by_id_v1(NATGEO)),
    (endpoints.user_by_name_call, ("natgeo",), {}, lambda v: v.user_by_username_v1("natgeo")),
    # The vendor's client has no method for the balance: its own way of asking, then.
    (endpoints.balance_call, (), {}, lambda v: v._request("get", "/sys/balance")),
]


@pytest.fixture
def upstream() -> Iterator[FaultyStandIn]:
    with FaultyStandIn() as started:
        yield started


@pytest.fixture
def vendor(upstream: FaultyStandIn, monkeypatch: pytest.MonkeyPatch) -> Iterator[Vendor]:
    """The vendor's client with the stand-in's key. Its ``host`` is always https: the base URL is set here."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    client = hikerapi.Client(token=upstream.key)
    client._client.base_url = upstream.base_url
    with client._client:
        yield client


@pytest.fixture
def ours(upstream: FaultyStandIn) -> Iterator[HikerClient]:
    with closing(HikerClient(Secret(upstream.key), base_url=upstream.base_url, timeout=5)) as made:
        yield made


def only_request(upstream: FaultyStandIn, ask: Callable[[], object]) -> LoggedRequest:
    """The one request that arrives while this runs."""
    upstream.requests.reset()
    ask()
    (asked,) = upstream.requests
    return asked


@pytest.mark.parametrize(
    ("make", "arguments", "options", "theirs"),
    CALLS,
    ids=[f"{make.__name__}-{len(arguments)}-{options}" for make, arguments, options, _ in CALLS],
)
def test_our_calls_are_the_vendors(
    upstream: FaultyStandIn,
    vendor: Vendor,
    ours: HikerClient,
    make: Callable[..., Call],
    arguments: tuple[str, ...],
    options: dict[str, bool],
    theirs: Callable[[Vendor], object],
) -> None:
    """Method, path and query arrive byte for byte as the vendor's, with its key header, for the same price.

    Ours sends no header that the vendor's does not. Two differ on purpose: ``user-agent`` names this program,
    and ``accept-encoding`` is gzip alone, since the decoded size is bounded.
    """
    we = only_request(upstream, lambda: ours.send(make(*arguments, **options)))
    they = only_request(upstream, lambda: theirs(vendor))
    assert (we.method, we.path, we.query) == (they.method, they.path, they.query)
    assert (we.status, we.units) == (they.status, they.units) == (200, make(*arguments, **options).units)
    assert we.headers.keys() <= they.headers.keys()
    for name in ("x-access-key", "accept", "host"):
        assert we.headers[name] == they.headers[name], name
    assert we.headers["user-agent"].startswith("archiver/")
    assert they.headers["user-agent"].startswith("python-hikerapi/")


def test_every_call_of_ours_is_compared() -> None:
    """A new endpoint needs its line in ``CALLS``; ``next_page_call`` makes another page of one of them."""
    functions = (
        f
        for f in vars(endpoints).values()
        if inspect.isfunction(f) and f.__module__ == endpoints.__name__ and f is not endpoints.next_page_call
    )
    made = {f for f in functions if get_type_hints(f)["return"] is Call}
    assert {make for make, *_ in CALLS} == made


def test_a_python_true_skips_the_check_too(upstream: FaultyStandIn, vendor: Vendor) -> None:
    """``force=on``, as ours writes it, and the ``force=true`` of the vendor's client cost one unit each."""
    asked = only_request(upstream, lambda: vendor.user_highlights_v1(NATGEO, force=True))
    assert (asked.params["force"], asked.units) == ("true", 1)


def test_the_vendors_client_reads_the_stand_in(upstream: FaultyStandIn, vendor: Vendor) -> None:
    """It joins the pages of a tray, fetches a highlight by its id or share link, and saves a picture."""
    upstream.world.v2_page = 2
    tray = vendor.user_highlights(NATGEO)
    assert [entry["id"] for entry in tray] == [f"highlight:{pk}" for pk in (GIFTS, BOOKS, LIMITLESS)]
    assert len(vendor.user_highlights_by_username_v2("natgeo")["response"]["tray"]) == 2
    assert len(vendor.user_highlights_v1(NATGEO, amount=1)) == 1
    share = vendor.share_by_url_v1("https://www.instagram.com/s/aGlnaGxpZ2h0OjE3OTgzNjE2MDUxNzY4MDg4")
    assert share == vendor.share_by_code_v1("aGlnaGxpZ2h0OjE3OTgzNjE2MDUxNzY4MDg4")
    reels = vendor.highlight_by_id_v2(share["pk"])["response"]["reels"]
    (item, *_) = reels[f"highlight:{GIFTS}"]["items"]
    assert vendor.user_by_username_v2("natgeo")["user"]["pk"] == vendor.user_by_id_v2(NATGEO)["user"]["pk"]
    assert vendor.save_media(item["thumbnail_url"])[:2] == b"\xff\xd8"


@pytest.mark.whole
def test_insta_dl_saves_what_we_keep(upstream: FaultyStandIn, tmp_path: Path) -> None:
    """insta-dl downloads both accounts from the stand-in: the same items and bytes as our archive."""
    names = ("natgeo", "salwaaa_ki")
    run_insta_dl(upstream, tmp_path / "theirs", *names)
    assert upstream.units == (1 + 2 + 3) + (1 + 2 + 1)  # per account: profile, tray, highlights
    theirs = {
        (path.parent.name.partition("_")[0], path.stem.rpartition("_")[2]): _sha256(path)
        for path in tmp_path.glob("theirs/*/highlights/*/*.*")
    }
    harness = ArchiveHarness(tmp_path / "ours", upstream)
    assert harness.night(*names).exit_code == 0
    rows = harness.rows(
        "select i.highlight_pk, i.item_pk, f.sha256 from highlight_items i"
        " join files f on f.item_pk = i.item_pk order by f.role"  # a video replaces its thumbnail
    )
    ours = {(highlight, item): sha256 for highlight, item, sha256 in rows}
    assert len(ours) == 12 + 11 + 11 + 3
    assert theirs == ours


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
