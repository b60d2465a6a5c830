"""``archiver remove``."""

from __future__ import annotations

import click

from archiver.cli import advice, load, output
from archiver.cli.decorators import plain
from archiver.cli.name_completion import complete_listed
from archiver.cli.options import GlobalOptions, dry_run_option


@plain("remove", json={"removed": [], "names": [], "pk": None})
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=complete_listed)
@dry_run_option("Only say what would be removed from the list; write nothing.")
@click.option("--wait", is_flag=True, help="Wait for another run to end, instead of exit code 11.")
def command(options: GlobalOptions, names: tuple[str, ...], dry_run: bool, wait: bool) -> int:
    """Stop following accounts: take them off the list of the configuration. Deletes nothing that is archived,
    makes no call, costs nothing.

    A NAME is a username or a former one, @username, id or profile link; or a link to a highlight that is
    listed by itself. The account goes from [[accounts]] and from sync.accounts_file, under every name that
    the archive knows, together with entries of single highlights of it. All other lines of these files stay
    as they are, comments too.

    While a name is listed, it means the account that it first meant, even if that account is renamed. This
    ends: if the name is added again, it means the account that has it then, as far as the archive knows. That
    is recorded in the archive, so a run that is under way prevents it (exit code 11), or is waited for.

    \b
    Examples:
      archiver remove natgeo nasa --dry-run
      archiver remove https://www.instagram.com/natgeo/
    """
    with load.open_archive(options) as archive:
        # All are looked up before the first is removed: an invalid name changes nothing, and the numbers of
        # the lines are those of the list as it was.
        planned = {name: archive.unfollow(name, dry_run=True) for name in names}
        done = planned if dry_run else {name: archive.unfollow(name, wait=wait) for name in planned}
    entries = list(dict.fromkeys(entry for removal in planned.values() for entry in removal.entries))
    if options.blank is not None:
        fields = {
            "removed": [{"entry": e.target.text, "file": str(e.path), "line": e.line} for e in entries],
            "names": [name for removal in done.values() for name in removal.names],
            "pk": next(iter(done.values())).pk if len(done) == 1 else None,
        }
        output.print_json({"exit_code": 0, "outcome": "ok", **fields})
    elif not options.quiet:
        would = "would be " if dry_run else ""
        output.print_messages(
            *(f"{e.target.text}: {would}removed from {e.path}, line {e.line}" for e in entries)
        )
        for name in (name for name, removal in planned.items() if not removal.entries):
            output.print_messages(f"{name} is not listed ({advice.command_line('accounts')} shows who is)")
        if entries and options.is_watched:
            output.print_messages("what is archived stays")
    return 0
