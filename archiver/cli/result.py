"""The result of a command: a struct whose fields are the object of ``--json``, with its text beside it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import Struct

from archiver.cli import output
from archiver.cli.options import GlobalOptions
from archiver.exit_codes import outcome


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
