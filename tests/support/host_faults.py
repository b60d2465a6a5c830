"""What tests of a host's faults share: a process's environment, one run, and what must be true after it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from archiver.archive.archive import Archive
from archiver.errors import ArchiverError
from archiver.runner.context import RunOptions
from tests.support.archive_harness import ArchiveHarness


def environ(harness: ArchiveHarness, *accounts: str) -> dict[str, str]:
    """The whole environment of a process that works in this archive: nothing of whoever runs the tests but
    the way to Python.
    """
    config = harness.root.parent / "config.toml"
    config.write_text("".join(f'[[accounts]]\nusername = "{account}"\n' for account in accounts))
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(harness.root.parent),
        "ARCHIVER_CONFIG": str(config),
        "HIKERAPI_TOKEN": harness.upstream.key,
        "ARCHIVER_ARCHIVE": str(harness.root),
        "ARCHIVER_ARCHIVE_RESERVE": "0",
        "ARCHIVER_API_BASE_URL": harness.upstream.base_url,
        "ARCHIVER_API_REQUESTS_PER_SECOND": "1000",
        "ARCHIVER_DOWNLOAD_ALLOWED_HOSTS": "127.0.0.1",
    } | harness.environ


def run(harness: ArchiveHarness, *targets: str) -> tuple[int, str]:
    """One night as ``archiver run`` makes it: the code it would end with, and why.

    It never makes an archive.
    """
    harness.upstream.requests.reset()
    try:
        with Archive(harness.config) as archive:
            summary = archive.run(
                targets, options=RunOptions(), observe=harness.events.append, clock=lambda: harness.now
            )
    except ArchiverError as error:
        return error.exit_code, f"{error} ({error.hint})"
    return summary.exit_code, f"{summary.message} ({summary.hint})"


def blobs(harness: ArchiveHarness) -> dict[str, int]:
    """What stands under blob names, by name; fails where bytes and name differ (I2)."""
    found = {}
    for path in (harness.root / "blobs").glob("??/*"):
        data = path.read_bytes()
        assert hashlib.sha256(data).hexdigest() == path.name
        found[path.name] = len(data)
    return found


def assert_sound(harness: ArchiveHarness) -> None:
    """No row without its bytes, no bytes under a wrong name, nothing half-written: I1, I2, I11."""
    held = blobs(harness)
    for sha256, size in harness.rows(
        "select distinct f.sha256, b.size from files f join blobs b using (sha256)"
    ):
        assert held.get(str(sha256)) == size
    assert list((harness.root / "tmp").iterdir()) == []
    assert harness.rows("pragma integrity_check") == [("ok",)]


def outside(place: Path) -> dict[str, bytes]:
    """Everything below a directory that nobody may touch: its files with their bytes."""
    return {str(p): p.read_bytes() if p.is_file() else b"" for p in sorted(place.rglob("*"))}
