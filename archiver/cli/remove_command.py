"""``archiver remove``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click
from msgspec import Struct

from archiver.cli import advice
from archiver.cli.decorators import Result, reads
from archiver.cli.filter_options import complete_listed
from archiver.cli.options import GlobalOptions, dry_run_option, wait_option

if TYPE_CHECKING:
    from archiver.archive.archive import Archive
    from archiver.model.identity import Pk


class RemovedEntry(Struct, frozen=True):
    """An entry of the list that was removed."""

    entry: str
    file: str
    line: int


class RemoveResult(Result, frozen=True):
    """What was taken off the list. ``pk``: the account, if one was named.

    ``_not_listed``: the names without an entry; ``_dry_run``: what would be.
    """

    removed: tuple[RemovedEntry, ...] = ()
    names: tuple[str, ...] = ()
    pk: Pk | None = None
    _not_listed: tuple[str, ...] = ()
    _dry_run: bool = False

    def messages(self, options: GlobalOptions) -> Iterator[str]:
        """Yield what was removed, and what is not listed."""
        if options.quiet or options.blank is not None:
            return
        would = "would be " if self._dry_run else ""
        for one in self.removed:
            yield f"{one.entry}: {would}removed from {one.file}, line {one.line}"
        for name in self._not_listed:
            yield f"{name} is not listed ({advice.command_line('accounts')} shows who is)"
        if self.removed and options.is_watched:
            yield "what is archived stays"


@reads("remove", reports_interrupt=True, json=RemoveResult.blank)
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=complete_listed)
@dry_run_option("Only say what would be removed from the list; write nothing.")
@wait_option()
def command(archive: Archive, names: tuple[str, ...], dry_run: bool, wait: bool) -> RemoveResult:
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
    # All are looked up before the first is removed: an invalid name changes nothing, and the numbers of the
    # lines are those of the list as it was.
    planned = {name: archive.unfollow(name, dry_run=True) for name in names}
    done = planned if dry_run else {name: archive.unfollow(name, wait=wait) for name in planned}
    entries = dict.fromkeys(entry for removal in planned.values() for entry in removal.entries)
    return RemoveResult(
        tuple(RemovedEntry(e.target.text, str(e.path), e.line) for e in entries),
        tuple(name for removal in done.values() for name in removal.names),
        next(iter(done.values())).pk if len(done) == 1 else None,
        tuple(name for name, removal in planned.items() if not removal.entries),
        dry_run,
    )
