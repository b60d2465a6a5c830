"""``archiver datasette``."""

from __future__ import annotations

import errno
import os
import shlex
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import click

from archiver.cli import output
from archiver.cli.decorators import reads
from archiver.cli.options import GlobalOptions, OutputDirectoryType, RiskyOption, dry_run_option
from archiver.durable import require_permission, storage_errors
from archiver.errors import UsageError

if TYPE_CHECKING:
    from archiver.archive.archive import Archive

_METADATA = "metadata.json"
_SETTINGS = {"default_page_size": 50, "sql_time_limit_ms": 5_000}


@reads("datasette", reports_interrupt=True)
@click.argument("directory", type=OutputDirectoryType(allows_stdout=True), metavar="DIR")
@click.option(
    "--force",
    cls=RiskyOption,
    is_flag=True,
    help="Overwrite existing files with other content.",
)
@dry_run_option("Write nothing; print which files would be written.")
def command(options: GlobalOptions, archive: Archive, directory: Path, force: bool, dry_run: bool) -> None:
    """Write what Datasette needs to show the archive with its pictures: metadata.json and plugins/ in DIR.
    The archive is only read; costs nothing.

    The metadata describes tables and columns, sets their order, and has example queries. The plug-in shows
    pictures and videos in the tables, and answers only requests for names of this machine. The command that
    starts Datasette is printed: a script for sh, which passes its arguments on. "-" for DIR prints only the
    metadata. To install Datasette (0.65): pipx install datasette.

    For an archive in a bucket, archiver must be installed beside Datasette, which needs the keys of the store
    (docs/object-storage.md).

    \b
    Examples:
      archiver datasette ~/archive-web
      sh -c "$(archiver datasette ~/archive-web)"      write it, and start Datasette
      archiver datasette ~/archive-web > start && sh start -p 8002
    """
    from archiver.datasette.metadata import PLUGIN_NAME, build_metadata, plugin_source

    database = archive.sqlite_file()
    place: dict[str, object] = {"blobs": str(archive.root / "blobs")}
    if archive.storage is not None:
        uses_service = options.settings.archive.use_metadata_service
        place = {"storage": archive.storage, "use_metadata_service": uses_service}
    description = output.format_json(build_metadata(database.stem, place), indent=2) + "\n"
    if str(directory) == "-":
        output.print_data(description)
        return
    files = {directory / _METADATA: description, directory / "plugins" / PLUGIN_NAME: plugin_source()}
    changed = _changed_files(files, force=force)
    if dry_run:
        for path in changed:
            require_permission(path.parent)
        output.print_messages(*(f"{path} would be written" for path in changed))
        if not changed:
            output.print_messages(f"{directory} has these files already: nothing would be written")
        return
    _write({path: files[path] for path in changed})
    output.print_data(f'{shlex.join(_start(directory.absolute(), database))} "$@"\n')


def _start(directory: Path, database: Path) -> list[str]:
    """Return the command that serves the archive on this machine."""
    settings = [word for name, value in _SETTINGS.items() for word in ("--setting", name, str(value))]
    plugins = directory / "plugins"
    shown = ["--metadata", str(directory / _METADATA), "--plugins-dir", str(plugins)]
    # On a read-only disk SQLite cannot make the index of a WAL, and nothing writes.
    immutable = ["--immutable"] if os.statvfs(database).f_flag & os.ST_RDONLY else []
    return ["datasette", "serve", "--host", "127.0.0.1", *shown, *settings, *immutable, str(database)]


def _changed_files(files: dict[Path, str], *, force: bool) -> list[Path]:
    """Return the files that are missing, or have other content.

    Raises UsageError if a file exists with other content, unless with ``force``, or if the directory is in an
    archive or export; StorageError.
    """
    from archiver.export.open_export import refuse_archives, refuse_exports

    changed = []
    for path, text in files.items():
        refuse_archives(path.parent)
        refuse_exports(path.parent)
        with storage_errors(f"{path} cannot be read"):
            exists = path.exists()
            differs = _differs(path, text.encode())
        if differs or not exists:
            changed.append(path)
        if differs and not force:
            raise UsageError(
                f"{path} exists already, with other content",
                "name another directory, or overwrite it with --force",
            )
    return changed


def _write(files: dict[Path, str]) -> None:
    """Write each file completely or not at all. Raises StorageError."""
    for path, text in files.items():
        with storage_errors(f"{path} cannot be written"):
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = path.with_name(f".{path.name}.part")
            draft.unlink(missing_ok=True)  # left by a killed process; never write into a link or pipe
            try:
                with draft.open("x", encoding="utf-8") as file:
                    file.write(text)
                draft.replace(path)
            finally:
                draft.unlink(missing_ok=True)


def _differs(path: Path, content: bytes) -> bool:
    """Return whether the content differs. Raises OSError if it is not a file: a pipe would block."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "not a regular file")
            return file.read(len(content) + 1) != content
    finally:
        os.close(descriptor)
