"""``export``, composed: the archive that the configuration names, read while it is written by others, into a directory elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from itertools import chain
from pathlib import Path
from typing import TypeVar

from archiver.archive import selecting
from archiver.archive.opening import Opened, reading, require_blobs
from archiver.blobs.blob_links import BlobLinks
from archiver.catalog import Snapshot
from archiver.catalog.query import change_history, content, dump, totals
from archiver.config import Config
from archiver.errors import UsageError
from archiver.export import bagit, folder_layout
from archiver.export.export_entry import ExportEntry, ExportStats, LinkMethod, to_nanoseconds
from archiver.export.export_sync import ExportSync
from archiver.export.folder_layout import FolderLayout
from archiver.export.open_export import open_export
from archiver.export.path_template import PathTemplate
from archiver.export.table_files import TableForm, table_text
from archiver.model.archived import EVERYTHING, KeptAccount, KeptHighlight, Placed, PlacedFile, Selection
from archiver.model.identity import utcnow
from archiver.model.target import Target

S = TypeVar("S", KeptAccount | KeptHighlight | Placed, KeptAccount | KeptHighlight | PlacedFile)
T = TypeVar("T")


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
    template: PathTemplate,
    sidecars: bool = False,
    way: LinkMethod = LinkMethod.AUTO,
    prune: bool = False,
    dry_run: bool = False,
    progress: Callable[[ExportStats], None],
    bare: Callable[[], None] = lambda: None,
) -> ExportStats:
    """A tree for people. ``progress`` gets what was done so far, and may raise to stop; ``bare`` is called
    where no item is selected. ``dry_run`` makes and removes nothing, and returns what would be done.

    Raises as ``export.opening.opened``, StorageError where not one blob is there, UsageError for accounts
    that are not stored, and where nothing is selected and ``prune`` would remove all.
    """
    with reading(config) as archive, BlobLinks(archive.root) as blobs:
        selection = _selection(archive, chosen)
        with archive.catalog.snapshot() as moment:
            steps = _steps(moment, selection, chosen.gone, sidecars, bare)
            files = _some(
                folder_layout.folder_entries(steps, FolderLayout(template, sidecars, chosen.gone)), prune
            )
            with _tree(archive, blobs, directory, "folder", way, dry_run, progress) as tree:
                for wanted in files:
                    tree.put(wanted)
                return tree.finish(prune=prune)


def export_site(
    config: Config,
    directory: Path,
    chosen: Chosen,
    *,
    way: LinkMethod = LinkMethod.AUTO,
    prune: bool = False,
    dry_run: bool = False,
    progress: Callable[[ExportStats], None],
    bare: Callable[[], None] = lambda: None,
) -> ExportStats:
    """Web pages that need no server. ``progress``, ``bare`` and what it raises as ``export_folder``."""
    from archiver.export.site import site_builder  # with Jinja2, which takes time to load

    with reading(config) as archive, BlobLinks(archive.root) as blobs:
        selection = _selection(archive, chosen)
        with archive.catalog.snapshot() as moment:
            steps = _some(_met(moment.stream(content.walk, selection), chosen.gone, bare), prune)
            with _tree(archive, blobs, directory, "site", way, dry_run, progress) as tree:
                for wanted in site_builder.site_entries(
                    steps, lambda pk: moment.read(change_history.former_titles, pk), gone=chosen.gone
                ):
                    tree.put(wanted)
                return tree.finish(prune=prune)


def export_tables(
    config: Config,
    directory: Path,
    chosen: Chosen,
    *,
    form: TableForm,
    names: Sequence[str] = (),
    dry_run: bool = False,
    progress: Callable[[ExportStats], None],
    bare: Callable[[], None] = lambda: None,
) -> ExportStats:
    """These tables (all of them where there are none), one file each. What is narrowed has those tables only whose rows can belong to a part.

    Other tables that an export placed there go: those that stand in a directory are of one moment and one part of the archive.

    ``bare`` and what it raises as ``export_folder``, and UsageError for a table that is to be narrowed and cannot be.
    """
    with reading(config) as archive, BlobLinks(archive.root) as blobs, archive.catalog.snapshot() as moment:
        part = _part(moment, _narrowed(archive, chosen, names))
        with _tree(archive, blobs, directory, form, LinkMethod.COPY, dry_run, progress) as tree:
            if _is_bare(moment, part):
                bare()
            _put_tables(moment, tree, form, names, part, ())
            return tree.finish(prune=True)


def table_lines(
    config: Config, chosen: Chosen, *, form: TableForm, name: str, bare: Callable[[], None] = lambda: None
) -> Iterator[str]:
    """One table as text, in pieces; streamed. ``bare`` and what it raises as ``export_tables``."""
    with reading(config) as archive, archive.catalog.snapshot() as moment:
        part = _part(moment, _narrowed(archive, chosen, (name,)))
        if _is_bare(moment, part):
            bare()
        if part is not None and name == "blobs":
            _know_blobs(moment, part)
        yield from table_text(form, dump.column_names(name), moment.stream(dump.rows, name, part))


def export_bag(
    config: Config,
    directory: Path,
    chosen: Chosen,
    *,
    info: Sequence[tuple[str, str]],
    way: LinkMethod = LinkMethod.AUTO,
    prune: bool = False,
    dry_run: bool = False,
    progress: Callable[[ExportStats], None],
    bare: Callable[[], None] = lambda: None,
) -> ExportStats:
    """A BagIt bag of the media with their sidecars, and of the tables as JSON lines. Raises as ``export_folder``, ``bag.require_fields``."""
    bagit.require_fields(info)
    with reading(config) as archive, BlobLinks(archive.root) as blobs:
        selection = _selection(archive, chosen)
        layout = FolderLayout(
            bagit.media_template(), sidecars=True, gone=chosen.gone, below=(bagit.PAYLOAD, "media")
        )
        with archive.catalog.snapshot() as moment:
            part = _part(moment, selection)
            steps = _met(moment.stream(content.walk, selection), chosen.gone, bare)
            files = _some(folder_layout.folder_entries(steps, layout), prune)
            with _tree(archive, blobs, directory, "bagit", way, dry_run, progress, check=True) as tree:
                bagit.unseal(tree)
                for wanted in files:
                    tree.put(wanted)
                _put_tables(moment, tree, TableForm.JSONL, (), part, (bagit.PAYLOAD, "tables"))
                return _sealed(tree, archive, info, prune)


def _steps(
    moment: Snapshot, selection: Selection, gone: bool, sidecars: bool, bare: Callable[[], None]
) -> Iterator[folder_layout.WalkStep]:
    """A walk that tells of items no more than their sidecars need."""
    if sidecars:
        return _met(moment.stream(content.walk, selection), gone, bare)

    def no_file() -> None:
        for _ in _met(moment.stream(content.walk, selection, with_entries=False), gone, bare):
            pass

    return _met(moment.stream(content.walk_files, selection), gone, no_file)


def _met(steps: Iterator[S], gone: bool, bare: Callable[[], None]) -> Iterator[S]:
    """The same again; ``bare`` is called behind the last if there was no item among them, with or without what is ``gone``."""
    shows = False
    for step in steps:
        yield step
        if isinstance(step, KeptHighlight):
            shows = gone or step.gone_at is None
        elif isinstance(step, Placed | PlacedFile) and shows and (gone or step.gone_at is None):
            yield from steps
            return
    bare()


def _is_bare(moment: Snapshot, part: dump.ArchivePart | None) -> bool:
    return not (moment.read(totals.status).items if part is None else part.item_pks)


def _some(found: Iterator[T], prune: bool) -> Iterator[T]:
    """The same again. Raises UsageError if there is nothing, and all else is to be removed: a filter that was mistyped empties no directory."""
    for first in found:
        return chain((first,), found)
    if prune:
        raise UsageError(
            "nothing is selected, and --prune would remove the whole export",
            "see to the filters, or leave --prune out",
        )
    return iter(())


def _sealed(tree: ExportSync, archive: Opened, info: Sequence[tuple[str, str]], prune: bool) -> ExportStats:
    tree.finish(prune=prune)
    agent = f"archiver {metadata.version('highlight-archiver')}"
    known = bagit.info_fields(tree, archive.catalog.archive_id, agent, utcnow().date(), info)
    bagit.seal(tree, list(known))
    return tree.finish()


def _put_tables(
    moment: Snapshot,
    tree: ExportSync,
    form: TableForm,
    names: Sequence[str],
    part: dump.ArchivePart | None,
    below: tuple[str, ...],
) -> None:
    at_ns = _last_run(moment)
    for name in dump.TABLES if part is None else dump.PART_TABLES:
        if names and name not in names and not (name == "files" and part is not None and "blobs" in names):
            continue
        rows = moment.stream(dump.rows, name, part)
        text, size = tree.stage_text(table_text(form, dump.column_names(name), rows))
        if not names or name in names:
            tree.put(ExportEntry(f"table {name}", (*below, f"{name}.{form}"), text, size, at_ns))
            tree.flush()


def _know_blobs(moment: Snapshot, part: dump.ArchivePart) -> None:
    for _ in moment.stream(dump.rows, "files", part):
        pass


def _last_run(moment: Snapshot) -> int | None:
    """When the last run ended, or began, in nanoseconds: the rows are of that time."""
    runs = moment.read(totals.status).last_runs
    return to_nanoseconds(runs[0].finished_at or runs[0].started_at) if runs else None


def _part(moment: Snapshot, selection: Selection) -> dump.ArchivePart | None:
    """Whose rows are wanted, None for all."""
    return None if selection == EVERYTHING else next(moment.stream(dump.selected_part, selection))


def _narrowed(archive: Opened, chosen: Chosen, names: Sequence[str]) -> Selection:
    """What is selected of these tables. Raises UsageError for one that is to be narrowed and cannot be."""
    selection = selecting.select(archive.catalog, chosen.accounts, chosen.narrowed)
    for name in names:
        if selection != EVERYTHING and name not in dump.PART_TABLES:
            raise UsageError(
                f"the table {name} is of the archive as a whole and cannot be narrowed",
                "leave the filters out",
            )
    return selection


def _selection(archive: Opened, chosen: Chosen) -> Selection:
    require_blobs(archive)
    return selecting.select(archive.catalog, chosen.accounts, chosen.narrowed)


@contextmanager
def _tree(
    archive: Opened,
    blobs: BlobLinks,
    directory: Path,
    form: str,
    way: LinkMethod,
    dry_run: bool,
    progress: Callable[[ExportStats], None],
    *,
    check: bool = False,
) -> Iterator[ExportSync]:
    with open_export(
        directory,
        form=form,
        archive=archive.catalog.archive_id,
        root=archive.root,
        blobs=blobs,
        method=way,
        verify=check,
        dry_run=dry_run,
        progress=progress,
    ) as tree:
        yield tree
