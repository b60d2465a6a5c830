"""``archiver forget``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from archiver.cli import advice, output
from archiver.cli.decorators import Result, writes
from archiver.cli.filter_options import complete_account
from archiver.cli.options import GlobalOptions, RiskyOption, dry_run_option, wait_option
from archiver.errors import NotHeld, UsageError
from archiver.model.account_removal import AccountRemoval
from archiver.text_format import format_size, make_safe, pluralize

if TYPE_CHECKING:
    from archiver.archive.archive import Archive
    from archiver.work import StopFlag

_OUT_OF_REACH = "out of reach: exports, backups and other copies from before may still hold it"
_RESUME = "the next command that writes to the archive finishes it"


class ForgetResult(Result, frozen=True):
    """What was removed, or would be; None if an interrupted removal was finished, and nothing is left."""

    removed: AccountRemoval | None = None
    dry_run: bool = False

    def messages(self, options: GlobalOptions) -> Iterator[str]:
        """Yield what was removed and what stays, then what is left to do by hand."""
        if self.removed is None:
            yield "the removal that was interrupted is finished"
            return
        if self.dry_run or options.wants_summary:
            yield from _lines(self.removed, dry_run=self.dry_run)
            yield _OUT_OF_REACH
        if not options.quiet:
            yield from _advice(self.removed)


@writes("forget", hint=_RESUME, notes_older_copy=False, json=ForgetResult.blank)
@click.argument("name", metavar="NAME", shell_complete=complete_account)
@dry_run_option("Only say what would be removed, and what would stay.")
@click.option(
    "--yes", cls=RiskyOption, is_flag=True, help="Do not ask for the name again; needed without a terminal."
)
@click.option("--reason", metavar="TEXT", help="Recorded with the time; must not name the account.")
@wait_option()
def command(
    archive: Archive, stop: StopFlag, name: str, dry_run: bool, yes: bool, reason: str | None, wait: bool
) -> ForgetResult:
    """Delete an account from the archive, for a take-down or for data protection: its rows, pictures, videos
    and stored answers, its entries in the list of accounts, its lines in the log, and copies of the database
    in the archive's directory. This cannot be undone. Makes no call, costs nothing.

    NAME is a username, an id or a link. The command asks for it again. What other accounts show of the
    account stays, since it is theirs: mentions, reshares, items in their highlights. What was paid stays in
    the ledger, without the account. One entry remains, with the time and the reason, and without a name.

    The journal and the database are written again, which takes minutes for a million items. If it is
    interrupted, the next command that writes finishes it. A database from before is refused from then on
    (exit code 9). In a bucket, the access keys need the right to delete objects. Copies of the archive,
    exports and earlier versions of objects are out of reach: see docs/forget.md.

    \b
    Examples:
      archiver forget natgeo --dry-run
      archiver forget natgeo --reason "take-down of 2026-11-27"
    """
    is_finished = not dry_run and archive.finish_removal(wait=wait, stop=stop)
    try:
        planned = archive.plan_removal(name, reason=reason, stop=stop)
    except NotHeld:
        if not is_finished:
            raise
        return ForgetResult()
    if not dry_run and not yes:
        _confirm(name, planned)
    removed = planned if dry_run else archive.forget(name, reason=reason, wait=wait, stop=stop)
    return ForgetResult(removed, dry_run)


def _confirm(name: str, planned: AccountRemoval) -> None:
    """Let the user type the name again. Raises UsageError if there is no terminal, or it is another name."""
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError(
            "nothing was removed: this must be confirmed, and there is no terminal",
            f"see what would be removed: {advice.command_line('forget --dry-run')} {advice.quote(name)};"
            " then add --yes",
        )
    output.print_messages(*_lines(planned, dry_run=True))
    typed = click.prompt(f"Type {make_safe(name)} to delete this", err=True, default="", show_default=False)
    if typed.strip().removeprefix("@").lower() != name.strip().removeprefix("@").lower():
        raise UsageError("nothing was removed: this is not the same name")


def _lines(removal: AccountRemoval, *, dry_run: bool) -> Iterator[str]:
    would = "would be" if dry_run else "were"
    account = removal.username or removal.user_pk
    if account is not None:
        pk = "" if removal.user_pk in (None, account) else f" ({removal.user_pk})"
        yield f"account {make_safe(account)}{pk}:"
    yield (
        f"{pluralize(removal.highlights, 'highlight')}, {pluralize(removal.items, 'item')}, "
        f"{pluralize(removal.blobs, 'stored file')} ({format_size(removal.bytes)}) and "
        f"{pluralize(removal.answers, 'answer')} {would} removed"
    )
    yield (
        f"also {pluralize(removal.changes, 'change')}, {pluralize(removal.failures, 'failure')}, "
        f"{pluralize(removal.waiting, 'waiting or metadata file')}, "
        f"{pluralize(removal.log_lines, 'line')} of the log, "
        f"{pluralize(removal.quarantined, 'file')} in quarantine/"
    )
    for entry in removal.entries:
        yield f"also {entry} in the list of accounts"
    for copy in removal.copies:
        yield f"also {copy.removeprefix('./')}, a copy of the database"
    if removal.lost:
        yield f"{pluralize(removal.lost, 'answer')} of other accounts cannot be read, and count as lost now"
    left = removal.left
    yield (
        f"stays: {pluralize(removal.calls, 'call')} in the ledger, without the account; what others show: "
        f"{pluralize(left.mentions, 'mention')}, {pluralize(left.reshares, 'reshare')}, "
        f"{pluralize(left.sponsors, 'sponsor')}, {pluralize(left.shared_items, 'item')}"
    )


def _advice(removal: AccountRemoval) -> Iterator[str]:
    for name in removal.unknown:
        yield f"not looked into, since it is not part of the archive: {make_safe(name)} in its directory"
    for place in removal.comments:
        yield f"a comment still names it: {make_safe(place)}; remove it by hand"
