"""What a CDN can do wrong with one answer: each fault ends in whole bytes or in the right reason, never in a
wrong file.
"""

from __future__ import annotations

import gzip
import zlib
from datetime import UTC, datetime

import pytest

from archiver.errors import DownloadFailed, Reason
from archiver.media.checked_writer import DownloadedFile
from archiver.model.identity import Role
from archiver.model.upstream import Link
from tests.support.media_samples import REAL_MP4, gif, jpeg, mp4
from tests.support.scripted_cdn import (
    BODY,
    AfterReply,
    MemoryWriter,
    Reply,
    downloader,
    failure,
    fetch_body,
    head,
    ok,
    picture,
    scripted_cdn,
)

LENGTH = len(BODY)


def chunked(body: bytes, *, end: bool = True) -> bytes:
    """A body in chunks of 5,000 bytes, with or without its last, empty one."""
    pieces = (body[at : at + 5000] for at in range(0, len(body), 5000))
    return b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in pieces) + (b"0\r\n\r\n" if end else b"")


def test_a_picture_and_a_video_arrive() -> None:
    """Bytes, type, size and dimensions of what came."""
    assert fetch_body(ok(BODY)) == DownloadedFile("image/jpeg", 640, 480, LENGTH)
    assert fetch_body(ok(REAL_MP4), body=REAL_MP4, role=Role.VIDEO) == DownloadedFile(
        "video/mp4", 144, 256, len(REAL_MP4)
    )
    assert fetch_body(ok(gif()), body=gif(), role=Role.AVATAR).mime == "image/gif"


def test_fault_c6_a_short_body_is_retried_and_never_kept() -> None:
    """Fewer bytes than Content-Length: again, and at last TRUNCATED."""
    short = Reply((head(content_length=LENGTH) + BODY[:-1],), AfterReply.CLOSE)
    assert failure(short, short, short, requests=3).reason is Reason.TRUNCATED
    fetch_body(short, ok(BODY), requests=2)


def test_fault_c7_a_length_that_is_too_small_is_found() -> None:
    """HTTP cuts the body where Content-Length ends; the structure tells."""
    cut = Reply((head(content_length=len(BODY) - 9) + BODY,))
    assert failure(cut, cut, cut, requests=3).reason is Reason.TRUNCATED


@pytest.mark.parametrize("size", [2000, 200_000])
def test_fault_c7_bytes_beyond_the_length_are_no_answer_to_the_next_request(size: int) -> None:
    """A whole file is kept; what follows it, an answer by its looks, is thrown away with its connection."""
    smuggled = head(content_length=300) + jpeg(300, seed=9)
    long = Reply((head(content_length=size) + jpeg(size) + smuggled,))
    with scripted_cdn(long, ok(jpeg(500))) as server, downloader() as cdn_downloader:
        for expected in (jpeg(size), jpeg(500)):
            sink = MemoryWriter()
            cdn_downloader.download(picture(server.link()), sink)
            assert sink.bytes == expected
        assert server.connections == 2


@pytest.mark.parametrize("body", [BODY, mp4()], ids=["jpeg", "mp4"])
def test_fault_c8_a_lying_length_that_closes_exactly_there_is_found(body: bytes) -> None:
    """HTTP calls it complete, the structure does not."""
    lie = ok(body[:-700], AfterReply.CLOSE)
    role = Role.VIDEO if body == mp4() else Role.THUMBNAIL
    assert failure(lie, lie, lie, role=role, requests=3).reason is Reason.TRUNCATED


def test_fault_c9_without_a_length_the_structure_decides() -> None:
    """A whole file is kept, a cut one is not, and one that says "to the end" is not either."""
    fetch_body(Reply((head() + BODY,), AfterReply.CLOSE))
    cut = Reply((head() + BODY[:-1000],), AfterReply.CLOSE)
    assert failure(cut, cut, cut, requests=3).reason is Reason.TRUNCATED
    endless_box = mp4().replace(mp4()[mp4().index(b"mdat") - 4 :][:8], bytes(4) + b"mdat")
    unknown = Reply((head() + endless_box,), AfterReply.CLOSE)
    assert failure(unknown, unknown, unknown, role=Role.VIDEO, requests=3).reason is Reason.TRUNCATED
    fetch_body(ok(endless_box), body=endless_box, role=Role.VIDEO)


