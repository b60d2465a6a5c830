"""Addresses, and the connection that is made to what was vetted."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from cdn_faults import Memory, Waits, cdn, downloader, ok, picture, status
from media_samples import jpeg

from archiver.errors import DownloadFailed, Reason, Stopped
from archiver.media.addresses import is_public
from archiver.media.dial import Dialer
from archiver.media.egress import Egress

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
def test_what_is_no_public_address(address: str) -> None:
    """Every special range is refused, those too that Python's is_global passes."""
    assert not is_public(address)


@pytest.mark.parametrize("address", ["157.240.27.63", "93.184.216.34", "2a03:2880:f2ff:c3:face:b00c:0:43fe"])
def test_what_is_a_public_address(address: str) -> None:
    """Addresses of the CDN's kind pass."""
    assert is_public(address)


class Connections:
    """A connector that records where it is sent and goes to ``port`` of this machine instead."""

    def __init__(self, port: int = 0) -> None:
        self.asked: list[tuple[str, int]] = []
        self._port = port

    def __call__(self, address: str, port: int, seconds: float) -> socket.socket:
        self.asked.append((address, port))
        if not self._port:
            raise ConnectionRefusedError
        return socket.create_connection(("127.0.0.1", self._port), seconds)


def names(*answers: Sequence[str]) -> Callable[[str, int], Sequence[str]]:
    """A resolver that gives one answer after another."""
    left = list(answers)
    return lambda host, port: left.pop(0)


def fetch(dialer: Dialer, url: str = "https://a.fbcdn.net/x?oh=SIGNED") -> DownloadFailed:
    with downloader(dialer=dialer, allowed_hosts=["*.fbcdn.net", "localhost"]) as cdn_downloader:
        with pytest.raises(DownloadFailed) as caught:
            cdn_downloader.download(picture(url), Memory(), wait=Waits())
        assert "SIGNED" not in str(caught.value)
        return caught.value


@pytest.mark.parametrize("address", [a for a in _PRIVATE if a != "nonsense"])
def test_fault_c17_c21_a_name_that_means_a_private_address_is_not_connected_to(address: str) -> None:
    """One address that is not public among those of a name keeps us from all of them, before any connection."""
    connections = Connections()
    failed = fetch(Dialer(timeout=1, resolver=names(["157.240.27.63", address]), connector=connections))
    assert (failed.reason, failed.retryable) == (Reason.NETWORK, False)
    assert "not on the public internet" in str(failed)
    assert connections.asked == []


def test_a_loopback_name_must_mean_this_machine() -> None:
    """localhost that resolves elsewhere is not asked in clear."""
    connections = Connections()
    dialer = Dialer(timeout=1, resolver=names(["157.240.27.63"]), connector=connections)
    assert "not on this machine" in str(fetch(dialer, "http://localhost:1/x?oh=SIGNED"))
    assert connections.asked == []


def test_fault_c21_a_name_is_resolved_once_per_connection_and_the_vetted_address_is_used() -> None:
    """A second answer of the name server, a private address, is never asked for by the connection."""
    connections = Connections()
    dialer = Dialer(
        timeout=1, resolver=names(["157.240.27.63", "157.240.27.64"], ["10.0.0.1"]), connector=connections
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
        Dialer(timeout=1, resolver=names(dead), connector=connections).dial(place)
    assert [address for address, _ in connections.asked] == dead[:4]

    def tick() -> None:
        if len(connections.asked) == 5:
            raise Stopped(15)

    with pytest.raises(Stopped):
        Dialer(timeout=1, resolver=names(dead), connector=connections).dial(place, tick)
    assert len(connections.asked) == 5


def test_a_name_that_cannot_be_resolved_is_tried_again() -> None:
    """A name server's failure is retried within the bound, and is the network's fault."""

    def fails(host: str, port: int) -> Sequence[str]:
        tries.append(host)
        raise socket.gaierror(socket.EAI_AGAIN, "try again")

    tries: list[str] = []
    assert fetch(Dialer(timeout=1, resolver=fails)).reason is Reason.NETWORK
    assert tries == ["a.fbcdn.net"] * 3


class Authority:
    """A certificate authority of this test, and a server's certificate for a.fbcdn.net."""

    def __init__(self, directory: Path) -> None:
        openssl = shutil.which("openssl")
        if openssl is None:
            pytest.skip("the openssl program makes the certificate of this test")
        self._key, self._certificate = directory / "key.pem", directory / "cert.pem"
        subject = ["-subj", "/CN=a.fbcdn.net", "-addext", "subjectAltName=DNS:a.fbcdn.net"]
        kind = [
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ]
        files = ["-keyout", str(self._key), "-out", str(self._certificate)]
        subprocess.run([openssl, *kind, *subject, *files], check=True, capture_output=True)

    def client(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self._certificate))

    def server(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._certificate, self._key)
        return context


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


