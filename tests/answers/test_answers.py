"""Stored answers on a disk: their names, their segments, and that WARC tools can read them."""

from __future__ import annotations

import gzip
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta, timezone
from pathlib import Path

import pytest
from warcio.archiveiterator import ArchiveIterator
from warcio.cli import main as warcio

from archiver.answers.answer_store import AnswerStore, holds_trays, parse_origin, rename_segment
from archiver.errors import AnswerMalformed
from archiver.model.api_calls import Origin
from archiver.model.values import replace
from archiver.store import disk
from tests.support.answer_samples import STARTED, answer


@pytest.fixture
def store(tmp_path: Path) -> AnswerStore:
    return AnswerStore(disk.Objects(tmp_path))


def test_segments_lie_in_the_month_of_the_run_in_utc(tmp_path: Path, store: AnswerStore) -> None:
    """The path has year, month, run and kind; the month is that of UTC."""
    east = STARTED.astimezone(timezone(timedelta(hours=9)))
    with store.writer(7, east) as writer:
        tray = writer.keep(answer(b"t"), is_tray=True)
        fetched = writer.keep(answer(b"f"), is_tray=False)
    assert tray.segment.startswith("2026/03/7-trays-20260331T233000Z-")
    assert fetched.segment.startswith("2026/03/7-fetched-20260331T233000Z-")
    assert [fetched.segment, tray.segment] == list(store.segments())


def test_a_run_that_keeps_nothing_leaves_nothing(tmp_path: Path, store: AnswerStore) -> None:
    """No directory and no file is created before the first answer."""
    with store.writer(7, STARTED):
        pass
    assert not (tmp_path / "answers").exists()
    assert list(store.segments()) == []


def test_two_runs_of_one_number_never_share_a_file(store: AnswerStore) -> None:
    """If a restored database gives a run the same number again, its segments are new ones."""
    kept = []
    for body in (b"first", b"second"):
        with store.writer(7, STARTED) as writer:
            kept.append(writer.keep(answer(body), is_tray=True))
    assert kept[0].segment != kept[1].segment
    assert [store.read(place).body for place in kept] == [b"first", b"second"]


def test_a_name_tells_the_run_and_only_names_of_ours_do(store: AnswerStore) -> None:
    """A name gives the number of the run, the second it began, and whether the file has trays."""
    with store.writer(7, STARTED) as writer:
        tray, fetched = (writer.keep(answer(b"x"), is_tray=tray).segment for tray in (True, False))
    assert parse_origin(tray) == parse_origin(fetched) == Origin(STARTED, 7)
    assert (holds_trays(tray), holds_trays(fetched)) == (True, False)
    month, _, name = tray.rpartition("/")
    for stranger in (
        "a.warc.gz",
        name.replace("trays", "other"),
        name.replace("0331T23", "0331T99"),
        f"x{name}",
    ):
        assert parse_origin(f"{month}/{stranger}") is None


def test_answers_that_are_known_are_left_out_unread(tmp_path: Path, store: AnswerStore) -> None:
    """Known answers are skipped, even if their bytes are damaged."""
    with store.writer(7, STARTED) as writer:
        kept = [writer.keep(answer(bytes([n]) * 500), is_tray=True) for n in range(4)]
    path = tmp_path / "answers" / kept[0].segment
    data = bytearray(path.read_bytes())
    data[kept[1].offset : kept[1].offset + 40] = bytes(40)
    path.write_bytes(data)
    known = {place.offset: place.length for place in (kept[1], kept[3])}
    assert [place for place, _ in store.iterate(kept[0].segment, known)] == [kept[0], kept[2]]


def test_public_tools_find_nothing_wrong(
    tmp_path: Path, store: AnswerStore, capsys: pytest.CaptureFixture[str]
) -> None:
    """warcio checks every digest of a segment, and its index has the same places."""
    with store.writer(7, STARTED) as writer:
        kept = [writer.keep(answer(body), is_tray=True) for body in (b"", b"{}", "🦋".encode() * 999)]
    file = str(tmp_path / "answers" / kept[0].segment)
    with pytest.raises(SystemExit) as ended:
        warcio(["check", "-v", file])
    assert ended.value.code == 0
    checked = capsys.readouterr().out
    assert checked.count("digest pass") == 7
    assert "failed" not in checked
    warcio(["index", "-f", "warc-type,offset,length,warc-target-uri,http:status", file])
    index = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["warc-type"] for line in index] == ["warcinfo", *["response", "request"] * 3]
    assert [(p.offset, p.length) for p in kept] == [
        (int(line["offset"]), int(line["length"])) for line in index if line["warc-type"] == "response"
    ]
    with Path(file).open("rb") as stream:
        bodies = [r.content_stream().read() for r in ArchiveIterator(stream) if r.rec_type == "response"]
    assert bodies == [b"", b"{}", "🦋".encode() * 999]


