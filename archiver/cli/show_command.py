"""``archiver show``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

import click

from archiver.cli import load, output, signals
from archiver.cli.decorators import plain
from archiver.cli.name_completion import complete_account
from archiver.cli.options import GlobalOptions
from archiver.errors import UsageError
from archiver.model.target import ItemTarget, Target, parse_target_or_item
from archiver.text_format import make_safe

if TYPE_CHECKING:
    from archiver.archive.archive import Archive
    from archiver.model.archived import KeptFile
    from archiver.model.foreign_files import WaitingFile

_AT_ONCE = 500
_ROLES = ("thumbnail", "video", "cover", "avatar")


@plain("show", json={"kind": None})
@click.argument("target", metavar="[TARGET]", required=False, shell_complete=complete_account)
@click.option("--paths", is_flag=True, help="Only the absolute paths of its files, one a line.")
@click.option("-0", "--null", is_flag=True, help="Like --paths, with a NUL after each path: for xargs -0.")
@click.option(
    "--role",
    "roles",
    type=click.Choice(_ROLES),
    multiple=True,
    help="With --paths, only files of this role. May be repeated.",
)
@click.option(
    "--adopted", is_flag=True, help="Instead of TARGET: the adopted files that wait for their items."
)
def command(
    options: GlobalOptions,
    target: str | None,
    paths: bool,
    null: bool,
    roles: tuple[str, ...],
    adopted: bool,
) -> int:
    """Show one account, highlight or item, with the paths of its files. Reads only, also during a run; costs
    nothing.

    TARGET is an account (username, a former one, id, profile link), a highlight (highlight:<pk>, link, share
    link) or an item (item:<pk>, its code, a /p/, /reel/ or story link). A bare number is an account's id,
    else a highlight's pk, else an item's.

    Long lists are cut: -v shows all. --json has every field; for an account, the items of its highlights are
    left out. --adopted lists the files that archiver adopt has stored, but not yet assigned to an item.
    --paths lists the current files: the avatar, each highlight's cover, then the files of its items in their
    order; each file once.

    \b
    Examples:
      archiver show natgeo
      archiver show highlight:17983407089364361 -v
      archiver show natgeo -0 --role video | xargs -0 mpv
      archiver show --adopted
      archiver show natgeo --json | jq -r '.highlights[] | select(.completed_at == null) | .title'
    """
    if (paths or null) and options.blank is not None:
        option = "-0" if null else "--paths"
        raise UsageError(
            f"--json and {option} cannot be combined",
            f"leave out {option} for the object, or --json for the paths",
        )
    if roles and not (paths or null):
        raise UsageError("--role needs --paths", "see archiver show --help")
    if adopted == (target is not None):
        raise UsageError("name either a TARGET or --adopted", "see archiver show --help")
    end = b"\0" if null else b"\n" if paths else None
    with load.open_archive(options) as archive, signals.die_on_interrupt():
        if target is None:
            _show_adopted(options, archive, roles, end)
        else:
            _show_target(options, archive, parse_target_or_item(target), roles, end)
    return 0


def _show_target(
    options: GlobalOptions,
    archive: Archive,
    subject: Target | ItemTarget,
    roles: tuple[str, ...],
    end: bytes | None,
) -> None:
    from archiver.cli import details_json, details_text

    if end is not None:
        for piece in _paths(archive, archive.current_files(subject), roles, end):
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


def _show_adopted(
    options: GlobalOptions, archive: Archive, roles: tuple[str, ...], end: bytes | None
) -> None:
    from archiver.cli import details_json, details_text

    files = archive.waiting_files()
    if end is not None:
        for piece in _paths(archive, files, roles, end):
            output.print_data(piece)
    elif options.blank is not None:
        rows = (details_json.describe_waiting(archive, file) for file in files)
        head = {"exit_code": 0, "outcome": "ok", "kind": "adopted"}
        output.print_json_list(head, "waiting", rows)
    else:
        for line in details_text.waiting_lines(files, output.terminal_width(), show_all=options.verbose):
            output.print_data(f"{line}\n")


def _paths(
    archive: Archive, files: Iterable[KeptFile | WaitingFile], roles: tuple[str, ...], end: bytes
) -> Iterator[bytes | str]:
    """Yield the paths, many at once: exact, but safe on a terminal."""
    on_terminal = output.terminal_width() is not None
    files = (file for file in files if not roles or file.role in roles)
    while some := [archive.location(file) for file in islice(files, _AT_ONCE)]:
        if on_terminal and end == b"\n":
            yield "".join(f"{make_safe(str(path))}\n" for path in some)
        else:
            yield b"".join(os.fsencode(path) + end for path in some)
