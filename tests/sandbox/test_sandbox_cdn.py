"""The stand-in's CDN and the media that it serves."""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import archiver.sandbox
from archiver.sandbox import media_files
from archiver.sandbox.world_objects import SandboxFile
from tests.support.standin.faulty_standin import FaultyStandIn, requests_with
from tests.support.standin_requests import BOOKS, GIFTS, LIMITLESS, connect, get, page, tray


@pytest.fixture
def upstream() -> Iterator[FaultyStandIn]:
    with FaultyStandIn() as started:
        yield started


def video(upstream: FaultyStandIn) -> str:
    """A fresh URL of a video."""
    return next(str(i["video_url"]) for i in page(upstream)["items"] if i["video_url"])


def files(shown: Any) -> list[str]:
    """The URLs of all pictures and videos of a page."""
    return [i[f] for i in shown["items"] for f in ("thumbnail_url", "video_url") if i[f]]


def test_every_offered_file_is_served(upstream: FaultyStandIn) -> None:
    """All files of a page, its cover and its owner's avatar are there, as what they are whatever they are
    called.
    """
    shown = page(upstream, BOOKS)
    cover, avatar = shown["cover_media"]["cropped_image_version"]["url"], shown["user"]["profile_pic_url"]
    magic = {"image/jpeg": b"\xff\xd8\xff", "image/webp": b"RIFF", "video/mp4": b"\x00\x00\x00 ftyp"}
    seen = set()
    for url in (*files(shown), cover, avatar):
        answer = get(url)
        kind = answer.headers["content-type"]
        assert (answer.status, int(answer.headers["content-length"])) == (200, len(answer.body))
        assert answer.body.startswith(magic[kind])
        seen.add((urlsplit(url).path.rpartition(".")[2], kind))
    lies = {("heic", "image/jpeg"), ("jpg", "image/webp")}
    assert seen == {("jpg", "image/jpeg"), ("webp", "image/webp"), ("mp4", "video/mp4"), *lies}


def test_bytes_are_unique_and_stay(upstream: FaultyStandIn) -> None:
    """Each file has bytes of its own, the same in every answer; two items of one highlight are twins on
    purpose.
    """
    one, two = (
        [hashlib.sha256(get(u).body).digest() for u in files(page(upstream, LIMITLESS))] for _ in range(2)
    )
    assert one == two
    assert len(set(one)) == len(one) - 1


def clock(now: float) -> Callable[[], float]:
    """A clock that stands still."""
    return lambda: now


def test_urls_die_at_their_expiry(upstream: FaultyStandIn) -> None:
    """``oe`` is the expiry in hexadecimal: pictures live five days, videos two, and then get 403 in plain
    text.
    """
    now = 1_770_000_000.0
    upstream.settings.clock = clock(now)
    shown = next(i for i in page(upstream)["items"] if i["video_url"])
    for url, days in ((shown["thumbnail_url"], 5), (shown["video_url"], 2)):
        upstream.settings.clock = clock(now + days * 86_400 - 1)
        assert int(parse_qs(urlsplit(url).query)["oe"][0], 16) == now + days * 86_400
        assert get(url).status == 200
        upstream.settings.clock = clock(now + days * 86_400)
        answer = get(url)
        assert (answer.status, answer.body, answer.headers["content-type"]) == (
            403,
            b"URL signature expired",
            "text/plain",
        )


def test_lives_can_be_set(upstream: FaultyStandIn) -> None:
    """A life below zero signs URLs that are dead on arrival; pictures and videos apart."""
    upstream.settings.video_life = -60
    shown = next(i for i in page(upstream)["items"] if i["video_url"])
    assert (get(shown["video_url"]).status, get(shown["thumbnail_url"]).status) == (403, 200)


@pytest.mark.parametrize(
    ("old", "new"),
    [("oe=", "oe=1"), ("_nc_gid=", "_nc_gid=x"), ("&oh=00_Af", "&oh=00_Ag"), (".mp4", ".mp4.mp4")],
)
def test_altered_urls_are_refused(upstream: FaultyStandIn, old: str, new: str) -> None:
    """Any change of a URL is noticed: 403 in plain text, or 404 where it leads nowhere."""
    answer = get(video(upstream).replace(old, new, 1))
    mismatch = (403, b"URL signature mismatch")
    assert (answer.status, answer.body) == (mismatch if old != ".mp4" else (404, b"Not Found"))


def test_a_url_without_its_signature_is_refused(upstream: FaultyStandIn) -> None:
    """A bare path is not served."""
    assert get(video(upstream).partition("?")[0]).body == b"URL signature mismatch"


def test_both_hosts_serve_every_url(upstream: FaultyStandIn) -> None:
    """The host is no part of the signature."""
    parts = urlsplit(video(upstream))
    assert {get(parts._replace(netloc=host).geturl()).status for host in upstream.cdn_hosts} == {200}


