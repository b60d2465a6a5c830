"""A run as commands make it: signals, progress and log around ``Archive.run``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from archiver.cli import progress, run_report, signals
from archiver.cli.change_summary import RunChanges
from archiver.cli.log_file import LogObserver
from archiver.cli.options import GlobalOptions
from archiver.model.events import Event
from archiver.runner.workers import StopFlag

if TYPE_CHECKING:
    from archiver.archive.archive import Archive
    from archiver.model.target import Target
    from archiver.runner.context import RunOptions
    from archiver.runner.tally import Summary

RESUME = "run it again: it continues where it stopped"


def make_run(
    given: GlobalOptions,
    archive: Archive,
    targets: Sequence[Target],
    *,
    command: str,
    options: RunOptions,
    max_units: int | None = None,
    wait: bool = False,
    create_missing: bool = False,
    news: RunChanges | None = None,
    stop: StopFlag | None = None,
) -> Summary:
    """Make a run over the targets, with progress and log. Raises as ``Archive.run``.

    ``create_missing``: make the archive if it is not there. ``news`` takes the changes that the run saw.
    ``stop``: the flag of a caller that handles signals already.
    """
    config = given.loaded
    assert config is not None
    handles_signals = stop is None
    stop = stop or StopFlag()
    seen = progress.make_observer(given)
    journal = LogObserver(config.archive.directory, group_readable=config.archive.group_readable)

    def observe(event: Event) -> None:
        journal(event)
        seen(event)

    last = "the run ended with an error"
    with signals.stop_on_signal(stop, quiet=given.quiet, hint=RESUME) if handles_signals else nullcontext():
        try:
            if create_missing:
                from archiver.archive.creation import create_for_run

                create_for_run(config)
            summary = archive.run(
                targets,
                options=options,
                max_units=max_units,
                wait=wait,
                command=command,
                observe=observe,
                stop=stop,
                on_changes=None if news is None else news.read,
            )
            last = (
                f"run {summary.run_id} ended: {summary.outcome}; {'; '.join(run_report.count_lines(summary))}"
            )
        finally:
            seen.close()
            journal.close(last)
    return replace(summary, hint=given.complete_hint(summary.slug, summary.hint))
