"""An Answer as WARC records, and back."""

from __future__ import annotations

import gzip
import zlib
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.answers.warc import pack_answer, pack_warcinfo, parse_answer
from archiver.errors import AnswerMalformed
from archiver.model.api_calls import Answer, Call

CALL = Call("/v1/highlight/by/url", (("url", "https://www.instagram.com/stories/highlights/1/"),), "1", 1)
AT = datetime(2026, 3, 4, 5, 6, 7, 89, UTC)

texts = st.text(max_size=30)
names = st.from_regex(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,20}", fullmatch=True).filter(
    lambda name: (
        name.lower()
        not in {"set-cookie", "set-cookie2", "content-encoding", "transfer-encoding", "content-length"}
    )
)
values = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=40).map(str.strip)
calls = st.builds(
    Call,
    path=texts,
    params=st.lists(st.tuples(texts, texts), max_size=3).map(tuple),
    subject=texts,
    units=st.integers(0, 10),
)
times = st.datetimes(
    min_value=AT.replace(year=1970, tzinfo=None),
    max_value=AT.replace(year=9998, tzinfo=None),
    timezones=st.just(UTC),
)
urls = st.from_regex(r"https?://[a-z]{1,9}(:[0-9]{2,4})?(/[!-~]{0,40})?", fullmatch=True)


def answers(headers: st.SearchStrategy[tuple[tuple[str, str], ...]]) -> st.SearchStrategy[Answer]:
    return st.builds(
        Answer,
        call=calls,
        url=urls,
        status=st.integers(100, 999),
        headers=headers,
        body=st.binary(max_size=5000),
        started_at=times,
        finished_at=times,
    )


def answer(body: bytes = b"[]", *headers: tuple[str, str], status: int = 200) -> Answer:
    return Answer(CALL, "https://api.hikerapi.com/v1/highlight/by/url?url=x", status, headers, body, AT, AT)


def back(kept: Answer) -> Answer:
    read = parse_answer(gzip.decompress(pack_answer(kept)[0]))
    assert read is not None
    return read


@given(answers(st.lists(st.tuples(names, values), max_size=6).map(tuple)))
def test_any_answer_comes_back(kept: Answer) -> None:
    """Call, URL, status, fields, body and times are the same after writing and reading."""
    read = back(kept)
    assert (*kept.headers, ("content-length", str(len(kept.body)))) == read.headers
    assert kept == Answer(
        read.call, read.url, read.status, kept.headers, read.body, read.started_at, read.finished_at
    )


@given(answers(st.lists(st.tuples(st.text(max_size=20), st.text(max_size=40)), max_size=6).map(tuple)))
def test_fields_that_cannot_stand_in_a_head_never_cost_the_body(kept: Answer) -> None:
    """Whatever the fields contain (line breaks, NUL, lone surrogates), body and status come back."""
    read = back(kept)
    assert (kept.status, kept.body, kept.call) == (read.status, read.body, read.call)


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("x", "a\r\n\r\nb", [("x", "a    b")]),
        ("x", "a\nset-cookie: b", [("x", "a set-cookie: b")]),
        ("x", "\x00\x1f\x7f\x85\u2028", [("x", "")]),
        ("x", "\ud83d", [("x", "?")]),
        ("x", " \xa0a b\u3000", [("x", "a b")]),
        ("x", "ä 🦋", [("x", "ä 🦋")]),
        ("x\r\n\r\ny", "a", []),
        ("x y", "a", []),
        ("x:y", "a", []),
        ("", "a", []),
    ],
)
def test_what_cannot_stand_in_a_field_is_replaced(name: str, value: str, kept: list[tuple[str, str]]) -> None:
    """Control characters become spaces, a field with a wrong name is dropped, the rest is unchanged."""
    read = back(answer(b"body", (name, value), ("after", "1")))
    assert read.headers == (*kept, ("after", "1"), ("content-length", "4"))
    assert read.body == b"body"


