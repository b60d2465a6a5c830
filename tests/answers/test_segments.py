"""Segments and their records, whatever the disk refuses, what ends the run, and who else wrote into them."""

from __future__ import annotations

import gzip
import random
import resource
import shutil
import time
import zlib
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.answers import warc
from archiver.answers.answer_store import AnswerStore
from archiver.answers.warc import members, pack_answer, pack_warcinfo, parse_answer, unpack_record
from archiver.errors import AnswerMalformed, StorageError
from archiver.model.api_calls import Answer, Call
from archiver.model.archived import Surplus
from archiver.store import disk
from tests.support.answer_samples import STARTED, answer
from tests.support.disk_limits import limit

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


def plain_answer(body: bytes = b"[]", *headers: tuple[str, str], status: int = 200) -> Answer:
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
    read = back(plain_answer(b"body", (name, value), ("after", "1")))
    assert read.headers == (*kept, ("after", "1"), ("content-length", "4"))
    assert read.body == b"body"


def test_what_told_of_the_encoding_and_cookies_is_left_out() -> None:
    """The body is stored decoded: no field says otherwise, its length is right, no cookie is stored."""
    read = back(
        plain_answer(
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
    text = gzip.decompress(pack_answer(plain_answer(b"{}", status=404))[0])
    assert text.startswith(b"WARC/1.1\r\nWARC-Type: response\r\n")
    assert b"\r\nWARC-Date: 2026-03-04T05:06:07.000089Z\r\n" in text
    assert b"\r\nWARC-Target-URI: https://api.hikerapi.com/v1/highlight/by/url?url=x\r\n" in text
    assert b"\r\n\r\nHTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}\r\n\r\n" in text


def test_the_request_is_there_without_a_key() -> None:
    """The request record has the line and the host, and refers to its response."""
    response, request = pack_answer(plain_answer(b"{}", ("x-access-key", "echo")))
    text = gzip.decompress(request)
    assert text.endswith(b"GET /v1/highlight/by/url?url=x HTTP/1.1\r\nhost: api.hikerapi.com\r\n\r\n\r\n\r\n")
    record_id = next(line for line in gzip.decompress(response).splitlines() if b"WARC-Record-ID" in line)
    assert record_id.replace(b"WARC-Record-ID", b"WARC-Concurrent-To") in text.splitlines()
    assert b"key" not in text


def test_other_records_are_no_answers() -> None:
    """The head of a segment, and a request, are skipped; they are not damage."""
    assert parse_answer(gzip.decompress(pack_warcinfo("1-x.warc.gz", AT, {"software": "archiver"}))) is None
    assert parse_answer(gzip.decompress(pack_answer(plain_answer())[1])) is None


WHOLE = gzip.decompress(pack_answer(plain_answer(b'{"pk": "1"}'))[0])


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
    response, request = pack_answer(plain_answer())
    for member in (response, request):
        unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS)
        unpacker.decompress(member)
        assert unpacker.eof
        assert unpacker.unused_data == b""


@pytest.fixture
def store(tmp_path: Path) -> AnswerStore:
    return AnswerStore(disk.Objects(tmp_path))


@pytest.mark.parametrize("level", ["answers", "2026", "03", "file"])
def test_fault_h31_links_are_not_followed(tmp_path: Path, store: AnswerStore, level: str) -> None:
    """A link in place of a directory or file below the archive is neither read nor written through."""
    with store.writer(7, STARTED) as writer:
        kept = writer.keep(answer(b"x"), is_tray=True)
    file = tmp_path / "answers" / kept.segment
    place = {"answers": tmp_path / "answers", "2026": file.parents[1], "03": file.parent, "file": file}[level]
    outside = tmp_path / "outside"
    shutil.move(place, outside)
    place.symlink_to(outside)
    with pytest.raises(AnswerMalformed if level == "file" else StorageError):
        store.read(kept)
    if level != "file":
        before = sorted(outside.rglob("*"))
        with store.writer(8, STARTED) as writer, pytest.raises(StorageError):
            writer.keep(answer(b"y"), is_tray=True)
        assert before == sorted(outside.rglob("*"))


def test_fault_h7_a_write_that_fails_is_cut_off_and_the_next_record_starts_clean(
    tmp_path: Path, store: AnswerStore
) -> None:
    """A record that does not fit is cut off: the file ends with the last whole record, and goes on."""
    noise = random.Random(1).randbytes(50_000)
    with store.writer(7, STARTED) as writer:
        first = writer.keep(answer(b"first"), is_tray=True)
        size = (tmp_path / "answers" / first.segment).stat().st_size
        with limit(resource.RLIMIT_FSIZE, 20_000), pytest.raises(StorageError, match=first.segment):
            writer.keep(answer(noise), is_tray=True)
        assert (tmp_path / "answers" / first.segment).stat().st_size == size
        last = writer.keep(answer(noise), is_tray=True)
    assert (last.segment, last.offset) == (first.segment, size)
    assert [place for place, _ in store.iterate(first.segment)] == [first, last]


def test_fault_h14_a_place_that_takes_no_file_is_found_before_the_first_answer(
    tmp_path: Path, store: AnswerStore
) -> None:
    """``prepare`` creates the first file, so that an error comes before an answer is paid for."""
    with store.writer(7, STARTED) as writer:
        writer.prepare()
        kept = writer.keep(answer(b"x"), is_tray=True)
    assert list(store.segments()) == [kept.segment]
    with store.writer(8, STARTED) as writer:
        writer.prepare()
    assert list(store.segments()) == [kept.segment]
    month = (tmp_path / "answers" / kept.segment).parent
    month.rename(month.with_name("aside"))
    month.write_text("no directory")
    with store.writer(9, STARTED) as writer, pytest.raises(StorageError):
        writer.prepare()


def test_a_torn_last_record_is_passed_over_wherever_it_is_cut(tmp_path: Path, store: AnswerStore) -> None:
    """A file that ends at any byte of its last records, or in zeros, still has all answers before."""
    with store.writer(7, STARTED) as writer:
        whole = writer.keep(answer(b"whole"), is_tray=True)
        torn = writer.keep(answer(b"torn"), is_tray=True)
    file = tmp_path / "answers" / whole.segment
    data = file.read_bytes()
    for cut in range(torn.offset, torn.offset + torn.length):
        file.write_bytes(data[:cut])
        assert [place for place, _ in store.iterate(whole.segment)] == [whole]
    file.write_bytes(data[: torn.offset + 20] + bytes(9000))
    assert [place for place, _ in store.iterate(whole.segment)] == [whole]
    file.write_bytes(data[: torn.offset + torn.length + 3])
    assert [place for place, _ in store.iterate(whole.segment)] == [whole, torn]


def test_damage_over_a_chunk_border_is_passed_over(tmp_path: Path, store: AnswerStore) -> None:
    """The search for the next whole record passes damage of any length."""
    with store.writer(7, STARTED) as writer:
        first = writer.keep(answer(b"first"), is_tray=True)
    file = tmp_path / "answers" / first.segment
    data = file.read_bytes()
    for length in range((1 << 16) - 3, (1 << 16) + 4):
        file.write_bytes(b"\x1f" * length + data)
        with file.open("rb") as opened:
            found = [member.offset for member in members(opened.fileno())]
        assert found[:2] == [length, first.offset + length]


def foreign(length: int) -> bytes:
    """Return gzip that this program did not write."""
    return gzip.compress(random.Random(2).randbytes(length))


def test_fault_h41_what_no_writer_of_ours_put_into_a_segment_is_surplus(
    tmp_path: Path, store: AnswerStore
) -> None:
    """Foreign bytes at the end or between records are surplus.

    Records of this program are not, with a row or without one, nor is what a kill left.
    """
    with store.writer(7, STARTED) as writer:
        first, last = (writer.keep(answer(body), is_tray=True) for body in (b"first", b"last"))
    file = tmp_path / "answers" / first.segment
    data, rows = file.read_bytes(), {first.offset: first.length, last.offset: last.length}
    assert list(store.surplus(first.segment, rows)) == list(store.surplus(first.segment)) == []
    other = gzip.compress(b"WARC/1.1\r\nWARC-Type: resource\r\nContent-Length: 1\r\n\r\nx\r\n\r\n")
    for strange in (foreign(500_000), other, other * 3, b"\n# notes", b"\x1f", bytes(40 << 20)):
        file.write_bytes(data + strange)
        whole = strange == b"\x1f"  # one byte may be all that was written of a record
        expected = [] if whole else [Surplus(first.segment, len(data), len(strange))]
        assert list(store.surplus(first.segment, rows)) == expected, strange[:20]
        file.write_bytes(data[: last.offset] + strange + data[last.offset :])
        moved = {first.offset: first.length, last.offset + len(strange): last.length}
        assert list(store.surplus(first.segment, moved)) == [
            Surplus(first.segment, last.offset, len(strange))
        ], strange[:20]
    head = data[: last.offset]
    for cut in range(last.offset, len(data), 7):
        for zeros in (0, 5000):
            file.write_bytes(data[:cut] + bytes(zeros))
            assert list(store.surplus(first.segment, {first.offset: first.length})) == [], cut
    lost_sectors = bytes(-len(head) % 512 + 512)
    file.write_bytes(head + lost_sectors + random.Random(3).randbytes(5000))
    assert list(store.surplus(first.segment, {first.offset: first.length})) == []


def test_fault_h41_foreign_bytes_do_not_pass_for_a_record_that_was_cut_off(
    tmp_path: Path, store: AnswerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an incomplete record does not explain is surplus.

    Also behind zeros, behind the beginning of a record and behind its lost sectors.
    """
    with store.writer(7, STARTED) as writer:
        first = writer.keep(answer(b"first"), is_tray=True)
        last = writer.keep(answer(random.Random(4).randbytes(5000)), is_tray=True)
    file = tmp_path / "answers" / first.segment
    data, rows, other = file.read_bytes(), {first.offset: first.length}, foreign(100_000)
    head, record = data[: last.offset], data[last.offset : last.offset + last.length]
    to_the_edge = bytes(-len(head) % 512 + 512)

    def found(left: bytes) -> list[Surplus]:
        file.write_bytes(head + left)
        return list(store.surplus(first.segment, rows))

    for strange in (
        b"\n",
        b"x",
        bytes(40) + other * 3,
        bytes(100) + gzip.compress(b""),
        to_the_edge + other,
        to_the_edge + bytes(30) + b"# notes",
        b"\x1f\x8b" * 1000,
        b"\x1f\x8b\x08\x00" + bytes(80) + other,
        b"\x1f\x8b\x08\x08" + bytes(6) + b"a name that does not end",
        b"\x1f" + other,
        gzip.compress(b"WARC/1.1\r\nWARC-Type: resource\r\n\r\n", mtime=0) + bytes(9000),
        record[:500] + other,
        record[:500] + gzip.compress(b"short"),
        record[:500] + to_the_edge + bytes(12) + other,
    ):
        assert found(strange) == [Surplus(first.segment, len(head), len(strange))], strange[:20]
    assert found(record[:500] + data[last.offset + last.length :]) != []
    for sector in range(-(len(head) % 512), last.length, 512):
        lost = bytearray(data[last.offset :])
        lost[max(sector, 0) : sector + 512] = bytes(sector + 512 - max(sector, 0))
        assert found(bytes(lost[: len(data) - len(head)])) == [], sector
    for length in (1, 3_000_000):
        assert found(bytes(length)) == []
    monkeypatch.setattr(warc, "_EFFORT", 1 << 24)  # of 256 MiB, which take a second
    began = time.monotonic()
    file.write_bytes(head + bytes(600) + b"\x1f\x8b\x08" * (1 << 18))
    assert len(list(store.surplus(first.segment, rows))) == 1
    assert time.monotonic() - began < 10


def test_surplus_is_set_aside_and_cut_off(tmp_path: Path, store: AnswerStore) -> None:
    """Surplus is copied to quarantine/ before it is cut off; between answers it stays, and is known then."""
    with store.writer(7, STARTED) as writer:
        first, last = (writer.keep(answer(body), is_tray=True) for body in (b"first", b"last"))
    file = tmp_path / "answers" / first.segment
    data, strange = file.read_bytes(), foreign(100_000)
    file.write_bytes(data[: last.offset] + strange + data[last.offset :] + strange)
    moved = {first.offset: first.length, last.offset + len(strange): last.length}
    found = list(store.surplus(first.segment, moved))
    assert [surplus.length for surplus in found] == [len(strange)] * 2
    for surplus in reversed(found):
        store.set_aside(surplus)
    assert file.read_bytes() == data[: last.offset] + strange + data[last.offset :]
    assert list(store.surplus(first.segment, moved)) == []
    aside = sorted((tmp_path / "quarantine").iterdir())
    assert [path.read_bytes() for path in aside] == [strange] * 2


@pytest.mark.whole
def test_fault_h41_a_segment_full_of_bombs_takes_no_time(tmp_path: Path, store: AnswerStore) -> None:
    """Hundreds of members that unpack to more than any record are surplus, reported after a few of them."""
    with store.writer(7, STARTED) as writer:
        kept = writer.keep(answer(b"first"), is_tray=True)
    file = tmp_path / "answers" / kept.segment
    bomb = gzip.compress(b"WARC/1.1\r\nWARC-Type: response\r\n" + b"0" * (64 << 20), 1)
    data = file.read_bytes()
    file.write_bytes(data + bomb * 300)
    began = time.monotonic()
    assert list(store.surplus(kept.segment)) == [Surplus(kept.segment, len(data), 300 * len(bomb))]
    assert time.monotonic() - began < 10


def test_a_record_larger_than_any_answer_is_not_unpacked(
    tmp_path: Path, store: AnswerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few bytes that unpack to more than any answer are damage, and take no memory."""
    monkeypatch.setattr(warc, "LARGEST", 1_000_000)
    with store.writer(7, STARTED) as writer:
        first = writer.keep(answer(b"first"), is_tray=True)
    file = tmp_path / "answers" / first.segment
    bomb = pack_warcinfo("x.warc.gz", STARTED, {"software": "0" * 1_100_000})
    data = file.read_bytes()
    file.write_bytes(bomb + data)
    assert unpack_record(bomb) is None
    assert unpack_record(data[first.offset :][: first.length]) is not None
    assert [place.offset for place, _ in store.iterate(first.segment)] == [first.offset + len(bomb)]
