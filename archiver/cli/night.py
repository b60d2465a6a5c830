"""One run under somebody's eyes: signals, progress and log around ``archive.run``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from archiver.cli import progress, run_report, signals
from archiver.cli.change_summary import RunChanges
from archiver.cli.log_file import LogObserver
from archiver.cli.options import Given
from archiver.model.events import Event
from archiver.runner.workers import StopFlag

if TYPE_CHECKING:
    from archiver.config import Config
    from archiver.model.target import Target
    from archiver.runner.context import RunOptions
    from archiver.runner.tally import Summary

RESUME = "run it again: it goes on where it stopped"


def keep(
    given: Given,
    config: Config,
    targets: Sequence[Target],
    *,
    command: str,
    manner: RunOptions,
    max_units: int | None = None,
    wait: bool = False,
    create_missing: bool = False,
    news: RunChanges | None = None,
    stop: StopFlag | None = None,
) -> Summary:
    """Keep the targets, watched and logged. Raises as ``archive.run``. ``news`` takes what the run saw changed. ``stop``: that of a
    caller who watches the signals already.
    """
    from archiver import archive

    watches = stop is None
    stop = stop or StopFlag()
    seen = progress.make_observer(given)
    journal = LogObserver(config.archive.directory, group_readable=config.archive.group_readable)

    def observe(event: Event) -> None:
        journal(event)
        seen(event)

    last = "the run ended by an error"
    with signals.stop_on_signal(stop, quiet=given.quiet, hint=RESUME) if watches else nullcontext():
        try:
            summary = archive.run(
                config,
                targets,
                command=command,
                manner=manner,
                observe=observe,
                stop=stop,
                accounts=len(targets),
                max_units=max_units,
                wait=wait,
                create_missing=create_missing,
                hear=None if news is None else news.read,
            )
            last = (
                f"run {summary.run_id} ended: {summary.outcome}; {'; '.join(run_report.count_lines(summary))}"
            )
        finally:
            seen.close()
            journal.close(last)
    return replace(summary, hint=given.hinted(summary.slug, summary.hint))
