"""Ways to make a real disk refuse writes, and what a process has open."""

from __future__ import annotations

import hashlib
import os
import resource
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from archiver.blobs.store import BlobStore, make_blob_store
from archiver.model.identity import Digest
from archiver.store import disk

NOBODY = 65534


def disk_blobs(root: Path, *, group_readable: bool = False) -> BlobStore:
    """Open the blobs of an archive in a directory."""
    return BlobStore(disk.Objects(root, group_readable=group_readable))


def new_disk_blobs(root: Path, *, group_readable: bool = False) -> BlobStore:
    """Make a directory for blobs, and open it."""
    make_blob_store(disk.Objects(root, group_readable=group_readable))
    return disk_blobs(root, group_readable=group_readable)


def sha256(data: bytes) -> Digest:
    return Digest(hashlib.sha256(data).hexdigest())


def stored_digests(store: BlobStore, on_foreign: Callable[[str], None] = lambda _: None) -> list[Digest]:
    """Return the names of all blobs of a store, in their order."""
    return [digest for digest, _ in store.list_blobs(on_foreign)]


def put(store: BlobStore, data: bytes) -> Digest:
    with store.draft() as draft:
        draft.write(data)
        return store.put(draft)[0]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@contextmanager
def limit(kind: int, value: int) -> Iterator[None]:
    """Set a resource limit of this process inside the block."""
    before = resource.getrlimit(kind)
    resource.setrlimit(kind, (value, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(kind, before)


@contextmanager
def another_user() -> Iterator[None]:
    """Become a user without privileges inside the block."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@contextmanager
def shared_directory() -> Iterator[Path]:
    """A directory that other users can read, unlike those of the tests."""
    with TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def can_unshare() -> bool:
    """Whether this system lets us mount a small disk."""
    if shutil.which("unshare") is None:
        return False
    probe = ["unshare", "-rm", "sh", "-c", "mount -t tmpfs none /mnt"]
    return subprocess.run(probe, capture_output=True, timeout=10).returncode == 0


def count_open_files() -> int:
    """Return how many there are, without sockets: a client keeps those."""
    targets = []
    for entry in Path("/dev/fd").iterdir():
        with suppress(OSError):
            targets.append(str(entry.readlink()))
    return len([target for target in targets if not target.startswith("socket:")])
