"""Answers that lead elsewhere. Every hop is a new question: is the name allowed, are all its addresses
public, does TLS prove the name?
"""

from __future__ import annotations

import pytest

from archiver.errors import DownloadFailed, Reason
from tests.support.media_samples import jpeg
from tests.support.scripted_cdn import (
    A,
    B,
    MemoryWriter,
    Names,
    TlsHosts,
    Waits,
    downloader,
    head,
    moved,
    ok,
    picture,
    scripted_cdn,
    status,
    tls_hosts,
)
from tests.support.scripted_server import Authority

BODY = jpeg(20_000)
FILE = head("200 OK", content_length=len(BODY)) + BODY
START = "https://a.fbcdn.net/x.jpg?oh=SIGNED"


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "127.0.0.2",
        "10.0.0.1",
        "[::1]",
        "[::ffff:10.0.0.1]",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "[64:ff9b::a00:1]",
        "[2002:a00:1::]",
        "evil.com",
        "127.0.0.1@evil.com",
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_fault_c17_a_redirect_leads_nowhere_else(scheme: str, address: str) -> None:
    """A redirect to a host that is not listed, however it is written, is not followed."""
    failed = redirected(f"{scheme}://{address}/latest?oh=SIGNED")
    reasons = (
        "is not in download.allowed_hosts",
        "contains a username",
        "not a host name",
        "only https on port 443",
        "public internet",
    )
    assert any(reason in failed for reason in reasons)


@pytest.mark.parametrize(
    "location",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "data:image/png;base64,AA",
        "gopher://127.0.0.1/",
        "http://[bad",
        "",
    ],
)
def test_fault_c18_a_redirect_to_no_web_page_is_not_followed(location: str) -> None:
    """Other schemes, no URL and no Location end it."""
    redirected(location)


def redirected(location: str) -> str:
    headers: dict[str, str | int] = {"location": location} if location else {}
    with scripted_cdn(status("302 Found", **headers)) as server, downloader() as cdn_downloader:
        with pytest.raises(DownloadFailed) as caught:
            cdn_downloader.download(picture(server.link()), MemoryWriter(), Waits())
        assert (caught.value.reason, caught.value.is_retryable) == (Reason.REDIRECT, False)
        assert len(server.requests) == 1
    assert "SIGNED" not in str(caught.value)
    return str(caught.value)


def test_fault_c19_five_redirects_are_followed_and_a_sixth_is_not() -> None:
    """Relative places are joined; a loop ends."""
    hops = [status("302 Found", b"moved", location=f"../n/{n}?a=b") for n in range(5)]
    with scripted_cdn(*hops, ok(BODY)) as server, downloader() as cdn_downloader:
        cdn_downloader.download(picture(server.link()), MemoryWriter())
        assert server.requests[5].startswith("GET /n/4?a=b HTTP/1.1")
    loop = [status("301 Moved", location="/p/photo.jpg")] * 6
    with scripted_cdn(*loop) as server, downloader() as cdn_downloader:
        with pytest.raises(DownloadFailed) as caught:
            cdn_downloader.download(picture(server.link()), MemoryWriter())
        assert len(server.requests) == 6
    assert caught.value.reason is Reason.REDIRECT


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"), "a.fbcdn.net", "b.fbcdn.net")


def refused(server: TlsHosts, names: Names, *also: str) -> DownloadFailed:
    """The failure that a download from ``START`` ends in."""
    hosts = ["*.fbcdn.net", *also]
    through = downloader(allowed_hosts=hosts, dialer=server.dialer(names))
    with through as cdn_downloader, pytest.raises(DownloadFailed) as caught:
        cdn_downloader.download(picture(START), MemoryWriter(), Waits())
    assert "SIGNED" not in str(caught.value)
    return caught.value


def test_fault_c21_every_hop_goes_to_its_vetted_address_under_its_own_name(authority: Authority) -> None:
    """Two hosts, three requests: each connection is made to the address that was vetted, and TLS asks for the
    host's name.
    """
    answers = {"a_x": moved("https://b.fbcdn.net/y.jpg"), "b_y": moved("z.jpg"), "b_z": FILE}
    sink, names = MemoryWriter(), Names(a=[[A]], b=[[B]])
    with tls_hosts(authority, **answers) as server:
        with downloader(allowed_hosts=["*.fbcdn.net"], dialer=server.dialer(names)) as cdn_downloader:
            cdn_downloader.download(picture(START), sink)
        assert server.connections.asked == [(A, 443), (B, 443), (B, 443)]
        assert server.names == names.asked == ["a.fbcdn.net", "b.fbcdn.net", "b.fbcdn.net"]
    assert sink.bytes == BODY


