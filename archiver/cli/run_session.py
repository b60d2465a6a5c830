"""A run for a command: signals, progress and log around ``Archive.run``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Self

from archiver.cli import progress, run_report, signals
from archiver.cli.change_summary import RunChanges
from archiver.cli.log_file import LogObserver
from archiver.cli.options import GlobalOptions
from archiver.model.events import Event
from archiver.model.values import replace
from archiver.work import StopFlag

if TYPE_CHECKING:
    from archiver.archive.archive import Archive
    from archiver.model.target import Target
    from archiver.runner.context import RunOptions
    from archiver.runner.tally import Summary

RESUME = "run it again: it continues where it stopped"


class EventObserver:
    """Shows each event of a run to the user, and writes it into the log of the archive."""

    def __init__(self, options: GlobalOptions, last_line: str) -> None:
        """``last_line``: the last line of the log; it may be changed until the end."""
        config = options.loaded
        assert config is not None
        self.last_line = last_line
        self._shown = progress.make_observer(options)
        self._log = LogObserver(config.archive.directory, group_readable=config.archive.group_readable)

    def __call__(self, event: Event) -> None:
        """Log and show an event."""
        self._log(event)
        self._shown(event)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._shown.close()
        self._log.close(self.last_line)


def make_run(
    options: GlobalOptions,
    archive: Archive,
    targets: Sequence[Target],
    *,
    command: str,
    run_options: RunOptions,
    max_units: int | None = None,
    wait: bool = False,
    create_missing: bool = False,
    changes: RunChanges | None = None,
    stop: StopFlag | None = None,
) -> Summary:
    """Archive the targets, with progress and log. Raises the errors of ``Archive.run``.

    ``create_missing``: make the archive if it is not there. ``changes`` collects what the run saw change.
    ``stop``: the flag of a caller that handles signals already.
    """
    config = options.loaded
    assert config is not None
    handles_signals = stop is None
    stop = stop or StopFlag()
    with (
        signals.stop_on_signal(stop, quiet=options.quiet, hint=RESUME) if handles_signals else nullcontext(),
        EventObserver(options, "the run ended with an error") as observer,
    ):
        if create_missing:
            from archiver.archive.creation import create_for_run

            create_for_run(config)
        summary = archive.run(
            targets,
            options=run_options,
            max_units=max_units,
            wait=wait,
            command=command,
            observe=observer,
            stop=stop,
            on_changes=None if changes is None else changes.read,
        )
        counts = "; ".join(run_report.count_lines(summary))
        observer.last_line = f"run {summary.run_id} ended: {summary.outcome}; {counts}"
    return replace(summary, hint=options.complete_hint(summary.slug, summary.hint))
