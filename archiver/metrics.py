"""The archive in numbers, in the text format of Prometheus."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from msgspec import Struct

from archiver.durable import destination_errors, open_root, write_whole
from archiver.model.identity import Pk
from archiver.model.run_status import AccountNumbers, LatestRecords, Status

_MODE = 0o644  # whatever the umask is: the collector has a user of its own
_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


class Gauge(Struct, frozen=True):
    """A metric. ``samples``: its values by the text of their labels, '' for none. Times are Unix seconds."""

    name: str
    help: str
    samples: Mapping[str, float]


def archive_gauges(status: Status, latest: LatestRecords, gaps: int, nights: float) -> Iterator[Gauge]:
    """Yield the gauges of the whole archive, without labels but for the targets that do not exist.

    A number that is unknown is NaN. A time that never was is 0, so that an alert on its age fires.
    ``nights``: how many the units left last; infinity if a night costs nothing.
    """
    numbers: tuple[tuple[str, str, float], ...] = (
        (
            "last_success_timestamp_seconds",
            "End of the last run, backup or demo with exit code 0; 0 if there was none.",
            _seconds(status.last_success_at),
        ),
        (
            "last_run_start_timestamp_seconds",
            "Start of the last run, which may be under way; 0 if there was none.",
            _seconds(latest.started_at),
        ),
        (
            "last_run_end_timestamp_seconds",
            "End of the last run that has ended; 0 if none has.",
            _seconds(latest.finished_at),
        ),
        ("last_run_exit_code", "Exit code of the last run that has ended.", _number(latest.exit_code)),
        (
            "last_verify_timestamp_seconds",
            "When archiver verify last read a file and found it sound; 0 if it never has.",
            _seconds(latest.verified_at),
        ),
        ("units_left", "Units that the API stated at the last run.", _number(latest.balance)),
        ("nights_left", "Nights that these units last, at the recent price.", nights),
        ("units_spent", "Units spent ever.", status.units),
        ("units_spent_this_month", "Units spent in this month (UTC).", status.units_this_month),
        ("gaps", "What the archive lacks, as archiver gaps lists it.", gaps),
        ("failures", "Failures that are not resolved.", status.open_failures),
        ("accounts", "Accounts held.", status.accounts),
        ("highlights", "Highlights held.", status.highlights),
        ("items", "Items held.", status.items),
        ("files", "Files held.", status.files),
        ("blobs", "Distinct blobs held, without lost ones.", status.blobs),
        ("lost_blobs", "Blobs whose bytes are recorded as lost.", status.lost),
        ("bytes", "Size of the blobs held.", status.bytes),
    )
    yield from (Gauge(f"archiver_{name}", text, {"": value}) for name, text, value in numbers)
    yield Gauge(
        "archiver_missing_target_since_timestamp_seconds",
        "When a run first found that a name, id or highlight of the list does not exist.",
        {f'{{target="{_escape(one.target)}"}}': one.since.timestamp() for one in status.missing_targets},
    )


def account_gauges(accounts: Sequence[AccountNumbers], gaps: Mapping[Pk | None, int]) -> Iterator[Gauge]:
    """Yield the gauges that have a sample for each account; their labels are its pk and username."""
    labels = {of.pk: f'{{pk="{_escape(of.pk)}",account="{_escape(of.username or "")}"}}' for of in accounts}
    numbers: tuple[tuple[str, str, Mapping[Pk, float]], ...] = (
        (
            "listed_timestamp_seconds",
            "When the highlights of the account were last listed; 0 if they never were.",
            {of.pk: _seconds(of.listed_at) for of in accounts},
        ),
        ("items", "Items of the account.", {of.pk: of.items for of in accounts}),
        ("gaps", "Gaps of the account.", {of.pk: gaps.get(of.pk, 0) for of in accounts}),
    )
    for name, text, values in numbers:
        yield Gauge(f"archiver_account_{name}", text, {labels[pk]: value for pk, value in values.items()})


def format_gauges(gauges: Iterable[Gauge]) -> str:
    """Return gauges in the text format (version 0.0.4). The names are ours; labels are escaped already."""
    lines: list[str] = []
    for gauge in gauges:
        lines += (f"# HELP {gauge.name} {gauge.help}", f"# TYPE {gauge.name} gauge")
        lines += (f"{gauge.name}{labels} {_format(value)}" for labels, value in gauge.samples.items())
    return "".join(f"{line}\n" for line in lines)


def write_textfile(path: Path, text: str) -> None:
    """Write a file for a textfile collector: complete or not at all, readable by all users.

    Raises StorageError, DiskFull.
    """
    with destination_errors(path):
        directory = open_root(path.parent)
        try:
            write_whole(path.name, (text.encode(),), _MODE, tmp=directory, within=directory)
        finally:
            os.close(directory)


def _seconds(at: datetime | None) -> float:
    return 0 if at is None else at.timestamp()


def _number(value: int | None) -> float:
    return math.nan if value is None else value


def _escape(label: str) -> str:
    return label.translate(_ESCAPES)


def _format(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "+Inf" if math.isinf(value) else repr(value)
