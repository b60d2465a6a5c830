"""The options of every command: the global options, before or after the command, and ``--json``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from archiver.cli.parameter_types import PathType, WholeNumber
from archiver.errors import KeyRejected

if TYPE_CHECKING:
    from archiver.config import Config
    from archiver.secret import Secret

EPILOG = "Exit codes: see archiver --help."
"""The end of the help of every command."""

C = TypeVar("C", bound=Callable[..., object] | click.Command)


@dataclass(slots=True)
class GlobalOptions:
    """The global options of a command.

    ``words``: the command line, without the program. ``blank``: what ``--json`` prints if nothing was done;
    None without ``--json``. ``loaded``: the configuration, once it is read. ``is_behind``: the database lacks
    entries of the journal.
    """

    words: Sequence[str] = ()
    config: Path | None = None
    archive: Path | None = None
    verbose: bool = False
    quiet: bool = False
    debug: bool = False
    command: str = ""
    blank: Mapping[str, object] | None = None
    loaded: Config | None = field(default=None, repr=False)
    key_file: Path | None = None
    """The file that the key came from; None if it came from the environment, or is unknown."""
    is_behind: bool = False

    @property
    def is_watched(self) -> bool:
        """Return whether a person reads the messages: stderr is a terminal, or ``-v``; never with ``-q``."""
        return not self.quiet and (self.verbose or is_on_terminal())

    @property
    def wants_summary(self) -> bool:
        """Return whether a command prints a line or two about what it did.

        It does, even without a terminal, unless ``-q`` is given; with ``--json`` only if a person reads them.
        """
        return self.is_watched or (not self.quiet and self.blank is None)

    @property
    def secret(self) -> Secret | None:
        """Return the API key, if the configuration is read and has one."""
        return self.loaded.token if self.loaded is not None else None

    def complete_hint(self, slug: str, hint: str) -> str:
        """Return the hint of an error, with commands that work as printed, and the file of a rejected key."""
        from archiver.cli import advice

        hint = advice.complete_commands(hint, self)
        if self.key_file is None or slug != KeyRejected.slug:
            return hint
        return hint.replace("HIKERAPI_TOKEN", f"the key in {self.key_file}")


def is_on_terminal() -> bool:
    """Return whether stderr is a terminal."""
    return sys.stderr is not None and sys.stderr.isatty()


class JsonOption(click.Option):
    """``--json``. It has the command's empty object, so that a failure prints one object too."""

    blank: Mapping[str, object]


class RiskyOption(click.Option):
    """An option that removes, overwrites or spends something: never suggested for a mistyped option."""


class CostlyOption(click.Option):
    """An option that only spends units: a suggestion of it says so."""


def dry_run_option(says: str) -> Callable[[C], C]:
    """Return ``-n``, ``--dry-run`` with this help."""
    return click.option("-n", "--dry-run", is_flag=True, help=says)


def global_options(command: C) -> C:
    """Add the global options, to the group and to every command."""
    for option in reversed(_GLOBAL):
        command = option(command)
    return command


def run_options(command: C) -> C:
    """Add the options of the commands that archive accounts."""
    for option in reversed(_RUN):
        command = option(command)
    return command


def json_option(nothing: Mapping[str, object]) -> Callable[[C], C]:
    """Add ``--json``. ``nothing``: the fields besides exit_code and outcome if nothing was done."""

    class CommandJsonOption(JsonOption):
        blank = nothing

    return click.option(
        "--json",
        cls=CommandJsonOption,
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_keep_json,
        help="Print exactly one JSON object on stdout, on failure too.",
    )


def list_file_option(command: C) -> C:
    """Add ``-i``, for ``load.targets``."""
    return click.option(
        "-i",
        "--input",
        "list_files",
        type=PathType("file"),
        multiple=True,
        metavar="FILE",
        help='Read targets from a file, one a line, with # comments; "-" is stdin. May be repeated.',
    )(command)


def _keep(ctx: click.Context, param: click.Parameter, value: object) -> None:
    if value and param.name is not None:
        setattr(ctx.ensure_object(GlobalOptions), param.name, value)


def _keep_json(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    assert isinstance(param, JsonOption)
    if value:
        ctx.ensure_object(GlobalOptions).blank = param.blank


def _version(ctx: click.Context) -> str:
    import archiver

    return f"archiver, version {archiver.__version__}"


def _flag(*names: str, says: str, shows: Callable[[click.Context], str] | None = None) -> Callable[[C], C]:
    """Return a flag that is stored in ``GlobalOptions``, or that prints what ``shows`` returns and exits.

    It replaces click's own flags, which raise a bare OSError if stdout cannot be written.
    """

    def show_and_exit(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        if value and shows is not None and not ctx.resilient_parsing:
            from archiver.cli import output

            output.print_data(f"{shows(ctx)}\n")
            ctx.exit()

    callback = _keep if shows is None else show_and_exit
    return click.option(*names, is_flag=True, is_eager=True, expose_value=False, callback=callback, help=says)


_RUN: tuple[Callable[[C], C], ...] = (
    click.option(
        "--full",
        cls=CostlyOption,
        is_flag=True,
        help="Fetch and pay for every highlight again, changed or not; look for every held file.",
    ),
    click.option("--max-units", type=WholeNumber(min=0), metavar="N", help="Spend no more than N units."),
    dry_run_option("Make no call and write nothing; print the plan instead."),
    click.option("--wait", is_flag=True, help="Wait for another run to end, instead of exit code 11."),
)

_GLOBAL: tuple[Callable[[C], C], ...] = (
    click.option(
        "--config",
        type=PathType("file"),
        is_eager=True,
        expose_value=False,
        callback=_keep,
        metavar="FILE",
        help="Configuration. Default: ARCHIVER_CONFIG, or archiver/config.toml in your config directory.",
    ),
    click.option(
        "--archive",
        type=PathType("directory"),
        is_eager=True,
        expose_value=False,
        callback=_keep,
        metavar="DIR",
        help="The directory of the archive, instead of the configured one; it has its own database.",
    ),
    _flag("-v", "--verbose", says="Print more, and the kind of an error (E_...)."),
    _flag("-q", "--quiet", says="Print only what was asked for, and errors."),
    _flag("--debug", says="Print the traceback of an error."),
    _flag("--version", says="Print the version and exit.", shows=_version),
    _flag("-h", "--help", says="Print this help and exit.", shows=click.Context.get_help),
)
