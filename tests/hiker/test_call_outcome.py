"""What is asked, what it costs, and what an answer means: every error that was seen or is documented."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.hiker import endpoints, wire
from archiver.model.api_calls import Call, Meaning
from archiver.model.upstream import Tray
from tests.support.api_answers import FETCH, LIST, document


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


HTML = b"<!DOCTYPE html><html><title>Just a moment...</title></html>"
TOP_UP = {"state": False, "error": "Top up your account", "exc_type": "InsufficientFunds"}
UNAUTHORIZED = {"state": False, "error": "Unauthorized request: unknown key"}


@pytest.mark.parametrize(
    ("status", "body", "meaning", "units"),
    [
        # A1, A2
        (401, UNAUTHORIZED, Meaning.KEY_REJECTED, 0),
        (401, b"", Meaning.KEY_REJECTED, 0),
        (200, UNAUTHORIZED, Meaning.KEY_REJECTED, 0),
        (402, TOP_UP, Meaning.OUT_OF_UNITS, 0),
        (402, HTML, Meaning.OUT_OF_UNITS, 0),
        (200, TOP_UP, Meaning.OUT_OF_UNITS, 0),
        (200, {"state": False, "error": "Top up your balance"}, Meaning.OUT_OF_UNITS, 0),
        (403, TOP_UP, Meaning.OUT_OF_UNITS, 0),
        # A3, A4
        (403, {"detail": "Private account", "exc_type": "PrivateAccount"}, Meaning.PRIVATE, 1),
        (200, {"detail": "Private account", "exc_type": "PrivateAccount"}, Meaning.PRIVATE, 1),
        (403, {"detail": "Forbidden"}, Meaning.REFUSED, 1),
        (403, {"detail": "?", "exc_type": "NobodyKnowsThis"}, Meaning.REFUSED, 1),
        (403, {}, Meaning.REFUSED, 1),
        (403, b"", Meaning.REFUSED, 1),
        (403, {"detail": "?", "exc_type": "InstagramRateLimitError"}, Meaning.TRANSIENT, 1),
        # A5, A6
        (404, {"detail": "User not found", "exc_type": "UserNotFound"}, Meaning.NOT_FOUND, 1),
        (404, {"detail": "?", "exc_type": "MediaNotFound"}, Meaning.NOT_FOUND, 1),
        (404, {"detail": "Not Found"}, Meaning.NOT_FOUND, 1),
        (200, {"detail": "?", "exc_type": "HighlightNotFound"}, Meaning.NOT_FOUND, 1),
        (404, {"detail": "?", "exc_type": "HighlightNotFound"}, Meaning.NOT_FOUND, 1),
        (410, {"detail": "?", "exc_type": "EndpointDeprecated"}, Meaning.RETIRED, 0),
        (410, b"", Meaning.NOT_FOUND, 0),
        # A7
        (400, {"detail": "?", "exc_type": "ValidationError"}, Meaning.INVALID, 1),
        (400, b"bad", Meaning.INVALID, 1),
        (422, {"detail": [{"loc": ["query", "url"], "msg": "m", "type": "t"}]}, Meaning.INVALID, 0),
        (405, {"detail": "Method Not Allowed"}, Meaning.INVALID, 0),
        (405, b"", Meaning.INVALID, 0),
        # A11, A12, A14
        (429, b"", Meaning.RATE_LIMITED, 0),
        (429, b"error code: 1015", Meaning.RATE_LIMITED, 0),
        (430, b"", Meaning.TRANSIENT, 0),
        (430, {"detail": "?"}, Meaning.TRANSIENT, 0),
        (408, b"", Meaning.TRANSIENT, 0),
        (500, {"detail": "?", "exc_type": "InternalError"}, Meaning.TRANSIENT, 0),
        (502, HTML, Meaning.TRANSIENT, 0),
        (503, {"detail": "?", "exc_type": "UserNotFound"}, Meaning.TRANSIENT, 0),
        (504, b'{"state":false,{"error":"timeout"}', Meaning.TRANSIENT, 0),
        *((status, HTML, Meaning.TRANSIENT, 0) for status in range(520, 527)),
        (520, b"error code: 520", Meaning.TRANSIENT, 0),
        (500, {"detail": "", "exc_type": "NoFreeAccounts"}, Meaning.TRANSIENT, 0),
        (200, {"detail": "", "exc_type": "NoFreeAccounts"}, Meaning.TRANSIENT, 1),
        # A15
        (200, {"state": False}, Meaning.MALFORMED, 1),
        (200, {"detail": "Instagram did not respond"}, Meaning.MALFORMED, 1),
        (200, {"detail": "?", "exc_type": "NobodyKnowsThis"}, Meaning.MALFORMED, 1),
        # A16
        (200, HTML, Meaning.BLOCKED, 1),
        (200, b"\xef\xbb\xbf\r\n <html>", Meaning.BLOCKED, 1),
        (403, HTML, Meaning.BLOCKED, 1),
        (403, b"error code: 1010", Meaning.BLOCKED, 1),
        (404, HTML, Meaning.BLOCKED, 1),
        # A17, A19, A20
        (200, b'[{"pk": "1"', Meaning.MALFORMED, 1),
        (200, b"[] trailing", Meaning.MALFORMED, 1),
        (200, b"\xef\xbb\xbf[]", Meaning.MALFORMED, 1),
        (200, "[]".encode("utf-16"), Meaning.MALFORMED, 1),
        (200, b"", Meaning.MALFORMED, 1),
        (200, b"  \n", Meaning.MALFORMED, 1),
        (200, b"null", Meaning.MALFORMED, 1),
        (200, b'""', Meaning.MALFORMED, 1),
        (200, b"5", Meaning.MALFORMED, 1),
        (200, b'{"media_count": NaN}', Meaning.MALFORMED, 1),
        (200, b"[-Infinity]", Meaning.MALFORMED, 1),
        (200, b"[" * 100_000, Meaning.MALFORMED, 1),
        (200, b"[" * 100_000 + b"]" * 100_000, Meaning.MALFORMED, 1),
        (200, b"[" * 100 + b"]" * 100, Meaning.MALFORMED, 1),
        (200, b"[" + b"9" * 5_000 + b"]", Meaning.MALFORMED, 1),
        # A34
        (301, b"", Meaning.REDIRECTED, 0),
        (302, HTML, Meaning.REDIRECTED, 0),
        (307, b"", Meaning.REDIRECTED, 0),
        (308, {"detail": "moved"}, Meaning.REDIRECTED, 0),
        (200, [], Meaning.OK, 1),
        (200, {"pk": "1", "detail": "a field like any other"}, Meaning.OK, 1),
        (200, {"pk": "1", "exc_type": None, "state": True}, Meaning.OK, 1),
    ],
)
def test_meaning_and_price(status: int, body: object, meaning: Meaning, units: int) -> None:
    """Status and body decide together; what was not billed costs nothing."""
    found = wire.parse_outcome(document(body, status))
    assert (found.meaning, found.units) == (meaning, units)


def test_no_highlights_are_no_error_where_those_of_a_user_were_asked_for() -> None:
    """``HighlightNotFound`` in place of a tray is an empty tray; of the paged tray it proves nothing."""
    error = {"detail": "?", "exc_type": "HighlightNotFound"}
    by_name = endpoints.tray_by_name_call("ann")
    for call in (LIST, by_name):
        found = document(error, 404, call=call)
        assert wire.parse_outcome(found).meaning is Meaning.OK
        assert wire.parse_tray(found) == Tray(None, ())
    paged = document(error, 404, call=endpoints.tray_page_call("1"))
    assert wire.parse_outcome(paged).meaning is Meaning.NOT_FOUND
    missing = document({"detail": "?", "exc_type": "UserNotFound"}, 404, call=LIST)
    assert wire.parse_outcome(missing).meaning is Meaning.NOT_FOUND


def test_a_page_is_known_by_its_content_type_too() -> None:
    """A challenge whose text does not begin with a tag is no answer of the API; JSON under a wrong type is
    one.
    """
    assert wire.parse_outcome(document(b"Attention!", content_type="text/html")).meaning is Meaning.BLOCKED
    assert wire.parse_outcome(document([], content_type="text/html")).meaning is Meaning.OK


def test_the_answer_states_its_own_price() -> None:
    """``x-hiker-info`` of a charged answer is what it cost; on a 5xx it is only nominal."""
    assert wire.parse_outcome(document([], 200, LIST, x_hiker_info='{"reqs": 2}')).units == 2
    assert wire.parse_outcome(document(b"", 500, LIST, x_hiker_info='{"reqs": 2}')).units == 0
    assert wire.parse_outcome(document(TOP_UP, 200, LIST, x_hiker_info="reqs=2")).units == 0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("2", 2.0),
        ("Sun, 01 Mar 2026 12:00:30 GMT", 30.0),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 0.0),
        ("1e9", 1e9),
        ("nan", None),
        ("inf", None),
        ("-inf", None),
        ("1e999", None),
        ("-5", None),
        ("abc", None),
    ],
)
def test_how_long_to_wait_is_read_from_the_answer(value: str, seconds: float | None) -> None:
    """Retry-After in seconds or as a date counted from the answer's own time; nonsense is nothing (A8 to
    A10).
    """
    assert wire.parse_outcome(document(b"", 429, retry_after=value)).retry_after == seconds


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({"detail": "User not found", "exc_type": "UserNotFound"}, "404: UserNotFound: User not found"),
        (
            {"detail": [{"loc": ["query", "url"], "msg": "field required"}, {"msg": "b"}]},
            "404: query.url field required; b",
        ),
        ({"state": False, "error": {"error": "timeout"}}, "404: timeout"),
        ({"detail": 7, "exc_type": ["x"]}, "404: ['x']"),
        (
            b"\x1b[2Jgone\r\n\x9b\xe2\x80\xae!",
            "404: Expecting value: line 1 column 1 (char 0): [2Jgone \ufffd !",
        ),
        ({"detail": ""}, '404: {"detail": ""}'),
    ],
)
def test_the_detail_is_one_clean_line(body: object, detail: str) -> None:
    """It names the type and the sentence, in whatever form they come, without control characters."""
    assert wire.parse_outcome(document(body, 404)).detail == detail


def test_a_long_detail_is_cut() -> None:
    """200 characters at most, and it shows that it was longer."""
    detail = wire.parse_outcome(document({"detail": "word " * 100}, 404)).detail
    assert len(detail) == 200
    assert detail.endswith("…")


@pytest.mark.parametrize(
    "text",
    [
        "see https://scontent.cdninstagram.com/v/a.jpg?oh=SIGNATURE&oe=68A1B2C3 there",
        "…/a.jpg?efg=x\\u0026oh=SIGNATURE\\u0026oe=1",
        "cut: _nc_ohc=SIGNATURE&oh=SIGNATURE",
        "oe=SIGNATURE",
    ],
)
def test_no_detail_holds_a_signature(text: str) -> None:
    """Signed queries are cut, in parsed errors and in the head of what is no JSON (L3)."""
    for body in ({"detail": text}, text.encode(), json.dumps([text])[:-2].encode()):
        assert "SIGNATURE" not in wire.parse_outcome(document(body, 500)).detail


@given(
    st.integers(100, 599),
    st.binary(max_size=300) | st.text(max_size=300).map(str.encode),
    st.text(max_size=20),
)
def test_any_answer_has_an_outcome(status: int, body: bytes, header: str) -> None:
    """No status, body or header makes it raise, and what it tells is short and printable."""
    found = wire.parse_outcome(
        document(body, status, FETCH, content_type=header, retry_after=header, x_hiker_info=header)
    )
    assert len(found.detail) <= 200
    assert found.detail.isprintable()
    assert found.units >= 0


json_trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["detail", "error", "exc_type", "state", "loc", "msg"]), inner, max_size=4
        )
    ),
    max_leaves=8,
)


@given(st.sampled_from([200, 400, 403, 404, 422, 500]), json_trees)
def test_any_error_object_has_an_outcome(status: int, tree: object) -> None:
    """``detail``, ``error`` and their parts may be of any type."""
    assert wire.parse_outcome(document(tree, status)).detail.isprintable()
