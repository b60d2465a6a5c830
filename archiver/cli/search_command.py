"""``archiver search``."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING

import click

from archiver.cli import advice, output
from archiver.cli.decorators import Result, reads
from archiver.cli.filter_options import account_option, since_option, split_targets
from archiver.cli.options import GlobalOptions, WholeNumber
from archiver.errors import NotHeld, TargetError, UsageError
from archiver.model.query_results import NO_LIMIT, Dated, Kind
from archiver.model.target import parse_target
from archiver.text_format import make_safe, pluralize
from archiver.wording import describe_match

if TYPE_CHECKING:
    from archiver.archive.archive import Archive
    from archiver.model.query_results import Hit

_ON_A_TERMINAL = 20
_SHOWN = 4
"""How many texts of one hit are shown: an item may mention dozens of similar names."""
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
            why = f"no such option: {error.option_name}; put words to exclude after all options and --"
            raise click.UsageError(f"{why}: {self._suggest_command(ctx, words)}", ctx) from None

    def _suggest_command(self, ctx: click.Context, words: list[str]) -> str:
        """Return the command with the words to exclude after all options and ``--``."""
        options = {name for param in self.params for name in param.opts}
        unwanted = [word for word in words if re.match("-[^-]", word) and word not in options]
        rest = [word for word in words if word not in unwanted]
        if not self.make_parser(ctx).parse_args(list(rest))[0].get("text"):
            rest.append("shop")  # a search needs a word that must be there
        if "--" not in rest:
            rest.append("--")
        return advice.command_line(" ".join(map(advice.quote, ("search", *rest, *unwanted))))


class SearchResult(Result, frozen=True):
    """What a search has found. ``stale``: how many things another program has changed.

    ``_limit``: how many hits are shown; None or 0: all. ``_suggest`` returns what to type instead.
    """

    stale: int = 0
    hits: Iterator[Hit] = iter(())
    _limit: int | None = None
    _suggest: Callable[[], Iterable[str]] = tuple

    def json_fields(self) -> dict[str, object]:
        """Return the fields of ``--json``."""
        return {"stale": self.stale, "hits": islice(self.hits, self._limit or None)}

    def lines(self, width: int | None) -> Iterator[str]:
        """Yield the hits for people."""
        command, is_first = advice.command_line("show"), True
        for hit in islice(self.hits, self._limit or None):
            if not is_first:
                yield ""
            yield from hit_lines(hit, width, command)
            is_first = False

    def empty_messages(self) -> Iterator[str]:
        """Yield that there are none, and what to type instead."""
        yield "nothing found"
        yield from self._suggest()

    def messages(self, options: GlobalOptions) -> Iterator[str]:
        """Yield what is not shown, unless ``-q`` is given."""
        if options.quiet:
            return
        if self._limit and next(self.hits, None) is not None:
            yield f"archiver: search: only the first {self._limit:,} are shown (--limit 0 for all)"
        if self.stale:
            things = pluralize(self.stale, "thing")
            yield f"archiver: search: {things} changed by another program can be found after the next run"


@reads("search", cls=_Words, json=SearchResult.blank)
@click.argument("text", nargs=-1, required=True, metavar="TEXT...")
@account_option(
    "Only this account, by its username, a former one, or its id; or highlight:<pk>. May be repeated."
)
@click.option(
    "--type",
    "kinds",
    multiple=True,
    type=click.Choice([kind.value for kind in Kind]),
    help="Only this kind; photos and videos are items. May be repeated.",
)
@since_option(
    "Made since a date (2026-11-01), a time (2026-11-01T03:17, UTC), or in the last 36h, 7d; first seen,"
    " if it is unknown when it was made."
)
@click.option(
    "--limit",
    type=WholeNumber(min=0),
    metavar="N",
    help="At most N, 0 for all. [default: 20 on a terminal, else all]",
)
def command(
    options: GlobalOptions,
    archive: Archive,
    text: tuple[str, ...],
    accounts: tuple[str, ...],
    kinds: tuple[str, ...],
    since: datetime | None,
    limit: int | None,
) -> SearchResult:
    """Find accounts, highlights and items by words. Reads only, also during a run; costs nothing.

    It searches usernames, names and titles, former ones too, and what items contain: hashtags, places,
    mentions and sponsors by username and name, links by address and title. All words must match; a word also
    matches longer words that begin with it: nat finds natgeo. Case and accents do not matter; any script and
    emoji can be searched. Put a phrase in quotes, a - before a word that must not match, and OR, in capitals,
    between words of which one is enough: sale OR shop.

    Matches by their own name come first, then items by hashtags and places, by mentions, by links; the newest
    first within each. With a limit, if thousands match equally, only the 1,000 recorded last are sorted. The
    date is when it was taken or created, else first seen.

    With --json, "dated" says which of these dates "at" is, and "stale" counts things that another program has
    changed: they can be found after the next run.

    \b
    Examples:
      archiver search 北京 旅行
      archiver search '"gift guide"' OR presents --account natgeo
      archiver search 🦋 --type video --since 30d
      archiver search natgeo.com/shop --json | jq -r .hits[].subject_pk
      archiver search -- shop -sale
    """
    if limit is None and options.blank is None and output.terminal_width() is not None:
        limit = _ON_A_TERMINAL
    limit = min(limit, NO_LIMIT) if limit is not None else None
    hits = archive.search(
        " ".join(text),
        **split_targets(accounts),
        kinds=kinds or None,
        since=since,
        limit=limit + 1 if limit else None,
    )
    changed = archive.count_unsearchable() if options.blank is not None or not options.quiet else 0

    def suggest() -> Iterator[str]:
        yield from _suggest_show(archive, text)
        if not accounts:
            yield from _suggest_account(archive, text)

    return SearchResult(changed, hits, limit, suggest)


def _suggest_show(archive: Archive, text: tuple[str, ...]) -> Iterator[str]:
    """Yield what to type instead if the text is the link, id or code of something archived."""
    words = " ".join(text)
    with suppress(UsageError):
        archive.show(words)
        yield f"archiver: search: this is archived: {advice.command_line(f'show {advice.quote(words)}')}"


def _suggest_account(archive: Archive, text: tuple[str, ...]) -> Iterator[str]:
    """Yield what to type instead if one of the words is an account's name, which does not find its items."""
    words = " ".join(text).split()
    if len(words) < 2 or "OR" in words or (at := _find_username(archive, words)) is None:
        return
    name, others = words[at].removeprefix("@"), [*words[:at], *words[at + 1 :]]
    if all(word.startswith("-") for word in others):
        return
    dashes = ["--"] if any(word.startswith("-") for word in others) else []
    within = advice.command_line(shlex.join(["search", "--account", name, *dashes, *others]))
    yield f"archiver: search: within that account: {within}"


