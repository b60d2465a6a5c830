"""What every command takes: the global options, before the command or after it, and ``--json``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from archiver.cli.parameter_types import PathType
from archiver.errors import KeyRejected

if TYPE_CHECKING:
    from archiver.config import Config
    from archiver.secret import Secret

EPILOG = "Exit codes: see archiver --help."
"""Stands under the help of every command."""

C = TypeVar("C", bound=Callable[..., object] | click.Command)


@dataclass(slots=True)
class Given:
    """The global options as given so far. ``blank`` is what ``--json`` shows where nothing was done; None without ``--json``."""

    config: Path | None = None
    archive: Path | None = None
    verbose: bool = False
    quiet: bool = False
    debug: bool = False
    command: str = ""
    blank: Mapping[str, object] | None = None
    loaded: Config | None = field(default=None, repr=False)
    key_file: Path | None = None
    """The file that the key came from; None where it came from the environment, or is not known."""

    @property
    def talkative(self) -> bool:
        """Whether somebody reads along: a terminal on stderr, or ``-v``; never under ``-q``."""
        return not self.quiet and (self.verbose or on_terminal())

    @property
    def wants_summary(self) -> bool:
        """Whether a command whose product is its answer says in a line or two what it did: off a terminal
        too, unless ``-q``; under ``--json`` the object says it, and the lines are for who reads along."""
        return self.talkative or (not self.quiet and self.blank is None)

    @property
    def secret(self) -> Secret | None:
        """The key, once the configuration is read, if there is one."""
        return self.loaded.token if self.loaded is not None else None

    def hinted(self, slug: str, hint: str) -> str:
        """Return the hint of an error: its commands work as printed, a rejected key is named by its file."""
        from archiver.cli import advice

        hint = advice.complete_commands(hint, self)
        if self.key_file is None or slug != KeyRejected.slug:
            return hint
        return hint.replace("HIKERAPI_TOKEN", f"the key in {self.key_file}")


def on_terminal() -> bool:
    """Whether stderr is a terminal."""
    return sys.stderr is not None and sys.stderr.isatty()


class JsonOption(click.Option):
    """``--json``, which knows the command's empty answer, so that a failure of any kind still yields one object."""

    blank: Mapping[str, object]


class Unsuggested(click.Option):
    """An option that removes, overwrites, gives something up or spends units: never suggested for a mistyped
    one."""


def everywhere(command: C) -> C:
    """The global options, on the group and on every command alike."""
    for option in reversed(_GLOBAL):
        command = option(command)
    return command


def json_output(nothing: Mapping[str, object]) -> Callable[[C], C]:
    """``--json`` for a command whose object, where nothing was done, has these fields beside ``exit_code`` and ``outcome``."""

    class Known(JsonOption):
        blank = nothing

    return click.option(
        "--json",
        cls=Known,
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_keep_json,
        help="Print exactly one JSON object on stdout, on failure too.",
    )


def _keep(ctx: click.Context, param: click.Parameter, value: object) -> None:
    if value and param.name is not None:
        setattr(ctx.ensure_object(Given), param.name, value)


def _keep_json(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    assert isinstance(param, JsonOption)
    if value:
        ctx.ensure_object(Given).blank = param.blank


def _version(ctx: click.Context) -> str:
    from importlib import metadata

    return f"archiver, version {metadata.version('highlight-archiver')}"


def _flag(*names: str, says: str, shows: Callable[[click.Context], str] | None = None) -> Callable[[C], C]:
    """A flag that is noted in Given, or that ``shows`` a text and ends the program, in place of click's own.

    click's own would meet a stdout that cannot be written with a bare OSError.
    """

    def show_and_exit(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        if value and shows is not None and not ctx.resilient_parsing:
            from archiver.cli import output

            output.print_data(f"{shows(ctx)}\n")
            ctx.exit()

    callback = _keep if shows is None else show_and_exit
    return click.option(*names, is_flag=True, is_eager=True, expose_value=False, callback=callback, help=says)


_GLOBAL: tuple[Callable[[C], C], ...] = (
    click.option(
        "--config",
        type=PathType("file"),
        is_eager=True,
        expose_value=False,
        callback=_keep,
        metavar="FILE",
        help="Configuration file; else ARCHIVER_CONFIG, else archiver/config.toml in your config directory.",
    ),
    click.option(
        "--archive",
        type=PathType("directory"),
        is_eager=True,
        expose_value=False,
        callback=_keep,
        metavar="DIR",
        help="The archive's directory, whatever the configuration says; its database is its own.",
    ),
    _flag("-v", "--verbose", says="Say more, and name the kind of an error (E_...)."),
    _flag("-q", "--quiet", says="Say nothing but errors."),
    _flag("--debug", says="Show the traceback of an error."),
    _flag("--version", says="Show the version and exit.", shows=_version),
    _flag("-h", "--help", says="Show this message and exit.", shows=click.Context.get_help),
)
