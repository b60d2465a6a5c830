"""``archiver completion``: the scripts for bash, zsh and fish, and the answers to them.

A script calls the program with ``_ARCHIVER_COMPLETE``, as click's own scripts do. Those are not used, since
they put a title into the command line as it is, and the shell would run ``$(…)`` in it.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from contextlib import suppress
from typing import ClassVar

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
    shell_complete,
    split_arg_string,
)

from archiver.cli import advice, output
from archiver.cli.decorators import plain
from archiver.cli.options import GlobalOptions

VARIABLE = "_ARCHIVER_COMPLETE"
SHELLS = ("bash", "zsh", "fish")
_PATIENCE = 5.0
"""Seconds after which completion gives up, as with a database server that does not answer."""
_NEEDS_NO_QUOTES = re.compile(r"[A-Za-z0-9_@%+=:,./-]*")
_WORD_BREAKS = frozenset("@:=")
_NOT_IN_DOUBLE_QUOTES = frozenset('"$`\\!')
_CLOSED = re.compile(
    r"""(?:[^'"\\`$] | '[^']*' | "[^"\\`$]*" | \\. | \$[A-Za-z_0-9]+ | \$\{[A-Za-z_0-9]+\})*+""",
    re.VERBOSE | re.DOTALL,
)
"""A line after which bash is outside of quotes, whatever it holds; others that are too are not understood."""
_BEGUN_WORD = re.compile(r"""['"]?[^'"\\`$]*""")
"""A word that is plain, or plain after an opening quote."""

_BASH = r"""
_archiver_completion() {
    local line lines word=${COMP_WORDS[COMP_CWORD]}
    COMPREPLY=()
    mapfile -t lines < <(
        env COMP_LINE="${COMP_LINE:0:COMP_POINT}" COMP_WORD="$word" \
            %(complete_var)s=bash_complete %(program)s 2>/dev/null
    )
    for line in "${lines[@]}"; do
        case $line in
        dir,*) compopt -o dirnames ;;
        file,*) compopt -o default ;;
        plain,*) COMPREPLY+=("${line#plain,}") ;;
        esac
    done
}

complete -o nosort -F _archiver_completion archiver
"""
_ZSH = r"""
#compdef archiver