def _find_username(archive: Archive, words: Sequence[str]) -> int | None:
    """Return which of the words is the username of an archived account, with or without ``@``."""
    for at, word in enumerate(words):
        try:
            if parse_target(word).username == word.removeprefix("@").lower():
                archive.account(word)
                return at
        except (NotHeld, TargetError):
            continue
        except UsageError:  # several accounts have had the name
            return at
    return None


def hit_lines(hit: Hit, width: int | None, command: str) -> Iterator[str]:
    """Yield a hit for people, each line safe: what it is, and the texts that matched, cut to ``width``.

    Last comes the ``command`` that shows it, which is never cut.
    """
    whose = hit.username or hit.user_pk or ""
    what = [hit.kind.value, whose, *([hit.title or ""] if hit.highlight_pk else [])]
    gone = f", seen only by {hit.source}" if hit.source else ", no longer shown" if hit.gone else ""
    yield make_safe(f"{' · '.join(filter(None, what))} · {_DATED[hit.dated]} {hit.at:%Y-%m-%d}{gone}")
    for said in hit.matched[:_SHOWN]:
        yield _cut(f"  {describe_match(said)}", width)
    if len(hit.matched) > _SHOWN:
        yield f"  and {len(hit.matched) - _SHOWN:,} more"
    yield make_safe(f"  {command} {_target(hit)}")


def _target(hit: Hit) -> str:
    if hit.kind is Kind.ACCOUNT:
        return hit.username or hit.subject_pk
    return f"highlight:{hit.subject_pk}" if hit.kind is Kind.HIGHLIGHT else f"item:{hit.subject_pk}"


def _cut(line: str, width: int | None) -> str:
    line = make_safe(line)
    return line if width is None else output.truncate(line, width)
