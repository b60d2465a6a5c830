"""The contract of every store: on a disk, in memory, in a bucket of each S3 server; and files that grow."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Barrier

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from archiver.errors import DiskFull, StorageError
from archiver.store import bucket, disk, growing_file, spool
from archiver.store.bucket_client import SINGLE_PUT
from archiver.store.objects import Content, Folder, ObjectMissing, Objects, Upload
from archiver.store.spool import Draft
from tests.support.disk_limits import can_unshare, count_open_files
from tests.support.memory_objects import MemoryObjects
from tests.support.real_stores import LOCALBUCKET, OTHER_STORES, RCLONE, RealStore

SHELF = Folder("shelf", (re.compile("[0-9]{4}"), re.compile("[0-9]{2}")), re.compile(".*[.]txt"))
FIRST, SECOND = "shelf/2026/10/a.txt", "shelf/2026/11/b.txt"
EMPTY = f"shelf/2026/10/{hashlib.sha256().hexdigest()}"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "archive" / "tmp").mkdir(parents=True)
    return tmp_path / "archive"


@pytest.fixture(params=["disk", "memory", LOCALBUCKET, *OTHER_STORES])
def objects(request: pytest.FixtureRequest, root: Path, start_store: Callable[[str], RealStore]) -> Objects:
    if request.param == "disk":
        return disk.Objects(root)
    if request.param == "memory":
        return MemoryObjects()
    return bucket.Objects(start_store(request.param).bucket(), root)


def listed(objects: Objects, after: str = "") -> list[str]:
    return [each.name for each in objects.list(SHELF, after)]


def read(objects: Objects, name: str) -> bytes:
    with objects.open_file(name) as file:
        return file.read()


@pytest.mark.parametrize("size", [0, 1, 100_000, SINGLE_PUT + 1])
@pytest.mark.parametrize("kind", ["bytes", "file", "pieces"])
def test_what_is_put_is_read_back(objects: Objects, size: int, kind: str) -> None:
    """Whether it came as bytes, as a file, wherever that is positioned, or in pieces; whole, or a part of it
    from anywhere.
    """
    data = (bytes(range(256)) * (size // 256 + 1))[:size]
    pieces = (data[at : at + (1 << 20)] for at in range(0, size, 1 << 20))
    file = io.BytesIO(data)
    file.seek(size // 2)
    contents: dict[str, Content] = {"bytes": data, "file": file, "pieces": pieces}
    objects.put(FIRST, contents[kind])
    if size:
        assert objects.size(FIRST) == size
        assert read(objects, FIRST) == data
    assert objects.read(FIRST, 0, size) == data
    assert objects.read(FIRST, size // 2, 10) == data[size // 2 : size // 2 + 10]
    assert objects.read(FIRST, size, 10) == b""


def test_another_object_takes_the_place(objects: Objects) -> None:
    """Putting replaces what has the name."""
    for data in (b"before", b"and after"):
        objects.put(FIRST, data)
    assert read(objects, FIRST) == b"and after"
    assert listed(objects) == ["2026/10/a.txt"]


@pytest.mark.parametrize("name", ["archive.json", FIRST])
def test_what_is_new_replaces_nothing(objects: Objects, name: str, request: pytest.FixtureRequest) -> None:
    """Whoever comes second is told that there are other bytes, and does not change them."""
    assert objects.put_new(name, b"first")
    assert objects.put_new(name, b"first")
    is_second_refused = not objects.put_new(name, b"second")
    assert is_second_refused or request.node.callspec.params["objects"] == RCLONE  # it knows no conditions
    assert objects.read(name, 0, 10) == (b"first" if is_second_refused else b"second")


def test_equal_bytes_are_told_apart(objects: Objects) -> None:
    """Only the same bytes of the same size count; of what is absent, none."""
    assert not objects.holds(FIRST, io.BytesIO(b"12345"))
    objects.put(FIRST, b"12345")
    assert objects.holds(FIRST, io.BytesIO(b"12345"))
    for other in (b"1234", b"123456", b"12346"):
        assert not objects.holds(FIRST, io.BytesIO(other))


def test_what_breaks_off_leaves_everything_as_it_was(objects: Objects, root: Path) -> None:
    """If not all pieces come, the old object stays, and no temporary file is left."""

    def pieces() -> Iterator[bytes]:
        yield b"half"
        raise RuntimeError

    for name in (FIRST, SECOND):
        if name == FIRST:
            objects.put(name, b"before")
        with pytest.raises(RuntimeError):
            objects.put(name, pieces())
    assert (read(objects, FIRST), objects.size(SECOND)) == (b"before", None)
    assert listed(objects) == ["2026/10/a.txt"]
    assert list((root / "tmp").iterdir()) == []


def test_what_is_absent_is_told_apart(objects: Objects, root: Path) -> None:
    """It has no size, and reading it is another error than that of a store that fails. Nothing is written."""
    assert objects.size(FIRST) is None
    assert listed(objects) == []
    for use in (
        objects.open,
        objects.open_file,
        lambda name: objects.open_range(name, 0, 1),
        lambda name: objects.read(name, 0, 1),
    ):
        with pytest.raises(ObjectMissing, match=r"a\.txt"):
            use(FIRST)
    assert list(root.rglob("*")) == [root / "tmp"]


def test_a_folder_holds_names_of_the_program_in_itself_only() -> None:
    """What is deleted, and what waits in a spool, is chosen by that: the same name elsewhere is not."""
    assert SHELF.holds("shelf/2026/10/a.txt")
    for path in (
        "2026/10/a.txt",
        "other/2026/10/a.txt",
        "../a.txt",
        "shelf/2026/10/a.png",
        "shelf",
        "shelf/",
    ):
        assert not SHELF.holds(path)


def test_names_are_listed_in_order(objects: Objects) -> None:
    """Each once, whatever it is, from any name on; and those of another folder never."""
    names = ["-", "2025/12/z.txt", "2026", "2026-x", "2026/10/a.txt", "2026/10/b", "2026/11/a.txt", "x.txt"]
    names.remove("2026")  # a file and a directory
    for name in names:
        objects.put(SHELF.path(name), b"x")
    objects.put("shelf-2/2026/10/a.txt", b"x")
    assert listed(objects) == names
    for after in ("", "0", "2026", "2026/10", "2026/10/a.tx", "2026/10/a.txt", "2026/11/b.txt", "y"):
        assert listed(objects, after) == [name for name in names if name > after]


def test_sizes_are_those_of_the_listing(objects: Objects) -> None:
    """If a listing states sizes, they are right."""
    objects.put(FIRST, b"12345")
    assert [each.size for each in objects.list(SHELF)] in ([5], [None])
    assert objects.size(FIRST) == 5


def test_a_folder_that_is_set_aside_makes_way(objects: Objects) -> None:
    """Everything in it is elsewhere, its names are absent, and can be used again."""
    for name in (FIRST, SECOND):
        objects.put(name, name.encode())
    objects.set_aside_folder(SHELF, "quarantine/shelf-1")
    assert listed(objects) == []
    assert (objects.size(FIRST), objects.size(SECOND)) == (None, None)
    assert read(objects, "quarantine/shelf-1/2026/10/a.txt") == FIRST.encode()
    objects.put(FIRST, b"another")
    assert (read(objects, FIRST), listed(objects)) == (b"another", ["2026/10/a.txt"])


def test_setting_aside_what_is_not_there_is_no_error(objects: Objects) -> None:
    """It may have been done before a kill."""
    objects.set_aside_folder(SHELF, "quarantine/shelf-1")
    assert listed(objects) == []


def test_what_is_deleted_is_gone(objects: Objects) -> None:
    """What is missing is no error, and nothing else is touched."""
    for name in (FIRST, SECOND):
        objects.put(name, b"x")
    checks: list[None] = []
    objects.delete([FIRST, "shelf/2026/10/never.txt"], lambda: checks.append(None))
    assert listed(objects) == ["2026/11/b.txt"]
    assert checks


def test_the_location_names_the_object(objects: Objects) -> None:
    """It ends in the name, whether there is one or not."""
    assert objects.location(FIRST).endswith(FIRST)


def test_an_incomplete_end_is_cut_where_a_kill_can_leave_one(objects: Objects) -> None:
    """An object of a bucket is never shortened."""
    objects.put(FIRST, b"whole and torn")
    objects.sync(FIRST)
    assert objects.cut(FIRST, 5) is not objects.is_remote
    assert read(objects, FIRST) == (b"whole and torn" if objects.is_remote else b"whole")


# --- Drafts


@pytest.fixture
def drafting(objects: Objects) -> Iterator[Objects]:
    """The store, prepared for writing drafts to ``FIRST`` and to the name of no bytes."""
    objects.make(SHELF, ["2026", "2026/10"])
    objects.hold(SHELF)
    objects.prepare()
    yield objects
    objects.close()


def store(objects: Objects, draft: Draft, upload: Upload = Upload.IF_ABSENT) -> None:
    """Store a draft as ``FIRST``. Only under its own name an object of no bytes is one."""
    objects.put_draft(FIRST if draft.size else EMPTY, draft, lambda: upload)


def put(objects: Objects, data: bytes, upload: Upload = Upload.IF_ABSENT) -> tuple[str, int]:
    with objects.draft() as draft:
        draft.write(data)
        store(objects, draft, upload)
        return draft.digest(), draft.size


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(chunks=st.lists(st.binary(max_size=5000), max_size=8))
@example([])
def test_any_bytes_in_any_chunks_come_back(drafting: Objects, chunks: list[bytes]) -> None:
    """However a draft is split into chunks, the object is those bytes, and the draft has their SHA-256."""
    data = b"".join(chunks)
    name = FIRST if data else EMPTY
    with drafting.draft() as draft:
        for chunk in chunks:
            draft.write(chunk)
        assert (draft.digest(), draft.size) == (sha256(data), len(data))
        store(drafting, draft)
        assert (draft.digest(), draft.size) == (sha256(data), len(data))
    assert drafting.size(name) == len(data)
    assert name in {SHELF.path(each) for each in listed(drafting)}
    with drafting.open(name) as file:
        assert file.read() == data


def test_a_part_of_an_object_is_opened(drafting: Objects) -> None:
    """From any byte on, at least as many as were asked for."""
    put(drafting, b"0123456789")
    for start, length in ((0, 10), (3, 4), (9, 1)):
        with drafting.open_range(FIRST, start, length) as file:
            assert file.read(length) == b"0123456789"[start : start + length]


@pytest.mark.parametrize("upload", list(Upload))
def test_a_draft_replaces_other_bytes(drafting: Objects, upload: Upload) -> None:
    """Whatever is stored under its name, and whatever the caller knows of it."""
    for stored in (b"rotten!", b"rot", b"", b"picture"):
        drafting.put(FIRST, stored)
        put(drafting, b"picture", upload)
        assert read(drafting, FIRST) == b"picture"
        if not drafting.is_remote and not isinstance(drafting, MemoryObjects):
            assert Path(drafting.location(FIRST)).stat().st_mode & 0o777 == 0o444


@pytest.mark.parametrize("upload", list(Upload))
def test_what_is_set_aside_can_come_back(drafting: Objects, upload: Upload) -> None:
    """It is elsewhere and no longer listed; whoever puts equal bytes has an object again."""
    for number in range(2):
        put(drafting, b"suspect", upload)
        assert (drafting.size(FIRST), listed(drafting)) == (7, ["2026/10/a.txt"])
        aside = f"quarantine/a-{number}.txt"
        assert drafting.set_aside(FIRST, aside) == drafting.location(aside)
        assert (drafting.size(FIRST), drafting.size(aside), listed(drafting)) == (None, 7, [])
        assert read(drafting, aside) == b"suspect"
        with pytest.raises(ObjectMissing, match=r"a\.txt"):
            drafting.open(FIRST)
        with pytest.raises(StorageError, match=r"a\.txt"):
            drafting.set_aside(FIRST, aside)


def test_a_draft_that_is_not_stored_leaves_nothing(drafting: Objects, root: Path) -> None:
    """Whether its block ends, or breaks off with an error, which passes through."""

    def leave(error: Exception | None = None) -> None:
        with drafting.draft() as draft:
            draft.write(b"half")
            if error is not None:
                raise error

    leave()
    with pytest.raises(RuntimeError):
        leave(RuntimeError())
    assert (drafting.size(FIRST), listed(drafting)) == (None, [])
    assert list((root / "tmp").iterdir()) == []


def test_a_restarted_draft_forgets_what_was_written(drafting: Objects) -> None:
    """Only the bytes written since count, even if they are fewer."""
    with drafting.draft() as draft:
        draft.write(b"wrong start, and a long one")
        draft.restart()
        assert draft.size == 0
        draft.write(b"right")
        store(drafting, draft)
        assert (draft.digest(), draft.size) == (sha256(b"right"), 5)
    assert read(drafting, FIRST) == b"right"


def test_a_closed_draft_refuses_like_a_closed_file(drafting: Objects) -> None:
    """Once it is stored only size and digest work; everything else is a ValueError."""
    with drafting.draft() as draft:
        draft.write(b"whole")
        store(drafting, draft)
        for refused in (partial(store, drafting, draft), draft.restart, lambda: draft.write(b"more")):
            with pytest.raises(ValueError, match="closed"):
                refused()
    assert (draft.digest(), draft.size) == (sha256(b"whole"), 5)
    assert read(drafting, FIRST) == b"whole"


@pytest.mark.parametrize("upload", list(Upload))
@pytest.mark.parametrize(
    ("threads", "size"),
    [(16, 40_000), pytest.param(4, SINGLE_PUT + 1, marks=pytest.mark.whole)],
)
def test_equal_drafts_of_many_threads_are_one_object(
    drafting: Objects, root: Path, upload: Upload, threads: int, size: int
) -> None:
    """All that are put at once succeed, and the object has the bytes, also after others took its place."""
    data = (bytes(range(256)) * (size // 256 + 1))[:size]
    barrier = Barrier(threads)

    def put_together(_: int) -> tuple[str, int]:
        barrier.wait()
        return put(drafting, data, upload)

    with ThreadPoolExecutor(threads) as pool:
        assert set(pool.map(put_together, range(threads))) == {(sha256(data), size)}
    assert read(drafting, FIRST) == data
    drafting.put(FIRST, b"other bytes")
    put(drafting, data, upload)
    assert read(drafting, FIRST) == data
    assert listed(drafting) == ["2026/10/a.txt"]
    assert list((root / "tmp").iterdir()) == []


def test_a_copied_file_is_an_object_and_its_source_stays(drafting: Objects, tmp_path: Path) -> None:
    """The bytes are yielded once, as they are in the copy; nothing of a copy that is not stored stays."""
    data = bytes(range(256)) * 10_000
    source = tmp_path / "source"
    source.write_bytes(data)
    with source.open("rb") as file, drafting.draft() as draft:
        next(iter(draft.copy(file.fileno())))
    assert listed(drafting) == []
    with source.open("rb") as file, drafting.draft() as draft:
        assert b"".join(draft.copy(file.fileno())) == data
        store(drafting, draft)
        assert (draft.digest(), draft.size) == (sha256(data), len(data))
    assert read(drafting, FIRST) == data
    assert source.read_bytes() == data


def test_a_reflink_is_hashed_as_it_was_stored(
    drafting: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change of the source after the clone changes neither the object nor its SHA-256."""
    source = tmp_path / "source"
    source.write_bytes(b"as it was")

    def clone(source_fd: int, target: int) -> None:
        os.write(target, os.read(source_fd, 100))
        source.write_bytes(b"changed")

    monkeypatch.setattr(spool, "clone", clone)
    with source.open("rb") as file, drafting.draft() as draft:
        assert list(draft.copy(file.fileno())) == [b"as it was"]
        store(drafting, draft)
        assert (draft.digest(), draft.size) == (sha256(b"as it was"), 9)
    assert read(drafting, FIRST) == b"as it was"


