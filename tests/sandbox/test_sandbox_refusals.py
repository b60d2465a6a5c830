"""What each call costs, and what the API answers instead of data."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Literal

import pytest

from tests.support.standin import actions
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin_requests import GIFTS, NATGEO, ask, get, tray

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
def upstream() -> Iterator[FaultyStandIn]:
    with FaultyStandIn(balance=100) as started:
        yield started


@pytest.mark.parametrize(("path", "params", "units"), CALLS)
def test_prices(upstream: FaultyStandIn, path: str, params: dict[str, str], units: int) -> None:
    """A call that is answered costs its price, states it in ``x-hiker-info``, and sinks the balance by it."""
    answer = ask(upstream, path, **params)
    assert (answer.status, answer.headers["x-hiker-info"]) == (200, f'{{"reqs": {units}}}')
    assert (upstream.units, upstream.balance) == (units, 100 - units)


def test_the_balance_is_free(upstream: FaultyStandIn) -> None:
    """``/sys/balance`` tells what is left and the allowed rate, and costs nothing."""
    upstream.settings.rate = 11
    tray(upstream)
    shown = ask(upstream, "/sys/balance").json
    assert (shown["requests"], shown["rate"], shown["currency"]) == (99, 11, "USD")
    assert upstream.balance == 99


@pytest.mark.parametrize("headers", [{"user-agent": "x"}, {"user-agent": "x", "x-access-key": "wrong"}])
def test_no_or_another_key(upstream: FaultyStandIn, headers: dict[str, str]) -> None:
    """Without the right key: 401, free."""
    answer = ask(upstream, "/v1/user/highlights", headers, user_id=NATGEO)
    assert answer.status == 401
    assert answer.json["state"] is False
    assert answer.json["error"].startswith("Unauthorized request: ")
    assert upstream.units == 0


def test_the_key_as_a_parameter_does_not_count(upstream: FaultyStandIn) -> None:
    """The stand-in takes the key from the header alone: who sends it in the query is told so by a 401."""
    answer = get(f"{upstream.base_url}/sys/balance?access_key={upstream.key}", {"user-agent": "x"})
    assert answer.status == 401


def test_no_user_agent(upstream: FaultyStandIn) -> None:
    """Without a User-Agent: Cloudflare's 403 in plain text, free, key or not."""
    answer = ask(upstream, "/v1/user/highlights", {"x-access-key": upstream.key}, user_id=NATGEO)
    assert (answer.status, answer.body) == (403, b"error code: 1010")
    assert upstream.units == 0


@pytest.mark.parametrize("status", [402, 200])
def test_out_of_units(upstream: FaultyStandIn, status: Literal[402, 200]) -> None:
    """A balance below the price: InsufficientFunds, free, with 402 or 200 as set; the call is not made."""
    upstream.balance, upstream.settings.funds_status = 1, status
    answer = ask(upstream, "/v1/user/highlights", user_id=NATGEO)
    assert (answer.status, answer.json["exc_type"], answer.json["state"]) == (
        status,
        "InsufficientFunds",
        False,
    )
    assert (upstream.balance, upstream.units) == (1, 0)
    assert ask(upstream, "/v1/user/by/id", id=NATGEO).status == 200


def test_private_accounts(upstream: FaultyStandIn) -> None:
    """A private account's tray, with the check, and its highlights are a billed 403; its profile answers."""
    upstream.world.set_private("natgeo")
    answer = ask(upstream, "/v1/user/highlights", user_id=NATGEO)
    assert (answer.status, answer.json["exc_type"], upstream.units) == (403, "PrivateAccount", 2)
    assert ask(upstream, "/v2/highlight/by/id", id=GIFTS).json["exc_type"] == "PrivateAccount"
    assert ask(upstream, "/v1/user/by/id", id=NATGEO).json["is_private"] is True


