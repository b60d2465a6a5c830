"""New files as second names of their blobs, many at once: nearly all that a first export does.

A blob is looked at and dated first, so that one row tells all of its file before that stands. No rerun takes a row's word for it that the
file is there: it looks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from archiver.export.directories import Directories
from archiver.export.ground import split
from archiver.export.manifest import Manifest, Row
from archiver.export.paths import Paths
from archiver.export.placing import Placer
from archiver.export.wanted import Tally, Wanted, Way
from archiver.model.identity import Digest

_TOLD_AFTER = 100


class Linking:
    """Links what ``placer`` is known to link, and counts it in ``tally``; leaves to others whatever is not as usual."""

    def __init__(
        self,
        directories: Directories,
        placer: Placer,
        manifest: Manifest,
        paths: Paths,
        tally: Tally,
        progress: Callable[[Tally], None],
    ) -> None:
        self._directories, self._placer, self._manifest, self._paths = directories, placer, manifest, paths
        self._tally, self._progress = tally, progress

    def put(self, batch: Sequence[Wanted]) -> list[Wanted]:
        """Have those of these files, none of which has a row, that come to stand without ado. Returns the others, to be had one by one: in
        their order, so that each gets the same name then."""
        paths = self._paths.allocate(batch)
        rows: list[tuple[Row, Digest]] = []
        left = set()
        for wanted in batch:
            id_, names, content, size, *_ = wanted
            at_ns, mtime_ns = wanted.at_ns, None
            if isinstance(content, Digest) and id_ in paths:
                mtime_ns = self._placer.foresee(content, size, at_ns)
            if mtime_ns is None or not isinstance(content, Digest):
                left.add(id_)
                continue
            path, key = paths[id_]
            row = Row(id_, path, key, "/".join(names), content, size, at_ns, Way.HARDLINK.value, mtime_ns)
            rows.append((row, content))
        self._manifest.change([row for row, _ in rows])
        left |= self._link(rows)
        return [wanted for wanted in batch if wanted.id in left]

    def _link(self, rows: Iterable[tuple[Row, Digest]]) -> set[str]:
        """Let the files of these rows stand. Returns the ids of those that do not, whatever the reason."""
        missed = set()
        within: tuple[bytes, ...] | None = None
        into, done, size = -1, 0, 0
        for row, digest in rows:
            directory, name = split(row.path)
            try:
                if directory != within:
                    within = None  # should this fail, ``into`` may be closed, or another directory by now
                    into = self._directories.enter(directory)
                    within = directory
                self._placer.link(digest, name, into)
            except OSError:
                missed.add(row.id)
                continue
            done, size = done + 1, size + row.size
            if done == _TOLD_AFTER:
                self._count(done, size)
                done = size = 0
        self._count(done, size)
        return missed

    def _count(self, files: int, size: int) -> None:
        tally = self._tally
        tally.files += files
        tally.new += files
        tally.bytes += size
        tally.ways[Way.HARDLINK] += files
        self._progress(tally)
