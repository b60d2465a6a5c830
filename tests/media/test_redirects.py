"""Answers that lead elsewhere: nowhere that the configuration does not allow."""

from __future__ import annotations

import pytest

from archiver.errors import DownloadFailed, Reason
from tests.support.media_samples import jpeg
from tests.support.scripted_cdn import MemoryWriter, Waits, downloader, ok, picture, scripted_cdn, status

BODY = jpeg(300_000)


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
