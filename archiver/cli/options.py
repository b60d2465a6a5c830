"""The options of every command, before or after it, those that several share, and the types of values."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from archiver.errors import KeyRejected

if TYPE_CHECKING:
    from archiver.config import Config
    from archiver.secret import Secret


_DURATION = re.compile(r"([0-9]{1,6}) ?([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_EARLIEST = datetime.min.replace(tzinfo=UTC)


def parse_duration(text: str) -> timedelta:
    """Return the duration that a text such as ``36h`` means; the units are s, m, h, d and w.

    Raises ValueError with a message for the user.
    """
    match = _DURATION.fullmatch(text.strip().lower())
    if match is None:
        raise ValueError(f"invalid duration {text!r}: use 36h, 7d or 90m")
    return timedelta(seconds=int(match[1]) * _SECONDS[match[2]])


def parse_time(text: str, now: datetime) -> datetime:
    """Return the time (UTC) that a text means: a date, a time, or a duration before ``now``.

    A date means its midnight; both are UTC unless they state an offset. Raises ValueError with a message for
    the user.
    """
    try:
        duration = parse_duration(text)
    except ValueError:
        return _parse_iso_time(text)
    return now - duration if now - _EARLIEST > duration else _EARLIEST


def _parse_iso_time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text.strip())
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"invalid time {text!r}: use 2026-11-01, 2026-11-01T03:17, 36h or 7d") from None


class DurationType(click.ParamType[timedelta]):
    """The type of an option that takes a duration."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Return the duration, or raise click's usage error."""
        if isinstance(value, timedelta):
            return value
        try:
            return parse_duration(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class TimeType(click.ParamType[datetime]):
    """The type of an option that takes a point in time: a date, a time, or a duration before now."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Return the time (UTC), or raise click's usage error."""
        if isinstance(value, datetime):
            return value
        try:
            return parse_time(str(value), datetime.now(UTC))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class WholeNumber(click.IntRange):
    """The type of an option that takes a whole number, from ``min`` to ``max`` if they are given."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number, or raise click's usage error, in the words of people."""
        try:
            return int(super().convert(value, param, ctx))
        except click.BadParameter:
            limits = f"{self.min} or more" if self.max is None else f"{self.min} to {self.max:,}"
            self.fail(f"{value!r} is not a whole number, {limits}", param, ctx)


class PathType(click.Path):
    """The type of a path. It refuses the empty text, which the system would take as the current directory.

    It does not check that the path can be read: that would be an error of the archive, not of usage.
    """

    def __init__(self, kind: str) -> None:
        """``kind`` is "file" or "directory"."""
        super().__init__(path_type=Path, readable=False)
        self._kind = kind

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> str | bytes | os.PathLike[str]:
        """Return the path, or raise click's usage error."""
        if value == "":
            hint = "; use . for the current directory" if self._kind == "directory" else ""
            self.fail(f"the path is empty{hint}", param, ctx)
        return super().convert(value, param, ctx)


class OutputDirectoryType(PathType):
    """The type of an argument that is a directory to write to."""

    def __init__(self, *, allows_stdout: bool = False) -> None:
        """``allows_stdout``: whether ``-`` may be given, which means stdout."""
        super().__init__("directory")
        self._allows_stdout = allows_stdout

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> str | bytes | os.PathLike[str]:
        """Return the path, or raise click's usage error."""
        if value == "-" and not self._allows_stdout:
            self.fail(
                "- means stdout, which cannot take many files; for a directory called - use ./-", param, ctx
            )
        return super().convert(value, param, ctx)


class OutputFileType(PathType):
    """The type of an argument that is a file to write."""

    def __init__(self) -> None:
        """Take no options."""
        super().__init__("file")

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> str | bytes | os.PathLike[str]:
        """Return the path, or raise click's usage error."""
        if value == "-":
            self.fail("- means stdout, which cannot take this file; for a file called - use ./-", param, ctx)
        return super().convert(value, param, ctx)


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
    def settings(self) -> Config:
        """Return the configuration of a command that has read it."""
        assert self.loaded is not None
        return self.loaded

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
    """``--json``. ``blank`` returns the command's empty object, so that a failure prints one object too."""

    def __init__(
        self, param_decls: Sequence[str], *, blank: Callable[[], Mapping[str, object]], **attrs: Any
    ) -> None:
        super().__init__(param_decls, **attrs)
        self.blank = blank


class RiskyOption(click.Option):
    """An option that removes, overwrites or spends something: never suggested for a mistyped option."""


class CostlyOption(click.Option):
    """An option that only spends units: a suggestion of it says so."""


def dry_run_option(says: str) -> Callable[[C], C]:
    """Return ``-n``, ``--dry-run`` with this help."""
    return click.option("-n", "--dry-run", is_flag=True, help=says)


def wait_option(needs: str | None = None) -> Callable[[C], C]:
    """Return ``--wait``. ``needs``: an option without which it is refused."""
    return click.option(
        "--wait", is_flag=True, help=_with(needs, "Wait for another run to end, instead of exit code 11.")
    )


def max_units_option(needs: str | None = None) -> Callable[[C], C]:
    """Return ``--max-units``. ``needs`` as for ``wait_option``."""
    return click.option(
        "--max-units", type=WholeNumber(min=0), metavar="N", help=_with(needs, "Spend no more than N units.")
    )


def _with(needs: str | None, says: str) -> str:
    return says if needs is None else f"With {needs}: {says[0].lower()}{says[1:]}"


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


def json_option(blank: Callable[[], Mapping[str, object]]) -> Callable[[C], C]:
    """Add ``--json``. ``blank`` returns the fields besides exit_code and outcome if nothing was done."""
    return click.option(
        "--json",
        cls=JsonOption,
        blank=blank,
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
        ctx.ensure_object(GlobalOptions).blank = param.blank()


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
    max_units_option(),
    dry_run_option("Make no call and write nothing; print the plan instead."),
    wait_option(),
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
