"""Where a run is: the child tells each phase that it passes on a pipe, so that it can be killed just there.

The program knows nothing of it.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from functools import partial, wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_BEFORE = {
    "store made": ("archiver.archive.creation", "_open_new_catalog"),
    "before the marker": ("archiver.blobs.marker", "write"),
    "before a call": ("archiver.hiker.client", "HikerClient.send"),
    "before an answer": ("archiver.answers.answer_store", "AnswerWriter.keep"),
    "last byte": ("archiver.blobs.store", "BlobStore.put"),
    "before rename": ("archiver.store.disk", "Objects._put_in_place"),
    "before commit": ("sqlalchemy.engine", "RootTransaction.commit"),
    "watermark": ("archiver.catalog.record", "record_completion"),
    "end of run": ("archiver.catalog.record", "finish_run"),
}
_AFTER = {
    "schema made": ("archiver.archive.creation", "_open_new_catalog"),
    "marker written": ("archiver.blobs.marker", "write"),
    "swept": ("archiver.store.disk", "remove_unfinished"),
    "answer kept": ("archiver.answers.answer_store", "AnswerWriter.keep"),
    "file opened": ("archiver.store.spool", "Draft.__init__"),
    "after rename": ("archiver.store.disk", "Objects._put_in_place"),
    "after commit": ("sqlalchemy.engine", "RootTransaction.commit"),
}
_EXPORT_BEFORE = {
    "before the rows of files": ("archiver.export.manifest", "Manifest.update"),
    "before a file": ("archiver.export.placement", "Placement.place"),
    "before a move": ("archiver.export.export_sync", "rename_exclusive"),
    "before files are complete": ("archiver.export.manifest", "Manifest.complete"),
}
_EXPORT_AFTER = {
    "rows of files": ("archiver.export.manifest", "Manifest.update"),
    "after a file": ("archiver.export.placement", "Placement.place"),
    "after a link": ("archiver.blobs.store", "BlobLinks.link"),
    "after a move": ("archiver.export.export_sync", "rename_exclusive"),
    "files are complete": ("archiver.export.manifest", "Manifest.complete"),
}
EXPORTS = (*_EXPORT_BEFORE, *_EXPORT_AFTER)
"""What an export passes, many times each."""
ONCE = ("store made", "before the marker", "schema made", "marker written", "swept", "end of run")
MANY = tuple(name for name in (*_BEFORE, *_AFTER) if name not in ONCE)
BEGUN = "begun"


def plant(channel: int) -> None:
    """Write «pid phase» into the descriptor at every phase of this process from now on, the first being
    ``BEGUN``.
    """

    def tell(name: str) -> None:
        os.write(channel, f"{os.getpid()} {name}\n".encode())

    for name, (module, where) in (_BEFORE | _EXPORT_BEFORE).items():
        _wrap(module, where, partial(_telling, name, tell, after=False))
    for name, (module, where) in (_AFTER | _EXPORT_AFTER).items():
        _wrap(module, where, partial(_telling, name, tell, after=True))
    tell(BEGUN)


def _wrap(module: str, where: str, wrapped: Callable[[Callable[..., object]], object]) -> None:
    owner: object = importlib.import_module(module)
    *classes, name = where.split(".")
    for inner in classes:
        owner = getattr(owner, inner)
    setattr(owner, name, wrapped(getattr(owner, name)))


def _telling(
    name: str, tell: Callable[[str], None], function: Callable[P, T], *, after: bool
) -> Callable[P, T]:
    @wraps(function)
    def told(*args: P.args, **kwargs: P.kwargs) -> T:
        if not after:
            tell(name)
        result = function(*args, **kwargs)
        if after:
            tell(name)
        return result

    return told
