"""Which requests a fault meets, how often, and what runs before it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from archiver.sandbox.http_server import HttpRequest
from tests.support.standin import actions
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin_requests import BOOKS, GIFTS, NATGEO, ask, get, page, tray


@pytest.fixture
def upstream() -> Iterator[FaultyStandIn]:
    with FaultyStandIn() as started:
        yield started


def test_matching(upstream: FaultyStandIn) -> None:
    """A fault meets only the listener, path, user, highlight, item and role that it names."""
    other, item = [i for i in page(upstream, BOOKS)["items"] if i["video_url"]][:2]
    failing = actions.respond(500)
    upstream.faults.add(failing, count=None, user="75885841119")
    upstream.faults.add(failing, count=None, highlight=BOOKS, listener="api")
    upstream.faults.add(failing, count=None, item=item["pk"], role="video")
    upstream.faults.add(failing, count=None, path="/v2/")
    assert ask(upstream, "/v1/user/highlights", user_id=NATGEO).status == 200
    assert ask(upstream, "/v1/user/by/username", username="salwaaa_ki").status == 500
    assert ask(upstream, "/v2/user/highlights", user_id=NATGEO).status == 500
    statuses = [
        ask(
            upstream, "/v1/highlight/by/url", url=f"https://www.instagram.com/stories/highlights/{pk}/"
        ).status
        for pk in (GIFTS, BOOKS)
    ]
    assert statuses == [200, 500]
    files = (item["thumbnail_url"], item["video_url"], other["video_url"])
    assert [get(url).status for url in files] == [200, 500, 200]


def test_a_highlight_is_met_however_it_is_asked_for(upstream: FaultyStandIn) -> None:
    """By its link, its id or its share link, and under its owner too."""
    upstream.faults.add(actions.respond(500), count=None, highlight=GIFTS, user=NATGEO)
    share = "https://www.instagram.com/s/aGlnaGxpZ2h0OjE3OTgzNjE2MDUxNzY4MDg4"
    assert ask(upstream, "/v2/highlight/by/id", id=GIFTS).status == 500
    assert ask(upstream, "/v1/share/by/url", url=share).status == 500
    assert ask(upstream, "/v2/highlight/by/id", id=BOOKS).status == 200


def test_nth_and_count(upstream: FaultyStandIn) -> None:
    """A fault waits for its ``nth`` request and then acts ``count`` times; the next in line takes over."""
    fault = upstream.faults.add(actions.respond(500), nth=2, count=2)
    upstream.faults.add(actions.respond(503), nth=2, count=1)
    statuses = [ask(upstream, "/sys/balance").status for _ in range(6)]
    assert statuses == [200, 500, 500, 503, 200, 200]
    assert fault.acted == 2


def test_remove_and_clear(upstream: FaultyStandIn) -> None:
    """Removed and cleared faults no longer act."""
    first = upstream.faults.add(actions.respond(500), count=None)
    upstream.faults.add(actions.respond(503), count=None)
    upstream.faults.remove(first)
    assert ask(upstream, "/sys/balance").status == 503
    upstream.faults.clear()
    assert ask(upstream, "/sys/balance").status == 200


def test_the_hook_runs_before_the_answer(upstream: FaultyStandIn) -> None:
    """``before`` sees the request before anything is billed, and without an action the answer is the true
    one.
    """
    seen: list[tuple[HttpRequest, int]] = []
    upstream.faults.add(
        before=lambda request: seen.append((request, upstream.balance)), path="/v1/user/highlights"
    )
    assert len(tray(upstream)) == 3
    ((request, balance),) = seen
    assert request.params["user_id"] == NATGEO
    assert balance == upstream.balance + 1
