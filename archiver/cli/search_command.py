"""``archiver search``."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import fields
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING

import click

from archiver.cli import advice, load, output, signals, text_table
from archiver.cli.options import EPILOG, Given, everywhere, json_output
from archiver.cli.parameter_types import TimeType
from archiver.model.archived import NO_LIMIT
from archiver.model.search_hits import Dated, Field, Kind
from archiver.text_format import make_safe, pluralize

if TYPE_CHECKING:
    from archiver.config import Config
    from archiver.model.search_hits import Hit

_ON_A_TERMINAL = 20
_SHOWN = 4
"""Texts of one hit that are shown: an item may mention dozens who are called alike."""
_SIGN = {
    Field.HASHTAG: "#",
    Field.MENTION: "@",
    Field.SPONSOR: "@",
    Field.USERNAME: "@",
    Field.FORMER_USERNAME: "@",
}


_DATED = {Dated.TAKEN: "taken", Dated.CREATED: "created", Dated.FIRST_SEEN: "first seen"}


class _Words(click.Command):
    """A command whose words may begin with a dash."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        words = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if error.option_name.startswith("--"):
                raise
            why = f"no such option: {error.option_name}; a word that must not be there stands behind all options and --"
            raise click.UsageError(f"{why}: {self._corrected(ctx, words)}", ctx) from None

    def _corrected(self, ctx: click.Context, words: list[str]) -> str:
        """Return the command with the words that must not be there behind all options and ``--``."""
        options = {name for param in self.params for name in param.opts}
        unwanted = [word for word in words if re.match("-[^-]", word) and word not in options]
        rest = [word for word in words if word not in unwanted]
        if not self.make_parser(ctx).parse_args(list(rest))[0].get("text"):
            rest.append("shop")  # a search needs a word that must be there
        if "--" not in rest:
            rest.append("--")
        return advice.command_line(" ".join(map(advice.quote, ("search", *rest, *unwanted))))


@click.command("search", cls=_Words, epilog=EPILOG)
@click.argument("text", nargs=-1, required=True, metavar="TEXT...")
@click.option(
    "--account",
    "accounts",
    multiple=True,
    metavar="NAME",
    help="Only of this account, by its username, one that it bore once, or its id; or highlight:<pk>. May be repeated.",
)
@click.option(
    "--type",
    "kinds",
    multiple=True,
    type=click.Choice([kind.value for kind in Kind]),
    help="Only things of this kind; photos and videos are items. May be repeated.",
)
@click.option(
    "--since",
    type=TimeType(),
    metavar="WHEN",
    help="Made since a date (2026-11-01), a time (2026-11-01T03:17, UTC), or so long ago (36h, 7d); first seen, where nobody knows when it was made.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    metavar="N",
    help="At most N, 0 for all. [default: 20 on a terminal, else all]",
)
@json_output({"stale": 0, "hits": []})
@everywhere
@click.pass_obj
def command(
    given: Given,
    text: tuple[str, ...],
    accounts: tuple[str, ...],
    kinds: tuple[str, ...],
    since: datetime | None,
    limit: int | None,
) -> int:
    """Find accounts, highlights and items by words. Reads only, beside a run too; costs nothing.

    Searched are usernames, names and titles, those of earlier times too, and what items carry: hashtags, places, mentions and sponsors by
    username and name, links by address and title. All words must be there, each by its beginning: nat finds natgeo. Accents and case do
    not matter, any script and emoji do. "in quotes" stands so, word for word; what a - stands before must not be there.

    First what is called so itself, then items by hashtags and places, by mentions, by links; the newest first within each. With a limit,
    of thousands that are found alike the last 1,000 recorded are put in that order. The date is when it was taken or created, else first seen.

    --json: "hits" have it as "at", and in "dated" which of these it is; "stale" counts things that another program has changed: they are
    found again after the next run.

    \b
    Examples:
      archiver search 北京 旅行
      archiver search '"gift guide"' --account natgeo
      archiver search 🦋 --type video --since 30d
      archiver search natgeo.com/shop --json | jq -r .hits[].subject_pk
      archiver search -- shop -sale
    """
    from archiver import archive

    config = load.config(given)
    asked = load.targets(accounts) if accounts else ()
    if limit is None and given.blank is None and output.terminal_width() is not None:
        limit = _ON_A_TERMINAL
    limit = min(limit, NO_LIMIT) if limit is not None else None
    with signals.die_on_interrupt():
        found = archive.search(
            config,
            " ".join(text),
            accounts=asked,
            kinds=tuple(map(Kind, kinds)),
            since=since,
            limit=limit + 1 if limit else None,
        )
        changed = archive.stale(config) if given.blank is not None or not given.quiet else 0
        if given.blank is not None:
            head = {"exit_code": 0, "outcome": "ok", "stale": changed}
            output.print_json_list(head, "hits", map(fields_of, _first(found, limit, given)))
        elif not _told(_first(found, limit, given)) and not given.quiet:
            output.print_messages(
                "nothing found", *_pointer(config, text), *([] if accounts else _within(config, text))
            )
        if changed and not given.quiet:
            output.print_messages(
                f"archiver: search: {pluralize(changed, 'thing')} changed by another program can be found after the next run"
            )
    return 0


