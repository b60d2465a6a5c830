"""``adopt``: takes in what other tools have downloaded, under the archive's lock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from archiver.adopt.adoption import COMMAND, Adoption, AdoptionOptions
from archiver.adopt.foreign_directory import require_foreign
from archiver.archive.nightly_run import require_space
from archiver.archive.session import Session, open_for_writing, require_blobs
from archiver.catalog import Catalog
from archiver.catalog.temporary_copy import open_copy
from archiver.config import Config
from archiver.errors import UsageError
from archiver.model.foreign_files import AdoptionReport
from archiver.runner.threads import StopFlag


def adopt_directories(
    config: Config,
    open_reading: Callable[[], Session],
    directories: Sequence[Path],
    options: AdoptionOptions,
    *,
    wait: bool,
    progress: Callable[[int], None],
    stop: StopFlag,
    clock: Callable[[], datetime],
) -> AdoptionReport:
    """Adopt the files below these directories; see ``Archive.adopt``.

    ``open_reading`` returns the open archive for a dry run, which does the same to a copy of its rows.
    """
    if not directories:
        raise UsageError("no directory is given", "name a folder that the other tool has filled")
    tops = [require_foreign(directory) for directory in directories]

    def adopt(into: Session, catalog: Catalog) -> AdoptionReport:
        require_blobs(into)
        adoption = Adoption(
            catalog,
            into.store,
            options,
            check=stop.check,
            require_space=lambda: require_space(into.config),
            progress=progress,
            clock=clock,
        )
        return adoption.adopt(tops)

    if options.dry_run:
        reading = open_reading()
        with open_copy(reading.catalog, reading.root, stop.check) as copy:
            return adopt(reading, copy)
    with open_for_writing(config, COMMAND, stop, wait=wait, clock=clock) as writing:
        return adopt(writing, writing.catalog)
