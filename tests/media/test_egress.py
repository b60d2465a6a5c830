"""Who may be reached: names, addresses, and the connection that is made to what was vetted."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from archiver.errors import ConfigError, DownloadFailed, Reason
from archiver.media.egress import MAX_URL, Egress
from tests.support.scripted_cdn import downloader

CDN = Egress(("*.cdninstagram.com", "*.fbcdn.net"))
LOCAL = Egress(("*.fbcdn.net", "127.0.0.1", "localhost", "::1"))


@pytest.mark.parametrize(
    ("url", "host", "target"),
    [
        (
            "https://scontent-fra3-1.cdninstagram.com/v/t51/1_n.jpg?oh=a%2Fb&oe=7F",
            None,
            "/v/t51/1_n.jpg?oh=a%2Fb&oe=7F",
        ),
        ("https://instagram.fham1-1.fna.fbcdn.net:443/x", "instagram.fham1-1.fna.fbcdn.net", "/x"),
        ("HTTPS://A.FBCDN.NET", "a.fbcdn.net", "/"),
        ("https://a.fbcdn.net/ä?q={x}|'#top", "a.fbcdn.net", "/%C3%A4?q={x}|'"),
    ],
)
def test_the_cdn_is_allowed_and_its_target_stays_verbatim(url: str, host: str | None, target: str) -> None:
    """Names below the patterns pass; path and query are asked for as they were signed."""
    place = CDN.check(url)
    assert place.target == target
    assert host in (None, place.host)
    assert (place.scheme, place.port, place.is_loopback) == ("https", 443, False)


@pytest.mark.parametrize(
    "url",
    [
        "https://a.fbcdn.net./x",
        "https://fbcdn.net@evil.com/x",
        "https://user:pass@a.fbcdn.net/x",
        "https://a.fbcdn.net:22/x",
        "https://a.fbcdn.net:0/x",
        "https://a.fbcdn.net:99999/x",
        "http://a.fbcdn.net/x",
        "http://a.fbcdn.net:443/x",
        "ftp://a.fbcdn.net/x",
        "file:///etc/passwd",
        "data:image/png;base64,AAAA",
        "//a.fbcdn.net/x",
        "https://ａ.fbcdn.net/x",
        "https://a.fbcdn.net\\@evil.com/x",
        "https://a.fbcdn.net/x y",
        "https://a.fbcdn.net/x\r\nHost: evil",
        "https://a.fbcdn.net/x\x00",
        "https://a..fbcdn.net/x",
        "https://-a.fbcdn.net/x",
        "https://2130706433/x",
        "https://0x7f000001/x",
        "https://0177.0.0.1/x",
        "https://0x7f.1/x",
        "https://10.0.0.1/x",
        "https://169.254.169.254/x",
        "https://[::ffff:10.0.0.1]/x",
        "https://[fe80::1%25eth0]/x",
        "https://[bad/x",
        "https:///x",
        "",
        "https://a.fbcdn.net/" + "x" * MAX_URL,
    ],
)
def test_fault_c20_a_malformed_or_unsafe_url_is_refused(url: str) -> None:
    """Other ports and schemes, users, reserved addresses and malformed URLs; the message holds no query."""
    with pytest.raises(DownloadFailed) as caught:
        CDN.check(url + "?oh=SIGNED" if url.startswith("https") and len(url) < 60 else url)
    assert caught.value.reason is Reason.REFUSED
    assert not caught.value.is_retryable
    assert "SIGNED" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://cdninstagram.com/x", "cdninstagram.com"),
        ("https://cdninstagram.com.evil.com/x", "cdninstagram.com.evil.com"),
        ("https://evilfbcdn.net/x", "evilfbcdn.net"),
        ("https://evil.com/a.fbcdn.net", "evil.com"),
        ("https://a.fbcdn.nеt/x", "a.fbcdn.xn--nt-nlc"),  # a Cyrillic letter
        ("https://8.8.8.8/x", "8.8.8.8"),
        ("http://127.0.0.1:8000/x", "127.0.0.1"),
        ("https://[::1]/x", "::1"),
    ],
)
def test_fault_c20_a_host_that_is_not_listed_is_named(url: str, host: str) -> None:
    """Look-alikes and every other host: the failure says which, so that a changed list is noticed."""
    with pytest.raises(DownloadFailed, match=r"is not in download\.allowed_hosts") as caught:
        CDN.check(url + "?oh=SIGNED")
    assert (caught.value.reason, caught.value.host) == (Reason.HOST_NOT_ALLOWED, host)
    assert not caught.value.is_retryable
    assert "SIGNED" not in str(caught.value)
    assert Egress((host,)).allows(host)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_fault_c20_a_listed_loopback_host_may_be_asked_in_clear_on_any_port(host: str) -> None:
    """Only an explicit listing opens http and other ports, and only to this machine."""
    place = LOCAL.check(f"http://{host}:8931/x")
    assert (place.scheme, place.port, place.is_loopback) == ("http", 8931, True)
    assert LOCAL.check(f"http://{host}/x").port == 80
    with pytest.raises(DownloadFailed):
        CDN.check(f"http://{host}:8931/x")


def test_fault_c20_no_pattern_but_its_own_name_opens_a_loopback_host() -> None:
    """A pattern that would match 127.0.0.1 by its labels does not open it; other loopback addresses stay
    closed.
    """
    with pytest.raises(DownloadFailed):
        Egress(("*.0.0.1",)).check("http://127.0.0.1/x")
    with pytest.raises(DownloadFailed):
        LOCAL.check("http://127.0.0.2/x")


@given(st.text(max_size=60))
@example("https://\ud800.fbcdn.net/")
@example("https://a.fbcdn.net/\ud800")
@example("https://[v1.x]/")
def test_fault_c20_a_url_is_allowed_or_refused_never_an_error(text: str) -> None:
    """Any text is either refused or is a place below an allowed name, in printable ASCII."""
    reasons = set()
    for url in (text, f"https://{text}", f"https://{text}.fbcdn.net/", f"https://a.fbcdn.net/{text}"):
        try:
            place = CDN.check(url)
        except DownloadFailed as refused:
            reasons.add(refused.reason)
        else:
            assert place.host.endswith((".cdninstagram.com", ".fbcdn.net"))
            assert all("\x21" <= letter <= "\x7e" for letter in place.target)
    assert reasons <= {Reason.REFUSED, Reason.HOST_NOT_ALLOWED}


@pytest.mark.parametrize("pattern", ["", "*.", "*", "a b.net", "https://a.net", "*.a..net"])
def test_a_pattern_that_names_nothing_is_a_config_error(pattern: str) -> None:
    """A mistake in allowed_hosts is told at the start."""
    with pytest.raises(ConfigError):
        downloader(allowed_hosts=[pattern])


@pytest.mark.parametrize(
    "proxy", ["ftp://u:SECRET@proxy", "http://u:SECRET@proxy:port", "socks5://u:SECRET@127.0.0.1:1"]
)
def test_a_proxy_that_cannot_be_used_is_a_config_error_without_its_password(proxy: str) -> None:
    """A mistake in the proxy is told at the start, and its password is not."""
    with pytest.raises(ConfigError) as caught:
        downloader(proxy=proxy)
    assert "SECRET" not in f"{caught.value} {caught.value.hint}"