def _pointer(config: Config, text: tuple[str, ...]) -> Iterator[str]:
    """What to type instead where the text is no words, but a link or an id."""
    from archiver import archive

    if archive.is_pointer(config, " ".join(text)):
        show_it = advice.command_line(f"show {advice.quote(' '.join(text))}")
        yield f"archiver: search: that names something that is kept: {show_it}"


def _within(config: Config, text: tuple[str, ...]) -> Iterator[str]:
    """What to type instead where one of the words is an account's name: an item is not found by whose it is."""
    from archiver import archive

    words = " ".join(text).split()
    if not len(words) > 1 or (at := archive.account_among(config, words)) is None:
        return
    name, others = words[at].removeprefix("@"), [*words[:at], *words[at + 1 :]]
    if all(word.startswith("-") for word in others):
        return
    dashes = ["--"] if any(word.startswith("-") for word in others) else []
    within = advice.command_line(shlex.join(["search", "--account", name, *dashes, *others]))
    yield f"archiver: search: within that account: {within}"


def fields_of(hit: Hit) -> dict[str, object]:
    """One hit as ``--json`` shows it."""
    matched = [{"field": said.field.value, "text": said.text} for said in hit.matched]
    return {f.name: getattr(hit, f.name) for f in fields(hit)} | {"matched": matched}


def lines(hit: Hit, width: int | None, command: str) -> Iterator[str]:
    """Yield a hit for people, each line safe: what it is, and the texts that matched, cut to ``width``.

    Last comes the ``command`` that shows it, which is never cut.
    """
    whose = hit.username or hit.user_pk or ""
    what = [hit.kind.value, whose, *([hit.title or ""] if hit.highlight_pk else [])]
    gone = ", shown no more" if hit.gone else ""
    yield make_safe(f"{' · '.join(filter(None, what))} · {_DATED[hit.dated]} {hit.at:%Y-%m-%d}{gone}")
    for said in hit.matched[:_SHOWN]:
        yield _cut(f"  {said.field.value.replace('_', ' ')}: {_SIGN.get(said.field, '')}{said.text}", width)
    if len(hit.matched) > _SHOWN:
        yield f"  and {len(hit.matched) - _SHOWN:,} more"
    yield make_safe(f"  {command} {_target(hit)}")


def _target(hit: Hit) -> str:
    if hit.kind is Kind.ACCOUNT:
        return hit.username or hit.subject_pk
    return f"highlight:{hit.subject_pk}" if hit.kind is Kind.HIGHLIGHT else f"item:{hit.subject_pk}"


def _first(hits: Iterator[Hit], limit: int | None, given: Given) -> Iterator[Hit]:
    """The hits up to the limit; says so if there are more."""
    yield from islice(hits, limit or None)
    if limit and next(hits, None) is not None and not given.quiet:
        output.print_messages(f"archiver: search: only the first {limit:,} are shown (--limit 0 for all)")


def _told(hits: Iterator[Hit]) -> bool:
    width, command, any_hit = output.terminal_width(), advice.command_line("show"), False
    for hit in hits:
        blank = "\n" if any_hit else ""
        output.print_data(blank + "".join(f"{line}\n" for line in lines(hit, width, command)))
        any_hit = True
    return any_hit


def _cut(line: str, width: int | None) -> str:
    line = make_safe(line)
    return line if width is None else text_table.truncate(line, width)
