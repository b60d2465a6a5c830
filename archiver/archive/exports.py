"""Exports of an archive into other directories. The archive is only read, also during a run."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from enum import StrEnum
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, Unpack, cast

import archiver
from archiver.archive import arguments
from archiver.archive.selection import Narrowing, read_selection
from archiver.archive.session import Session, require_blobs
from archiver.blobs.store import BlobSource
from archiver.catalog import Snapshot, row_dump
from archiver.catalog.query import account_parts, adoptions, change_history, content, holdings, totals
from archiver.durable import storage_errors
from archiver.errors import AnswerMalformed, ArchiveLocked, UsageError
from archiver.export import bagit, folder_layout
from archiver.export.export_entry import (
    CompanionText,
    ExportEntry,
    ExportStats,
    pack_entry,
    to_nanoseconds,
    unpack_entry,
)
from archiver.export.export_paths import parse_template
from archiver.export.export_sync import ExportSync
from archiver.export.folder_layout import FolderLayout
from archiver.export.link_methods import LinkMethod, choose_method
from archiver.export.open_export import (
    is_new,
    nearest_existing,
    open_check,
    open_export,
    open_new_file,
    require_new,
    require_space,
)
from archiver.model.api_calls import Answer, AnswerLocation
from archiver.model.archived import EVERYTHING, KeptAccount, KeptHighlight, Placed, PlacedFile
from archiver.model.identity import utcnow
from archiver.model.values import replace
from archiver.temporary import open_temporary
from archiver.text_format import format_csv_cell, format_json_line

if TYPE_CHECKING:
    from archiver.export.wacz import WaczCount

S = TypeVar("S", KeptAccount | KeptHighlight | Placed, KeptAccount | KeptHighlight | PlacedFile)
T = TypeVar("T")
E = TypeVar("E", ExportEntry, ExportEntry | CompanionText)

_ROWS_AT_ONCE = 500
"""Rows of a table that become text together."""


class TableForm(StrEnum):
    """``JSONL``: an exact object per line. ``CSV``: RFC 4180; no text is run as a formula."""

    JSONL = "jsonl"
    CSV = "csv"


class TableOptions(Narrowing, total=False):
    """The options of every export, besides the keywords of ``Narrowing``.

    ``dry_run``: change nothing, and return what would be done. ``progress`` gets the counts so far after each
    file, and may raise to stop. ``on_empty`` is called if no item is selected.
    """

    dry_run: bool
    progress: Callable[[ExportStats], None]
    on_empty: Callable[[], None]


class MediaOptions(TableOptions, total=False):
    """The options of every export with pictures and videos.

    ``gone``: include what Instagram no longer shows (the default). ``link``: how files are placed (``auto``,
    ``reflink``, ``hardlink``, ``copy``). ``prune``: remove files of earlier exports that are not selected
    now.
    """

    gone: bool
    link: LinkMethod | str
    prune: bool


class Export:
    """One export: its selection, destination and options."""

    def __init__(
        self,
        session: Session,
        directory: Path,
        *,
        gone: bool = True,
        link: LinkMethod | str = LinkMethod.AUTO,
        prune: bool = False,
        dry_run: bool = False,
        progress: Callable[[ExportStats], None] = lambda stats: None,
        on_empty: Callable[[], None] = lambda: None,
        **narrowing: Unpack[Narrowing],
    ) -> None:
        """Take the options of ``MediaOptions``.

        Raises UsageError, NotHeld, and JournalDiffers for ``prune`` with an older copy of the database.
        """
        if prune:
            session.require_current()
        self._session = session
        self._directory = directory
        self._has_gone = gone
        chosen = arguments.require_choice("link", link, LinkMethod)
        self._link = choose_method(chosen, is_remote=session.storage.is_remote)
        self._prune = prune
        self._dry_run = dry_run
        self._progress = progress
        self._on_empty = on_empty
        self._selection = read_selection(session.catalog, **narrowing)

    def folder(self, *, template: str, sidecars: bool, xmp: bool) -> ExportStats:
        """Export pictures and videos under readable names; see ``Archive.export_folder``."""
        layout = FolderLayout(parse_template(template), sidecars, self._has_gone, with_xmp=xmp)
        with self._media() as (reading, blobs):
            moment = reading.moment
            expected = None
            if is_new(self._directory):
                expected = require_space(
                    self._directory, self._link, blobs, lambda: self._sizes(moment, layout)
                )
            steps = self._walk(moment) if sidecars or xmp else self._walk_files(moment)
            entries = folder_layout.folder_entries(steps, layout)
            if self._selection == EVERYTHING:  # a waiting file has no account or highlight to select
                waiting = moment.stream(adoptions.waiting_files)
                entries = chain(entries, folder_layout.waiting_entries(waiting, layout))
            files = self._require_some(reading.gather(entries))
            reading.end()
            with self._tree("folder", blobs) as tree:
                tree.stats.expected = tree.stats.expected or expected
                for entry in files:
                    tree.put(entry)
                return tree.finish(prune=self._prune)

    def _sizes(self, moment: Snapshot, layout: FolderLayout) -> Iterator[ExportEntry]:
        """Yield the pictures and videos of a folder, without their companions."""
        steps = moment.stream(content.walk_files, self._selection)
        plain = replace(layout, with_sidecars=False, with_xmp=False)
        for entry in folder_layout.folder_entries(steps, plain):
            self._progress(ExportStats())
            if isinstance(entry, ExportEntry):
                yield entry

    def site(self) -> ExportStats:
        """Export web pages; see ``Archive.export_site``."""
        with self._media() as (reading, blobs):
            steps = self._require_some(self._walk(reading.moment))
            files = reading.gather(self._site_entries(reading.moment, steps))
            reading.end()
            with self._tree("site", blobs) as tree:
                for entry in files:
                    tree.put(entry)
                return tree.finish(prune=self._prune)

    def wacz(self, *, with_answers: bool, force: bool) -> ExportStats:
        """Export the site as one file; see ``Archive.export_wacz``."""
        from archiver.export.wacz import WaczCount, WaczHead, WaczWriter

        if with_answers and self._selection != EVERYTHING:
            raise UsageError(
                "the stored answers belong to the archive as a whole: filters cannot narrow them",
                "leave out the filters, or --with-answers",
            )
        require_new(self._directory, force=force)
        with self._media() as (reading, blobs), ExitStack() as stack:
            files = reading.gather(self._site_entries(reading.moment, self._walk(reading.moment)))
            reading.end()
            wacz: WaczCount = WaczCount(blobs, self._progress)
            if self._dry_run:
                nearest_existing(self._directory.parent)  # raises if the file could not be written there
            else:
                file = stack.enter_context(open_new_file(self._directory, force=force))
                agent = f"archiver {archiver.__version__}"
                head = WaczHead(self._session.catalog.archive_id, utcnow(), agent)
                wacz = stack.enter_context(closing(WaczWriter(file, head, blobs, self._progress)))
            wacz.put_site(files)
            if with_answers:
                self._put_answers(wacz)
            return wacz.finish()

    def _put_answers(self, wacz: WaczCount) -> None:
        """Put all stored answers. One that has a row, and is missing or damaged, counts as a failure.

        Raises ArchiveLocked if an account was forgotten meanwhile: answers of others have moved.
        """
        answers, catalog = self._session.answers, self._session.catalog
        removals = catalog.read(account_parts.count_removals)
        for segment in sorted({*answers.segments(), *catalog.read(holdings.segments)}):
            rows = catalog.read(holdings.answers_of_segment, segment)
            missing = {row.location for row in rows if not row.is_lost}
            with suppress(AnswerMalformed):  # there is no such file
                wacz.put_answers(segment, _find(missing, answers.records(segment)))
            if missing:  # a run may have dropped them since
                missing &= {row.location for row in catalog.read(holdings.answers_of_segment, segment)}
            for location in sorted(missing, key=lambda location: location.offset):
                why = f"its answer at offset {location.offset:,} is damaged or missing"
                wacz.stats.add_failure(f"answers/{segment}", f"{why} (archiver verify --read-data --repair)")
        if catalog.read(account_parts.count_removals) != removals:
            raise ArchiveLocked("an account was forgotten meanwhile", "export again")

    def _site_entries(
        self, moment: Snapshot, steps: Iterator[KeptAccount | KeptHighlight | Placed]
    ) -> Iterator[ExportEntry]:
        from archiver.export import site_builder  # imports Jinja2, which is slow

        return site_builder.site_entries(
            steps, lambda pk: moment.read(change_history.former_titles, pk), with_gone=self._has_gone
        )

    def bag(self, *, info: Sequence[tuple[str, str]]) -> ExportStats:
        """Export a BagIt bag; see ``Archive.export_bagit``."""
        self._session.require_current()  # files that the bag has, and the older copy lacks, would be removed
        bagit.require_fields(info)
        layout = FolderLayout(
            bagit.media_template(),
            with_sidecars=True,
            with_gone=self._has_gone,
            below=(bagit.PAYLOAD, "media"),
            with_replaced=True,
        )
        with self._media() as (reading, blobs):
            part, steps = self._part(reading.moment), self._walk(reading.moment)
            files = self._require_some(reading.gather(folder_layout.folder_entries(steps, layout)))
            with self._tree("bagit", blobs, check=True) as tree:
                bagit.unseal(tree)
                below = (bagit.PAYLOAD, "tables")
                tables = list(_table_entries(reading.moment, tree, TableForm.JSONL, (), part, below))
                reading.end()
                for entry in chain(files, tables):
                    tree.put(entry)
                tree.finish(prune=self._prune)
                agent = f"archiver {archiver.__version__}"
                archive_id = self._session.catalog.archive_id
                bagit.seal(tree, list(bagit.info_fields(tree, archive_id, agent, utcnow().date(), info)))
                return tree.finish()

    def tables(self, form: TableForm, names: Sequence[str]) -> ExportStats:
        """Export tables as files; see ``Archive.export_tables``."""
        self._require_tables(names)
        with self._blobs() as blobs, self._session.catalog.snapshot() as moment:
            part = self._part(moment)
            with self._tree(form.value, blobs) as tree:
                self._report_empty(moment, part)
                for entry in _table_entries(moment, tree, form, names, part, ()):
                    tree.put(entry)
                    tree.flush()
                return tree.finish(prune=True)

    def table_lines(self, form: TableForm, name: str) -> Iterator[str]:
        """Return one table as text, in pieces; see ``Archive.table_lines``."""
        self._require_tables((name,))

        def stream() -> Iterator[str]:
            with self._session.catalog.snapshot() as moment:
                part = self._part(moment)
                self._report_empty(moment, part)
                if part is not None and name == "blobs":
                    _read_files(moment, part)
                yield from table_text(
                    form, row_dump.column_names(name), moment.stream(row_dump.part_rows, name, part)
                )

        return stream()

    @contextmanager
    def _media(self) -> Iterator[tuple[_Reading, BlobSource]]:
        require_blobs(self._session)
        with self._blobs() as blobs, ExitStack() as stack:
            yield _Reading(self._session, stack), blobs

    def _blobs(self) -> AbstractContextManager[BlobSource]:
        return self._session.storage.blob_source(self._session.store)

    @contextmanager
    def _tree(self, form: str, blobs: BlobSource, *, check: bool = False) -> Iterator[ExportSync]:
        with open_export(
            self._directory,
            form=form,
            archive=self._session.catalog.archive_id,
            root=self._session.root,
            blobs=blobs,
            method=self._link,
            verify=check,
            dry_run=self._dry_run,
            progress=self._progress,
        ) as tree:
            yield tree

    def _walk(self, moment: Snapshot) -> Iterator[KeptAccount | KeptHighlight | Placed]:
        """Walk through the selection, and call ``on_empty`` at the end if it has no item."""
        return self._watch(moment.stream(content.walk, self._selection), self._on_empty)

    def _walk_files(self, moment: Snapshot) -> Iterator[KeptAccount | KeptHighlight | PlacedFile]:
        """As ``_walk``, but with the files of items only."""

        def look_for_items() -> None:
            # Items without files do not appear among the files, so look at the items themselves.
            items = moment.stream(content.walk, self._selection, with_entries=False)
            for _ in self._watch(items, self._on_empty):
                pass

        return self._watch(moment.stream(content.walk_files, self._selection), look_for_items)

    def _watch(self, steps: Iterator[S], on_empty: Callable[[], None]) -> Iterator[S]:
        """Yield the same steps, and call ``on_empty`` at the end if there was no item."""
        is_wanted = False
        for step in steps:
            yield step
            if isinstance(step, KeptHighlight):
                is_wanted = self._has_gone or step.gone_at is None
            elif isinstance(step, KeptAccount) or not is_wanted:
                continue
            elif self._has_gone or step.gone_at is None:
                yield from steps
                return
        on_empty()

    def _require_some(self, values: Iterator[T]) -> Iterator[T]:
        """Return the values. Raises UsageError if there are none and ``prune`` would remove everything."""
        for first in values:
            return chain((first,), values)
        if self._prune:
            raise UsageError(
                "nothing is selected, and --prune would remove the whole export",
                "check the filters, or omit --prune",
            )
        return iter(())

    def _require_tables(self, names: Sequence[str]) -> None:
        """Raise UsageError for a table that does not exist, or that filters cannot narrow."""
        for name in names:
            if name not in row_dump.TABLES:
                raise UsageError(f"there is no table {name}", f"the tables are {', '.join(row_dump.TABLES)}")
            if self._selection != EVERYTHING and name not in row_dump.PART_TABLES:
                raise UsageError(
                    f"the table {name} belongs to the archive as a whole: filters cannot narrow it",
                    "leave the filters out",
                )

    def _part(self, moment: Snapshot) -> row_dump.ArchivePart | None:
        """Return the selected part of the archive; None for all of it."""
        return (
            None
            if self._selection == EVERYTHING
            else next(moment.stream(row_dump.selected_part, self._selection))
        )

    def _report_empty(self, moment: Snapshot, part: row_dump.ArchivePart | None) -> None:
        if not (moment.read(totals.status).items if part is None else part.item_pks):
            self._on_empty()


def check_export(
    session: Session, directory: Path, *, form: str, progress: Callable[[ExportStats], None]
) -> ExportStats:
    """Check an export in a directory; see ``Archive.check_export``."""
    catalog = session.catalog
    with (
        session.storage.blob_source(session.store) as blobs,
        open_check(
            directory,
            form=form,
            archive=catalog.archive_id,
            blobs=blobs,
            stored_blobs=lambda digests: catalog.read(holdings.blobs, digests),
            progress=progress,
        ) as check,
    ):
        if form == "bagit":
            bagit.check_bag(check)
        else:
            for _ in check.right_files():
                pass
        return check.stats


class _Reading:
    """The rows of an export with media, all from the same ``moment``.

    No transaction may last while blobs come from a bucket. There, what is exported is read before the first
    blob, into a temporary file.
    """

    def __init__(self, session: Session, stack: ExitStack) -> None:
        """``stack`` closes what is opened here."""
        self._root, self._stack = session.root, stack
        self._is_streamed = not session.storage.is_remote
        self._snapshot_stack = stack.enter_context(ExitStack())
        self.moment = self._snapshot_stack.enter_context(session.catalog.snapshot())

    def gather(self, values: Iterator[E]) -> Iterator[E]:
        """Return the files of the export, which can be read after ``end``."""
        if self._is_streamed:
            return values
        file, count = self._stack.enter_context(open_temporary(self._root)), 0
        with storage_errors("a temporary file of the export cannot be written"):
            for value in values:
                packed = pack_entry(value)
                file.write(len(packed).to_bytes(8) + packed)
                count += 1
            file.seek(0)
        packed_entries = (file.read(int.from_bytes(file.read(8))) for _ in range(count))
        return cast("Iterator[E]", map(unpack_entry, packed_entries))

    def end(self) -> None:
        """End the transaction, unless the values are streamed from it."""
        if not self._is_streamed:
            self._snapshot_stack.close()


def _find(
    missing: set[AnswerLocation], records: Iterator[tuple[bytes, tuple[AnswerLocation, Answer] | None]]
) -> Iterator[tuple[bytes, Answer | None]]:
    """Yield records and their answers, which are no longer ``missing``. One with a wrong body is left out."""
    offsets = {location.offset for location in missing}
    for packed, found in records:
        location, answer = found or (None, None)
        if location in missing:
            missing.discard(location)
        elif location is not None and location.offset in offsets:
            continue
        yield packed, answer


def _table_entries(
    moment: Snapshot,
    tree: ExportSync,
    form: TableForm,
    names: Sequence[str],
    part: row_dump.ArchivePart | None,
    below: tuple[str, ...],
) -> Iterator[ExportEntry]:
    """Yield the tables as files. Each is in the staging directory of ``tree`` when it is yielded."""
    at_ns = _last_run_ns(moment)
    for name in row_dump.TABLES if part is None else row_dump.PART_TABLES:
        if names and name not in names:
            if name == "files" and part is not None and "blobs" in names:
                _read_files(moment, part)
            continue
        rows = moment.stream(row_dump.part_rows, name, part)
        text, size = tree.stage_text(table_text(form, row_dump.column_names(name), rows))
        yield ExportEntry(f"table {name}", (*below, f"{name}.{form}"), text, size, at_ns)


def _read_files(moment: Snapshot, part: row_dump.ArchivePart) -> None:
    """Read the files of a part, which determines its blobs."""
    for _ in moment.stream(row_dump.part_rows, "files", part):
        pass


def _last_run_ns(moment: Snapshot) -> int | None:
    """Return the end (or start) of the last run, in nanoseconds: the time that the rows describe."""
    runs = moment.read(totals.status).last_runs
    return to_nanoseconds(runs[0].finished_at or runs[0].started_at) if runs else None


def table_text(
    form: TableForm, columns: tuple[str, ...], rows: Iterable[tuple[object, ...]]
) -> Iterator[str]:
    """Yield a table as text, a few hundred rows at a time."""
    remaining = iter(rows)
    if form is TableForm.CSV:
        yield _csv([columns])
    while batch := list(islice(remaining, _ROWS_AT_ONCE)):
        if form is TableForm.CSV:
            yield _csv([format_csv_cell(value) for value in row] for row in batch)
        else:
            yield "".join(f"{format_json_line(dict(zip(columns, row, strict=True)))}\n" for row in batch)


def _csv(rows: Iterable[Iterable[str]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue()
