"""``archiver gaps``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING

import click

from archiver.cli import load, output, signals, text_table
from archiver.cli.options import EPILOG, Given, everywhere, json_output
from archiver.errors import Reason
from archiver.model.archived import Gap, GapReason
from archiver.model.identity import Subject
from archiver.text_format import make_safe, pluralize

if TYPE_CHECKING:
    from archiver.model.identity import Pk

_SHOWN = 20
"""Gaps of one account named one by one without ``-v``: a screenful."""
_COLUMNS = ("reason", "of", "highlight", "tries", "next try", "detail")
_NEXT_RUN = (Reason.LOST, GapReason.NOT_YET)


@click.command("gaps", epilog=EPILOG)
@click.argument("accounts", nargs=-1, metavar="[ACCOUNT...]")
@json_output({"gaps": []})
@everywhere
@click.pass_obj
def command(given: Given, accounts: tuple[str, ...]) -> int:
    """What the archive knows that it lacks, and why. Reads only, beside a run too; costs nothing.

    For each account, or for these (by username, one that it bore once, or id): how many of each reason, then at most 20 of them, with
    -v all. Code 0 however many there are: a gap is a fact.

    \b
    A reason is that of a failure (expired, not_found, network, too_large ...:
    see docs/schema.md), or
      private, gone        the account; nobody has the name
      never_offered        the item is shown, and no link to its picture or video
      fewer_than_counted   a page brought fewer items than the highlight counts
      not_yet              no run has come to it: a budget, a signal or a kill
      lost                 the bytes were held, and are not there any more

    \b
    Examples:
      archiver gaps
      archiver gaps natgeo -v
      archiver gaps --json | jq '.gaps[] | select(.reason == "expired")'
    """
    from archiver import archive

    config = load.config(given)
    asked = load.targets(accounts) if accounts else ()
    with signals.die_on_interrupt():
        found = archive.gaps(config, asked)
        if given.blank is not None:
            output.print_json_list({"exit_code": 0, "outcome": "ok"}, "gaps", map(fields_of, found))
        elif not _told(found, all_of_them=given.verbose) and not given.quiet:
            output.print_messages("no gaps: what was offered is held")
    return 0


def fields_of(gap: Gap) -> dict[str, object]:
    """One gap as ``--json`` shows it."""
    return {f.name: getattr(gap, f.name) for f in fields(gap)}


def _told(gaps: Iterable[Gap], *, all_of_them: bool) -> bool:
    """Write the gaps for people, account by account; returns whether there were any."""
    now, width = datetime.now(UTC), output.terminal_width()
    any_account = False
    for whose, of_account in groupby(gaps, key=_whose):
        one = Account(whose[0])
        for gap in of_account:
            one.add(gap, keep=all_of_them or len(one.shown) < _SHOWN)
        blank = "\n" if any_account else ""
        output.print_data(blank + "".join(f"{line}\n" for line in one.lines(now, width)))
        any_account = True
    return any_account


@dataclass(slots=True)
class Account:
    """The gaps of one account as people read them: all counted, some of them shown."""

    name: str
    counts: Counter[str] = field(default_factory=Counter)
    shown: list[Gap] = field(default_factory=list)

    def add(self, gap: Gap, *, keep: bool) -> None:
        """Count a gap, and show it if it is to be kept."""
        self.counts[gap.reason.value] += 1
        if keep:
            self.shown.append(gap)

    def lines(self, now: datetime, width: int | None = None) -> Iterator[str]:
        """How many of each reason, then those that are shown, each line safe."""
        total = self.counts.total()
        reasons = ", ".join(f"{number:,} {reason}" for reason, number in self.counts.most_common())
        yield f"{make_safe(self.name)}: {pluralize(total, 'gap')}: {reasons}"
        rows = [_row(gap, now) for gap in self.shown]
        yield from (
            f"  {line}"
            for line in text_table.format_table(_COLUMNS, rows, width - 2 if width is not None else None)
        )
        if total > len(self.shown):
            yield f"  and {total - len(self.shown):,} more (-v shows all)"


def _whose(gap: Gap) -> tuple[str, Pk | None]:
    return gap.username or gap.user_pk or f"{gap.subject.value} {gap.subject_pk}", gap.user_pk


def _row(gap: Gap, now: datetime) -> tuple[object, ...]:
    detail = f"{gap.present:,} of {gap.counted:,} items" if gap.present is not None else gap.detail
    title = gap.title if gap.title is not None else gap.highlight_pk
    return gap.reason.value, _of(gap), title, gap.attempts, next_try(gap, now), detail


def _of(gap: Gap) -> str:
    if gap.subject is Subject.ITEM:
        what = gap.code or gap.subject_pk
        return f"{gap.role.value} of {what}" if gap.role is not None else what
    if gap.role is not None:
        return gap.role.value
    return "account" if gap.subject in (Subject.USER, Subject.TARGET) else "highlight"


def next_try(gap: Gap, now: datetime) -> str:
    """When it is tried again, in a word or as a day and time in UTC. Pure."""
    if gap.gone:
        return "never: shown no more"
    if gap.reason is Reason.HOST_NOT_ALLOWED:
        return "when its host is allowed"
    if gap.reason is Reason.TOO_LARGE:
        return "when max_file_size allows it"
    if gap.next_try_at is None:
        return "next run" if gap.reason in _NEXT_RUN else "sweep"
    return f"{gap.next_try_at:%Y-%m-%d %H:%M}" if gap.next_try_at > now else "next run"