def test_what_told_of_the_encoding_and_cookies_is_left_out() -> None:
    """The body is stored decoded: no field says otherwise, its length is right, no cookie is stored."""
    read = back(
        answer(
            b"decoded",
            ("Content-Encoding", "gzip"),
            ("Transfer-Encoding", "chunked"),
            ("Content-Length", "4"),
            ("Set-Cookie", "session=1"),
            ("X-Hiker-Info", '{"reqs": 1}'),
            ("Via", "a"),
            ("via", "b"),
        )
    )
    assert read.headers == (
        ("X-Hiker-Info", '{"reqs": 1}'),
        ("Via", "a"),
        ("via", "b"),
        ("content-length", "7"),
    )


def test_times_of_other_zones_are_kept_as_utc() -> None:
    """A time in another zone is the same instant when it is read."""
    there = AT.astimezone(timezone(timedelta(hours=5, minutes=30)))
    kept = Answer(CALL, "https://x/", 200, (), b"", there, there)
    assert back(kept).finished_at == AT
    assert UTC is back(kept).finished_at.tzinfo


def test_the_response_is_one_a_browser_would_know() -> None:
    """A response record has the status line with its phrase, the target, the date, and the digest."""
    text = gzip.decompress(pack_answer(answer(b"{}", status=404))[0])
    assert text.startswith(b"WARC/1.1\r\nWARC-Type: response\r\n")
    assert b"\r\nWARC-Date: 2026-03-04T05:06:07.000089Z\r\n" in text
    assert b"\r\nWARC-Target-URI: https://api.hikerapi.com/v1/highlight/by/url?url=x\r\n" in text
    assert b"\r\n\r\nHTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}\r\n\r\n" in text


def test_the_request_is_there_without_a_key() -> None:
    """The request record has the line and the host, and refers to its response."""
    response, request = pack_answer(answer(b"{}", ("x-access-key", "echo")))
    text = gzip.decompress(request)
    assert text.endswith(b"GET /v1/highlight/by/url?url=x HTTP/1.1\r\nhost: api.hikerapi.com\r\n\r\n\r\n\r\n")
    record_id = next(line for line in gzip.decompress(response).splitlines() if b"WARC-Record-ID" in line)
    assert record_id.replace(b"WARC-Record-ID", b"WARC-Concurrent-To") in text.splitlines()
    assert b"key" not in text


def test_other_records_are_no_answers() -> None:
    """The head of a segment, and a request, are skipped; they are not damage."""
    assert parse_answer(gzip.decompress(pack_warcinfo("1-x.warc.gz", AT, {"software": "archiver"}))) is None
    assert parse_answer(gzip.decompress(pack_answer(answer())[1])) is None


WHOLE = gzip.decompress(pack_answer(answer(b'{"pk": "1"}'))[0])


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"\r\n",
        b"WARC/1.1\r\n\r\n",
        b"no record",
        WHOLE[:40],
        WHOLE.replace(b"Archiver-Call", b"Other-Call"),
        WHOLE.replace(b'"units": 1', b'"units" 1'),
        WHOLE.replace(b'"units"', b'"price"'),
        WHOLE.replace(b"HTTP/1.1 200 OK", b"HTTP/1.1 two OK"),
        WHOLE.replace(b"HTTP/1.1 200 OK", b"SMTP 200 OK"),
        WHOLE.replace(b"WARC-Target-URI: https", b"WARC-Target-URI: dns"),
        WHOLE.replace(b"WARC-Target-URI", b"WARC-Other"),
        WHOLE.replace(b"WARC-Date: 2026", b"WARC-Date: then"),
    ],
)
def test_what_is_no_record_of_ours_is_told(record: bytes) -> None:
    """Bytes that are not a record of this program are AnswerMalformed and nothing else."""
    try:
        read = parse_answer(record)
    except AnswerMalformed:
        return
    assert read is None


@given(st.integers(0, len(WHOLE) - 1), st.binary(min_size=1, max_size=3))
def test_a_changed_record_is_read_or_told(at: int, junk: bytes) -> None:
    """Any change of a record gives an answer, None, or AnswerMalformed: no other error."""
    with suppress(AnswerMalformed):
        parse_answer(WHOLE[:at] + junk + WHOLE[at + len(junk) :])


def test_each_record_is_one_gzip_member() -> None:
    """Response and request can be unpacked separately."""
    response, request = pack_answer(answer())
    for member in (response, request):
        unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS)
        unpacker.decompress(member)
        assert unpacker.eof
        assert unpacker.unused_data == b""