@pytest.mark.parametrize("objects", ["disk", LOCALBUCKET, *OTHER_STORES], indirect=True)
def test_fault_h30_prepare_sweeps_half_written_files_only(drafting: Objects, root: Path) -> None:
    """Files and links in tmp/ are removed, links are not followed; directories and objects stay."""
    put(drafting, b"kept")
    target = root / "precious"
    target.write_text("x")
    (root / "tmp" / "dead.part").write_bytes(b"half")
    (root / "tmp" / "link").symlink_to(target)
    (root / "tmp" / "directory").mkdir()
    drafting.prepare()
    assert [path.name for path in (root / "tmp").iterdir()] == ["directory"]
    assert target.read_text() == "x"
    assert listed(drafting) == ["2026/10/a.txt"]


def test_descriptors_are_closed(objects: Objects) -> None:
    """However a draft ends, its descriptors are closed, and those of the store with the store."""
    objects.make(SHELF, ["2026", "2026/10"])
    objects.put(SECOND, b"a client opens its own descriptors at its first request")
    before = count_open_files()
    objects.hold(SHELF)
    objects.prepare()
    counts = []
    for number in range(5):
        put(objects, b"%d" % number)
        with objects.draft():
            pass
        with pytest.raises(StorageError), objects.draft() as draft:
            objects.put_draft("shelf/missing/a.txt", draft, refuse)
        objects.set_aside(FIRST, f"quarantine/{number}")
        objects.prepare()
        assert listed(objects) == ["2026/11/b.txt"]
        counts.append(count_open_files())
    assert len(set(counts)) == 1
    objects.close()
    assert count_open_files() == before


