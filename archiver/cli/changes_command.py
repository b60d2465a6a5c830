"""``archiver changes``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING

import click

from archiver.cli import load
from archiver.cli.change_summary import ChangeSummary
from archiver.cli.decorators import Result, reads
from archiver.cli.filter_options import FROM_WHEN, account_option, since_option
from archiver.cli.options import WholeNumber
from archiver.text_format import make_safe

if TYPE_CHECKING:
    from archiver.archive.archive import Archive
    from archiver.model.archived import NamedChange

_USUAL = timedelta(days=7)


class ChangesResult(Result, frozen=True):
    """What owners have changed. ``_since``, ``_run_id``: what was asked for."""

    changes: Iterable[NamedChange] = ()
    _since: datetime | None = None
    _run_id: int | None = None

    def lines(self, width: int | None) -> Iterator[str]:
        """Yield the changes, day by day."""
        is_first = True
        for day, seen in groupby(self.changes, key=lambda change: change.at.date()):
            yield f"{day}" if is_first else f"\n{day}"
            yield from (f"  {make_safe(line)}" for line in ChangeSummary(seen).lines())
            is_first = False

    def empty_messages(self) -> Iterator[str]:
        """Yield that nothing changed."""
        in_run = f" in run {self._run_id}" if self._run_id is not None else ""
        since = f" since {self._since:%Y-%m-%d %H:%M:%S} UTC" if self._since is not None else ""
        yield f"nothing changed{in_run}{since}"


@reads("changes", json=ChangesResult.blank)
@since_option(f"{FROM_WHEN} [default: 7d; with --run everything]")
@account_option("Only this account, by its username, a former one, or its id. May be repeated.")
@click.option("--run", "run_id", type=WholeNumber(min=1), metavar="ID", help="Only what this run saw.")
def command(
    archive: Archive, since: datetime | None, accounts: tuple[str, ...], run_id: int | None
) -> ChangesResult:
    """List what owners edited, added and removed, by default in the last 7 days. Reads only, also during a
    run; costs nothing.

    It prints a line for each account and highlight, day by day (UTC). Several edits of one thing on a day are
    combined: renamed from its first name to its last; added and removed again. --json prints every row as it
    is. What is seen for the first time is not a change. Accounts and highlights have their current names.

    \b
    Examples:
      archiver changes
      archiver changes --since 2026-11-01 --account natgeo
      archiver changes --run 12 --json
    """
    asked = load.targets(accounts) if accounts else None
    if since is None and run_id is None:
        since = datetime.now(UTC) - _USUAL
    return ChangesResult(archive.changes(asked, since=since, run_id=run_id), since, run_id)
