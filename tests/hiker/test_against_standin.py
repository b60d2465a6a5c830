"""The whole seam against the stand-in: send → outcome → model, and units that agree with who bills them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial

import pytest

from archiver.hiker import endpoints, wire
from archiver.hiker.client import HikerClient
from archiver.hiker.wire import Document
from archiver.model.api_calls import Call, Meaning
from archiver.model.identity import Role
from archiver.model.upstream import Tray
from archiver.model.values import replace
from archiver.sandbox.http_server import StandInSettings
from archiver.secret import Secret
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld

NATGEO = "787132"
CALLS = [
    endpoints.tray_call(NATGEO),
    endpoints.tray_call(NATGEO, privacy_check=True),
    endpoints.tray_page_call(NATGEO),
    endpoints.tray_page_call(NATGEO, privacy_check=True),
    endpoints.tray_by_name_call("natgeo"),
    endpoints.tray_by_name_call("natgeo", privacy_check=True),
    endpoints.highlight_call("17983616051768088"),
    endpoints.user_call(NATGEO),
    endpoints.user_by_name_call("natgeo"),
    endpoints.balance_call(),
]


@pytest.fixture
def upstream() -> Iterator[FaultyStandIn]:
    """A stand-in with the two accounts of the vendor's examples."""
    with FaultyStandIn(EditableWorld.seed()) as standing:
        yield standing


@pytest.fixture
def hiker(upstream: FaultyStandIn) -> Iterator[HikerClient]:
    """A client with the stand-in's key."""
    with closing(HikerClient(Secret(upstream.key), base_url=upstream.base_url, timeout=5)) as made:
        yield made


def send(hiker: HikerClient, call: Call) -> Document:
    """Return the answer to a call, parsed."""
    return wire.read_document(hiker.send(call))


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call.path}:{call.units}")
def test_fault_b5_every_call_costs_what_the_tariff_says(
    call: Call, upstream: FaultyStandIn, hiker: HikerClient
) -> None:
    """Nominal price, settled price and the sum that upstream bills are one number."""
    outcome = wire.parse_outcome(send(hiker, call))
    assert outcome.meaning is Meaning.OK
    assert outcome.units == call.units == upstream.units


@pytest.mark.parametrize("prefixed", [False, True])
def test_the_pages_of_a_tray_are_the_tray(
    upstream: FaultyStandIn, hiker: HikerClient, prefixed: bool
) -> None:
    """Read to the last page and joined, they say of every highlight, and of its owner, what the tray in one
    answer says.
    """
    upstream.world.v2_page, upstream.world.v2_prefixed = 2, prefixed
    pages: list[Tray] = []
    page_id: str | None = None
    while not pages or page_id is not None:
        page = wire.parse_tray_page(send(hiker, endpoints.tray_page_call(NATGEO, page_id)), NATGEO)
        pages.append(page.tray)
        page_id = page.next_page_id
    whole = wire.parse_tray(send(hiker, endpoints.tray_call(NATGEO)), NATGEO)
    assert [page.length for page in pages] == [2, 1]
    assert _unsigned(wire.join_pages(pages)) == _unsigned(whole)


def _unsigned(tray: Tray) -> Tray:
    """The tray without its links, whose signatures no two answers share."""
    assert tray.user is not None
    user = replace(tray.user, avatar=None)
    return Tray(user, tuple(replace(h, user=user, cover=None) for h in tray.highlights))


def test_a_tray_and_a_page_read_whole(hiker: HikerClient) -> None:
    """What one of everything looks like on the wire arrives in the model, and nothing is rejected."""
    tray = wire.parse_tray(send(hiker, endpoints.tray_call(NATGEO)), NATGEO)
    assert (tray.length, tray.rejected) == (3, ())
    pages = [
        wire.parse_highlight_page(send(hiker, endpoints.highlight_call(h.pk)), h.pk) for h in tray.highlights
    ]
    assert [len(p.items) for p in pages] == [h.numbers.media_count for h in tray.highlights]
    assert all(p.rejected == () for p in pages)
    items = [item for page in pages for item in page.items]
    assert all(link.expires_at is not None for item in items for link in item.links)
    assert {link.role for item in items for link in item.links} == {Role.THUMBNAIL, Role.VIDEO}
    for attached in ("mentions", "web_links", "hashtags", "locations", "stickers", "reshares", "sponsors"):
        assert any(getattr(item, attached) for item in items), attached