@pytest.mark.parametrize(
    "address", ["10.0.0.1", "127.0.0.1", "169.254.169.254", "::1", "::ffff:10.0.0.1", "64:ff9b::a00:1"]
)
def test_fault_c17_a_hop_to_a_name_that_means_an_inner_address_is_not_connected_to(
    authority: Authority, address: str
) -> None:
    """The next host is allowed, one of its addresses is public, another is not: nothing is connected to after
    the first hop.
    """
    with tls_hosts(authority, a_x=moved("https://b.fbcdn.net/y.jpg")) as server:
        failed = refused(server, Names(a=[[A]], b=[[B, address]]))
        assert server.connections.asked == [(A, 443)]
    assert (failed.reason, failed.is_retryable) == (Reason.NETWORK, False)
    assert f"its name resolves to {address}, which is not on the public internet" in str(failed)


@pytest.mark.parametrize(
    "answer",
    [moved("y.jpg", connection="close"), head(content_length=len(BODY), connection="close") + BODY[:9999]],
    ids=["next hop", "next attempt"],
)
def test_fault_c21_a_name_is_vetted_anew_for_every_connection(authority: Authority, answer: bytes) -> None:
    """The name server says a public address first and a private one then: the second connection is not
    made.
    """
    names = Names(a=[[A], ["10.0.0.1"]])
    with tls_hosts(authority, a_x=answer, a_y=FILE) as server:
        assert "its name resolves to 10.0.0.1" in str(refused(server, names))
        assert server.connections.asked == [(A, 443)]
    assert names.asked == ["a.fbcdn.net"] * 2


def test_fault_c21_a_hop_whose_host_cannot_prove_its_name_is_final(authority: Authority) -> None:
    """TLS verifies the name of the hop, not that of the first host, and it is not asked again."""
    with tls_hosts(authority, a_x=moved("https://c.fbcdn.net/y.jpg")) as server:
        failed = refused(server, Names(a=[[A]], c=[[B]]))
        assert server.names == ["a.fbcdn.net", "c.fbcdn.net"]
        assert len(server.requests) == 1
    assert (failed.reason, failed.is_retryable) == (Reason.NETWORK, False)
    assert "certificate" in str(failed)


def test_fault_c17_the_internet_may_not_point_at_a_listed_loopback_host(authority: Authority) -> None:
    """127.0.0.1 is listed, so a link may name it; a redirect from the CDN may not."""
    with scripted_cdn(ok(BODY)) as local, tls_hosts(authority, a_x=moved(local.link())) as server:
        failed = refused(server, Names(a=[[A]]), "127.0.0.1")
        assert local.connections == 0
    assert failed.reason is Reason.REDIRECT


@pytest.mark.parametrize(
    "location",
    [
        "https://a.fbcdn.net.evil.com/x.jpg",
        "https://evilfbcdn.net/x.jpg",
        "https://fbcdn.net/x.jpg",
        "https://b.fbcdn.net./x.jpg",
        "https://user@b.fbcdn.net/x.jpg",
        "https://b.fbcdn.net:22/x.jpg",
        "https://b.fbcdn.nеt/x.jpg",  # a Cyrillic letter
        "http://b.fbcdn.net/x.jpg",
        "//evil.com/x.jpg",
    ],
)
def test_fault_c20_a_hop_is_checked_like_the_first_link(authority: Authority, location: str) -> None:
    """Look-alikes, a trailing dot, a user, another port, a homograph, http: no name is resolved for them."""
    names = Names(a=[[A]])
    with tls_hosts(authority, a_x=moved(location.encode().decode("latin-1"))) as server:
        assert refused(server, names).reason is Reason.REDIRECT
    assert names.asked == ["a.fbcdn.net"]


def test_fault_c29_a_cookie_does_not_travel_with_a_redirect(authority: Authority) -> None:
    """Set for the whole domain by the first host, it is not sent to the second; nor is a referrer."""
    cookie = {"set_cookie": "id=TRACKED; Domain=fbcdn.net; Path=/"}
    with tls_hosts(authority, a_x=moved("https://b.fbcdn.net/y.jpg", **cookie), b_y=FILE) as server:
        dialer = server.dialer(Names(a=[[A]], b=[[B]]))
        with downloader(allowed_hosts=["*.fbcdn.net"], dialer=dialer) as cdn_downloader:
            cdn_downloader.download(picture(START), MemoryWriter())
        sent = {line.partition(":")[0].lower() for line in server.requests[1].split("\r\n")[1:] if line}
    assert sent == {"host", "user-agent", "accept", "accept-encoding"}


def test_tls_serves_many_files_on_one_connection(authority: Authority) -> None:
    """A kept connection is neither dialled nor resolved anew."""
    names = Names(a=[[A], ["10.0.0.1"]])
    with tls_hosts(authority, a_x=FILE) as server:
        with downloader(allowed_hosts=["*.fbcdn.net"], dialer=server.dialer(names)) as cdn_downloader:
            for _ in range(2):
                sink = MemoryWriter()
                cdn_downloader.download(picture(START), sink)
                assert sink.bytes == BODY
        assert server.names == ["a.fbcdn.net"]
        assert server.connections.asked == [(A, 443)]
