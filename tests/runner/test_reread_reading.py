"""What each stored answer says, by its endpoint."""

from __future__ import annotations

import json

from archiver.hiker import endpoints
from archiver.model.api_calls import Answer, Call
from archiver.model.identity import utcnow
from archiver.model.upstream import Tray
from archiver.reread import replay

HIGHLIGHT = {"pk": "17", "user": {"pk": "1", "username": "ann"}, "title": "T", "items": []}
OTHERS = {"balance_call", "next_page_call"}
"""One is free; the other makes another page of a call."""
PAID = [make("1") for name, make in vars(endpoints).items() if name.endswith("_call") and name not in OTHERS]


def answer(call: Call, tree: object, status: int = 200) -> Answer:
    url, now = f"https://api.hikerapi.com{call.path}", utcnow()
    return Answer(call, url, status, (), json.dumps(tree).encode(), now, now)


def test_no_endpoint_that_costs_units_is_passed_over() -> None:
    """Every answer that costs units can be replayed; errors say nothing."""
    assert {call.path for call in PAID} == replay._READERS.keys()
    error = {"detail": "no", "exc_type": "UserNotFound"}
    assert [replay.read_content(answer(call, error, 404)) for call in PAID] == [None] * len(PAID)
    assert replay.read_content(answer(Call("/v9/new", (), "1", 1), [HIGHLIGHT])) is None


def test_a_tray_is_one_whichever_endpoint_it_came_by() -> None:
    """A tray may come in one answer, by name, or page by page."""
    page = {"response": {"tray": [HIGHLIGHT]}, "next_page_id": "2"}
    told = [
        replay.read_content(answer(call, tree))
        for call, tree in (
            (endpoints.tray_call("1"), [HIGHLIGHT]),
            (endpoints.tray_by_name_call("ann"), [HIGHLIGHT]),
            (endpoints.tray_page_call("1"), page),
        )
    ]
    assert [[h.pk for h in tray.highlights] for tray in told if isinstance(tray, Tray)] == [["17"]] * 3