def refuse() -> Upload:
    raise StorageError("refused")


# --- What a disk shows of them


@pytest.mark.parametrize(
    ("group_readable", "directory", "file"), [(False, 0o700, 0o600), (True, 0o750, 0o640)]
)
def test_modes_are_exact_whatever_the_umask(
    tmp_path: Path, group_readable: bool, directory: int, file: int
) -> None:
    """An object that nobody may change is 0444; a draft is private."""
    root = tmp_path / "archive"
    objects = disk.Objects(root, group_readable=group_readable)
    before = os.umask(0o077 if group_readable else 0)
    try:
        objects.make(SHELF, ["2026", "2026/10"])
        objects.prepare()
        put(objects, b"draft")
        objects.set_aside(FIRST, "quarantine/a.txt")
        put(objects, b"draft")
        objects.put(SECOND, b"put")
        objects.put("shelf/2026/11/d.txt", b"put", is_final=True)
        appender = objects.appender(lambda _: ("shelf/2027/c.txt", b""))
        appender.append(b"appended")
        appender.close()
        with objects.draft():
            (draft,) = (root / "tmp").iterdir()
            assert draft.stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(before)
    objects.close()
    modes = {path: path.stat().st_mode & 0o777 for path in (root, *root.rglob("*"))}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {directory}
    assert {path.name: mode for path, mode in modes.items() if path.is_file()} == {
        "a.txt": 0o444,
        "b.txt": file,
        "c.txt": file,
        "d.txt": 0o444,
    }
    assert len([path for path in modes if path.name == "a.txt"]) == 2


