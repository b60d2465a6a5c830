"""``export``, composed: the archive that the configuration names, read while it is written by others, into a directory elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from archiver.archive import selecting
from archiver.archive.opening import Opened, reading, require_blobs
from archiver.blobs import Handing
from archiver.catalog import query
from archiver.config import Config
from archiver.export import folder, site
from archiver.export.folder import Layout
from archiver.export.opening import opened
from archiver.export.template import Template
from archiver.export.tree import Tree
from archiver.export.wanted import Tally, Way
from archiver.model import EVERYTHING, Selection, Target


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which part of the archive: within ``accounts`` (all where there are none) what is ``narrowed`` to; with or without what is ``gone``."""

    accounts: Sequence[Target] = ()
    narrowed: Selection = EVERYTHING
    gone: bool = True


def export_folder(
    config: Config,
    directory: Path,
    chosen: Chosen,
    *,
    template: Template,
    sidecars: bool = False,
    way: Way = Way.AUTO,
    prune: bool = False,
    progress: Callable[[int], None],
) -> Tally:
    """A tree for people. ``progress`` gets the files that stand so far, and may raise to stop. Raises as ``export.opening.opened``,
    StorageError where not one blob is there, UsageError for accounts that are not stored."""
    with reading(config) as archive, Handing(archive.root) as blobs:
        selection = _selection(archive, chosen)
        with _tree(archive, blobs, directory, "folder", way, progress) as tree:
            with closing(archive.catalog.stream(query.walk, selection, carried=sidecars)) as steps:
                for wanted in folder.wanted(steps, Layout(template, sidecars, chosen.gone)):
                    tree.put(wanted)
            return tree.finish(prune=prune)


def export_site(
    config: Config,
    directory: Path,
    chosen: Chosen,
    *,
    way: Way = Way.AUTO,
    prune: bool = False,
    progress: Callable[[int], None],
) -> Tally:
    """Web pages that need no server. ``progress`` and what it raises as ``export_folder``."""
    with reading(config) as archive, Handing(archive.root) as blobs:
        selection, catalog = _selection(archive, chosen), archive.catalog
        with _tree(archive, blobs, directory, "site", way, progress) as tree:
            with closing(catalog.stream(query.walk, selection)) as steps:
                for wanted in site.wanted(
                    steps, lambda pk: catalog.read(query.former_titles, pk), gone=chosen.gone
                ):
                    tree.put(wanted)
            return tree.finish(prune=prune)


def _selection(archive: Opened, chosen: Chosen) -> Selection:
    require_blobs(archive)
    return selecting.select(archive.catalog, chosen.accounts, chosen.narrowed)


@contextmanager
def _tree(
    archive: Opened,
    blobs: Handing,
    directory: Path,
    form: str,
    way: Way,
    progress: Callable[[int], None],
    *,
    check: bool = False,
) -> Iterator[Tree]:
    with opened(
        directory,
        form=form,
        archive=archive.catalog.archive_id,
        blobs=blobs,
        way=way,
        check=check,
        progress=progress,
    ) as tree:
        yield tree
