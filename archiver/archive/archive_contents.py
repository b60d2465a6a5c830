"""What an archive holds: accounts, highlights, items and their files; search, SQL and exports."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Unpack

from archiver.archive import arguments
from archiver.archive.archive_base import ArchiveBase, Reading
from archiver.archive.database import read_schema
from archiver.errors import UsageError
from archiver.model.query_results import NO_LIMIT, Kind, Rows, RowStream, Value
from archiver.model.target import ItemTarget, parse_target_or_item

# Methods import what only they need: `status` takes a tenth less time for it.
if TYPE_CHECKING:
    from archiver.archive.exports import Export, MediaOptions, TableForm, TableOptions
    from archiver.archive.selection import AccountName, Accounts, HighlightName, Narrowing, SubjectName
    from archiver.archive.subject_details import Details
    from archiver.export.export_check import CheckedForm
    from archiver.export.export_entry import ExportStats
    from archiver.model.archived import (
        KeptAccount,
        KeptFile,
        KeptHighlight,
        KeptItem,
        Placed,
    )
    from archiver.model.foreign_files import WaitingFile
    from archiver.model.query_results import Hit


class ArchiveContents(ArchiveBase):
    """Reads what the archive holds, and writes copies of it in forms that need no archiver."""

    def accounts(self) -> Reading[KeptAccount]:
        """Return every account, by ascending pk."""
        from archiver.catalog.query import content
        from archiver.model.archived import Selection

        return self._read(self._catalog.stream(content.accounts, Selection()))

    def highlights(
        self, *, accounts: Accounts | None = None, titles: str | Iterable[str] | None = None
    ) -> Reading[KeptHighlight]:
        """Return the highlights, account by account: shown ones in profile order, then gone ones."""
        from archiver.catalog.query import content

        selected = self._select(accounts=accounts, titles=titles)
        return self._read(self._catalog.stream(content.highlights, selected))

    def items(self, **narrowing: Unpack[Narrowing]) -> Reading[KeptItem]:
        """Return each item once, by ascending pk, whichever highlights show it."""
        from archiver.catalog.query import content

        return self._read(self._catalog.stream(content.items, self._select(**narrowing)))

    def contents(self, **narrowing: Unpack[Narrowing]) -> Reading[Placed]:
        """Return the items in their places, highlight by highlight as in ``highlights``, the oldest first."""
        from archiver.catalog.query import content

        return self._read(self._catalog.stream(content.contents, self._select(**narrowing)))

    def places(self, item: KeptItem) -> tuple[Placed, ...]:
        """Return where one item is or was shown: its place in each of its highlights."""
        from archiver.catalog.query import content
        from archiver.model.archived import KeptItem, Selection

        pk = arguments.require_instance("item", item, KeptItem).pk
        return tuple(self._catalog.stream(content.contents, Selection(item_pks=(pk,))))

    def walk(self, **narrowing: Unpack[Narrowing]) -> Reading[KeptAccount | KeptHighlight | Placed]:
        """Return each account, followed by its highlights, each followed by its items in their places.

        Highlights without any selected item, and accounts without any selected highlight, are left out.
        """
        from archiver.catalog.query import content

        return self._read(self._catalog.stream(content.walk, self._select(**narrowing)))

    def account(self, name: AccountName) -> KeptAccount:
        """Return the account of that username (or a former one), id or profile link.

        Raises NotHeld, naming similar accounts, and UsageError if several have had the name.
        """
        from archiver.archive import selection

        return selection.find_account(self._catalog, selection.read_account(name))

    def usernames(self, prefix: str) -> tuple[str, ...]:
        """Return the current usernames that begin with ``prefix``, in any case: at most 500, sorted."""
        from archiver.catalog.query import content

        return self._catalog.read(content.usernames, prefix)

    def titles(self, prefix: str) -> tuple[str, ...]:
        """Return the titles of highlights that begin with ``prefix``, each once: at most 500, sorted."""
        from archiver.catalog.query import content

        return self._catalog.read(content.titles, prefix)

    def highlight(self, pk: str) -> KeptHighlight:
        """Return the highlight of that pk, ``highlight:<pk>`` or link. Raises NotHeld."""
        from archiver.archive import selection

        return selection.find_highlight(self._catalog, selection.read_highlight_pk(pk))

    def item(self, name: str) -> KeptItem:
        """Return the item of that pk or code. Raises NotHeld."""
        from archiver.archive import selection

        name = arguments.require_text("item", name, "pk or code")
        target = parse_target_or_item(name if name.startswith("item:") else f"item:{name}")
        assert isinstance(target, ItemTarget)
        return selection.find_item(self._catalog, target)

    def show(self, subject: SubjectName) -> Details:
        """Return an account, highlight or item with everything that ``archiver show`` prints about it.

        A number is an account's id, else a highlight's pk, else an item's; a name that no account has may be
        an item's code. Raises NotHeld, and UsageError if several accounts have had the name.
        """
        from archiver.archive import selection
        from archiver.archive.subject_details import read_details

        return read_details(self._open(), selection.read_subject(subject))

    def files(self) -> Reading[KeptFile]:
        """Return every file, replaced ones too, in the order in which they were stored."""
        from archiver.catalog.query import content

        return self._read(self._catalog.stream(content.files))

    def current_files(self, subject: SubjectName) -> Reading[KeptFile]:
        """Return the newest stored file of each role of an account, highlight or item, without duplicates.

        For an account: the avatar, each highlight's cover, then the files of its items. Raises NotHeld.
        """
        from archiver.archive import selection
        from archiver.archive.subject_details import read_current_files

        found = selection.find_subject(self._catalog, selection.read_subject(subject))
        return self._read(read_current_files(self._catalog, found))

    def location(self, file: KeptFile | WaitingFile) -> str:
        """Return where a file is: its absolute path, or its ``s3://`` name if the archive is in a bucket."""
        return self._open().store.location(_require_file(file).blob.sha256)

    def path(self, file: KeptFile | WaitingFile) -> Path:
        """Return the absolute path of a file. It exists unless ``file.lost_at`` is set; never change it.

        Raises UsageError if the archive is in a bucket: see ``open`` and ``location``.
        """
        location = self.location(file)
        if self.storage is not None:
            raise UsageError(f"{location} has no path: read it with open()")
        return Path(location)

    def open(self, file: KeptFile | WaitingFile) -> BinaryIO:
        """Open a file for reading; the caller closes it. Raises StorageError if its bytes are missing."""
        return self._open().store.open(_require_file(file).blob.sha256)

    def search(
        self,
        text: str,
        *,
        accounts: Accounts | None = None,
        highlights: HighlightName | Iterable[HighlightName] | None = None,
        kinds: Kind | str | Iterable[Kind | str] | None = None,
        since: datetime | None = None,
        limit: int | None = None,
    ) -> Reading[Hit]:
        """Return the accounts, highlights and items that have all words of ``text``, best first.

        ``kinds``: one of ``Kind``, or several. ``since``: made since then, or first seen since
        then if the time it was made is unknown. An empty list selects nothing. Raises UsageError, also for a
        text without a word.
        """
        from archiver.catalog.search import results
        from archiver.catalog.search.query_parser import SearchQuery

        query = SearchQuery.parse(arguments.require_text("text", text, "text to search for"))
        of_kinds = arguments.read_several(kinds, lambda one: arguments.require_choice("kinds", one, Kind))
        made_since, most = arguments.read_time("since", since), arguments.read_count("limit", limit)
        selected = self._select(accounts=accounts, highlights=highlights)
        hits = self._catalog.stream(
            results.hits,
            query,
            user_pks=selected.user_pks,
            highlight_pks=selected.highlight_pks,
            kinds=of_kinds or (),
            since=made_since,
            limit=0 if of_kinds == () else most,
        )
        return self._read(hits)

    def count_unsearchable(self) -> int:
        """Return how many things another program has changed; the next run makes them searchable again."""
        from archiver.catalog.search import results

        return self._catalog.read(results.count_stale)

    def query(
        self,
        sql: str,
        parameters: Mapping[str, Value] | None = None,
        *,
        limit: int | None = None,
        seconds: float = 60.0,
        own_process: bool = False,
    ) -> Rows:
        """Return the rows of one read-only SQL statement: at most ``limit`` rows, within ``seconds``.

        ``parameters`` are bound where the statement says ``:name``. ``own_process``: nothing else in this
        process uses SQLite, so its memory limit may be lowered permanently. Raises QueryRefused, UsageError.
        """
        most = arguments.read_count("limit", limit)
        return self._catalog.run_query(
            arguments.require_text("sql", sql, "statement"),
            rows=NO_LIMIT if most is None else most,
            seconds=arguments.require_seconds("seconds", seconds),
            parameters=arguments.read_parameters(parameters),
            own_process=own_process,
        )

    def stream_query(
        self, sql: str, parameters: Mapping[str, Value] | None = None, *, seconds: float = 60.0
    ) -> AbstractContextManager[RowStream]:
        """Return a context manager that streams the rows of a statement. Needs a process of its own.

        Raises QueryRefused, also after some rows.
        """
        return self._catalog.stream_query(sql, seconds=seconds, parameters=parameters)

    def tables(self) -> Rows:
        """Return every table and view, column by column, with what docs/schema.md says about each."""
        return read_schema(self._catalog)

    def waiting_files(self) -> Reading[WaitingFile]:
        """Return the adopted files that wait for their items, by folder, highlight and item."""
        from archiver.catalog.query import adoptions

        return self._read(self._catalog.stream(adoptions.waiting_files))

    def export_folder(
        self,
        directory: str | os.PathLike[str],
        *,
        template: str | None = None,
        sidecars: bool = False,
        xmp: bool = False,
        **options: Unpack[MediaOptions],
    ) -> ExportStats:
        """Export pictures and videos under readable names into ``directory``; a later export updates it.

        ``template``: where each goes, as in ``archiver export folder``. ``sidecars``: beside each item,
        write what is known about it, as JSON. ``xmp``: beside each picture and video of an item, write what
        photo programs read, as XMP. Raises UsageError, NotHeld, ArchiveLocked, StorageError, DiskFull.
        """
        from archiver.export.export_paths import DEFAULT_TEMPLATE

        export = self._export("directory", directory, **options)
        given = DEFAULT_TEMPLATE if template is None else template
        chosen = arguments.require_text("template", given, "template of paths")
        return export.folder(template=chosen, sidecars=sidecars, xmp=xmp)

    def export_site(self, directory: str | os.PathLike[str], **options: Unpack[MediaOptions]) -> ExportStats:
        """Export web pages that need no server. Raises the errors of ``export_folder``."""
        return self._export("directory", directory, **options).site()

    def export_wacz(
        self,
        file: str | os.PathLike[str],
        *,
        with_answers: bool = False,
        force: bool = False,
        gone: bool = True,
        **options: Unpack[TableOptions],
    ) -> ExportStats:
        """Export the site as one WACZ file, for web archives and players.

        ``with_answers``: add the stored answers, which contain signed links. ``force``: replace an existing
        file. ``gone``: include what Instagram no longer shows. Raises the errors of ``export_folder``.
        """
        export = self._export("file", file, gone=gone, **options)
        return export.wacz(with_answers=with_answers, force=force)

    def export_bagit(
        self,
        directory: str | os.PathLike[str],
        *,
        info: Sequence[tuple[str, str]] = (),
        **options: Unpack[MediaOptions],
    ) -> ExportStats:
        """Export a BagIt bag of media, sidecars and tables. ``info``: fields of ``bag-info.txt``."""
        fields = arguments.require_fields("info", info)
        return self._export("directory", directory, **options).bag(info=fields)

    def export_tables(
        self,
        directory: str | os.PathLike[str],
        *,
        form: TableForm | str = "jsonl",
        tables: Sequence[str] = (),
        **options: Unpack[TableOptions],
    ) -> ExportStats:
        """Export these tables, or all, each to one ``jsonl`` or ``csv`` file.

        With filters, only tables whose rows belong to accounts, highlights or items. Raises
        the errors of ``export_folder``.
        """
        from archiver.archive.exports import TableForm

        chosen = arguments.require_choice("form", form, TableForm)
        names = arguments.require_texts("tables", tables, "name of a table")
        return self._export("directory", directory, **options).tables(chosen, names)

    def check_export(
        self,
        path: str | os.PathLike[str],
        *,
        form: CheckedForm | str,
        progress: Callable[[ExportStats], None] = lambda stats: None,
    ) -> ExportStats:
        """Check an export of the form ``folder``, ``site``, ``bagit`` or ``wacz``; change nothing.

        In a directory every file is compared with the list of exported files, and that with the rows; in a
        WACZ every record with its digest. Of the result, ``files`` are right, ``failed`` (``failures``) wrong
        or missing, ``bytes`` were read. Raises UsageError, NoArchive if there is no export, ArchiveLocked,
        StorageError.
        """
        from archiver.archive.exports import check_export
        from archiver.export.export_check import CheckedForm, check_wacz

        chosen = arguments.require_choice("form", form, CheckedForm)
        place = arguments.require_path("path", path)
        if chosen is CheckedForm.WACZ:
            return check_wacz(place, progress)
        return check_export(self._open(), place, form=chosen, progress=progress)

    def table_lines(
        self, table: str, *, form: TableForm | str = "jsonl", **options: Unpack[TableOptions]
    ) -> Iterator[str]:
        """Return one table as text, in pieces. Raises UsageError, NotHeld."""
        from archiver.archive.exports import TableForm

        chosen = arguments.require_choice("form", form, TableForm)
        return self._export("directory", self.root, **options).table_lines(chosen, table)

    def _export(self, argument: str, to: str | os.PathLike[str], **options: Unpack[MediaOptions]) -> Export:
        """Return an export to a place, which is the value of that argument."""
        from archiver.archive.exports import Export

        return Export(self._open(), arguments.require_path(argument, to), **options)


def _require_file(file: object) -> KeptFile | WaitingFile:
    from archiver.model.archived import KeptFile
    from archiver.model.foreign_files import WaitingFile

    if isinstance(file, WaitingFile):
        return file
    return arguments.require_instance("file", file, KeptFile)