def test_below_a_spool_every_name_is_below_it(root: Path) -> None:
    """Whatever is put, set aside or listed there stays there."""
    objects = disk.Objects(root, spool=("tmp", "part"))
    objects.prepare()
    for name in (FIRST, SECOND):
        objects.put(name, b"x")
    assert Path(objects.set_aside(FIRST, "quarantine/a.txt")).read_bytes() == b"x"
    assert listed(objects) == ["2026/11/b.txt"]
    objects.set_aside_folder(SHELF, "quarantine/shelf-1")
    assert read(objects, "quarantine/shelf-1/2026/11/b.txt") == b"x"
    objects.close()
    assert [path.name for path in root.iterdir()] == ["tmp"]
    assert [path.name for path in (root / "tmp").iterdir()] == ["part"]


ENDLESS = """
import os, re, sys
from pathlib import Path
from archiver.store.disk import Objects
from archiver.store.objects import Folder, Upload
objects = Objects(Path(sys.argv[1]))
objects.make(Folder("shelf", (), re.compile("")), ())
objects.prepare()
appender = objects.appender(lambda _: ("shelf/growing", b"head"))
n = 0
while True:
    n += 1
    data, name = n.to_bytes(4, "big") * 17_500, f"shelf/{n}"
    if sys.argv[2] == "append":
        name, offset = appender.append(data)
    else:
        offset = 0
        with objects.draft() as draft:
            draft.write(data)
            objects.put_draft(name, draft, lambda: Upload.IF_ABSENT)
    print(name, offset, n, flush=True)
"""


