"""``archiver accounts``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from archiver.cli import advice, output
from archiver.cli.decorators import Result, reads
from archiver.text_format import format_size, pluralize

if TYPE_CHECKING:
    from archiver.archive.archive import Archive
    from archiver.archive.followed_accounts import FollowedAccount

_COLUMNS = ("account", "listed as", "state", "last look (UTC)", "highlights", "items", "size")
_NOT_LISTED = "(not listed)"


def _json_view(account: FollowedAccount) -> dict[str, object]:
    """Return an account as ``--json`` prints it. ``entry``: what the list says; null if it is not listed."""
    entry = account.entry
    return {
        "entry": entry.text if entry is not None else None,
        "patterns": list(entry.highlights) if entry is not None else [],
        "is_listed": entry is not None,
        "state": account.state.value,
        "pk": account.pk,
        "username": account.username,
        "looked_at": account.looked_at,
        "highlights": account.highlights,
        "items": account.items,
        "bytes": account.bytes,
    }


class AccountsResult(Result, frozen=True):
    """The accounts that are followed or archived."""

    accounts: Sequence[FollowedAccount] = ()

    def json_fields(self) -> dict[str, object]:
        """Return the fields of ``--json``."""
        return {"accounts": map(_json_view, self.accounts)}

    def lines(self, width: int | None) -> Iterator[str]:
        """Yield a row for each account, and how many there are."""
        if not self.accounts:
            return
        yield from output.format_table(_COLUMNS, [*map(_row, self.accounts)], width)
        listed = sum(account.entry is not None for account in self.accounts)
        others = len(self.accounts) - listed
        more = f"; {others:,} archived, but not listed" if others else ""
        yield f"{pluralize(listed, 'account')} listed{more}"

    def empty_messages(self) -> Iterator[str]:
        """Yield how to list one."""
        yield f"no accounts are listed or archived; {advice.command_line('add NAME')} lists one"


@reads("accounts", json=AccountsResult.blank)
def command(archive: Archive) -> AccountsResult:
    """List the accounts that are followed, with their state, the last look and their size; then those that
    are archived, but not listed. Reads only, also during a run; costs nothing.

    \b
    A state is
      new         no run has reached it
      archived    its highlights could be listed, or something of them is stored
      private     it shows nothing to the public
      gone        it existed, and does not any more
      not_found   nobody has the name, or the highlight does not exist
      failed      the last attempt failed; the next run tries again

    An account that was renamed is shown under its present name, beside the entry of the list.

    \b
    Examples:
      archiver accounts
      archiver accounts --json | jq -r '.accounts[] | select(.state == "not_found") | .entry'
    """
    return AccountsResult(archive.account_overview())


def _row(account: FollowedAccount) -> tuple[object, ...]:
    entry = account.entry
    name = account.username or account.pk or (entry.text if entry is not None else "")
    listed_as = "" if entry is not None else _NOT_LISTED
    if entry is not None and entry.username != account.username:
        listed_as = entry.text
    return (
        name,
        listed_as,
        account.state.value,
        f"{account.looked_at:%Y-%m-%d %H:%M}" if account.looked_at is not None else "never",
        account.highlights,
        account.items,
        format_size(account.bytes),
    )
