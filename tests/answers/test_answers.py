"""Stored answers, on a disk and in a bucket: what both promise, what waits, and what WARC tools read."""

from __future__ import annotations

import gzip
import json
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta, timezone
from pathlib import Path

import pytest
from warcio.archiveiterator import ArchiveIterator
from warcio.cli import main as warcio

from archiver.answers.answer_store import (
    ANSWERS,
    AnswerStore,
    _name_aside,
    holds_trays,
    parse_origin,
    rename_segment,
)
from archiver.errors import AnswerMalformed, StorageError
from archiver.model.api_calls import Origin
from archiver.model.archived import Surplus
from archiver.model.values import replace
from archiver.store import bucket, disk
from tests.support.answer_samples import STARTED, answer
from tests.support.real_stores import LOCALBUCKET, OTHER_STORES, RealStore
from tests.support.s3_server import S3Server, lose_answer, refuse


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "archive" / "tmp").mkdir(parents=True)
    return tmp_path / "archive"


@dataclass
class Place:
    """Where answers are. ``read`` and ``write``: one file or object, without the program."""

    store: AnswerStore
    read: Callable[[str], bytes]
    write: Callable[[str, bytes], object]


@pytest.fixture(params=["disk", LOCALBUCKET, f"{LOCALBUCKET} without trays", *OTHER_STORES])
def place(request: pytest.FixtureRequest, root: Path, start_store: Callable[[str], RealStore]) -> Place:
    if request.param == "disk":
        return Place(
            AnswerStore(disk.Objects(root)),
            lambda name: (root / name).read_bytes(),
            lambda name, content: (root / name).write_bytes(content),
        )
    kind, _, without_trays = request.param.partition(" ")
    store = start_store(kind)
    return Place(
        AnswerStore(in_bucket(store, root), keeps_trays=not without_trays),
        lambda name: store.read(f"pre/fix/{name}"),
        lambda name, content: store.write(f"pre/fix/{name}", content),
    )


@pytest.fixture
def store(place: Place) -> AnswerStore:
    return place.store


def in_bucket(server: S3Server | RealStore, root: Path) -> bucket.Objects:
    return bucket.Objects(server.bucket(), root, spooled=ANSWERS)


def spooled(root: Path) -> list[Path]:
    return [path for path in (root / "tmp").rglob("*") if path.is_file()]


def objects(server: S3Server) -> list[str]:
    place = server.objects / "pre/fix/answers"
    return sorted(path.relative_to(place).as_posix() for path in place.rglob("*.warc.gz"))


def test_answers_come_back_during_the_run_and_later(store: AnswerStore) -> None:
    """Each location reads its own answer, while the run writes on, and after it."""
    bodies = [os.urandom(n * 977) for n in range(20)]
    with store.writer(7, STARTED) as writer:
        writer.prepare()
        kept = [writer.keep(answer(body, str(n)), is_tray=n % 2 == 0) for n, body in enumerate(bodies)]
        assert store.read(kept[0]) == answer(bodies[0], "0")
    for n, (place, body) in enumerate(zip(kept, bodies, strict=True)):
        assert store.read(place) == answer(body, str(n))
    assert sorted(store.segments()) == sorted({place.segment for place in kept})
    listed = [place for segment in store.segments() for place, _ in store.iterate(segment)]
    assert set(listed) == set(kept)