@pytest.mark.parametrize("way", ["draft", "append"])
def test_after_a_kill_everything_that_was_told_is_whole(root: Path, way: str) -> None:
    """No draft has a name or is left; of a file that grows at most the last record is incomplete."""
    command = [sys.executable, "-c", ENDLESS, str(root), way]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        told = [child.stdout.readline() for _ in range(20)]
        child.send_signal(signal.SIGKILL)
        told += [line for line in child.stdout if line.endswith("\n")]
    objects = disk.Objects(root)
    objects.prepare()
    objects.close()
    for name, offset, number in map(str.split, told):
        assert objects.read(name, int(offset), 70_000) == int(number).to_bytes(4, "big") * 17_500
    sizes = [objects.size(SHELF.path(name)) for name in listed(objects)]
    if way == "draft":
        assert set(sizes) == {70_000}
        assert len(told) <= len(sizes) <= len(told) + 1
    else:
        (size,) = sizes
        assert size is not None
        assert 4 + 70_000 * len(told) <= size <= 4 + 70_000 * (len(told) + 1)
    assert list((root / "tmp").iterdir()) == []


FULL_DISK = """
import os, re, resource, sys
from pathlib import Path
from archiver.errors import StorageError
from archiver.store.disk import Objects
from archiver.store.objects import Folder, Upload
root, way, disk = Path(sys.argv[1]), *sys.argv[2:]
objects = Objects(root)
objects.make(Folder("shelf", (), re.compile("")), ())
objects.prepare()
if disk == "limit":
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
appender = objects.appender(lambda _: ("shelf/growing", b"head"))
def store(name, *parts):
    if way == "append":
        return appender.append(b"".join(parts))
    with objects.draft() as draft:
        for part in parts:
            draft.write(part)
        objects.put_draft(name, draft, lambda: Upload.IF_ABSENT)
    return name, 0
before = store("shelf/before", b"before")
try:
    store("shelf/large", *[os.urandom(100_000)] * 4)
except StorageError as exc:
    print(type(exc).__name__, len(list((root / "tmp").iterdir())))
after = store("shelf/after", b"small")
print(objects.read(*before, 6), objects.read(*after, 5))
"""


