"""Who may be reached: names, addresses, and the connection that is made to what was vetted."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from archiver.errors import ConfigError, DownloadFailed, Reason, StoppedBySignal
from archiver.hosts import is_public
from archiver.media.direct_transport import Dialer
from archiver.media.egress import MAX_URL, Egress
from tests.support.media_samples import jpeg
from tests.support.scripted_cdn import (
    Connections,
    MemoryWriter,
    Names,
    Waits,
    downloader,
    ok,
    picture,
    scripted_cdn,
    status,
)
from tests.support.scripted_server import Connection, black_hole, scripted_server

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


_PRIVATE = [
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "127.0.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "192.0.0.8",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.7",
    "203.0.113.9",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:10.0.0.1",
    "::ffff:93.184.216.34",
    "64:ff9b::a00:1",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:2::1",
    "2001:10::1",
    "2001:db8::1",
    "2002:a00:1::",
    "3fff::1",
    "fc00::1",
    "fd12::1",
    "fe80::1",
    "fe80::1%eth0",
    "ff02::1",
    "2130706433",
    "nonsense",
]


@pytest.mark.parametrize("address", _PRIVATE)
def test_fault_c21_what_is_no_public_address(address: str) -> None:
    """Every special range is refused, those too that Python's is_global passes."""
    assert not is_public(address)


@pytest.mark.parametrize("address", ["157.240.27.63", "93.184.216.34", "2a03:2880:f2ff:c3:face:b00c:0:43fe"])
def test_what_is_a_public_address(address: str) -> None:
    """Addresses of the CDN's kind pass."""
    assert is_public(address)


def fetch(dialer: Dialer, url: str = "https://a.fbcdn.net/x?oh=SIGNED") -> DownloadFailed:
    with downloader(dialer=dialer, allowed_hosts=["*.fbcdn.net", "localhost"]) as cdn_downloader:
        with pytest.raises(DownloadFailed) as caught:
            cdn_downloader.download(picture(url), MemoryWriter(), Waits())
        assert "SIGNED" not in str(caught.value)
        return caught.value


@pytest.mark.parametrize("address", [a for a in _PRIVATE if a != "nonsense"])
def test_fault_c17_a_name_that_means_a_private_address_is_not_connected_to(address: str) -> None:
    """One address that is not public among those of a name keeps us from all of them, before any
    connection.
    """
    connections = Connections()
    failed = fetch(Dialer(timeout=1, resolver=Names(a=[["157.240.27.63", address]]), connector=connections))
    assert (failed.reason, failed.is_retryable) == (Reason.NETWORK, False)
    assert "not on the public internet" in str(failed)
    assert connections.asked == []


def test_fault_c21_a_loopback_name_must_mean_this_machine() -> None:
    """localhost that resolves elsewhere is not asked in clear."""
    connections = Connections()
    dialer = Dialer(timeout=1, resolver=Names(localhost=[["157.240.27.63"]]), connector=connections)
    assert "not on this machine" in str(fetch(dialer, "http://localhost:1/x?oh=SIGNED"))
    assert connections.asked == []


def test_fault_c21_a_name_is_resolved_once_per_connection_and_the_vetted_address_is_used() -> None:
    """A second answer of the name server, a private address, is never asked for by the connection."""
    connections = Connections()
    dialer = Dialer(
        timeout=1, resolver=Names(a=[["157.240.27.63", "157.240.27.64"], ["10.0.0.1"]]), connector=connections
    )
    with pytest.raises(DownloadFailed):
        dialer.dial(CDN.check("https://a.fbcdn.net/x"))
    assert connections.asked == [("157.240.27.63", 443), ("157.240.27.64", 443)]


