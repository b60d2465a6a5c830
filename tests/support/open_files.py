"""The open files of this process, to find out whether something leaves one open."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def count_open_files() -> int:
    """Return how many there are, without sockets: a client keeps those."""
    targets = []
    for entry in Path("/dev/fd").iterdir():
        with suppress(OSError):
            targets.append(str(entry.readlink()))
    return len([target for target in targets if not target.startswith("socket:")])