def test_a_place_that_does_not_hold_the_answer_is_told(place: Place) -> None:
    """A wrong location, a name that leads elsewhere and damage lose one answer; nothing outside is read."""
    store = place.store
    with store.writer(7, STARTED) as writer:
        writer.prepare()
        first, second = (writer.keep(answer(body), is_tray=False) for body in (b"first", b"second"))
    for wrong in (
        replace(first, offset=first.offset + 1),
        replace(first, offset=0),
        replace(first, offset=10**9),
        replace(first, length=first.length - 1),
        replace(first, sha256=second.sha256),
        replace(first, segment="2026/04/none.warc.gz"),
        replace(first, segment="../../etc/passwd"),
        replace(first, segment=f"2026/03/../03/{first.segment[8:]}"),
    ):
        with pytest.raises(AnswerMalformed):
            store.read(wrong)
    assert store.size("2026/04/none.warc.gz") is None
    assert store.size("../../etc/passwd") is None
    assert store.size(first.segment) is not None
    rotten = bytearray(place.read(f"answers/{first.segment}"))
    rotten[first.offset + first.length // 2] ^= 1
    place.write(f"answers/{first.segment}", bytes(rotten))
    with pytest.raises(AnswerMalformed):
        store.read(first)
    assert store.read(second).body == b"second"
    found = [place for segment in store.segments() for place, _ in store.iterate(segment)]
    assert found == [second]


def test_an_answer_of_a_large_segment_is_read_by_its_range(server: S3Server, root: Path) -> None:
    """A segment that was moved from a disk may have any size: only the answer comes, in one request."""
    store = AnswerStore(in_bucket(server, root))
    with store.writer(7, STARTED) as writer:
        place = writer.keep(answer(b"first"), is_tray=False)
    os.truncate(server.objects / "pre/fix/answers" / place.segment, 65 << 20)
    server.requests.clear()
    assert store.read(place).body == b"first"
    (request,) = server.requests
    assert request.headers["range"] == f"bytes={place.offset}-{place.offset + place.length - 1}"
    assert [found for found, _ in store.iterate(place.segment)] == [place]


def test_what_is_downloaded_is_in_the_directory_of_the_archive(
    server: S3Server, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk of /tmp may be too small for it; but a user who cannot write to the archive needs /tmp."""
    store = AnswerStore(in_bucket(server, root))
    with store.writer(7, STARTED) as writer:
        segment = writer.keep(answer(b"first"), is_tray=False).segment

    def place_of_copy() -> Path:
        with store.open(segment) as fd:
            return Path(f"/proc/self/fd/{fd}").readlink().parent

    assert place_of_copy() == root / "tmp"
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    assert place_of_copy() == Path(tempfile.gettempdir())


def test_surplus_bytes_are_copied_once(place: Place) -> None:
    """Foreign bytes of a segment go to ``quarantine/``, and are not reported again."""
    store = place.store
    with store.writer(7, STARTED) as writer:
        writer.prepare()
        first = writer.keep(answer(b"first"), is_tray=False)
    name = f"answers/{first.segment}"
    place.write(name, place.read(name) + b"foreign" * 9999)
    (surplus,) = store.surplus(first.segment, {first.offset: first.length})
    assert isinstance(surplus, Surplus)
    store.set_aside(surplus)
    assert list(store.surplus(first.segment, {first.offset: first.length})) == []
    assert place.read(_name_aside(surplus)) == b"foreign" * 9999
    assert store.read(first).body == b"first"


def test_an_answer_is_one_object_before_its_location_is_told(server: S3Server, root: Path) -> None:
    """It is put whole, under a name of its own, also by sixteen threads at once."""
    store = AnswerStore(in_bucket(server, root))
    with store.writer(7, STARTED) as writer, ThreadPoolExecutor(16) as pool:
        kept = list(pool.map(lambda n: writer.keep(answer(b"%d" % n), is_tray=n % 2 == 0), range(32)))
        assert objects(server) == sorted(place.segment for place in kept)
    assert len({place.segment for place in kept}) == 32
    assert spooled(root) == []


@pytest.mark.parametrize("keeps_trays", [False, True])
def test_fault_s3_an_answer_that_cannot_be_put_waits_in_the_spool(
    server: S3Server, root: Path, keeps_trays: bool
) -> None:
    """It is paid for: it has a location, from which it is read. ``check`` then ends the run, nothing more is
    sent to the store, and the next run uploads it.
    """
    store = AnswerStore(in_bucket(server, root), keeps_trays=keeps_trays)
    writer = store.writer(7, STARTED)
    writer.prepare()
    page = writer.keep(answer(b"page"), is_tray=False)
    writer.check()
    server.act = refuse(403, "AccessDenied")
    server.calls()
    kept = [writer.keep(answer(b"%d" % n), is_tray=n == 2) for n in range(3)]
    with pytest.raises(StorageError, match="does not allow it"):
        writer.check()
    assert len(server.calls()) == 1
    assert [store.read(place).body for place in kept] == [b"0", b"1", b"2"]
    with pytest.raises(StorageError):
        writer.close()
    assert [store.read(place).body for place in kept] == [b"0", b"1", b"2"]
    server.act = None
    with store.writer(8, STARTED) as later:
        later.prepare()
        assert objects(server) == sorted({page.segment, *(place.segment for place in kept)})
        assert spooled(root) == [] or not keeps_trays
        assert [store.read(place).body for place in kept] == [b"0", b"1", b"2"]
    assert spooled(root) == []


def test_fault_s3_an_answer_that_the_store_has_all_the_same_is_stored_once(
    server: S3Server, root: Path
) -> None:
    """If only the store's reply was lost, the spool has the answer under the same name: under another one it
    would be recorded as a second answer, with units that nobody billed.
    """
    store = AnswerStore(in_bucket(server, root))
    server.act = lose_answer
    writer = store.writer(7, STARTED)
    place = writer.keep(answer(b"page"), is_tray=False)
    assert objects(server) == [place.segment]
    assert [path.name for path in spooled(root)] == [place.segment.rpartition("/")[2]]
    assert [path.name for path in (root / "tmp").iterdir()] == ["answers"]
    with pytest.raises(StorageError, match="cannot be reached"):
        writer.check()
    server.act = None
    writer.close()
    assert (objects(server), spooled(root)) == ([place.segment], [])
    assert store.read(place).body == b"page"


def test_fault_s3_an_answer_that_neither_the_store_nor_the_spool_takes_has_no_location(
    server: S3Server, root: Path
) -> None:
    """The error ends the run before the call is settled."""
    store = AnswerStore(in_bucket(server, root))
    writer = store.writer(7, STARTED)
    writer.prepare()
    server.act = refuse(403, "AccessDenied")
    (root / "tmp").rmdir()
    (root / "tmp").write_text("a file")
    with pytest.raises(StorageError, match="cannot be written: Not a directory"):
        writer.keep(answer(b"first"), is_tray=False)


def test_a_segment_that_a_killed_run_has_only_begun_is_not_uploaded(server: S3Server, root: Path) -> None:
    """It is empty, and removed."""
    store = AnswerStore(in_bucket(server, root), keeps_trays=False)
    killed = store.writer(7, STARTED)
    killed.prepare()
    assert len(spooled(root)) == 1
    with store.writer(8, STARTED) as writer:
        writer.prepare()
    assert (spooled(root), objects(server)) == ([], [])


def test_trays_that_are_not_kept_are_never_uploaded(server: S3Server, root: Path) -> None:
    """They wait in the spool, which is empty once they are dropped."""
    store = AnswerStore(in_bucket(server, root), keeps_trays=False)
    with store.writer(7, STARTED) as writer:
        writer.prepare()
        tray = writer.keep(answer(b"tray"), is_tray=True)
        page = writer.keep(answer(b"page"), is_tray=False)
        assert list(writer.tray_segments) == [tray.segment]
        assert objects(server) == [page.segment]
        writer.drop_trays()
    assert objects(server) == [page.segment]
    assert spooled(root) == []


def test_trays_of_a_failed_run_are_uploaded_at_its_end(server: S3Server, root: Path) -> None:
    """They are read from where they are, before and after."""
    store = AnswerStore(in_bucket(server, root), keeps_trays=False)
    with store.writer(7, STARTED) as writer:
        writer.prepare()
        trays = [writer.keep(answer(b"tray %d" % n), is_tray=True) for n in range(3)]
    assert objects(server) == [trays[0].segment]
    assert [store.read(place).body for place in trays] == [b"tray 0", b"tray 1", b"tray 2"]
    assert spooled(root) == []


def test_the_next_run_uploads_what_a_killed_one_left(server: S3Server, root: Path) -> None:
    """A tray that was paid for is not lost with the process; while it waits, it is listed with its size."""
    store = AnswerStore(in_bucket(server, root), keeps_trays=False)
    killed = store.writer(7, STARTED)
    killed.prepare()
    tray = killed.keep(answer(b"tray"), is_tray=True)
    assert list(store.segments()) == [tray.segment]
    assert list(store.sizes()) == [(tray.segment, spooled(root)[0].stat().st_size)]
    with store.writer(8, STARTED) as writer:
        writer.prepare()
        assert objects(server) == [tray.segment]
        assert store.read(tray).body == b"tray"
    assert spooled(root) == []


def test_a_spool_that_cannot_be_uploaded_stays(server: S3Server, root: Path) -> None:
    """The end of the run reports it, and the next run tries again."""
    store = AnswerStore(in_bucket(server, root), keeps_trays=False)
    writer = store.writer(7, STARTED)
    writer.prepare()
    tray = writer.keep(answer(b"tray"), is_tray=True)
    server.act = refuse(403, "AccessDenied")
    with pytest.raises(StorageError):
        writer.close()
    server.act = None
    assert store.read(tray).body == b"tray"
    with store.writer(8, STARTED) as later:
        later.prepare()
    assert objects(server) == [tray.segment]


@pytest.fixture
def disk_store(tmp_path: Path) -> AnswerStore:
    return AnswerStore(disk.Objects(tmp_path))


def test_segments_lie_in_the_month_of_the_run_in_utc(tmp_path: Path, disk_store: AnswerStore) -> None:
    """The path has year, month, run and kind; the month is that of UTC."""
    east = STARTED.astimezone(timezone(timedelta(hours=9)))
    with disk_store.writer(7, east) as writer:
        tray = writer.keep(answer(b"t"), is_tray=True)
        fetched = writer.keep(answer(b"f"), is_tray=False)
    assert tray.segment.startswith("2026/03/7-trays-20260331T233000Z-")
    assert fetched.segment.startswith("2026/03/7-fetched-20260331T233000Z-")
    assert [fetched.segment, tray.segment] == list(disk_store.segments())


def test_a_run_that_keeps_nothing_leaves_nothing(tmp_path: Path, disk_store: AnswerStore) -> None:
    """No directory and no file is created before the first answer."""
    with disk_store.writer(7, STARTED):
        pass
    assert not (tmp_path / "answers").exists()
    assert list(disk_store.segments()) == []


def test_two_runs_of_one_number_never_share_a_file(disk_store: AnswerStore) -> None:
    """If a restored database gives a run the same number again, its segments are new ones."""
    kept = []
    for body in (b"first", b"second"):
        with disk_store.writer(7, STARTED) as writer:
            kept.append(writer.keep(answer(body), is_tray=True))
    assert kept[0].segment != kept[1].segment
    assert [disk_store.read(place).body for place in kept] == [b"first", b"second"]


def test_a_name_tells_the_run_and_only_names_of_ours_do(disk_store: AnswerStore) -> None:
    """A name gives the number of the run, the second it began, and whether the file has trays."""
    with disk_store.writer(7, STARTED) as writer:
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


def test_answers_that_are_known_are_left_out_unread(tmp_path: Path, disk_store: AnswerStore) -> None:
    """Known answers are skipped, even if their bytes are damaged."""
    with disk_store.writer(7, STARTED) as writer:
        kept = [writer.keep(answer(bytes([n]) * 500), is_tray=True) for n in range(4)]
    path = tmp_path / "answers" / kept[0].segment
    data = bytearray(path.read_bytes())
    data[kept[1].offset : kept[1].offset + 40] = bytes(40)
    path.write_bytes(data)
    known = {place.offset: place.length for place in (kept[1], kept[3])}
    assert [place for place, _ in disk_store.iterate(kept[0].segment, known)] == [kept[0], kept[2]]


def test_public_tools_find_nothing_wrong(
    tmp_path: Path, disk_store: AnswerStore, capsys: pytest.CaptureFixture[str]
) -> None:
    """warcio checks every digest of a segment, and its index has the same places."""
    with disk_store.writer(7, STARTED) as writer:
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


def test_many_threads_keep_at_once(disk_store: AnswerStore) -> None:
    """Answers of sixteen threads are separate and whole, and iterate yields exactly them."""
    with disk_store.writer(7, STARTED) as writer, ThreadPoolExecutor(16) as pool:
        places = list(
            pool.map(lambda n: writer.keep(answer(b"%d" % n * 99, str(n)), is_tray=False), range(200))
        )
    assert len({place.segment for place in places}) == 1
    for n, place in enumerate(places):
        assert disk_store.read(place).call.subject == str(n)
    found = dict(disk_store.iterate(places[0].segment))
    assert found == {place: answer(b"%d" % n * 99, str(n)) for n, place in enumerate(places)}


def test_trays_can_be_dropped_and_what_was_fetched_stays(disk_store: AnswerStore) -> None:
    """drop_trays removes the tray segment, whose answers are then lost, and no other."""
    with disk_store.writer(7, STARTED) as writer:
        tray = writer.keep(answer(b"tray"), is_tray=True)
        fetched = writer.keep(answer(b"fetched"), is_tray=False)
        assert list(writer.tray_segments) == [tray.segment]
        writer.drop_trays()
        assert not writer.tray_segments
        later = writer.keep(answer(b"later"), is_tray=True)
    assert list(disk_store.segments()) == sorted([fetched.segment, later.segment])
    assert disk_store.read(fetched).body == b"fetched"
    with pytest.raises(AnswerMalformed, match="no longer exists"):
        disk_store.read(tray)


def test_a_closed_writer_refuses_like_a_closed_file(disk_store: AnswerStore) -> None:
    """After close nothing can be stored, created or dropped."""
    with disk_store.writer(7, STARTED) as writer:
        pass
    with pytest.raises(ValueError, match="closed"):
        writer.keep(answer(b"x"), is_tray=True)
    with pytest.raises(ValueError, match="closed"):
        writer.drop_trays()


def test_an_answer_costs_little_to_keep(disk_store: AnswerStore) -> None:
    """An answer of 40 kB takes under 5 ms of processor time and at most a third of its size."""
    body = json.dumps(
        [{"pk": str(n), "url": f"https://cdn/{n}.jpg?oh={n * 7919:x}"} for n in range(800)]
    ).encode()
    with disk_store.writer(7, STARTED) as writer:
        writer.keep(answer(body), is_tray=True)
        before = time.thread_time()
        for _ in range(50):
            writer.keep(answer(body), is_tray=True)
        assert (time.thread_time() - before) / 50 < 0.005
        assert writer.keep(answer(body), is_tray=True).length < len(body) / 3


def test_a_segment_is_copied_without_some_of_its_answers(tmp_path: Path, disk_store: AnswerStore) -> None:
    """Nor their requests, nor what is no whole record; WARC tools find nothing wrong with the copy."""
    bodies = [os.urandom(500) for _ in range(4)]
    with disk_store.writer(7, STARTED) as writer:
        places = [writer.keep(answer(body, f"12345{n}"), is_tray=False) for n, body in enumerate(bodies)]
    segment, dropped = places[0].segment, places[2]
    file = tmp_path / "answers" / segment
    damaged = bytearray(file.read_bytes())
    damaged[places[1].offset + 30] ^= 1  # its request is left out too
    file.write_bytes(bytes(damaged))
    new = rename_segment(segment)
    assert parse_origin(new) == parse_origin(segment)
    moved = disk_store.copy_without(segment, {dropped.offset}, new)
    assert moved.keys() == {places[0].offset, places[3].offset}
    for place in (places[0], places[3]):
        copy = replace(place, segment=new, offset=moved[place.offset])
        assert disk_store.read(copy).body == bodies[places.index(place)]
    with (tmp_path / "answers" / new).open("rb") as stream:
        found = [record.rec_type for record in ArchiveIterator(stream)]
    assert found == ["warcinfo", "response", "request", "response", "request"]
    plain = gzip.decompress((tmp_path / "answers" / new).read_bytes())
    assert [n for n in range(4) if f"12345{n}".encode() in plain] == [0, 3]
    assert list(disk_store.surplus(new)) == []