def test_links_may_name_another_server() -> None:
    """A benchmark lets nginx serve the files: every link names it, and only it."""
    with FaultyStandIn(cdn_origin="https://127.0.0.1:8443") as upstream:
        links = files(page(upstream))
    assert links
    assert {urlsplit(link)[:2] for link in links} == {("https", "127.0.0.1:8443")}


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [("bytes=0-9", 0, 10), ("bytes=10-", 10, None), ("bytes=-10", -10, None), ("bytes=5-999999", 5, None)],
)
def test_ranges(upstream: FaultyStandIn, asked: str, start: int, end: int | None) -> None:
    """``Range`` gets 206 with just those bytes and a true ``Content-Range``."""
    url = video(upstream)
    whole = get(url).body
    part = get(url, {"range": asked})
    first = start % len(whole)
    assert (part.status, part.body) == (206, whole[start:end])
    assert part.headers["content-range"] == f"bytes {first}-{first + len(part.body) - 1}/{len(whole)}"


def test_a_range_beyond_the_end(upstream: FaultyStandIn) -> None:
    """A range that starts at or behind the end: 416, with the true size."""
    url = video(upstream)
    size = len(get(url).body)
    answer = get(url, {"range": f"bytes={size}-"})
    assert (answer.status, answer.headers["content-range"]) == (416, f"bytes */{size}")


def test_ranges_can_be_turned_off(upstream: FaultyStandIn) -> None:
    """Without ranges, ``Range`` is ignored: 200 with everything."""
    upstream.settings.ranges = False
    answer = get(video(upstream), {"range": "bytes=10-"})
    assert answer.status == 200
    assert "accept-ranges" not in answer.headers


def test_if_range(upstream: FaultyStandIn) -> None:
    """``If-Range`` gets the part while the strong ETag or the date still holds, else everything; a weak ETag
    never does.
    """
    url = video(upstream)
    whole = get(url)

    def status(condition: str) -> int:
        return get(url, {"range": "bytes=10-", "if-range": condition}).status

    assert status(whole.headers["etag"]) == status(whole.headers["last-modified"]) == 206
    assert status('"other"') == status("Thu, 01 Jan 1970 00:00:00 GMT") == 200
    upstream.settings.etag = "weak"
    assert status(get(url).headers["etag"]) == 200


def test_the_etag_follows_the_bytes(upstream: FaultyStandIn) -> None:
    """Edited bytes have another ETag under the same URL; without ETags none is sent."""
    item = next(i for i in page(upstream)["items"] if i["video_url"])
    before = get(item["video_url"])
    upstream.world.change_bytes(GIFTS, item["pk"], "video")
    after = get(item["video_url"])
    assert after.headers["etag"] != before.headers["etag"]
    assert after.body != before.body
    upstream.settings.etag = "none"
    assert "etag" not in get(item["video_url"]).headers


def test_the_digest_is_true(upstream: FaultyStandIn) -> None:
    """``content-digest`` is sent if asked for in the settings, and is the Adler-32 of the whole body."""
    url = video(upstream)
    assert "content-digest" not in get(url).headers
    upstream.settings.digest = True
    answer = get(url)
    assert answer.headers["content-digest"] == f"adler32={zlib.adler32(answer.body)}"


def test_head(upstream: FaultyStandIn) -> None:
    """HEAD has the headers of GET and no body: the next answer follows at once on the same connection."""
    parts = urlsplit(video(upstream))
    target = f"{parts.path}?{parts.query}"
    with connect(parts.netloc) as sock:
        sock.sendall(
            f"HEAD {target} HTTP/1.1\r\n\r\nGET {target} HTTP/1.1\r\nconnection: close\r\n\r\n".encode()
        )
        received = b"".join(iter(lambda: sock.recv(65_536), b""))
    head, next_head, body = received.split(b"\r\n\r\n", 2)
    assert head == next_head
    assert body == get(parts.geturl()).body


def test_the_cdn_bills_nothing(upstream: FaultyStandIn) -> None:
    """Files are free, served or refused."""
    url = video(upstream)
    units = upstream.units
    get(url)
    get(url + "x")
    assert upstream.units == units


def test_a_removed_item_stays_served(upstream: FaultyStandIn) -> None:
    """A URL outlives what its owner does, until it expires."""
    item = page(upstream)["items"][0]
    upstream.world.remove_item(GIFTS, item["pk"])
    assert get(item["thumbnail_url"]).status == 200


def test_the_log_knows_what_a_file_is(upstream: FaultyStandIn) -> None:
    """A CDN request is logged with item, highlight, user and role, and with every header that came."""
    item = next(i for i in page(upstream)["items"] if i["video_url"])
    get(item["video_url"], {"x-access-key": upstream.key})
    tray_avatar = tray(upstream)[0]["user"]["profile_pic_url"]
    get(tray_avatar)
    get(f"http://{upstream.cdn_hosts[0]}/{upstream.key}")
    get(f"http://{upstream.cdn_hosts[0]}/?key={upstream.key}")
    first, second, in_path, in_query = upstream.requests.cdn_requests()
    assert (first.subject.item, first.subject.highlight, first.subject.role) == (item["pk"], GIFTS, "video")
    assert (second.subject.user, second.subject.item, second.subject.role) == ("787132", "", "avatar")
    assert first.headers["x-access-key"] == upstream.key
    assert requests_with(upstream.requests, upstream.key) == [first, in_path, in_query]
    assert upstream.requests.cdn_requests(item=item["pk"], role="video", status=200) == [first]
    assert upstream.requests.cdn_requests(status=403) == []


