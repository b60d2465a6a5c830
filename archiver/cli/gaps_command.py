"""``archiver gaps``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING

import click
from msgspec import Struct, field

from archiver.cli import load, output
from archiver.cli.decorators import Result, reads
from archiver.cli.filter_options import complete_account
from archiver.cli.options import GlobalOptions
from archiver.model.archived import Gap
from archiver.text_format import make_safe, pluralize
from archiver.wording import NO_GAPS, describe_gap, next_try, reason_word, since_when

if TYPE_CHECKING:
    from archiver.archive.archive import Archive
    from archiver.model.identity import Pk

_SHOWN = 20
"""How many gaps of one account are listed without ``-v``: a screenful."""
_COLUMNS = ("reason", "of", "highlight", "tries", "next try", "detail")


class GapsResult(Result, frozen=True):
    """What the archive lacks. ``_limit``: how many of one account are listed; None: all."""

    gaps: Iterable[Gap] = ()
    _limit: int | None = None

    def lines(self, width: int | None) -> Iterator[str]:
        """Yield the gaps, account by account."""
        now, is_first = datetime.now(UTC), True
        for (name, _), group in groupby(self.gaps, key=_account_of):
            account = AccountGaps(name)
            for gap in group:
                account.add(gap, is_listed=self._limit is None or len(account.listed) < self._limit)
            if not is_first:
                yield ""
            yield from account.lines(now, width)
            is_first = False

    def empty_messages(self) -> Iterator[str]:
        """Yield that there are none."""
        yield NO_GAPS


@reads("gaps", json=GapsResult.blank)
@click.argument("accounts", nargs=-1, metavar="[ACCOUNT...]", shell_complete=complete_account)
def command(options: GlobalOptions, archive: Archive, accounts: tuple[str, ...]) -> GapsResult:
    """List what the archive lacks, and why. Reads only, also during a run; costs nothing.

    For each account, or for those named (by username, a former one, or id): how many gaps there are for each
    reason, then the first 20; with -v all. The exit code is 0 however many there are: a gap is not an error.

    \b
    A reason is that of a failure (expired, not_found, network, too_large ...:
    see docs/schema.md), or
      private, gone        the account is private, or no longer exists
      unknown              nobody has the name or id (in --json: gone)
      never_offered        the item is shown without a link to its picture or video
      fewer_than_counted   a page had fewer items than the highlight counts
      not_yet              no run has reached it: a budget, a signal or a kill
      lost                 the bytes were stored, and are missing now

    \b
    Examples:
      archiver gaps
      archiver gaps natgeo -v
      archiver gaps --json | jq '.gaps[] | select(.reason == "expired")'
    """
    asked = load.targets(accounts) if accounts else None
    return GapsResult(archive.gaps(asked), None if options.verbose else _SHOWN)


class AccountGaps(Struct):
    """The gaps of one account, to be printed: all are counted, some are listed."""

    name: str
    counts: Counter[str] = field(default_factory=Counter)
    listed: list[Gap] = field(default_factory=list)

    def add(self, gap: Gap, *, is_listed: bool) -> None:
        """Count a gap, and list it if ``is_listed``."""
        self.counts[reason_word(gap.subject, gap.reason)] += 1
        if is_listed:
            self.listed.append(gap)

    def lines(self, now: datetime, width: int | None = None) -> Iterator[str]:
        """Yield the number of gaps for each reason, then the listed gaps; each line is safe."""
        total = self.counts.total()
        reasons = ", ".join(f"{number:,} {reason}" for reason, number in self.counts.most_common())
        yield f"{make_safe(self.name)}: {pluralize(total, 'gap')}: {reasons}"
        rows = [_row(gap, now) for gap in self.listed]
        yield from (
            f"  {line}"
            for line in output.format_table(_COLUMNS, rows, width - 2 if width is not None else None)
        )
        if total > len(self.listed):
            yield f"  and {total - len(self.listed):,} more (-v shows all)"


def _account_of(gap: Gap) -> tuple[str, Pk | None]:
    return gap.username or gap.user_pk or f"{gap.subject.value} {gap.subject_pk}", gap.user_pk


def _row(gap: Gap, now: datetime) -> tuple[object, ...]:
    detail = f"{gap.present:,} of {gap.counted:,} items" if gap.present is not None else gap.detail
    title = gap.title if gap.title is not None else gap.highlight_pk
    detail += since_when(gap)
    reason = reason_word(gap.subject, gap.reason)
    return reason, describe_gap(gap), title, gap.attempts, next_try(gap, now), detail
