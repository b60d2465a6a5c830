"""Heads without h11: they are what h11 would read and write, or they are left to it."""

from __future__ import annotations

import h11
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from archiver.http.connection import Headers, encode_request, read_plain_head
from archiver.http.sockets import ProtocolViolated

_STATUS_LINES = st.sampled_from(
    [
        b"HTTP/1.1 200 OK",
        b"HTTP/1.1 206 ",
        b"HTTP/1.1 404",
        b"HTTP/1.0 200 OK",
        b"HTTP/1.1 100 Go on",
        b"HTTP/1.1 204 x",
    ]
)
_FIELDS = st.sampled_from(
    [
        b"Content-Length: 5",
        b"content-length:5",
        b"Content-Length: 5, 5",
        b"Content-Length: -5",
        b"Content-Length: " + b"9" * 30,
        b"Transfer-Encoding: chunked",
        b"Connection: Close",
        b"Connection: keep-alive",
        b'ETag: "a"',
        b"X-Empty:",
        b"X: a\tb ",
        b" folded",
        b"X : y",
        b"X: \xe9",
        b"X: \x00",
    ]
)


@given(_STATUS_LINES, st.lists(_FIELDS, max_size=4), st.sampled_from([b"\r\n", b"\n"]), st.binary(max_size=9))
@example(b"HTTP/1.1 200 OK", [b"Content-Length: 5", b'ETag: "a"'], b"\r\n", b"hello!")
def test_a_head_that_is_read_here_is_read_the_same_by_h11(
    status: bytes, fields: list[bytes], end: bytes, rest: bytes
) -> None:
    """Status, headers, the length of the body and what follows the head are the same."""
    received = end.join([status, *fields, b"", b""]) + rest
    found = read_plain_head(received)
    if found is None:
        return
    head, start = found
    machine = h11.Connection(h11.CLIENT)
    machine.send(h11.Request(method="GET", target="/", headers=[("host", "x")]))
    machine.send(h11.EndOfMessage())
    machine.receive_data(received)
    expected = machine.next_event()
    assert isinstance(expected, h11.Response)
    assert (head.status_code, head.headers) == (expected.status_code, list(expected.headers))
    assert head.is_http_1_1 == (expected.http_version == b"1.1")
    assert start == machine.trailing_data[0] == rest
    assert head.stated_length() == 5


def test_the_usual_head_is_read() -> None:
    """The head of a CDN's answer needs no h11."""
    found = read_plain_head(b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: 7\r\n\r\nab")
    assert found is not None
    assert found[0].stated_length() == 7
    assert found[0].keeps_alive()
    assert found[1] == b"ab"


@given(
    st.sampled_from(["GET", "CONNECT", "get", "G T"]),
    st.sampled_from([b"/a?b=c", b"/\xe9", b"/a b", b"/a\r\nX: y", b""]),
    st.lists(
        st.tuples(
            st.sampled_from([b"host", b"Host", b"x-access-key", b"x y", b""]),
            st.sampled_from([b"x", b"", b"a b", b" a", b"a\r\nb", b"\xe9", b"a\x00"]),
        ),
        max_size=3,
    ),
)
@example("GET", b"/a?b=c", [(b"host", b"x"), (b"x-access-key", b"a b")])
def test_a_request_is_the_one_that_h11_would_send(method: str, target: bytes, headers: Headers) -> None:
    """Or it violates HTTP: what is in a target or a header never begins another line."""
    try:
        message = encode_request(method, target, headers)
    except ProtocolViolated:
        return
    request = h11.Request(method=method, target=target, headers=headers)
    assert message == h11.Connection(h11.CLIENT).send(request)


@pytest.mark.parametrize("value", [b"a\r\nb", b"a\nb", b"a\x00"])
def test_a_header_with_a_line_break_is_not_sent(value: bytes) -> None:
    """The error does not quote it: it may be the key."""
    with pytest.raises(ProtocolViolated, match=r"^the request violates HTTP$"):
        encode_request("GET", b"/", [(b"host", b"x"), (b"x-access-key", value)])
