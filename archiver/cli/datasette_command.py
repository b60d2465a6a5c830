"""``archiver datasette``."""

from __future__ import annotations

import errno
import os
import shlex
import stat
from pathlib import Path

import click

from archiver.cli import load, output
from archiver.cli.options import EPILOG, Given, Unsuggested, everywhere
from archiver.cli.parameter_types import OutputDirectoryType
from archiver.durable import storage_errors
from archiver.errors import UsageError

_METADATA = "metadata.json"
_SETTINGS = {"default_page_size": 50, "sql_time_limit_ms": 5_000}


@click.command("datasette", epilog=EPILOG)
@click.argument("directory", type=OutputDirectoryType(allows_stdout=True), metavar="DIR")
@click.option(
    "--force",
    cls=Unsuggested,
    is_flag=True,
    help="Write over files of other content that stand there.",
)
@everywhere
@click.pass_obj
def command(given: Given, directory: Path, force: bool) -> int:
    """Write what Datasette needs to show the archive with its pictures: metadata.json and plugins/ in DIR. Reads only, costs nothing.

    The metadata has what tables and columns mean, how they are sorted, and questions to ask; the plug-in shows pictures and videos in
    the tables, and answers only to names of this machine. What is printed is the command that starts it: a script for sh, which hands
    its arguments on. "-" for DIR prints the metadata alone. The archive is not touched; Datasette (0.65) comes by: pipx install datasette.

    \b
    Examples:
      archiver datasette ~/archive-web
      sh -c "$(archiver datasette ~/archive-web)"      write it, and start Datasette
      archiver datasette ~/archive-web > start && sh start -p 8002
    """
    from archiver import archive
    from archiver.datasette.metadata import PLUGIN_NAME, build_metadata, plugin_source

    config = load.config(given)
    database = archive.sqlite_file(config)
    root = config.archive.directory
    told = output.format_json(build_metadata(database.stem, root / "blobs"), indent=2) + "\n"
    if str(directory) == "-":
        output.print_data(told)
        return 0
    files = {directory / _METADATA: told, directory / "plugins" / PLUGIN_NAME: plugin_source()}
    _write(files, force=force)
    output.print_data(f'{shlex.join(_start(directory.absolute(), database))} "$@"\n')
    return 0


def _start(directory: Path, database: Path) -> list[str]:
    """The command that serves the archive on this machine."""
    settings = [word for name, value in _SETTINGS.items() for word in ("--setting", name, str(value))]
    plugins = directory / "plugins"
    shown = ["--metadata", str(directory / _METADATA), "--plugins-dir", str(plugins)]
    # On a disk that is mounted read-only nobody writes, and SQLite cannot make the index of a WAL.
    frozen = ["--immutable"] if os.statvfs(database).f_flag & os.ST_RDONLY else []
    return ["datasette", "serve", "--host", "127.0.0.1", *shown, *settings, *frozen, str(database)]


def _write(files: dict[Path, str], *, force: bool) -> None:
    """Write each file, whole or not at all. Raises UsageError, with nothing written, where one stands that says something else, and for
    a place in an archive or export; StorageError."""
    from archiver.export.open_export import refuse_archives, refuse_exports

    for path, text in files.items():
        refuse_archives(path.parent)
        refuse_exports(path.parent)
        with storage_errors(f"{path} cannot be looked at"):
            differs = _differs(path, text.encode())
        if differs and not force:
            raise UsageError(
                f"there is a file already: {path}", "name another directory, or write over it with --force"
            )
    for path, text in files.items():
        with storage_errors(f"{path} cannot be written"):
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = path.with_name(f".{path.name}.part")
            draft.unlink(missing_ok=True)  # of one that was killed; a link or a pipe would be written into
            try:
                with draft.open("x", encoding="utf-8") as file:
                    file.write(text)
                draft.replace(path)
            finally:
                draft.unlink(missing_ok=True)


def _differs(path: Path, content: bytes) -> bool:
    """Whether something else stands there. Raises OSError for what is no file: reading from a pipe would wait for whoever writes to it."""
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