PICTURES = (*media_files.PHOTOS, media_files.COVER, media_files.AVATAR)
ALL = (*PICTURES, media_files.WEBP, *media_files.VIDEOS)
LEAST = 40_000  # above the smallest size of every file


def jpeg_size(data: bytes) -> tuple[int, int]:
    """Width and height of a JPEG whose segments follow each other without a gap up to its scan, and which
    ends with EOI.
    """
    assert data[:2] == b"\xff\xd8"
    assert data[-2:] == b"\xff\xd9"
    at, size = 2, (0, 0)
    while True:
        marker, length = struct.unpack(">HH", data[at : at + 4])
        assert marker >> 8 == 0xFF
        if marker in (0xFFC0, 0xFFC2):
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            size = (width, height)
        if marker == 0xFFDA:
            return size
        at += 2 + length


def mp4_boxes(data: bytes) -> list[str]:
    """The names of an MP4's outer boxes, which end exactly where the file ends."""
    at, names = 0, []
    while at < len(data):
        length, name = struct.unpack(">I4s", data[at : at + 8])
        assert length >= 8
        names.append(name.decode())
        at += length
    assert at == len(data)
    return names


def webp_chunks(data: bytes) -> list[str]:
    """The names of a WebP's chunks, which end exactly where RIFF and the file end."""
    assert data[:4] + data[8:12] == b"RIFFWEBP"
    assert struct.unpack("<I", data[4:8])[0] == len(data) - 8
    at, names = 12, []
    while at < len(data):
        name, length = struct.unpack("<4sI", data[at : at + 8])
        names.append(name.decode())
        at += 8 + length + length % 2
    assert at == len(data)
    return names


@settings(deadline=None)
@given(
    base=st.sampled_from(PICTURES),
    mark=st.text("0123456789 ab", max_size=40),
    size=st.integers(LEAST, 400_000),
)
def test_jpegs_are_valid_at_any_size(base: str, mark: str, size: int) -> None:
    """A JPEG of any asked size has exactly that size, whole segments and its own dimensions."""
    data = media_files.body(SandboxFile("/x.jpg", base, mark, size))
    assert len(data) == size
    assert jpeg_size(data) == ((150, 150) if base in (media_files.COVER, media_files.AVATAR) else (180, 320))


@settings(deadline=None)
@given(extra=st.integers(0, 12), segments=st.integers(0, 3))
def test_jpegs_are_valid_around_a_full_segment(extra: int, segments: int) -> None:
    """A rest too small for a segment of its own is never left over: sizes around whole numbers of segments
    come out exactly.
    """
    least = len(media_files.body(SandboxFile("/x.jpg", media_files.COVER, "1")))
    size = max(least, least + segments * 65_537 + extra - 6)
    data = media_files.body(SandboxFile("/x.jpg", media_files.COVER, "1", size))
    assert (len(data), jpeg_size(data)) == (size, (150, 150))


@settings(deadline=None)
@given(
    base=st.sampled_from(media_files.VIDEOS),
    mark=st.text("0123456789", max_size=40),
    size=st.integers(LEAST, 400_000),
)
def test_videos_are_valid_at_any_size(base: str, mark: str, size: int) -> None:
    """An MP4 of any asked size has exactly that size, whole boxes, and its index before its frames."""
    data = media_files.body(SandboxFile("/x.mp4", base, mark, size))
    names = mp4_boxes(data)
    assert len(data) == size
    assert names[0] == "ftyp"
    assert names.index("moov") < names.index("mdat")


@settings(deadline=None)
@given(mark=st.text("0123456789", max_size=40), size=st.integers(LEAST, 400_000))
def test_webps_are_valid_at_any_size(mark: str, size: int) -> None:
    """A WebP of any asked size has that size, or one byte more where it is odd, and whole chunks."""
    data = media_files.body(SandboxFile("/x.webp", media_files.WEBP, mark, size))
    assert len(data) == size + size % 2
    assert webp_chunks(data)[0] == "VP8 "


@pytest.mark.parametrize("base", ALL)
def test_marks_make_bytes_unique(base: str) -> None:
    """Two marks give different bytes, one mark always the same, padded or not."""
    for size in (None, LEAST):
        one, two, again = (media_files.body(SandboxFile("/x", base, mark, size)) for mark in ("1", "2", "1"))
        assert one != two
        assert one == again


def test_a_size_below_the_least_is_refused() -> None:
    """A file cannot be made smaller than it is."""
    with pytest.raises(ValueError, match="the smallest valid one has"):
        media_files.body(SandboxFile("/x", media_files.COVER, "1", 10))


def test_all_files_are_small() -> None:
    """What is shipped for the stand-in stays below 300 kB."""
    folder = Path(archiver.sandbox.__file__).parent / "media"
    assert {f.name for f in folder.iterdir()} == {*ALL, "README.md"}
    assert sum(f.stat().st_size for f in folder.iterdir()) < 300_000
