"""Sends the report of ``archiver run`` and pings a monitor, as configured. It never fails a run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from archiver.cli import advice, output, run_report
from archiver.cli.change_summary import RunChanges
from archiver.config import Config, ReportWhen
from archiver.errors import ArchiverError
from archiver.exit_codes import outcome
from archiver.report import Notification, NotificationUrl, Notifier
from archiver.runner.tally import Summary
from archiver.text_format import json_value, make_safe
from archiver.work import StopFlag


@contextmanager
def deliver_report(config: Config, stop: StopFlag) -> Iterator[Callable[[Summary, RunChanges], None]]:
    """Ping that a run begins, and yield the function that reports how it ended.

    An exception in the block is reported as well, then raised again. If sending fails, a line on stderr says
    so.
    """
    notifier = Notifier(
        _notification_url(config, config.report.url, "report.url"),
        _notification_url(config, config.report.ping_url, "report.ping_url"),
        is_stopped=lambda: stop.cause is not None,
    )

    def send(summary: Summary, changes: RunChanges) -> None:
        send_report = must_report(config.report.on, summary, changes)
        _print_problems(notifier.notify_end(_run_notification(summary, changes), send_report=send_report))

    _print_problems(notifier.notify_start())
    try:
        yield send
    except Exception as error:
        _print_problems(notifier.notify_end(_error_notification(error)))
        raise


def must_report(on: ReportWhen, summary: Summary, changes: RunChanges) -> bool:
    """Return whether ``report.on`` asks for a report. "news": if anything is new, changed or failed."""
    if summary.exit_code or on == "always":
        return True
    has_news = (
        summary.items_new or summary.files_new or summary.failures or changes.summary.total or changes.error
    )
    return on == "news" and bool(has_news)


def _run_notification(summary: Summary, changes: RunChanges) -> Notification:
    return Notification(
        title=f"archiver {summary.command} {summary.run_id}: {summary.outcome}",
        text="\n".join(map(make_safe, run_report.report_lines(summary, changes))),
        document=_to_json(run_report.json_fields(summary, changes)),
        is_success=summary.exit_code == 0,
    )


def _error_notification(error: Exception) -> Notification:
    """Return the notification of a run that an error ended. For a bug it names only the type."""
    if isinstance(error, ArchiverError):
        code, slug, message, hint = (
            error.exit_code,
            error.slug,
            str(error),
            advice.complete_commands(error.hint),
        )
    else:
        code, slug, message = (
            ArchiverError.exit_code,
            ArchiverError.slug,
            f"a bug: {type(error).__name__}",
        )
        hint = "the archive is intact; its log has the traceback"
    document = {
        "exit_code": code,
        "outcome": outcome(code),
        "command": "run",
        **run_report.empty_fields(),
        "error": {"slug": slug, "message": message, "hint": hint},
    }
    return Notification(
        title=f"archiver run: {outcome(code)}",
        text=make_safe(f"{message} ({hint})" if hint else message),
        document=_to_json(document),
        is_success=False,
    )


def _notification_url(config: Config, url: str | None, key: str) -> NotificationUrl | None:
    if url is None:
        return None
    return NotificationUrl(url, key, may_be_link_local=config.report.allow_link_local)


def _to_json(fields: Mapping[str, object]) -> bytes:
    return json.dumps(json_value(fields), allow_nan=False).encode()


def _print_problems(problems: Iterable[str]) -> None:
    output.print_messages(*(f"archiver: run: {problem}" for problem in problems))