def test_account_and_balance(upstream: FaultyStandIn, hiker: HikerClient) -> None:
    """By pk and by name the same account; the balance is what is left."""
    by_pk = wire.parse_user(send(hiker, endpoints.user_call(NATGEO)), NATGEO)
    by_name = wire.parse_user(send(hiker, endpoints.user_by_name_call("natgeo")))
    assert (by_pk.pk, by_pk.username) == (by_name.pk, by_name.username) == (NATGEO, "natgeo")
    balance = wire.parse_balance(send(hiker, endpoints.balance_call()))
    assert balance.units == upstream.balance
    assert balance.rate is not None


@pytest.mark.parametrize(
    ("call", "meaning"),
    [
        (endpoints.tray_call("1"), Meaning.NOT_FOUND),
        (endpoints.highlight_call("1"), Meaning.NOT_FOUND),
        (endpoints.highlight_call("x"), Meaning.INVALID),
        (endpoints.tray_call("x"), Meaning.INVALID),
        (Call("/v1/highlight/by/id", (("id", "1"),), "1", 1), Meaning.RETIRED),
    ],
)
def test_a_refusal_is_understood_and_settled(
    call: Call, meaning: Meaning, upstream: FaultyStandIn, hiker: HikerClient
) -> None:
    """What is billed of it and what is free agrees with upstream's own account."""
    outcome = wire.parse_outcome(send(hiker, call))
    assert outcome.meaning is meaning
    assert outcome.units == upstream.units


def test_fault_a1_a_wrong_key_is_rejected_for_nothing(upstream: FaultyStandIn, hiker: HikerClient) -> None:
    """401 costs no unit."""
    upstream.key = "another-key-than-ours"
    outcome = wire.parse_outcome(send(hiker, CALLS[0]))
    assert (outcome.meaning, outcome.units, upstream.units) == (Meaning.KEY_REJECTED, 0, 0)


@pytest.mark.parametrize("status", [402, 200])
def test_fault_a2_an_empty_account_is_out_of_units_whatever_the_status(
    status: int, upstream: FaultyStandIn, hiker: HikerClient
) -> None:
    """Some saw the 402 body with status 200: both mean the same and cost nothing."""
    upstream.settings.funds_status = 402 if status == 402 else 200
    upstream.balance = 0
    answer = hiker.send(CALLS[0])
    outcome = wire.parse_outcome(wire.read_document(answer))
    assert answer.status == status
    assert (outcome.meaning, outcome.units, upstream.units) == (Meaning.OUT_OF_UNITS, 0, 0)


def test_fault_a8_a_rate_limit_says_how_long_to_wait() -> None:
    """429 with Retry-After: rate limited, free, and the seconds are in the outcome."""
    with (
        FaultyStandIn(EditableWorld.seed(), settings=StandInSettings(rate=1, retry_after="2")) as upstream,
        closing(HikerClient(Secret(upstream.key), base_url=upstream.base_url, timeout=5)) as hiker,
    ):
        hiker.send(endpoints.balance_call())
        outcome = wire.parse_outcome(send(hiker, CALLS[0]))
    assert (outcome.meaning, outcome.units, outcome.retry_after) == (Meaning.RATE_LIMITED, 0, 2.0)


def test_many_threads_share_one_client(upstream: FaultyStandIn, hiker: HikerClient) -> None:
    """Every worker gets the answer to its own call, and every call is billed once."""
    calls = [endpoints.user_call(NATGEO), endpoints.user_call("75885841119")] * 40
    with ThreadPoolExecutor(8) as workers:
        answers = list(workers.map(partial(send, hiker), calls))
    assert [wire.parse_user(answer).pk for answer in answers] == [call.subject for call in calls]
    assert upstream.units == len(calls)
