"""What is damage, and what is only a bad day of this process."""

from __future__ import annotations

import errno

from archiver.errors import StorageError

_ROTTEN = frozenset(
    getattr(errno, name)
    for name in ("EIO", "EBADMSG", "EUCLEAN", "EILSEQ", "ENXIO", "EREMOTEIO")
    if hasattr(errno, name)
)


def is_rotten(error: StorageError) -> bool:
    """Whether the disk has lost these bytes. Too many open files, a missing right or a server away say nothing about them."""
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in _ROTTEN
