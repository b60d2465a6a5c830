"""``archiver``: the group of commands, and the only place where an error becomes a message and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from io import TextIOWrapper

import click

from archiver.cli.commands import COMMANDS
from archiver.cli.lazy import LazyGroup
from archiver.cli.options import Given, JsonOption, Unsuggested, everywhere
from archiver.errors import (
    AnswerMalformed,
    ArchiverError,
    CallFailed,
    DownloadFailed,
    Stopped,
    UsageError,
    outcome,
)

_EPILOG = """\b
Exit codes: 0 ok, 1 bug, 2 usage, 3 something failed (retried next time),
4 key, 5 units or budget, 6 not found or private, 7 upstream down, 8 storage,
9 database, 10 no archive, 11 locked, 12 damage, 128+N signal.

Shell completion: eval "$(_ARCHIVER_COMPLETE=bash_source archiver)" in ~/.bashrc (zsh_source, fish_source alike)."""


class _Group(LazyGroup):
    table = COMMANDS


@click.group(cls=_Group, invoke_without_command=True, epilog=_EPILOG)
@everywhere
@click.pass_context
def cli(ctx: click.Context) -> int:
    """Keeps the story highlights of a list of Instagram accounts: every night, durable, queryable, nothing paid for twice.

    Calls go to the paid HikerAPI; its key is read from HIKERAPI_TOKEN, or from the configured token_file. A quiet night costs one unit per account.

    \b
    First steps:
      archiver demo                              see it work, without a key
      archiver backup natgeo --archive ./natgeo  one account, once
      archiver init                              a configuration, for every night
    """
    if ctx.invoked_subcommand is None:
        from archiver.cli import output

        output.print_help(ctx.get_help())
        return UsageError.exit_code
    return 0


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line (``sys.argv`` without arguments) and return its exit code.

    An end by a signal does not return: the process dies of that signal, as shells expect.
    """
    words = list(sys.argv[1:] if args is None else args)
    _hold_descriptors()
    _leave_no_core()
    _survive_any_text()
    given = Given()
    code = _code(words, given)
    if code > 128:
        from archiver.cli.signals import die

        die(code - 128)
    return code


def _code(words: list[str], given: Given) -> int:
    try:
        code = cli.main(words, prog_name="archiver", standalone_mode=False, obj=given)
    except click.Abort:
        from signal import SIGINT

        return _failed(Stopped(SIGINT), given)  # click's word for KeyboardInterrupt
    except click.ClickException as error:
        return _refused(error, words, given)
    except ArchiverError as error:
        return _failed(error, given)
    except Exception as error:  # a bug: nobody raised it on purpose
        if isinstance(error, FileNotFoundError) and not _has_working_directory():
            gone = UsageError(
                "the working directory does not exist any more", "cd to another, or name paths from / on"
            )
            return _failed(gone, given)
        return _bug(error, given)
    return code if isinstance(code, int) else 0


def _has_working_directory() -> bool:
    """Whether a relative path means anything."""
    try:
        os.getcwd()  # noqa: PTH109  # a Path of it says no more
    except FileNotFoundError:
        return False
    return True


def _refused(error: click.ClickException, words: list[str], given: Given) -> int:
    """click could not use the arguments: its message, made safe, and ``--json`` kept even if click never came to read it."""
    ctx = error.ctx if isinstance(error, click.UsageError) else None
    path = ctx.command_path if ctx is not None else "archiver"
    if ctx is not None and given.blank is None and "--json" in words:
        given.blank = next((p.blank for p in ctx.command.params if isinstance(p, JsonOption)), None)
    given.command = path.partition(" ")[2]
    if isinstance(error, click.NoSuchOption) and ctx is not None:
        error = _with_harmless_suggestions(error, ctx)
    return _failed(UsageError(error.format_message().rstrip("."), f"see {path} --help"), given)


def _with_harmless_suggestions(error: click.NoSuchOption, ctx: click.Context) -> click.NoSuchOption:
    """Return the error without suggestions of options that remove something or spend units."""
    harmful = {name for param in ctx.command.params if isinstance(param, Unsuggested) for name in param.opts}
    near = [name for name in error.possibilities or () if name not in harmful]
    return click.NoSuchOption(error.option_name, error.message, near, ctx)


def _failed(error: ArchiverError, given: Given) -> int:
    code = _exit_code(error)
    if given.debug:
        _traceback(error, given)
    message, hint = str(error), given.hinted(error.slug, error.hint)
    _complain(given, message, hint, error.slug)
    if given.blank is not None:
        _object(given, code, {"slug": error.slug, "message": message, "hint": hint})
    return code


def _bug(error: Exception, given: Given) -> int:
    from archiver.cli import log_file

    message = log_file.redact(f"{type(error).__name__}: {error}", given.secret)
    if given.debug:
        _traceback(error, given)
    hint = "the archive is intact; keep what the same command says with --debug, which shows where it failed"
    if given.loaded is not None:
        with suppress(Exception):  # a second fault must not hide the first
            if (written := log_file.log_bug(given.loaded.archive.directory, error, given.secret)) is not None:
                hint = f"the archive is intact; keep {written}, which shows where it failed"
    _complain(given, f"a bug: {message}", hint, ArchiverError.slug)
    if given.blank is not None:
        _object(given, 1, {"slug": ArchiverError.slug, "message": message, "hint": hint})
    return 1


def _object(given: Given, code: int, error: Mapping[str, str]) -> None:
    """Print the object of a failure; a stdout that cannot be written changes neither the code nor what was said."""
    from archiver.cli import output

    assert given.blank is not None
    with suppress(ArchiverError):
        output.print_json({**given.blank, "exit_code": code, "outcome": outcome(code), "error": dict(error)})


def _complain(given: Given, message: str, hint: str, slug: str) -> None:
    from archiver.cli import output

    what = f"{given.command}: " if given.command else ""
    mark = f" [{slug}]" if given.verbose else ""
    output.print_messages(f"archiver: {what}{message}{f' ({hint})' if hint else ''}{mark}")


def _exit_code(error: ArchiverError) -> int:
    """Attempts that failed outside a run, such as the balance that could not be asked, mean: upstream cannot be used."""
    return 7 if isinstance(error, CallFailed | AnswerMalformed | DownloadFailed) else error.exit_code


def _traceback(error: BaseException, given: Given) -> None:
    import traceback

    from archiver.cli import log_file, output

    output.print_messages(
        *log_file.redact("".join(traceback.format_exception(error)), given.secret).splitlines()
    )


def _hold_descriptors() -> None:
    """Where 0, 1 or 2 is closed, nothing of the archive may be opened under that number: words for a person would end up in it."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


def _leave_no_core() -> None:
    """A core dump would hold the key. Best effort: a handler that the system pipes cores to decides for itself."""
    import resource

    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def _survive_any_text() -> None:
    """An ASCII-only terminal gets escapes for what it cannot show, and stdin may hold what is no UTF-8: never an exception."""
    if isinstance(sys.stdin, TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="replace")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
