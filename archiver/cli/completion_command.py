"""``archiver completion``."""

from __future__ import annotations

import click

from archiver.cli import output, shell_completion
from archiver.cli.decorators import plain


@plain("completion")
@click.argument("shell", type=click.Choice(shell_completion.SHELLS), metavar="bash|zsh|fish")
def command(shell: str) -> int:
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
    output.print_data(shell_completion.script(shell))
    return 0
