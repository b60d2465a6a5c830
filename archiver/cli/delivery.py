"""The report of ``archiver run``, sent to those who do not read along, and the monitor that is pinged. Neither ever fails a run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from archiver.cli import advice, report, show
from archiver.cli.news import News
from archiver.config import Config, Reported
from archiver.errors import ArchiverError, outcome
from archiver.export.cells import plain
from archiver.report import Address, Courier, Letter
from archiver.runner.tally import Summary
from archiver.runner.workers import StopFlag


@contextmanager
def of_night(config: Config, stop: StopFlag) -> Iterator[Callable[[Summary, News], None]]:
    """A night in the block is told to where the configuration says: that it begins, and by what is yielded how it ended.

    A night that cannot begin, or ends by a bug, is told here; what was raised is raised on. What cannot be sent is one line on stderr.
    """
    courier = Courier(
        _address(config, config.report.url, "report.url"),
        _address(config, config.report.ping_url, "report.ping_url"),
        stopped=lambda: stop.cause is not None,
    )
    _complain(courier.begun())
    try:
        yield lambda summary, news: _complain(
            courier.ended(letter(summary, news), reported=is_reported(config.report.on, summary, news))
        )
    except Exception as error:
        _complain(courier.ended(letter_of(error)))
        raise


def letter(summary: Summary, news: News) -> Letter:
    """A night that ended."""
    return Letter(
        title=f"archiver {summary.command} {summary.run_id}: {summary.outcome}",
        text="\n".join(map(show.safe, report.morning(summary, news))),
        document=_json(report.fields_of(summary, news)),
        well=summary.exit_code == 0,
    )


def is_reported(on: Reported, summary: Summary, news: News) -> bool:
    """Whether ``report.on`` wants this night: one with news has something new, changed, gone or failed. Pure."""
    if summary.exit_code or on == "always":
        return True
    seen = summary.items_new or summary.files_new or summary.failures or news.story.total or news.unknown
    return on == "news" and bool(seen)


def letter_of(error: Exception) -> Letter:
    """A night that did not come to its end. Of a bug only the kind is told: its text may hold anything."""
    if isinstance(error, ArchiverError):
        code, why, hint = error.exit_code, str(error), advice.complete(error.hint)
    else:
        code, why = ArchiverError.exit_code, f"a bug: {type(error).__name__}"
        hint = "the archive is intact; its log has the traceback"
    slug = error.slug if isinstance(error, ArchiverError) else ArchiverError.slug
    ended = {"exit_code": code, "outcome": outcome(code)}
    told = {"error": {"slug": slug, "message": why, "hint": hint}}
    return Letter(
        title=f"archiver run: {outcome(code)}",
        text=show.safe(f"{why} ({hint})" if hint else why),
        document=_json({**ended, "command": "run", **report.NOTHING, **told}),
        well=False,
    )


def _address(config: Config, url: str | None, key: str) -> Address | None:
    return Address(url, key, may_be_link_local=config.report.allow_link_local) if url is not None else None


def _json(fields: Mapping[str, object]) -> bytes:
    return json.dumps(plain(fields), allow_nan=False).encode()


def _complain(troubles: Iterable[str]) -> None:
    show.say(*(f"archiver: run: {trouble}" for trouble in troubles))
