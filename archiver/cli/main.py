"""The group ``archiver``, and the only place where an error becomes a message and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path

import click

from archiver.cli.commands import COMMANDS, LazyGroup, exit_code_of_group
from archiver.cli.options import CostlyOption, GlobalOptions, JsonOption, RiskyOption, global_options
from archiver.errors import (
    ArchiverError,
    StoppedBySignal,
    UsageError,
    hide_keys,
    hide_keys_of_words,
)
from archiver.exit_codes import outcome

_EPILOG = """\b
Exit codes: 0 ok, 1 bug, 2 usage, 3 something failed (retried next time),
4 key, 5 units or budget, 6 not found or private, 7 upstream down, 8 storage,
9 database, 10 no archive, 11 locked, 12 damage, 128+N signal.

Shell completion for bash, zsh and fish: see the help of the command completion."""


class _Group(LazyGroup):
    table = COMMANDS


@click.group(cls=_Group, invoke_without_command=True, epilog=_EPILOG)
@global_options
@click.pass_context
def cli(ctx: click.Context) -> int:
    """Archive the story highlights of a list of Instagram accounts every night, in files and a database that
    you can query. Nothing is paid for twice.

    Calls go to the paid HikerAPI. Its key is read from HIKERAPI_TOKEN or from the configured token_file.
    A run costs one unit for each account, and one for each highlight that it fetches (archiver run -h).

    \b
    First steps:
      archiver demo                              see it work, without a key
      archiver backup natgeo --archive ./natgeo  one account, once
      archiver init                              a configuration, for every night
    """
    return exit_code_of_group(ctx)


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line (``sys.argv`` without arguments) and return its exit code.

    If a signal ended the command, it does not return: the process dies of that signal, as shells expect.
    """
    if "_ARCHIVER_COMPLETE" in os.environ:
        from archiver.cli import completion_command

        return completion_command.answer(cli)
    words = list(sys.argv[1:] if args is None else args)
    _reserve_standard_descriptors()
    _disable_core_dumps()
    _accept_any_text()
    options = GlobalOptions(words)
    code = _run_command(words, options)
    if code > 128:
        from archiver.cli.signals import die

        die(code - 128)
    return code


def _run_command(words: list[str], options: GlobalOptions) -> int:
    """Run a command and return its exit code; if it failed, report why."""
    try:
        code = cli.main(words, prog_name="archiver", standalone_mode=False, obj=options)
    except click.Abort:  # click's word for KeyboardInterrupt
        from signal import SIGINT

        return _report_error(StoppedBySignal(SIGINT), options)
    except click.ClickException as error:
        return _report_error(_usage_error(error, words, options), options)
    except ArchiverError as error:
        return _report_error(error, options)
    except Exception as error:  # a bug: the program did not raise it on purpose
        if isinstance(error, FileNotFoundError) and not _has_working_directory():
            message = "the working directory no longer exists"
            return _report_error(UsageError(message, "cd to another, or use absolute paths"), options)
        return _report_bug(error, options)
    return code if isinstance(code, int) else 0


def _has_working_directory() -> bool:
    """Return whether the working directory exists, so that relative paths have a meaning."""
    try:
        Path.cwd()
    except FileNotFoundError:
        return False
    return True


def _usage_error(error: click.ClickException, words: list[str], options: GlobalOptions) -> UsageError:
    """Return click's error as a UsageError. ``--json`` applies even if click stopped before reading it."""
    ctx = error.ctx if isinstance(error, click.UsageError) else None
    path = ctx.command_path if ctx is not None else "archiver"
    if ctx is not None and options.blank is None and "--json" in words:
        options.blank = next((p.blank() for p in ctx.command.params if isinstance(p, JsonOption)), None)
    options.command = path.partition(" ")[2]
    text = error.format_message()
    if isinstance(error, click.MissingParameter):
        text = " ".join(text.split())  # click lists the choices in lines of their own
    if isinstance(error, click.NoSuchOption) and ctx is not None:
        text = _without_harmful_suggestions(error, ctx)
    return UsageError(text.rstrip("."), f"see {path} --help")


def _without_harmful_suggestions(error: click.NoSuchOption, ctx: click.Context) -> str:
    """Return the message without suggestions of options that remove something.

    A suggestion of one that spends units says so.
    """
    harmful = {name for param in ctx.command.params if isinstance(param, RiskyOption) for name in param.opts}
    costly = {name for param in ctx.command.params if isinstance(param, CostlyOption) for name in param.opts}
    near = [name for name in error.possibilities or () if name not in harmful]
    text = click.NoSuchOption(error.option_name, error.message, near, ctx).format_message()
    for name in costly:
        text = text.replace(f"'{name}'", f"'{name}' (which spends units)")
    return text


def _report_error(error: ArchiverError, options: GlobalOptions) -> int:
    if options.debug:
        _print_traceback(error, options)
    hint = options.complete_hint(error.slug, error.hint)
    _print_error(options, error.exit_code, error.slug, str(error), hint)
    return error.exit_code


def _report_bug(error: Exception, options: GlobalOptions) -> int:
    from archiver.cli import log_file

    if options.debug:
        _print_traceback(error, options)
    hint = "the archive is intact; repeat the command with --debug and keep what it prints"
    if options.loaded is not None:
        with suppress(Exception):  # a second error must not hide the first
            path = log_file.log_bug(options.loaded.archive.directory, error, options.secret)
            hint = hint if path is None else f"the archive is intact; keep {path}, which has the traceback"
    message = log_file.redact(f"a bug: {type(error).__name__}: {error}", options.secret)
    _print_error(options, ArchiverError.exit_code, ArchiverError.slug, message, hint)
    return ArchiverError.exit_code


def _print_error(options: GlobalOptions, code: int, slug: str, message: str, hint: str) -> None:
    """Print an error to stderr and, with ``--json``, as an object to stdout, if stdout can be written.

    What looks like a key on the command line is hidden.
    """
    from archiver.cli import output

    message, hint = (hide_keys_of_words(text, options.words) for text in (message, hint))
    command = f"{options.command}: " if options.command else ""
    mark = f" [{slug}]" if options.verbose else ""
    output.print_messages(f"archiver: {command}{message}{f' ({hint})' if hint else ''}{mark}")
    if options.blank is not None:
        error = {"slug": slug, "message": message, "hint": hint}
        head = {"behind": True} if options.is_behind else {}
        fields = {**head, **options.blank, "exit_code": code, "outcome": outcome(code), "error": error}
        with suppress(ArchiverError):
            output.print_json(fields)


def _print_traceback(error: BaseException, options: GlobalOptions) -> None:
    import traceback

    from archiver.cli import log_file, output

    text = hide_keys(log_file.redact("".join(traceback.format_exception(error)), options.secret))
    output.print_messages(*text.splitlines())


def _reserve_standard_descriptors() -> None:
    """Open descriptors 0, 1 and 2 if they are closed: no file of the archive may take their place."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


def _disable_core_dumps() -> None:
    """Prevent core dumps, which would contain the key. A handler that cores are piped to may ignore this."""
    import resource

    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def _accept_any_text() -> None:
    """Escape what stdout and stderr cannot encode, and replace what is not UTF-8 on stdin; never raise."""
    if isinstance(sys.stdin, TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="replace")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