class TlsServer:
    """Answers every request on one connection with a picture; ``names`` are the server names that were asked for."""

    def __init__(self, context: ssl.SSLContext, body: bytes) -> None:
        self.names: list[str | None] = []
        self._body = body
        self._context = context
        context.sni_callback = self._note
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _note(self, _socket: object, name: str | None, _context: object) -> None:
        self.names.append(name)

    def _serve(self) -> None:
        try:
            raw, _ = self._listener.accept()
            with raw, self._context.wrap_socket(raw, server_side=True) as peer:
                while peer.recv(65536):
                    peer.sendall(
                        b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(self._body) + self._body
                    )
        except OSError:
            return

    def close(self) -> None:
        self._listener.close()
        self._thread.join(5)


@pytest.fixture
def tls(authority: Authority) -> Iterator[TlsServer]:
    server = TlsServer(authority.server(), jpeg(300_000))
    yield server
    server.close()


def test_tls_asks_for_the_name_and_verifies_it(authority: Authority, tls: TlsServer) -> None:
    """Connected to a vetted address, TLS still names the host; one connection serves two files."""
    connections = Connections(tls.port)
    dialer = Dialer(
        timeout=5, tls=authority.client(), resolver=names(["157.240.27.63"]), connector=connections
    )
    with downloader(allowed_hosts=["*.fbcdn.net"], dialer=dialer) as cdn_downloader:
        for _ in range(2):
            sink = Memory()
            cdn_downloader.download(picture("https://a.fbcdn.net/x.jpg"), sink)
            assert sink.bytes == jpeg(300_000)
    assert tls.names == ["a.fbcdn.net"]
    assert connections.asked == [("157.240.27.63", 443)]


def test_a_certificate_for_another_name_is_final(authority: Authority, tls: TlsServer) -> None:
    """A server that cannot prove the name is not believed, and not asked again."""
    connections = Connections(tls.port)
    dialer = Dialer(
        timeout=5, tls=authority.client(), resolver=names(["157.240.27.63"]), connector=connections
    )
    failed = fetch(dialer, "https://b.fbcdn.net/x?oh=SIGNED")
    assert (failed.reason, failed.retryable) == (Reason.NETWORK, False)
    assert "certificate" in str(failed)
    assert len(connections.asked) == 1


def test_behind_a_proxy_names_are_still_vetted_and_the_proxy_resolves() -> None:
    """The proxy is asked to connect to the name; a name that is not allowed never reaches it; loopback goes past it."""
    body = jpeg(500)
    refusals = [status("502 Bad Gateway")] * 3
    with cdn(*refusals) as proxy, cdn(ok(body)) as local:
        address = f"http://127.0.0.1:{proxy.port}"
        with downloader(allowed_hosts=["*.fbcdn.net", "127.0.0.1"], proxy=address) as through:
            with pytest.raises(DownloadFailed) as caught:
                through.download(picture("https://a.fbcdn.net/x?oh=SIGNED"), Memory(), wait=Waits())
            with pytest.raises(DownloadFailed):
                through.download(picture("https://evil.com/x"), Memory(), wait=Waits())
            through.download(picture(local.url()), Memory())
    assert caught.value.reason is Reason.NETWORK
    assert {request.split("\r\n")[0] for request in proxy.requests} == {"CONNECT a.fbcdn.net:443 HTTP/1.1"}
    assert len(local.requests) == 1
