"""Addresses, and the connection that is made to what was vetted."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence

import pytest

from archiver.errors import DownloadFailed, Reason, StoppedBySignal
from archiver.media.direct_transport import Dialer
from archiver.media.egress import Egress, is_public
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
