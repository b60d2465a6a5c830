"""``archiver show``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

import click

from archiver.cli import load, output, signals
from archiver.cli.options import EPILOG, GlobalOptions, global_options, json_option
from archiver.errors import UsageError
from archiver.text_format import make_safe

if TYPE_CHECKING:
    from archiver.archive.archive import Archive
    from archiver.model.archived import KeptFile

_AT_ONCE = 500
_ROLES = ("thumbnail", "video", "cover", "avatar")


@click.command("show", epilog=EPILOG)
@click.argument("target", metavar="TARGET")
@click.option("--paths", is_flag=True, help="Only the absolute paths of its files, one a line.")
@click.option("-0", "--null", is_flag=True, help="Like --paths, with a NUL after each path: for xargs -0.")
@click.option(
    "--role",
    "roles",
    type=click.Choice(_ROLES),
    multiple=True,
    help="With --paths, only files of this role. May be repeated.",
)
@json_option({"kind": None})
@global_options
@click.pass_obj
def command(options: GlobalOptions, target: str, paths: bool, null: bool, roles: tuple[str, ...]) -> int:
    """Show one account, highlight or item, with the paths of its files. Reads only, also during a run; costs
    nothing.

    TARGET is an account (username, a former one, id, profile link), a highlight (highlight:<pk>, link, share
    link) or an item (item:<pk>, its code, a /p/, /reel/ or story link). A bare number is an account's id,
    else a highlight's pk, else an item's.

    Long lists are cut: -v shows all. --json has every field; for an account, the items of its highlights are
    left out. --paths lists the current files: the avatar, each highlight's cover, then the files of its items
    in their order; each file once.

    \b
    Examples:
      archiver show natgeo
      archiver show highlight:17983407089364361 -v
      archiver show natgeo -0 --role video | xargs -0 mpv
      archiver show natgeo --json | jq -r '.highlights[] | select(.completed_at == null) | .title'
    """
    from archiver.cli import details_json, details_text
    from archiver.model.target import parse_target_or_item

    if (paths or null) and options.blank is not None:
        option = "-0" if null else "--paths"
        raise UsageError(
            f"--json and {option} exclude each other",
            f"leave out {option} for the object, or --json for the paths",
        )
    if roles and not (paths or null):
        raise UsageError("--role goes with --paths", "see archiver show --help")
    subject = parse_target_or_item(target)
    with load.open_archive(options) as archive, signals.die_on_interrupt():
        if paths or null:
            for piece in _paths(archive, archive.current_files(subject), roles, b"\0" if null else b"\n"):
                output.print_data(piece)
        elif options.blank is not None:
            head, name, rows = details_json.describe_details(archive, archive.show(subject))
            output.print_json_list({"exit_code": 0, "outcome": "ok", **head}, name, rows)
        else:
            details = archive.show(subject)
            for line in details_text.details_lines(
                archive, details, output.terminal_width(), show_all=options.verbose
            ):
                output.print_data(f"{line}\n")
    return 0


def _paths(
    archive: Archive, files: Iterable[KeptFile], roles: tuple[str, ...], end: bytes
) -> Iterator[bytes | str]:
    """Yield the paths, many at once: exact, but safe on a terminal."""
    on_terminal = output.terminal_width() is not None
    files = (file for file in files if not roles or file.role in roles)
    while some := [archive.path(file) for file in islice(files, _AT_ONCE)]:
        if on_terminal and end == b"\n":
            yield "".join(f"{make_safe(str(path))}\n" for path in some)
        else:
            yield b"".join(os.fsencode(path) + end for path in some)
