"""Exports of an archive."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Unpack

from archiver.archive import arguments
from archiver.archive.archive_base import ArchiveBase

# Methods import what only they need: `status` takes a tenth less time for it.
if TYPE_CHECKING:
    from archiver.archive.exports import Export, MediaOptions, TableOptions
    from archiver.export.export_check import CheckedForm
    from archiver.export.export_entry import ExportStats
    from archiver.export.table_files import TableForm


class ArchiveExports(ArchiveBase):
    """Writes copies in forms that need no archiver."""

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
        from archiver.export.path_template import DEFAULT_TEMPLATE

        export = self._export("directory", directory, **options)
        chosen = DEFAULT_TEMPLATE if template is None else template
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
        return self._export("directory", directory, **options).bag(info=info)

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
        from archiver.export.table_files import TableForm

        chosen = arguments.require_choice("form", form, TableForm)
        return self._export("directory", directory, **options).tables(chosen, tables)

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
        from archiver.export.export_check import CheckedForm
        from archiver.export.wacz_check import check_wacz

        chosen = arguments.require_choice("form", form, CheckedForm)
        place = arguments.require_path("path", path)
        if chosen is CheckedForm.WACZ:
            return check_wacz(place, progress)
        return check_export(self._open(), place, form=chosen, progress=progress)

    def table_lines(
        self, table: str, *, form: TableForm | str = "jsonl", **options: Unpack[TableOptions]
    ) -> Iterator[str]:
        """Return one table as text, in pieces. Raises UsageError, NotHeld."""
        from archiver.export.table_files import TableForm

        chosen = arguments.require_choice("form", form, TableForm)
        return self._export("directory", self.root, **options).table_lines(chosen, table)

    def _export(self, argument: str, to: str | os.PathLike[str], **options: Unpack[MediaOptions]) -> Export:
        """Return an export to a place, which is the value of that argument."""
        from archiver.archive.exports import Export

        return Export(self._open(), arguments.require_path(argument, to), **options)
