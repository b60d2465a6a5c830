"""What every command takes: the global options, before the command or after it, and ``--json``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from archiver.config import Config

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

    @property
    def talkative(self) -> bool:
        """Whether somebody reads along: a terminal on stderr, or ``-v``; never under ``-q``."""
        return not self.quiet and (self.verbose or on_terminal())


def on_terminal() -> bool:
    """Whether stderr is a terminal."""
    return sys.stderr is not None and sys.stderr.isatty()


class JsonOption(click.Option):
    """``--json``, which knows the command's empty answer, so that a failure of any kind still yields one object."""

    blank: Mapping[str, object]


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


def _flag(*names: str, says: str) -> Callable[[C], C]:
    return click.option(*names, is_flag=True, is_eager=True, expose_value=False, callback=_keep, help=says)


_GLOBAL: tuple[Callable[[C], C], ...] = (
    click.option(
        "--config",
        type=click.Path(path_type=Path),
        is_eager=True,
        expose_value=False,
        callback=_keep,
        metavar="FILE",
        help="Configuration file; else ARCHIVER_CONFIG, else archiver/config.toml in your config directory.",
    ),
    click.option(
        "--archive",
        type=click.Path(path_type=Path),
        is_eager=True,
        expose_value=False,
        callback=_keep,
        metavar="DIR",
        help="The archive's directory, whatever the configuration says.",
    ),
    _flag("-v", "--verbose", says="Say more, and name the kind of an error (E_...)."),
    _flag("-q", "--quiet", says="Say nothing but errors."),
    _flag("--debug", says="Show the traceback of an error."),
    click.version_option(package_name="archiver", prog_name="archiver"),
)