def test_an_odd_tail_is_kept() -> None:
    """Bytes after the end of a picture are the CDN's business."""
    fetch_body(ok(BODY + b"trailer"), body=BODY + b"trailer")


def test_fault_c10_a_chunked_body_arrives_whole_or_not_at_all() -> None:
    """The last chunk is what says that all has come; a whole one leaves its connection usable."""
    short = Reply((head(transfer_encoding="chunked") + chunked(BODY[:-5000], end=False),), AfterReply.CLOSE)
    assert failure(short, short, short, requests=3).reason is Reason.TRUNCATED
    whole = Reply((head(transfer_encoding="chunked") + chunked(BODY),))
    with scripted_cdn(whole, whole) as server, downloader() as cdn_downloader:
        for _ in range(2):
            sink = MemoryWriter()
            cdn_downloader.download(picture(server.link()), sink)
            assert sink.bytes == BODY
        assert server.connections == 1


@pytest.mark.parametrize("body", [gzip.compress(BODY), gzip.compress(BODY)[:-20], BODY])
def test_fault_c13_a_content_coding_is_refused(body: bytes) -> None:
    """Identity was asked for: another coding is not taken, whole, cut, or only by its name."""
    assert failure(ok(body, content_encoding="gzip")).reason is Reason.NOT_MEDIA
    fetch_body(ok(BODY, content_encoding="identity"))


@pytest.mark.parametrize(
    "body",
    [
        b"<!DOCTYPE html><html><body>Sorry, this page is not available</body></html>" * 30,
        b'{"error": {"message": "no"}}' * 30,
        b'<svg xmlns="http://www.w3.org/2000/svg"></svg>' * 30,
        b"\x7fELF\x02\x01\x01" + bytes(500),
        b"MZ\x90\x00" + bytes(500),
        b"#!/bin/sh\nrm -rf /\n" * 30,
        b"URL signature expired",
    ],
)
def test_fault_c14_what_is_no_media_never_reaches_the_sink(body: bytes) -> None:
    """The first bytes outweigh the header: HTML, text, SVG and programs are refused, not retried, not
    written.
    """
    sink = MemoryWriter()
    with scripted_cdn(ok(body, content_type="image/jpeg")) as server, downloader() as cdn_downloader:
        with pytest.raises(DownloadFailed) as caught:
            cdn_downloader.download(picture(server.link()), sink)
        assert len(server.requests) == 1
    assert caught.value.reason is Reason.NOT_MEDIA
    assert sink.bytes == b""


@pytest.mark.parametrize("body", [b"", b"\xff", jpeg(80), gif()[:40]])
def test_fault_c15_next_to_nothing_is_no_file(body: bytes) -> None:
    """An empty body, or one under 100 bytes, is refused."""
    assert failure(ok(body)).reason is Reason.NOT_MEDIA


@pytest.mark.parametrize(
    ("role", "body"),
    [(Role.VIDEO, BODY), (Role.THUMBNAIL, mp4()), (Role.COVER, mp4()), (Role.AVATAR, mp4())],
)
def test_fault_c16_the_wrong_kind_is_refused(role: Role, body: bytes) -> None:
    """A video's link must bring a video, every other one a picture."""
    assert failure(ok(body), role=role).reason is Reason.WRONG_KIND


def test_fault_c22_too_large_by_its_own_word_is_refused_before_its_body() -> None:
    """A Content-Length over the cap ends it at once: nothing is sent, nothing is waited for."""
    huge = Reply((head(content_length=10**12),), AfterReply.HOLD)
    assert failure(huge, max_file_size=1000).reason is Reason.TOO_LARGE


def test_fault_c22_an_endless_body_is_cut_at_the_cap() -> None:
    """Without a length, or in chunks, the cap holds in mid-stream: no gap of the owner's choice, for nobody
    knows the file's size.
    """
    endless = Reply((head() + BODY[:-2], b"x" * 65536), endless=True)
    piece = b"10000\r\n" + b"y" * 65536 + b"\r\n"
    in_chunks = Reply(
        (head(transfer_encoding="chunked") + chunked(BODY[:-2], end=False), *[piece] * 80), AfterReply.HOLD
    )
    for reply in (endless, in_chunks):
        assert failure(reply, max_file_size=3_000_000).reason is Reason.ENDLESS


