"""Checksums sent along with an answer."""

from __future__ import annotations

import base64
import hashlib
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.media.checked_writer import Checksum, parse_checksums

BODY = b"the bytes of a picture" * 20
SHA = base64.b64encode(hashlib.sha256(BODY).digest()).decode()
ADLER = zlib.adler32(BODY)


def verdict(headers: dict[str, str], body: bytes = BODY) -> bool | None:
    checksum = Checksum(parse_checksums(headers))
    checksum.feed(body[:7])
    checksum.feed(body[7:])
    return checksum.verdict()


@pytest.mark.parametrize(
    "headers",
    [
        {"content-digest": f"adler32={ADLER}"},
        {"content-digest": f"adler32={ADLER:08x}"},
        {"content-digest": f"sha-256=:{SHA}:"},
        {"content-digest": f"md5=:AAAA:, sha-256=:{SHA}:"},
        {"repr-digest": f"sha-256=:{SHA}:"},
        {"digest": f"SHA-256={SHA}"},
    ],
)
def test_a_known_checksum_vouches_or_denies(headers: dict[str, str]) -> None:
    """Each form that is known vouches for the right bytes and denies others."""
    assert verdict(headers) is True
    assert verdict(headers, BODY + b"!") is False


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-digest": "crc32c=12"},
        {"content-digest": "sha-256=:short:"},
        {"content-digest": "adler32=zz"},
    ],
)
def test_an_unknown_checksum_is_ignored(headers: dict[str, str]) -> None:
    """What is not understood neither vouches nor denies."""
    assert verdict(headers) is None


def test_a_needle_checksum_may_vouch_but_never_condemns() -> None:
    """Nobody knows the algorithm behind x-needle-checksum: a match counts, a difference does not."""
    assert verdict({"x-needle-checksum": str(ADLER)}) is True
    assert verdict({"x-needle-checksum": "12345"}) is None


def test_one_denial_outweighs_a_match() -> None:
    """With two checksums, both must match."""
    assert verdict({"repr-digest": f"sha-256=:{SHA}:", "content-digest": "adler32=1"}) is False


@given(st.text(max_size=80), st.text(max_size=80))
def test_no_header_makes_it_raise(digest: str, needle: str) -> None:
    """Any text in the headers is read or ignored."""
    verdict({"content-digest": digest, "digest": f"sha-256={digest}", "x-needle-checksum": needle})