_archiver_completion() {
    local -a lines values
    local line
    lines=("${(@f)$(env COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT-1)) \
        %(complete_var)s=zsh_complete %(program)s 2>/dev/null)}")
    for line in "${lines[@]}"; do
        case $line in
        dir,*) _path_files -/ ;;
        file,*) _path_files -f ;;
        plain,*) values+=("${line#plain,}") ;;
        esac
    done
    [[ $PREFIX == --*=* ]] && compset -P '*='
    (( $#values )) && compadd -V archiver -a values
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _archiver_completion "$@"
else
    compdef _archiver_completion archiver
fi
"""
_FISH = r"""
function _archiver_completion
    set -l words (commandline -cp | string collect)
    set -l word (commandline -ct | string collect)
    for line in (env COMP_WORDS="$words" COMP_CWORD="$word" %(complete_var)s=fish_complete \
            %(program)s 2>/dev/null)
        switch $line
            case 'dir,*'
                __fish_complete_directories $word
            case 'file,*'
                __fish_complete_path $word
            case 'plain,*'
                string replace -r '^plain,' '' -- $line
        end
    end
end

complete --no-files --command archiver --arguments '(_archiver_completion)'
"""


class _Bash(BashComplete):
    """bash puts a value into the command line as it is, so it is quoted here.

    It replaces only what follows the last ``:`` or ``=``, which divide words for it (COMP_WORDBREAKS); ``@``
    does too, but is replaced with what follows it.
    """

    source_template: ClassVar[str] = _BASH

    def source(self) -> str:
        """Return the script, without click's check, which starts a bash."""
        return _script(self)

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words of the line before the cursor, and the last one of them, perhaps empty."""
        line = os.environ["COMP_LINE"]
        words = split_arg_string(line)
        begins_word = len(split_arg_string(f"{line}x")) > len(words)
        return (words[1:], "") if begins_word else (words[1:-1], words[-1])

    def complete(self) -> str:
        """Return the lines, with values that go on with the quote that the user has opened.

        No value is offered where bash might not read it as quoted here. Names of files it quotes itself.
        """
        args, incomplete = self.get_completion_args()
        items = self.get_completions(args, incomplete)
        line, word = os.environ["COMP_LINE"], os.environ["COMP_WORD"]
        is_clear = line.endswith(word) and _CLOSED.fullmatch(line.removesuffix(word))
        is_clear = is_clear and _BEGUN_WORD.fullmatch(word)
        values = [item.value for item in items if item.type == "plain" and is_clear]
        if word[:1] not in ("'", '"'):
            word = "" if set(word) <= _WORD_BREAKS else word
            values = _without_prefix(values, incomplete.removesuffix(word).removesuffix("@"))
        others = [self.format_completion(item) for item in items if item.type != "plain"]
        return "\n".join([*others, *(f"plain,{value}" for value in _quote_for_bash(values, word))])


class _Zsh(ZshComplete):
    """zsh quotes a value itself."""

    source_template: ClassVar[str] = _ZSH

    def source(self) -> str:
        """Return the script."""
        return _script(self)

    def format_completion(self, item: CompletionItem[str]) -> str:
        """Return one line: type and value."""
        return f"{item.type},{item.value}"


class _Fish(FishComplete):
    """fish quotes a value itself."""

    source_template: ClassVar[str] = _FISH

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[str]]:
        """Return the values; after ``--option=`` with this, since fish replaces the whole word."""
        items = super().get_completions(args, incomplete)
        name, equals, _ = incomplete.partition("=")
        if not (equals and name.startswith("--")):
            return items
        return [CompletionItem(f"{name}={item.value}", item.type) for item in items]

    def source(self) -> str:
        """Return the script."""
        return _script(self)

    def format_completion(self, item: CompletionItem[str]) -> str:
        """Return one line: type and value."""
        return f"{item.type},{item.value}"


def script(shell: str) -> str:
    """Return the script for a shell."""
    classes: dict[str, type[ShellComplete]] = {"bash": _Bash, "zsh": _Zsh, "fish": _Fish}
    return classes[shell](click.Command("archiver"), {}, "archiver", VARIABLE).source()


def answer(cli: click.Command) -> int:
    """Write the script or the values that the environment asks for to stdout, and nothing else anywhere.

    Whatever goes wrong, nothing is completed and the exit code is 0.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    timer = threading.Timer(_PATIENCE, os._exit, (0,))
    timer.daemon = True
    timer.start()
    for kind in (_Bash, _Zsh, _Fish):
        add_completion_class(kind)
    with suppress(BaseException):
        instruction = os.environ.pop(VARIABLE)
        shell_complete(cli, {"obj": GlobalOptions()}, "archiver", VARIABLE, instruction)
        sys.stdout.flush()
    timer.cancel()
    return 0


def _script(kind: ShellComplete) -> str:
    values = {"complete_var": kind.complete_var, "program": advice.program_name()}
    return (kind.source_template % values).lstrip("\n")


def _without_prefix(values: list[str], prefix: str) -> list[str]:
    """Return the values without what bash leaves in the line, ``prefix``.

    click has already taken away the name of an option.
    """
    if prefix.startswith("--"):
        prefix = prefix.partition("=")[2]
    return [value.removeprefix(prefix) for value in values if value.startswith(prefix)]


def _quote_for_bash(values: list[str], word: str) -> list[str]:
    """Return the values as bash may insert them in place of ``word``, the word before the cursor as typed.

    After an opening quote the value goes on with it, and bash closes it, unless the value ends with a quote:
    bash takes that for the closing one. Between double quotes no character can be quoted that history
    expansion might take, so such values are left out.
    """
    if word.startswith('"'):
        return [value for value in values if _NOT_IN_DOUBLE_QUOTES.isdisjoint(value)]
    escaped = [value.replace("'", "'\\''") for value in values]
    if word.startswith("'"):
        return [f"{value}'" if value.endswith("'") else value for value in escaped]
    if all(map(_NEEDS_NO_QUOTES.fullmatch, values)):
        return values
    return [f"'{value}'" for value in escaped]


@plain("completion")
@click.argument("shell", type=click.Choice(SHELLS), metavar="bash|zsh|fish")
def command(shell: str) -> None:
    """Print the script that completes commands, options, accounts, titles of highlights and named queries in
    a shell. Costs nothing.

    Names and titles come from the configuration and the archive, which is only read, and are quoted for the
    shell. A title with control characters, or that begins with a dash, is left out. bash must be 4.4 or newer
    (macOS has 3.2), and zsh must have run compinit.

    \b
    Examples:
      eval "$(archiver completion bash)"      # in ~/.bashrc
      eval "$(archiver completion zsh)"       # in ~/.zshrc, after compinit
      archiver completion fish > ~/.config/fish/completions/archiver.fish
    """
    output.print_data(script(shell))
