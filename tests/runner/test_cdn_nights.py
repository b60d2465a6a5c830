"""What the CDN did wrong all night, file by file: each is a failure with its reason, and its neighbours are
kept.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from archiver.sandbox import media_files
from tests.support.cdn_account import CdnAccount, check_store, cut_body, redirect_to_itself, short_waits
from tests.support.standin import actions
from tests.support.standin.actions import Action
from tests.support.standin.faulty_standin import FaultyStandIn

MP4 = media_files.base("video1.mp4")
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"></svg>' * 20

BAD: dict[str, Action] = {
    "403": actions.respond(403, "no"),
    "404": actions.respond(404),
    "410": actions.respond(410),
    "429": actions.respond(429),
    "503": actions.respond(503, b"", {"retry-after": "0"}),
    "short body": actions.truncated(1000),
    "video short body": actions.truncated(1000),
    "length too small": actions.wrong_length(-9),
    "video length too small": actions.wrong_length(-9),
    "length too large": actions.wrong_length(9),
    "cut at its length": cut_body,
    "video cut at its length": cut_body,
    "no length, cut": actions.unsized(5000),
    "video no length, cut": actions.unsized(5000),
    "chunks cut": actions.chunked(1000, cut=3),
    "reset": actions.reset(5000),
    "gzip": actions.gzipped(),
    "gzip cut": actions.gzipped(100),
    "gzip by its name": actions.headers({"content-encoding": "gzip"}),
    "video gzip bomb": actions.gzipped(expands_to=50_000_000),
    "html": actions.html(),
    "html as a jpeg": actions.other_bytes(actions.HTML * 20),
    "empty": actions.other_bytes(b""),
    "204": actions.respond(204),
    "tiny": actions.other_bytes(actions.jpeg()[:80]),
    "video is a picture": actions.other_bytes(actions.jpeg()),
    "a video": actions.other_bytes(MP4),
    "svg": actions.other_bytes(SVG),
    "elf": actions.other_bytes(actions.ELF),
    "script": actions.other_bytes(b"#!/bin/sh\nrm -rf /\n" * 20),
    "to a name that means 10.0.0.1": actions.redirect("https://inside.fbcdn.net/x?oh=SIGNED"),
    "to a name that means the metadata": actions.redirect("https://metadata.fbcdn.net/x?oh=SIGNED"),
    "to a file": actions.redirect("file:///etc/passwd"),
    "to ftp": actions.redirect("ftp://a.fbcdn.net/x"),
    "to data": actions.redirect("data:image/png;base64,AAAA"),
    "to http": actions.redirect("http://a.fbcdn.net/x"),
    "to a look-alike": actions.redirect("https://fbcdn.net.evil.com/x"),
    "to nowhere": actions.redirect(None),
    "around": redirect_to_itself,
    "endless": actions.endless(),
    "video endless": actions.endless(),
    "endless by its word": actions.endless(10**12),
    "a part unasked": actions.wrong_range(),
    "checksum denied": actions.headers({"content-digest": "adler32=1"}),
}
SLOW: dict[str, Action] = {
    "silence": actions.stall(None),
    "stall": actions.stall(5000),
    "drip": actions.drip(100, 0.02),
    "head drips": actions.slow_head(0.01),
}
INWARD = (
    "http://127.0.0.2:{port}/",
    "http://10.0.0.1:{port}/",
    "http://[::1]:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/",
    "http://2130706434:{port}/",
    "http://0x7f000002:{port}/",
    "http://0177.0.0.2:{port}/",
    "http://169.254.169.254/latest/meta-data/",
    "http://[64:ff9b::7f00:2]:{port}/",
    "http://[2002:7f00:2::]:{port}/",
)


class Inside:
    """A service of the inner network, on 127.0.0.2; ``visitors`` counts who connected to it."""

    def __init__(self) -> None:
        self.visitors = 0
        self._listener = socket.create_server(("127.0.0.2", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                self._listener.accept()[0].close()
            except OSError:
                return
            self.visitors += 1

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)


@pytest.fixture(scope="module")
def inside() -> Iterator[Inside]:
    service = Inside()
    yield service
    service.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, inside: Inside) -> Iterator[CdnAccount]:
    """After one night on which every file of ``BAD`` met its fault at every request."""
    with FaultyStandIn() as upstream, short_waits():
        served = CdnAccount(tmp_path_factory.mktemp("ward") / "archive", upstream)
        for name, action in BAD.items():
            served.meets(name, action, count=None)
        for where in INWARD:
            served.meets(where, actions.redirect(where.format(port=inside.port)), count=None)
        assert served.night() == 3
        yield served


def ended(served: CdnAccount, *names: str) -> set[tuple[str | None, int]]:
    """How these files ended: reason and number of requests. None of them is held."""
    assert [served.held(name) for name in names] == [[]] * len(names)
    return {(served.failed(name), len(served.asked(name))) for name in names}


def test_only_the_bad_files_are_missing(served: CdnAccount) -> None:
    """Each has one failure; all others are blobs under their true names, and ``tmp`` is empty."""
    bad = {served.owner(name) for name in (*BAD, *INWARD)}
    assert served.failures() == bad
    assert served.kept() == served.offered() - bad
    assert check_store(served.harness.root) == served.blobs()


def test_a_failing_cdn_costs_no_unit(served: CdnAccount) -> None:
    """Two units for the account and one for each highlight, one of them without a bad file."""
    assert served.upstream.units == 2 + 1 + len(served.highlights)


def test_fault_c2_a_403_that_is_no_expiry_is_asked_twice_and_renews_nothing(served: CdnAccount) -> None:
    """Its signature still lives, so no fresh page is paid for: one more try, then a failure."""
    assert ended(served, "403") == {("forbidden", 2)}


def test_fault_c3_a_file_that_is_not_there_is_asked_for_once_a_night(served: CdnAccount) -> None:
    """404 and 410 are a failure at once."""
    assert ended(served, "404", "410") == {("not_found", 1)}


def test_fault_c5_a_cdn_that_is_busy_all_night_fails_its_files_only(served: CdnAccount) -> None:
    """429 and 503 are tried three times; the API is not to blame, so the run goes on to its end."""
    assert ended(served, "429", "503") == {("http_status", 3)}
    assert served.harness.one("select outcome from runs") == "partial"


def test_fault_c6_a_short_body_is_never_kept(served: CdnAccount) -> None:
    """Fewer bytes than Content-Length says."""
    assert ended(served, "short body", "video short body", "length too large") == {("truncated", 3)}


def test_fault_c7_a_body_cut_by_its_own_content_length_is_never_kept(served: CdnAccount) -> None:
    """More bytes came than Content-Length says; what HTTP takes for the whole is cut."""
    assert ended(served, "length too small", "video length too small") == {("truncated", 3)}


def test_fault_c8_a_body_that_ends_just_where_it_lies_to_end_is_never_kept(served: CdnAccount) -> None:
    """HTTP calls it complete; the structure of picture and video says that bytes are lacking."""
    assert ended(served, "cut at its length", "video cut at its length") == {("truncated", 3)}


def test_fault_c9_a_cut_body_without_a_length_is_never_kept(served: CdnAccount) -> None:
    """Only the structure can tell."""
    assert ended(served, "no length, cut", "video no length, cut") == {("truncated", 3)}


def test_fault_c10_chunks_without_the_last_one_are_never_kept(served: CdnAccount) -> None:
    """The connection ended between two chunks."""
    assert ended(served, "chunks cut") == {("truncated", 3)}


@pytest.mark.whole
def test_fault_c11_a_cdn_that_stalls_or_drips_is_left(tmp_path: Path) -> None:
    """Silence before the answer or in the body, a body or a head that comes byte by byte: failures, and the
    run does not hang.
    """
    with FaultyStandIn() as upstream, short_waits(0.5):
        served = CdnAccount(tmp_path / "archive", upstream)
        for name, action in SLOW.items():
            served.meets(name, action, count=None)
        assert served.night() == 3
        assert served.failures() == {served.owner(name) for name in SLOW} == served.offered() - served.kept()
        assert {served.failed(name) for name in ("stall", "drip")} == {"too_slow"}


def test_fault_c12_a_file_that_is_reset_every_time_is_a_failure(served: CdnAccount) -> None:
    """The connection breaks in mid-body at each of three tries."""
    assert ended(served, "reset") == {("network", 3)}


def test_fault_c13_a_content_coding_that_nobody_asked_for_is_refused(served: CdnAccount) -> None:
    """gzip, gzip that is cut, a bomb, and what only calls itself gzip: none is unpacked, none is kept."""
    assert ended(served, "gzip", "gzip cut", "gzip by its name", "video gzip bomb") == {("not_media", 1)}


def test_fault_c14_a_web_page_is_no_picture(served: CdnAccount) -> None:
    """HTML with status 200, called HTML or called image/jpeg."""
    assert ended(served, "html", "html as a jpeg") == {("not_media", 1)}


def test_fault_c15_next_to_nothing_is_no_file(served: CdnAccount) -> None:
    """An empty 200, a 204, the first 80 bytes of a picture."""
    assert ended(served, "empty", "tiny") == {("not_media", 1)}
    assert ended(served, "204") == {("http_status", 1)}


def test_fault_c16_only_what_was_offered_is_kept(served: CdnAccount) -> None:
    """A picture for a video, a video for a picture; SVG, a program and a script under the name of a
    picture.
    """
    assert ended(served, "video is a picture", "a video") == {("wrong_kind", 1)}
    assert ended(served, "svg", "elf", "script") == {("not_media", 1)}


def test_fault_c17_no_redirect_leads_inward(served: CdnAccount, inside: Inside) -> None:
    """To loopback, private, link-local and translated addresses, however written: not followed, and nobody
    came there.
    """
    assert ended(served, *INWARD) == {("redirect", 1)}
    assert inside.visitors == 0


def test_fault_c17_no_redirect_leads_to_a_cdn_name_that_means_an_inner_address(served: CdnAccount) -> None:
    """The name is allowed; one of its addresses is not, which the failure says: it was no mere lack of a
    connection.
    """
    assert ended(served, "to a name that means 10.0.0.1", "to a name that means the metadata") == {
        ("network", 1)
    }
    said = "select count(*) from failures where detail like ?"
    assert (
        served.harness.one(said, "%its name resolves to 10.0.0.1, which is not on the public internet") == 1
    )
    assert (
        served.harness.one(said, "%its name resolves to 169.254.169.254, which is not on the public internet")
        == 1
    )


def test_fault_c18_no_redirect_leads_out_of_https(served: CdnAccount) -> None:
    """file:, ftp:, data:, and http to an allowed host."""
    assert ended(served, "to a file", "to ftp", "to data", "to http") == {("redirect", 1)}


def test_fault_c19_redirects_end(served: CdnAccount) -> None:
    """A circle ends after five; one that names no place is not followed."""
    assert ended(served, "around") == {("redirect", 6)}
    assert ended(served, "to nowhere") == {("redirect", 1)}


def test_fault_c20_no_redirect_leads_to_a_look_alike(served: CdnAccount) -> None:
    """A host that only begins with an allowed name is another host."""
    assert ended(served, "to a look-alike") == {("redirect", 1)}


def test_fault_c22_a_body_without_end_is_cut_at_the_cap_and_leaves_nothing(served: CdnAccount) -> None:
    """Without a length it is a failure; by its own word over ``max_file_size`` it is a gap, whose body is not
    read.
    """
    assert ended(served, "endless", "video endless") == {("endless", 1)}
    assert ended(served, "endless by its word") == {("too_large", 1)}
    due = "select count(*) from failures where reason = 'too_large' and next_try_at is not null"
    assert served.harness.one(due) == 0


def test_fault_c23_a_part_that_nobody_asked_for_is_never_kept(served: CdnAccount) -> None:
    """206 to a plain request, though its bytes are whole."""
    assert ended(served, "a part unasked") == {("http_status", 3)}


def test_bytes_that_a_checksum_denies_are_never_kept(served: CdnAccount) -> None:
    """Length and structure agree; the ``Content-Digest`` that was sent along does not."""
    assert ended(served, "checksum denied") == {("digest", 3)}
