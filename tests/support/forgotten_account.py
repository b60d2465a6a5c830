"""An archive of which an account is forgotten: what names that account, and where any of it still is."""

from __future__ import annotations

import gzip
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from archiver.archive.archive import Archive
from archiver.archive.archive_storage import ArchiveStorage
from tests.support.adopting_archive import STAMP, gallery_dl_metadata, put
from tests.support.archive_harness import ArchiveHarness
from tests.support.media_samples import jpeg
from tests.support.standin.world_edits import EditableWorld
from tests.support.table_dumps import execute

NAME, OTHER = "account0000", "account0001"
FORMER = "zoe.before"
FULL_NAME, TITLE, OLD_TITLE = "Zoe Zephyr", "Quagga herd", "Okapi herd"


def make_world(*, is_edited: bool = False) -> EditableWorld:
    """Return a world of two accounts, as it is before ``archive_both`` or after it (``is_edited``)."""
    world = EditableWorld.generate(2, 2, 2)
    account = world.account(NAME)
    world.set_full_name(account.pk, FULL_NAME)
    world.rename(account.pk, NAME if is_edited else FORMER)
    world.retitle(account.highlights[0].pk, TITLE if is_edited else OLD_TITLE)
    return world


def archive_both(harness: ArchiveHarness) -> None:
    """Archive both accounts for three nights, so that everything is there that can be: history and traces."""
    world = harness.upstream.world
    account = world.account(FORMER)
    assert harness.night(FORMER, OTHER).exit_code == 0
    world.rename(account.pk, NAME)
    world.retitle(account.highlights[0].pk, TITLE)
    assert harness.night(account.pk, OTHER).exit_code == 0
    assert harness.night(NAME, OTHER, insist=True).exit_code == 0


def leave_traces(harness: ArchiveHarness, folder: Path) -> None:
    """Leave what other commands do: adopted files, quarantine, a log, and copies of the database."""
    account = harness.upstream.world.account(NAME)
    of_gallery_dl = gallery_dl_metadata("4243", owner_id=account.pk, username=NAME, highlight_title=TITLE)
    files = {
        f"{NAME}/highlights/1_x/{STAMP}_4242.jpg": jpeg(900, seed=9),
        f"{NAME}/4243.jpg": jpeg(901, seed=10),
        f"{NAME}/4243.jpg.json": of_gallery_dl,
    }
    theirs = put(folder / "theirs", files)
    with Archive(harness.config) as archive:
        assert archive.adopt(theirs).adopted == 2
        digest = next(iter(archive.current_files(account.pk))).blob.sha256
    if harness.storage is None:
        damaged = harness.blob_file(digest)
        damaged.chmod(0o600)
        damaged.write_bytes(damaged.read_bytes() + b"x")
        with Archive(harness.config) as archive:
            assert archive.repair(read_data=True).quarantined == 1
            assert archive.run(archive.repair().targets, options=archive.repair().run_options).exit_code == 0
    log = harness.root / "log"
    log.mkdir(exist_ok=True)
    with (log / "archiver.log").open("a") as file:
        for line in (
            f"{NAME}: 2 highlights listed, 2 to read",
            f"{OTHER}: 2 highlights listed, 2 to read",
            f"highlight {account.highlights[0].pk} {TITLE}: 2 items read, 2 files to download",
        ):
            print(f"2026-11-27 00:00:00 INFO {line}", file=file)
    if harness.database is None:
        many = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 200)"
        execute(
            harness,
            "pragma secure_delete = off",
            f"insert into targets {many} select 'old-{NAME}-' || i, '{account.pk}', '2026' from n",
            "delete from targets where text like 'old-%'",  # free pages, which still have these bytes
        )
        shutil.copy(harness.root / "archive.db", harness.root / "archive.db.0015-20260101T000000.000000Z")
        shutil.copy(harness.root / "archive.db", harness.root / "mine.sqlite")
    (harness.root / "tmp" / "archiver-verify-x").mkdir()
    (harness.root / "tmp" / "archiver-verify-x" / "rebuilt.db").write_text(NAME)


def begin_to_forget(harness: ArchiveHarness) -> None:
    """Forget the account, but fail when its rows are gone and the rest is still to be done."""
    with Archive(harness.config) as archive, pytest.MonkeyPatch.context() as patch:
        patch.setattr(ArchiveStorage, "mark_removals", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            archive.forget(NAME)


def words_of(harness: ArchiveHarness) -> set[bytes]:
    """Return everything that names the account, or anything that is its own."""
    account = harness.upstream.world.account(NAME)
    words = {account.pk, account.username, FORMER, FULL_NAME, TITLE, OLD_TITLE}
    words |= {account.avatar.name} if account.avatar else set()
    for highlight in account.highlights:
        words |= {highlight.pk, *([highlight.cover.name] if highlight.cover else [])}
        for item in highlight.items:
            words |= {item.pk, *(each.name for each in (item.thumbnail, item.video) if each is not None)}
    return {word.lower().encode() for word in words}


def digests_of(harness: ArchiveHarness) -> set[bytes]:
    """Return the names of the blobs that only the account has, as bytes."""
    pk = harness.upstream.world.account(NAME).pk
    with Archive(harness.config) as archive:
        own = {file.blob.sha256 for file in archive.current_files(pk)}
        others = {
            file.blob.sha256
            for account in archive.accounts()
            if account.pk != pk
            for file in archive.current_files(account)
        }
    return {digest.encode() for digest in own - others}


def find_words(place: Path, words: set[bytes]) -> list[str]:
    """Return where any of the words is: in which file below ``place``, in its name or unpacked bytes."""
    found = []
    for path in sorted(place.rglob("*")):
        texts = [path.relative_to(place).as_posix().encode()]
        if path.is_file():
            texts += _contents(path)
        for text in texts:
            lower = text.lower()
            found += [f"{path}: {word.decode()}" for word in sorted(words) if word in lower]
    return found


def _contents(path: Path) -> Iterator[bytes]:
    content = path.read_bytes()
    yield content
    if content.startswith(b"\x1f\x8b"):
        try:
            yield gzip.decompress(content)
        except (EOFError, zlib.error, OSError):
            yield from _members(content)


def _members(content: bytes) -> Iterator[bytes]:
    while content:
        unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS)
        try:
            yield unpacker.decompress(content)
        except zlib.error:
            return
        content = unpacker.unused_data