@pytest.mark.parametrize(("choice", "status"), [("empty", 200), ("403", 403), ("404", 404)])
@pytest.mark.parametrize("path", ["/v1/user/highlights", "/v2/user/highlights"])
def test_private_accounts_with_force(
    upstream: FaultyStandIn, path: str, choice: Literal["empty", "403", "404"], status: int
) -> None:
    """Without the check, a private account answers whatever the world is set to, for one unit."""
    upstream.world.set_private("natgeo")
    upstream.world.private_with_force = choice
    answer = ask(upstream, path, user_id=NATGEO, force="on")
    assert (answer.status, upstream.units) == (status, 1)
    if choice == "empty":
        assert answer.json in ([], {"response": {"tray": []}, "next_page_id": None})


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("/v1/user/highlights", {"user_id": "1"}),
        ("/v1/user/highlights/by/username", {"username": "nobody"}),
        ("/v2/user/highlights", {"user_id": "1"}),
        ("/v2/user/highlights/by/username", {"username": "nobody"}),
        ("/v1/user/by/id", {"id": "1"}),
        ("/v1/user/by/username", {"username": "nobody"}),
        ("/v2/user/by/id", {"id": "1"}),
        ("/v2/user/by/username", {"username": "nobody"}),
    ],
)
def test_unknown_users(upstream: FaultyStandIn, path: str, params: dict[str, str]) -> None:
    """A user who is not there: 404 UserNotFound, billed."""
    answer = ask(upstream, path, **params)
    assert (answer.status, answer.json["exc_type"]) == (404, "UserNotFound")
    assert upstream.units > 0


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("/v1/highlight/by/url", {"url": "https://www.instagram.com/stories/highlights/1/"}),
        ("/v2/highlight/by/id", {"id": "1"}),
        ("/v1/share/reel/by/url", {"url": "https://www.instagram.com/reel/DRqAYKuAIUx/"}),
    ],
)
def test_unknown_highlights(upstream: FaultyStandIn, path: str, params: dict[str, str]) -> None:
    """A highlight that is not there, or a reel, of which there are none: 404, billed."""
    answer = ask(upstream, path, **params)
    assert (answer.status, upstream.units) == (404, 1)
    assert answer.json["exc_type"] != "UserNotFound"


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("/v1/highlight/by/url", {"url": "https://www.instagram.com/natgeo/"}),
        ("/v1/share/by/url", {"url": PAGE}),
        ("/v1/share/by/url", {"url": "https://www.instagram.com/s/bWVkaWE6MQ"}),
        ("/v1/share/by/code", {"code": "ä"}),
        ("/v1/share/by/code", {"code": "aGlnaGxpZ2h0Ong"}),
    ],
)
def test_another_url(upstream: FaultyStandIn, path: str, params: dict[str, str]) -> None:
    """A URL or share code that names no highlight: 400 ValidationError, billed."""
    answer = ask(upstream, path, **params)
    assert (answer.status, answer.json["exc_type"], upstream.units) == (400, "ValidationError", 1)


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
def test_malformed_parameters(upstream: FaultyStandIn, path: str, params: dict[str, str], field: str) -> None:
    """A malformed call: 422 that names the parameter, free."""
    answer = ask(upstream, path, **params)
    assert (answer.status, upstream.units) == (422, 0)
    assert answer.json["detail"][0]["loc"] == ["query", field]
    assert {"loc", "msg", "type"} == answer.json["detail"][0].keys()


def test_the_retired_endpoint(upstream: FaultyStandIn) -> None:
    """``/v1/highlight/by/id``: 410 EndpointDeprecated, free."""
    answer = ask(upstream, "/v1/highlight/by/id", id=GIFTS)
    assert (answer.status, answer.json["exc_type"], upstream.units) == (410, "EndpointDeprecated", 0)


def test_unknown_paths_and_methods(upstream: FaultyStandIn) -> None:
    """What is no endpoint: 404; what is not GET: 405; both free."""
    headers = {"x-access-key": upstream.key, "user-agent": "x"}
    assert ask(upstream, "/v1/nothing").status == 404
    assert get(f"{upstream.base_url}/v1/user/by/id?id={NATGEO}", headers, "POST").status == 405
    assert upstream.units == 0


def test_the_rate_limit(upstream: FaultyStandIn) -> None:
    """Beyond ``rate`` calls in a second: 429, free, with ``Retry-After`` if set; off by default."""
    assert {ask(upstream, "/sys/balance").status for _ in range(30)} == {200}
    upstream.settings.rate, upstream.settings.retry_after = 3, "2"
    answers = [ask(upstream, "/v1/user/by/id", id=NATGEO) for _ in range(5)]
    assert [a.status for a in answers] == [200, 200, 200, 429, 429]
    assert answers[-1].headers["retry-after"] == "2"
    assert upstream.units == 3


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
def test_which_statuses_are_charged(upstream: FaultyStandIn, status: int, units: int) -> None:
    """200, 400, 403 and 404 cost the price of the call, all others nothing: for injected answers too."""
    upstream.faults.add(actions.respond(status, {"detail": ""}))
    assert ask(upstream, "/v1/user/highlights", user_id=NATGEO).status == status
    assert (upstream.units, upstream.balance) == (units, 100 - units)