@pytest.mark.parametrize(
    "way",
    [
        pytest.param("draft", id="test_fault_h7_a_full_disk_leaves_no_draft_and_smaller_ones_still_go_in"),
        pytest.param("append", id="test_fault_h7_a_full_disk_cuts_a_record_off_and_smaller_ones_are_kept"),
    ],
)
def test_a_full_disk_is_told_as_such(tmp_path: Path, way: str) -> None:
    """It is DiskFull, nothing is left in tmp/, and what fits is stored."""
    run = [sys.executable, "-c", FULL_DISK, str(tmp_path / "archive"), way]
    mount = 'mount -t tmpfs -o size=200k none "$0" && exec "$@"'
    if can_unshare():
        command, error = ["unshare", "-rm", "sh", "-c", mount, str(tmp_path), *run, "disk"], "DiskFull"
    else:
        command, error = [*run, "limit"], "StorageError"
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    assert told.splitlines() == [f"{error} 0", "b'before' b'small'"]


# --- Appender


def numbered(objects: Objects) -> Callable[[str], tuple[str, bytes]]:
    """Return what names the objects of a series one after the other, each with its name as its head."""
    count = iter(range(100))

    def begin(series: str) -> tuple[str, bytes]:
        name = f"shelf/2026/10/{series}{next(count):02}.txt"
        return name, name.encode()

    return begin


def test_what_is_appended_is_where_it_says(objects: Objects) -> None:
    """Each series has objects of its own; before the first records of each comes its head."""
    appender = objects.appender(numbered(objects))
    appender.prepare("a")
    places = [(appender.append(data, series), data) for data in (b"one", b"second", b"3") for series in "ab"]
    appender.close()
    for (name, offset), data in places:
        assert objects.read(name, offset, len(data)) == data
        assert objects.read(name, 0, len(name)) == name.encode()
    names = {name for (name, _), _ in places}
    assert {f"shelf/{name}" for name in listed(objects)} == names
    assert {name[len("shelf/2026/10/")] for name in names} == {"a", "b"}
    with pytest.raises(ValueError, match="closed"):
        appender.append(b"more", "a")


def test_without_records_nothing_is_left(objects: Objects) -> None:
    """Neither an object that was prepared nor one that was never begun."""
    appender = objects.appender(numbered(objects))
    appender.prepare("a")
    appender.check()
    appender.close()
    assert listed(objects) == []


def test_threads_append_to_one_series(objects: Objects) -> None:
    """All records are there, each whole."""
    appender = objects.appender(numbered(objects))
    records = [b"%d" % number * 1000 for number in range(16)]
    with ThreadPoolExecutor(8) as pool:
        places = list(pool.map(appender.append, records))
    appender.close()
    for (name, offset), data in zip(places, records, strict=True):
        assert objects.read(name, offset, len(data)) == data


def test_a_series_can_be_removed_as_far_as_it_says(objects: Objects) -> None:
    """Whatever ``names`` returns is gone then; the other series stays, and this one can go on.

    In a bucket a series that does not wait is put at once, and cannot be removed.
    """
    appender = objects.appender(numbered(objects))
    kept, _ = appender.append(b"kept", "a")
    dropped, _ = appender.append(b"dropped", "b")
    removable = appender.names("b")
    appender.remove("b")
    after, _ = appender.append(b"later", "b")
    appender.close()
    assert removable == (() if objects.is_remote else (dropped,))
    assert (objects.size(dropped) is None) is not objects.is_remote
    assert None not in {objects.size(name) for name in (kept, after)}


