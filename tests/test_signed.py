"""Signed URLs as text: expiry, identity and what may be shown."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver import signed_url

STORY = "https://scontent-lax3-1.cdninstagram.com/v/t51/123_n.jpg?stp=dst&oe=68A1B2C3&oh=00_SIGNATURE"


@pytest.mark.parametrize(
    ("url", "unix"),
    [
        (STORY, 0x68A1B2C3),
        ("https://c/a?oe=68a1b2c3", 0x68A1B2C3),
        ("https://c/a?oe=0", 0),
        ("https://c/a?x=1&oe=1&oe=2", 1),
        ("https://c/a", None),
        ("https://c/a?oe=", None),
        ("https://c/a?oe=xyz", None),
        ("https://c/a?oe=-1", None),
        ("https://c/a?oe=0x12", None),
        ("https://c/a?oe=1_0", None),
        ("https://c/a?oe=FFFFFFFFFFFF", None),
        ("https://c/a#oe=1", None),
        ("https://[::1/a?oe=1", None),
        ("https://c/a?" + "&".join(f"a{n}=1" for n in range(300)) + "&oe=1", None),
        ("", None),
    ],
)
def test_when_a_signature_ends(url: str, unix: int | None) -> None:
    """``oe`` is hexadecimal Unix time; anything unreadable or beyond the calendar is not said."""
    assert signed_url.parse_expiry(url) == (None if unix is None else datetime.fromtimestamp(unix, UTC))


@given(st.integers(0, 253_402_300_799))
def test_any_expiry_is_read_back(unix: int) -> None:
    """What the CDN writes into ``oe`` comes back as the same second, aware and UTC."""
    found = signed_url.parse_expiry(f"https://c/a?oe={unix:X}")
    assert found is not None
    assert found.tzinfo is UTC
    assert found - datetime(1970, 1, 1, tzinfo=UTC) == timedelta(seconds=unix)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        (STORY, "123_n.jpg"),
        ("https://c/a%20b.jpg", "a b.jpg"),
        ("https://c/a/b/", None),
        ("https://c", None),
        ("https://[::1/a", None),
        ("https://c/a%00b", "ab"),
        ("https://c/" + "x" * 300, "x" * 200),
    ],
)
def test_what_stays_the_same_between_two_answers(url: str, name: str | None) -> None:
    """The last segment of the path, decoded, whatever host and signature are."""
    assert signed_url.basename(url) == name


@given(
    st.from_regex(r"[a-z0-9_.]{1,40}", fullmatch=True), st.sampled_from(["a.cdninstagram.com", "b.fbcdn.net"])
)
def test_host_and_query_do_not_change_the_name(name: str, host: str) -> None:
    """The same picture from another host, signed anew, keeps its name."""
    assert signed_url.basename(f"https://{host}/v/{name}?oe=1&oh=2") == name


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (STORY, "https://scontent-lax3-1.cdninstagram.com/v/t51/123_n.jpg"),
        ("https://me:pass@h:8080/a?b#c", "https://h:8080/a"),
        ("http://[::1]:81/a", "http://[::1]:81/a"),
        ("HTTPS://Host/A", "https://host/A"),
        ("https://h:99999/a", ""),
        ("//h/a", ""),
        ("mailto:a@b", ""),
        ("nonsense", ""),
        ("", ""),
    ],
)
def test_what_may_stand_in_a_row(url: str, shown: str) -> None:
    """Scheme, host, port and path; no user, no query, no fragment."""
    assert signed_url.without_query(url) == shown


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (STORY, "scontent-lax3-1.cdninstagram.com/…/123_n.jpg"),
        ("https://me:pass@h/a?b", "h/…/a"),
        ("https://h/a%0aFORGED%1b[2J%e2%80%ae.jpg", "h/…/a FORGED [2J .jpg"),
        ("https://[::1/a", "?/…/"),
        ("nonsense?oe=1", "?/…/nonsense"),
        (f"https://{'h' * 65536}/{'p' * 65536}", f"{'h' * 200}/…/{'p' * 200}"),
    ],
)
def test_what_may_stand_in_a_message(url: str, shown: str) -> None:
    """Host and name alone, and nothing in the name that could forge a line or steer a terminal (L1, X11,
    X12).
    """
    assert signed_url.redact(url) == shown


urls = st.text() | st.builds("https://{}/{}?{}".format, st.text(), st.text(), st.text())


@given(urls)
def test_no_text_breaks_them(url: str) -> None:
    """Every function takes any text; what is shown is one printable line."""
    signed_url.parse_expiry(url)
    signed_url.without_query(url)
    name = signed_url.basename(url)
    assert name is None or (0 < len(name) <= 200 and "\x00" not in name)
    assert signed_url.redact(url).isprintable()


@given(st.from_regex(r"[A-Za-z0-9_]{12,40}", fullmatch=True), st.sampled_from(["oe", "oh", "_nc_ohc"]))
def test_a_signature_never_shows(signature: str, name: str) -> None:
    """Neither the form for rows nor the one for messages holds any of the query."""
    url = f"https://h/v/a.jpg?{name}={signature}#{signature}"
    assert signature not in signed_url.without_query(url)
    assert signature not in signed_url.redact(url)
