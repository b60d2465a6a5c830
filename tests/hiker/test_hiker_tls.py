"""HikerClient over TLS, and what it takes from the environment: certificates and a proxy."""

from __future__ import annotations

import socket
import ssl
import subprocess
from pathlib import Path

import pytest

from archiver.errors import CallFailed, ConfigError
from archiver.hiker import endpoints
from archiver.model.api_calls import Answer
from tests.support.api_client import KEY, answers_once, client
from tests.support.scripted_server import Act, Authority, Connection, scripted_server

pytestmark = pytest.mark.usefixtures("no_proxy")

PASSWORD = "hunter2hunter2"


@pytest.fixture(scope="module")
def localhost(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A certificate for localhost."""
    return Authority(tmp_path_factory.mktemp("tls"), "localhost")


@pytest.fixture
def context(localhost: Authority) -> ssl.SSLContext:
    """A server's side of TLS with it."""
    return localhost.server()


@pytest.fixture
def trusted(no_proxy: None, localhost: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is trusted."""
    monkeypatch.setenv("SSL_CERT_FILE", str(localhost.certificate))


def send(base_url: str, timeout: float = 5.0) -> Answer:
    """One free call through a client of its own."""
    with client(base_url, timeout) as hiker:
        return hiker.send(endpoints.balance_call())


def test_fault_a31_a_certificate_that_nobody_vouches_for_is_final(context: ssl.SSLContext) -> None:
    """Not sent, and not worth another try; the key never left (A31)."""
    with (
        scripted_server(answers_once, context=context) as server,
        pytest.raises(CallFailed, match="certificate") as caught,
    ):
        send(f"https://localhost:{server.port}")
    assert (caught.value.was_sent, caught.value.is_permanent) == (False, True)
    assert server.requests == []


def test_fault_a31_an_expired_certificate_is_final(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trusted once and past its time: not sent, not worth another try, and told as expired."""
    try:
        in_2020 = ("-not_before", "20200101000000Z", "-not_after", "20200102000000Z")
        old = Authority(tmp_path, "localhost", validity=in_2020)
    except subprocess.CalledProcessError:  # OpenSSL before 3.4
        old = Authority(tmp_path, "localhost", validity=("-days", "-1"))
    monkeypatch.setenv("SSL_CERT_FILE", str(old.certificate))
    with (
        scripted_server(answers_once, context=old.server()) as server,
        pytest.raises(CallFailed, match="expired") as caught,
    ):
        send(f"https://localhost:{server.port}")
    assert (caught.value.was_sent, caught.value.is_permanent) == (False, True)
    assert server.requests == []


@pytest.mark.usefixtures("trusted")
def test_fault_a31_another_host_s_certificate_is_final(context: ssl.SSLContext) -> None:
    """Trusted, but for another name than the one that was asked for."""
    with (
        scripted_server(answers_once, context=context) as server,
        pytest.raises(CallFailed, match=r"mismatch.*127") as caught,
    ):
        send(f"https://127.0.0.1:{server.port}")
    assert (caught.value.was_sent, caught.value.is_permanent) == (False, True)
    assert server.requests == []


@pytest.mark.usefixtures("trusted")
def test_fault_a36_ssl_cert_file_names_whom_to_trust(context: ssl.SSLContext) -> None:
    """With the server's certificate in SSL_CERT_FILE the call goes through, key and all."""
    with scripted_server(answers_once, context=context) as server:
        assert send(f"https://localhost:{server.port}").status == 200
    assert f"x-access-key: {KEY}" in server.requests[0]


@pytest.mark.usefixtures("trusted")
def test_fault_a32_a_break_inside_tls_counts_as_sent(context: ssl.SSLContext) -> None:
    """Once the request is inside the tunnel it may have been billed."""
    act: Act = lambda connection: (connection.request(), None)[1]  # noqa: E731
    with scripted_server(act, context=context) as server, pytest.raises(CallFailed) as caught:
        send(f"https://localhost:{server.port}")
    assert caught.value.was_sent


@pytest.mark.parametrize(
    ("greeting", "told"),
    [(b"", "within 0.3 seconds"), (b"HTTP/1.1 400 Bad Request\r\n\r\n", "SSL")],
)
def test_fault_a31_a_server_that_speaks_no_tls_was_sent_nothing(greeting: bytes, told: str) -> None:
    """A handshake that fails or never comes carries nothing of the request, and may do better next time."""

    def act(connection: Connection) -> None:
        connection.sock.sendall(greeting)
        if not greeting:
            connection.over.wait(5)

    with scripted_server(act) as server, pytest.raises(CallFailed, match=told) as caught:
        send(f"https://localhost:{server.port}", timeout=0.3)
    assert (caught.value.was_sent, caught.value.is_permanent) == (False, False)


def test_fault_a36_certificates_that_cannot_be_read_are_a_config_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A wrong SSL_CERT_FILE is told before anything is sent."""
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/ca.pem")
    with pytest.raises(ConfigError, match="SSL_CERT_FILE"):
        send("https://localhost:1")


@pytest.mark.usefixtures("trusted")
def test_fault_a36_https_goes_through_the_proxy_of_the_environment(
    context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HTTPS_PROXY is asked for a tunnel with its own password, and sees neither key nor path (A36)."""

    def tunnel(connection: Connection) -> None:
        connection.request()
        connection.sock.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        inside = Connection(context.wrap_socket(connection.sock, server_side=True), connection.over)
        answers_once(inside)
        inside.sock.close()

    with scripted_server(tunnel) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:{PASSWORD}@127.0.0.1:{proxy.port}")
        assert send("https://localhost").status == 200
    assert proxy.requests[0].startswith("CONNECT localhost:443 ")
    assert "proxy-authorization: basic" in proxy.requests[0].lower()
    assert KEY not in proxy.requests[0]
    assert "balance" not in proxy.requests[0]


@pytest.mark.parametrize("replies", [True, False])
def test_fault_a36_a_proxy_that_gives_no_tunnel_was_sent_nothing(
    replies: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused or broken CONNECT costs nothing, and the proxy's password is in no message."""

    def act(connection: Connection) -> None:
        connection.request()
        if replies:
            connection.answer(b"", status="407 Proxy Authentication Required")

    with scripted_server(act) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:{PASSWORD}@127.0.0.1:{proxy.port}")
        with pytest.raises(CallFailed) as caught:
            send("https://localhost")
    assert not caught.value.was_sent
    assert PASSWORD not in str(caught.value)


def test_fault_a36_plain_http_never_goes_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loopback API is reached directly whatever the environment says: a proxy would read the key."""
    with scripted_server(answers_once) as proxy, scripted_server(answers_once) as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        assert send(server.url).status == 200
    assert proxy.connections == 0


def test_fault_a36_no_proxy_excepts_a_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host in NO_PROXY is reached directly."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with scripted_server(answers_once) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", "localhost")
        with pytest.raises(CallFailed, match="refused"):
            send(f"https://localhost:{port}")
    assert proxy.connections == 0


@pytest.mark.parametrize("url", [f"socks5://me:{PASSWORD}@127.0.0.1:1", f"http://me:{PASSWORD}@[::1"])
def test_fault_a36_a_proxy_that_cannot_be_used_is_a_config_error(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused when the client is made, without quoting its password."""
    monkeypatch.setenv("ALL_PROXY", url)
    with pytest.raises(ConfigError, match="ALL_PROXY") as caught:
        send("https://localhost")
    assert PASSWORD not in str(caught.value)