NAME = "shelf/2026/10/a.txt"


@pytest.fixture
def on_disk(tmp_path: Path) -> disk.Objects:
    return disk.Objects(tmp_path)


def fail_with_eio(*_: object) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.mark.parametrize("has_records", [False, True])
def test_a_write_that_breaks_off_at_any_byte_is_cut_off(
    on_disk: disk.Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_records: bool
) -> None:
    """What was there stays, and the next record follows it directly."""
    write, records = os.write, b"a record"
    for count in range(len(b"head" + records)):
        name = f"{NAME}.{count}"
        file = on_disk.grow(name, b"head")
        whole = b""
        if has_records:
            file.append(b"first")
            whole = b"headfirst"

        def write_some(fd: int, chunk: bytes, count: int = count) -> int:
            if len(chunk) > count:
                write(fd, chunk[:count])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return write(fd, chunk)

        with monkeypatch.context() as patch:
            patch.setattr(os, "write", write_some)
            if count < len(records if has_records else b"head" + records):
                with pytest.raises(DiskFull, match=r"a\.txt"):
                    file.append(records)
            else:
                file.append(records)
                continue
        assert (tmp_path / name).read_bytes() == whole
        if not has_records:
            file.close()
            assert not (tmp_path / name).exists()
            file = on_disk.grow(name, b"head")
        assert file.append(records) == len(whole or b"head")
        file.close()
        assert (tmp_path / name).read_bytes() == (whole or b"head") + records


@pytest.mark.parametrize("failing", ["sync", "cut"])
def test_a_file_that_may_not_be_continued_is_given_up(
    on_disk: disk.Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    """A failed sync is never repeated; what cannot be cut off stays. The next records begin another file."""
    names = iter((NAME, f"{NAME}.2"))
    appender = on_disk.appender(lambda _: (next(names), b"head"))
    assert appender.append(b"first") == (NAME, 4)
    syncs: list[int] = []

    def sync(fd: int) -> None:
        syncs.append(fd)
        fail_with_eio()

    with monkeypatch.context() as patch:
        if failing == "sync":
            patch.setattr(growing_file, "sync", sync)
        else:
            patch.setattr(growing_file, "write_all", fail_with_eio)
            patch.setattr(os, "ftruncate", fail_with_eio)
        with pytest.raises(StorageError):
            appender.append(b"second")
    assert len(syncs) == (failing == "sync")
    assert appender.append(b"third") == (f"{NAME}.2", 4)
    appender.close()
    assert (tmp_path / NAME).read_bytes() == b"headfirst" + (b"second" if failing == "sync" else b"")


def test_a_file_that_somebody_removed_is_an_error(on_disk: disk.Objects, tmp_path: Path) -> None:
    """What is appended to it would be lost with it."""
    appender = on_disk.appender(lambda _: (NAME, b""))
    appender.append(b"first")
    (tmp_path / NAME).unlink()
    with pytest.raises(StorageError, match="was removed by another process"):
        appender.append(b"second")
    appender.close()


def test_what_holds_no_record_is_removed(on_disk: disk.Objects, tmp_path: Path) -> None:
    """Unless it was given up: then it may hold something."""
    on_disk.grow(NAME, b"head").close()
    assert not (tmp_path / NAME).exists()
    given_up = on_disk.grow(NAME, b"head")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(growing_file, "sync", fail_with_eio)
        with pytest.raises(StorageError):
            given_up.append(b"record")
    given_up.close()
    assert (tmp_path / NAME).read_bytes() == b"headrecord"


def test_descriptors_of_a_growing_file_are_closed(on_disk: disk.Objects, tmp_path: Path) -> None:
    """However a file ends, also if it cannot be made."""
    before = count_open_files()
    for _ in range(3):
        on_disk.grow(NAME, b"head").close()
        file = on_disk.grow(NAME, b"head")
        file.append(b"record")
        with pytest.raises(StorageError):
            on_disk.grow(NAME, b"head")
        file.remove()
    assert count_open_files() == before
    assert list((tmp_path / "shelf/2026/10").iterdir()) == []