def test_a_name_with_many_dead_addresses_is_left_soon() -> None:
    """Four addresses are tried, and a stop is heard between two of them."""
    dead = [f"157.240.27.{n}" for n in range(1, 9)]
    connections = Connections()
    place = CDN.check("https://a.fbcdn.net/x")
    with pytest.raises(DownloadFailed):
        Dialer(timeout=1, resolver=Names(a=[dead]), connector=connections).dial(place)
    assert [address for address, _ in connections.asked] == dead[:4]

    def tick() -> None:
        if len(connections.asked) == 5:
            raise StoppedBySignal(15)

    with pytest.raises(StoppedBySignal):
        Dialer(timeout=1, resolver=Names(a=[dead]), connector=connections).dial(place, tick)
    assert len(connections.asked) == 5


def says_nothing(connection: Connection) -> None:
    """Accept, and wait for the end of the test."""
    connection.over.wait(25)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_stop_ends_a_connection_that_does_not_come_about(scheme: str) -> None:
    """A host that neither accepts nor refuses, or accepts and never speaks TLS: a stop does not wait for
    it.
    """

    def tick() -> None:
        if time.monotonic() > began + 0.1:
            raise StoppedBySignal(15)

    with black_hole() as silent, scripted_server(says_nothing) as server:
        port = silent if scheme == "http" else server.port
        url = Egress(("127.0.0.1",)).check(f"{scheme}://127.0.0.1:{port}/x")
        began = time.monotonic()
        with pytest.raises(StoppedBySignal):
            Dialer(timeout=20).dial(url, tick)
        assert time.monotonic() - began < 2


def test_a_tls_handshake_that_does_not_end_is_left_after_the_timeout() -> None:
    """It is the network's fault, and worth another try."""
    with scripted_server(says_nothing) as server:
        url = Egress(("127.0.0.1",)).check(f"https://127.0.0.1:{server.port}/x")
        with pytest.raises(DownloadFailed) as caught:
            Dialer(timeout=0.1).dial(url)
    assert (caught.value.reason, caught.value.is_retryable) == (Reason.NETWORK, True)


def test_certificates_that_cannot_be_read_fail_the_download(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are read at the first https connection: a file that is missing then is not a bug of the run."""
    monkeypatch.setenv("SSL_CERT_FILE", "/nonexistent/ca.pem")
    with scripted_server(says_nothing) as server:
        url = Egress(("127.0.0.1",)).check(f"https://127.0.0.1:{server.port}/x")
        with pytest.raises(DownloadFailed, match="certificates cannot be read") as caught:
            Dialer(timeout=1).dial(url)
    assert caught.value.reason is Reason.NETWORK


def test_a_name_that_cannot_be_resolved_is_tried_again() -> None:
    """A name server's failure is retried within the bound, and is the network's fault."""

    def fails(host: str, port: int) -> Sequence[str]:
        tries.append(host)
        raise socket.gaierror(socket.EAI_AGAIN, "try again")

    tries: list[str] = []
    assert fetch(Dialer(timeout=1, resolver=fails)).reason is Reason.NETWORK
    assert tries == ["a.fbcdn.net"] * 3


def test_behind_a_proxy_names_are_still_vetted_and_the_proxy_resolves() -> None:
    """The proxy is asked to connect to the name; a name that is not allowed never reaches it; loopback goes
    past it.
    """
    body = jpeg(500)
    refusals = [status("502 Bad Gateway")] * 3
    with scripted_cdn(*refusals) as proxy, scripted_cdn(ok(body)) as local:
        address = f"http://127.0.0.1:{proxy.port}"
        with downloader(allowed_hosts=["*.fbcdn.net", "127.0.0.1"], proxy=address) as through:
            with pytest.raises(DownloadFailed) as caught:
                through.download(picture("https://a.fbcdn.net/x?oh=SIGNED"), MemoryWriter(), Waits())
            with pytest.raises(DownloadFailed):
                through.download(picture("https://evil.com/x"), MemoryWriter(), Waits())
            through.download(picture(local.link()), MemoryWriter())
    assert caught.value.reason is Reason.NETWORK
    assert {request.split("\r\n")[0] for request in proxy.requests} == {"CONNECT a.fbcdn.net:443 HTTP/1.1"}
    assert len(local.requests) == 1
