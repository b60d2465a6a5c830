"""One decorator for each kind of command: ``plain``, ``reads`` and ``writes``, and ``group`` for a group.

It adds name, epilog, global options and ``--json``, opens the archive, handles signals, and prints the
result. The command is a function of its own options. If it has an argument of one of these names, it gets
that too:

    options   the global options
    archive   the archive of these options (``reads``, ``writes``)
    stop      the flag that the first signal sets (``writes``)

What it returns is a ``Result``, or an exit code if it has printed its result itself; None is 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial, wraps
from inspect import signature
from typing import Any

import click
from msgspec import Struct

from archiver.cli import output, signals
from archiver.cli.commands import CommandGroup, exit_code_of_group
from archiver.cli.options import EPILOG, GlobalOptions, global_options, json_option
from archiver.exit_codes import outcome
from archiver.work import StopFlag


class Result(Struct, frozen=True):
    """The result of a command.

    Its fields, in their order, are those of ``--json`` after exit_code and outcome; the defaults are what is
    printed if nothing was done. Fields whose names begin with ``_`` serve the text only. If the last field is
    an iterator, it is a list that may exceed memory.
    """

    @classmethod
    def blank(cls) -> dict[str, object]:
        """Return the fields of ``--json`` if nothing was done."""
        fields = cls().json_fields()
        return {name: () if isinstance(value, Iterator) else value for name, value in fields.items()}

    def json_fields(self) -> dict[str, object]:
        """Return the fields of ``--json`` besides exit_code and outcome."""
        return {name: getattr(self, name) for name in self.__struct_fields__ if not name.startswith("_")}

    @property
    def exit_code(self) -> int:
        """Return the exit code."""
        return 0

    def lines(self, width: int | None) -> Iterable[str]:
        """Return the text for stdout, for a terminal with so many columns; None: it is not a terminal."""
        return ()

    def empty_messages(self) -> Iterable[str]:
        """Return the lines for stderr if there is no text, unless ``-q`` is given."""
        return ()

    def messages(self, options: GlobalOptions) -> Iterable[str]:
        """Return the lines for stderr, which follow the text or the object."""
        return ()


def print_result(result: Result, options: GlobalOptions) -> int:
    """Print the result of a command, as text or as the object of ``--json``. Return the exit code."""
    if options.blank is not None:
        code = result.exit_code
        fields = {"exit_code": code, "outcome": outcome(code), **result.json_fields()}
        name, rows = fields.popitem()
        if isinstance(rows, Iterator):
            output.print_json_list(fields, name, rows)
        else:
            fields[name] = rows
            output.print_json(fields)
    elif not output.print_lines(result.lines(output.terminal_width())) and not options.quiet:
        output.print_messages(*result.empty_messages())
    output.print_messages(*result.messages(options))
    return result.exit_code


Function = Callable[..., Result | int | None]
Opening = Callable[[GlobalOptions, Mapping[str, Any]], AbstractContextManager[dict[str, object]]]


def plain(name: str, **how: Any) -> Callable[[Function], click.Command]:
    """Declare a command that opens no archive, or opens it itself.

    ``json``: returns the object of ``--json`` if nothing was done (``Result.blank``); without it there is no
    such option. ``group``: the group that it belongs to, with a ``short_help``; None for a module of its own.
    ``epilog``: what follows the help. ``cls``: the class of the command.
    """
    return partial(_declare, name, _open_nothing, **how)


def reads(name: str, *, reports_interrupt: bool = False, **how: Any) -> Callable[[Function], click.Command]:
    """Declare a command that reads the archive; ``how`` as for ``plain``.

    ``reports_interrupt``: Ctrl-C is reported, instead of ending the process at once.
    """
    return partial(_declare, name, partial(_open_to_read, reports_interrupt), **how)


def writes(
    name: str,
    *,
    hint: str = "",
    hint_needs: str | None = None,
    notes_older_copy: bool = True,
    with_accounts: bool = True,
    **how: Any,
) -> Callable[[Function], click.Command]:
    """Declare a command that a signal stops after what is in progress; ``how`` as for ``plain``.

    ``hint``: what to do after such a stop; there is nothing to do after a dry run, nor without the option
    ``hint_needs``. ``notes_older_copy`` and ``with_accounts`` as for ``load.open_archive`` and
    ``load.config``.
    """

    def opening(
        options: GlobalOptions, values: Mapping[str, Any]
    ) -> AbstractContextManager[dict[str, object]]:
        is_final = values.get("dry_run") or (hint_needs is not None and not values[hint_needs])
        return _open_to_write(options, "" if is_final else hint, notes_older_copy, with_accounts)

    return partial(_declare, name, opening, **how)


def group(name: str, kind: type[CommandGroup] = CommandGroup) -> Callable[[Callable[[], None]], click.Group]:
    """Declare a group of commands. Its function has only the help."""

    def declare(function: Callable[[], None]) -> click.Group:
        @wraps(function)
        def run(ctx: click.Context) -> int:
            return exit_code_of_group(ctx)

        decorated = global_options(click.pass_context(run))
        return click.group(name, cls=kind, invoke_without_command=True, epilog=EPILOG)(decorated)

    return declare


def _declare(
    name: str,
    opening: Opening,
    function: Function,
    *,
    json: Callable[[], Mapping[str, object]] | None = None,
    group: click.Group | None = None,
    **settings: Any,
) -> click.Command:
    """Return the command. Its own options come before ``--json`` and the global ones."""
    wanted = signature(function).parameters.keys()
    own_parameters = function.__dict__.pop("__click_params__", [])

    @wraps(function)
    def run(options: GlobalOptions, /, **values: Any) -> int:
        with opening(options, values) as opened:
            given = {"options": options, **opened}
            result = function(**values, **{key: given[key] for key in wanted & given.keys()})
            if result is None or isinstance(result, int):
                return result or 0
            return print_result(result, options)

    decorated = global_options(click.pass_obj(run))
    if json is not None:
        decorated = json_option(json)(decorated)
    decorated.__dict__["__click_params__"] += own_parameters
    make = click.command if group is None else group.command
    return make(name, **{"epilog": EPILOG, **settings})(decorated)


@contextmanager
def _open_nothing(options: GlobalOptions, values: Mapping[str, Any]) -> Iterator[dict[str, object]]:
    yield {}


@contextmanager
def _open_to_read(
    reports_interrupt: bool, options: GlobalOptions, values: Mapping[str, Any]
) -> Iterator[dict[str, object]]:
    from archiver.cli import load

    with ExitStack() as stack:
        archive = stack.enter_context(load.open_archive(options))
        if not reports_interrupt:
            stack.enter_context(signals.die_on_interrupt())
        yield {"archive": archive}


@contextmanager
def _open_to_write(
    options: GlobalOptions, hint: str, notes_older_copy: bool, with_accounts: bool
) -> Iterator[dict[str, object]]:
    from archiver.cli import load

    stop = StopFlag()
    load.config(options, with_accounts=with_accounts)
    with (
        load.open_archive(options, notes_older_copy=notes_older_copy) as archive,
        signals.stop_on_signal(stop, quiet=options.quiet, hint=hint),
    ):
        yield {"archive": archive, "stop": stop}
