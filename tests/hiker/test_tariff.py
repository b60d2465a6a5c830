"""What is asked, and what it costs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.hiker import endpoints
from archiver.model.api_calls import Call


@pytest.mark.parametrize(
    ("call", "path", "params", "units"),
    [
        (endpoints.tray_call("1"), "/v1/user/highlights", {"user_id": "1", "force": "on"}, 1),
        (endpoints.tray_call("1", privacy_check=True), "/v1/user/highlights", {"user_id": "1"}, 2),
        (endpoints.tray_page_call("1"), "/v2/user/highlights", {"user_id": "1", "force": "on"}, 1),
        (
            endpoints.tray_page_call("1", "x=", privacy_check=True),
            "/v2/user/highlights",
            {"user_id": "1", "page_id": "x="},
            2,
        ),
        (
            endpoints.tray_by_name_call("a"),
            "/v1/user/highlights/by/username",
            {"username": "a", "force": "on"},
            2,
        ),
        (
            endpoints.tray_by_name_call("a", privacy_check=True),
            "/v1/user/highlights/by/username",
            {"username": "a"},
            3,
        ),
        (
            endpoints.highlight_call("7"),
            "/v1/highlight/by/url",
            {"url": "https://www.instagram.com/stories/highlights/7/"},
            1,
        ),
        (endpoints.user_call("1"), "/v1/user/by/id", {"id": "1"}, 1),
        (endpoints.user_by_name_call("a"), "/v1/user/by/username", {"username": "a"}, 1),
        (endpoints.balance_call(), "/sys/balance", {}, 0),
    ],
)
def test_fault_b5_the_price_list(call: Call, path: str, params: dict[str, str], units: int) -> None:
    """Every call has the path, the parameters and the price of the vendor's list."""
    assert (call.path, dict(call.params), call.units) == (path, params, units)


@pytest.mark.parametrize("status", [200, 400, 403, 404])
def test_four_statuses_are_charged(status: int) -> None:
    """200, 400, 403 and 404 cost the nominal price, or what the answer itself states."""
    call = endpoints.tray_call("1", privacy_check=True)
    assert endpoints.settled_units(call, status) == 2
    assert endpoints.settled_units(call, status, '{"reqs": 1}') == 1
    assert endpoints.settled_units(call, status, "nonsense") == 2


@given(st.integers(100, 599).filter(lambda status: status not in {200, 400, 403, 404}))
def test_every_other_status_is_free(status: int) -> None:
    """The header is nominal: on an answer that is not billed it costs nothing."""
    assert endpoints.settled_units(endpoints.user_call("1"), status, '{"reqs": 1}') == 0


def test_fault_b1_a_lost_answer_counts_once_anything_was_sent() -> None:
    """Nobody can know whether it was billed; what never left was not."""
    call = endpoints.tray_call("1", privacy_check=True)
    assert endpoints.unanswered_units(call, was_sent=True) == 2
    assert endpoints.unanswered_units(call, was_sent=False) == 0


@pytest.mark.parametrize(
    ("value", "units"),
    [
        ('{"reqs": 1}', 1),
        ('{"reqs":3,"x":2}', 3),
        ('{"a": "b", "reqs" : 2}', 2),
        ("reqs=1", 1),
        ("reqs = 2; a=b", 2),
        ("a=b,reqs=2", 2),
        ('{"reqs": 0}', 0),
        (None, None),
        ("", None),
        ("xreqs=1", None),
        ("reqs=-1", None),
        ("reqs=1.5", None),
        ("reqs=99999", None),
        ("reqs=١", None),
        ('{"reqs": null}', None),
    ],
)
def test_fault_b5_both_forms_of_the_price_header(value: str | None, units: int | None) -> None:
    """Today's JSON and the older ``reqs=``; anything else, or an absurd number, says nothing."""
    assert endpoints.parse_hiker_info(value) == units


@given(st.text())
def test_no_header_breaks_it(value: str) -> None:
    """Any text is a small number of units or nothing."""
    found = endpoints.parse_hiker_info(value)
    assert found is None or 0 <= found <= 9_999