def test_fault_c28_headers_that_name_files_and_types_are_ignored() -> None:
    """Content-Disposition and Content-Type decide nothing."""
    got = fetch_body(ok(BODY, content_disposition="attachment; filename=../../x", content_type="x" * 5000))
    assert got.mime == "image/jpeg"


def test_fault_c29_no_cookie_no_referrer_no_key_and_no_browser_goes_out() -> None:
    """A cookie that is set is never sent back; the request says only who we are and what we take."""
    with (
        scripted_cdn(ok(BODY, set_cookie="id=1; Path=/"), ok(BODY)) as server,
        downloader() as cdn_downloader,
    ):
        for _ in range(2):
            cdn_downloader.download(picture(server.link()), MemoryWriter())
        sent = {line.partition(":")[0].lower() for line in server.requests[1].split("\r\n")[1:] if line}
        assert sent == {"host", "user-agent", "accept", "accept-encoding"}
        assert server.header(1, "accept-encoding") == "identity"
        assert str(server.header(1, "user-agent")).startswith("archiver/")
        assert server.requests[0].startswith("GET /p/photo.jpg?oh=SIGNED&oe=7FFFFFFF HTTP/1.1\r\n")
        assert server.connections == 1


@pytest.mark.parametrize("path", ["/x\r\nX-Evil: 1", "/a b", "/" + "x" * 65536, "/\x00"])
def test_fault_c30_a_url_that_breaks_the_request_is_refused_before_it(path: str) -> None:
    """Line breaks, spaces, NUL and 64 kB never reach a socket."""
    with scripted_cdn() as server, downloader() as cdn_downloader:
        with pytest.raises(DownloadFailed) as caught:
            cdn_downloader.download(picture(server.link(path)), MemoryWriter())
        assert server.connections == 0
    assert caught.value.reason is Reason.REFUSED


@pytest.mark.parametrize("name", ["content_digest", "repr_digest"])
def test_a_checksum_that_does_not_match_is_retried(name: str) -> None:
    """Bytes that a checksum denies are never kept, though length and structure agree."""
    good: dict[str, str | int] = {name: f"adler32={zlib.adler32(BODY)}"}
    bad: dict[str, str | int] = {name: "adler32=1"}
    wrong, right = ok(BODY, **bad), ok(BODY, **good)
    assert failure(wrong, wrong, wrong, requests=3).reason is Reason.DIGEST
    fetch_body(wrong, right, requests=2)


def test_a_checksum_vouches_for_an_odd_structure() -> None:
    """What upstream itself holds cut is kept as it is, if a checksum says that these are its bytes."""
    odd = BODY[:-100]
    fetch_body(ok(odd, content_digest=f"adler32={zlib.adler32(odd)}"), body=odd)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000,
    ],
)
def test_an_answer_that_is_no_http_is_the_networks_fault(answer: bytes) -> None:
    """Garbage, an empty reply, two lengths and an endless head are retried, then NETWORK."""
    failed = failure(*[Reply((answer,), AfterReply.CLOSE)] * 3, requests=3)
    assert (failed.reason, failed.is_retryable) == (Reason.NETWORK, True)


def test_informational_answers_are_passed_over() -> None:
    """103 Early Hints before the answer is not the answer."""
    hints = head("103 Early Hints", link="</x>")
    fetch_body(Reply((hints + hints + head(content_length=len(BODY)) + BODY,)))


def test_a_clock_far_ahead_costs_no_request() -> None:
    """With a clock a year ahead every signed link is expired, and none is asked (H18)."""
    with scripted_cdn() as server, downloader() as cdn_downloader:
        link = Link(Role.COVER, server.link(), datetime(2020, 1, 1, tzinfo=UTC))
        with pytest.raises(DownloadFailed):
            cdn_downloader.download(link, MemoryWriter())
        assert server.connections == 0