def test_many_threads_keep_at_once(store: AnswerStore) -> None:
    """Answers of sixteen threads are separate and whole, and iterate yields exactly them."""
    with store.writer(7, STARTED) as writer, ThreadPoolExecutor(16) as pool:
        places = list(
            pool.map(lambda n: writer.keep(answer(b"%d" % n * 99, str(n)), is_tray=False), range(200))
        )
    assert len({place.segment for place in places}) == 1
    for n, place in enumerate(places):
        assert store.read(place).call.subject == str(n)
    found = dict(store.iterate(places[0].segment))
    assert found == {place: answer(b"%d" % n * 99, str(n)) for n, place in enumerate(places)}


def test_trays_can_be_dropped_and_what_was_fetched_stays(store: AnswerStore) -> None:
    """drop_trays removes the tray segment, whose answers are then lost, and no other."""
    with store.writer(7, STARTED) as writer:
        tray = writer.keep(answer(b"tray"), is_tray=True)
        fetched = writer.keep(answer(b"fetched"), is_tray=False)
        assert list(writer.tray_segments) == [tray.segment]
        writer.drop_trays()
        assert not writer.tray_segments
        later = writer.keep(answer(b"later"), is_tray=True)
    assert list(store.segments()) == sorted([fetched.segment, later.segment])
    assert store.read(fetched).body == b"fetched"
    with pytest.raises(AnswerMalformed, match="no longer exists"):
        store.read(tray)


def test_a_closed_writer_refuses_like_a_closed_file(store: AnswerStore) -> None:
    """After close nothing can be stored, created or dropped."""
    with store.writer(7, STARTED) as writer:
        pass
    with pytest.raises(ValueError, match="closed"):
        writer.keep(answer(b"x"), is_tray=True)
    with pytest.raises(ValueError, match="closed"):
        writer.drop_trays()


def test_an_answer_costs_little_to_keep(store: AnswerStore) -> None:
    """An answer of 40 kB takes under 5 ms of processor time and at most a third of its size."""
    body = json.dumps(
        [{"pk": str(n), "url": f"https://cdn/{n}.jpg?oh={n * 7919:x}"} for n in range(800)]
    ).encode()
    with store.writer(7, STARTED) as writer:
        writer.keep(answer(body), is_tray=True)
        before = time.thread_time()
        for _ in range(50):
            writer.keep(answer(body), is_tray=True)
        assert (time.thread_time() - before) / 50 < 0.005
        assert writer.keep(answer(body), is_tray=True).length < len(body) / 3


def test_a_segment_is_copied_without_some_of_its_answers(tmp_path: Path, store: AnswerStore) -> None:
    """Nor their requests, nor what is no whole record; WARC tools find nothing wrong with the copy."""
    bodies = [os.urandom(500) for _ in range(4)]
    with store.writer(7, STARTED) as writer:
        places = [writer.keep(answer(body, f"12345{n}"), is_tray=False) for n, body in enumerate(bodies)]
    segment, dropped = places[0].segment, places[2]
    file = tmp_path / "answers" / segment
    damaged = bytearray(file.read_bytes())
    damaged[places[1].offset + 30] ^= 1  # its request is left out too
    file.write_bytes(bytes(damaged))
    new = rename_segment(segment)
    assert parse_origin(new) == parse_origin(segment)
    moved = store.copy_without(segment, {dropped.offset}, new)
    assert moved.keys() == {places[0].offset, places[3].offset}
    for place in (places[0], places[3]):
        copy = replace(place, segment=new, offset=moved[place.offset])
        assert store.read(copy).body == bodies[places.index(place)]
    with (tmp_path / "answers" / new).open("rb") as stream:
        found = [record.rec_type for record in ArchiveIterator(stream)]
    assert found == ["warcinfo", "response", "request", "response", "request"]
    plain = gzip.decompress((tmp_path / "answers" / new).read_bytes())
    assert [n for n in range(4) if f"12345{n}".encode() in plain] == [0, 3]
    assert list(store.surplus(new)) == []
