"""``archiver status``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click
from msgspec.structs import asdict

from archiver.cli import advice, output
from archiver.cli.decorators import Result, print_result, reads
from archiver.cli.options import DurationType, GlobalOptions
from archiver.errors import ArchiverError
from archiver.exit_codes import PARTIAL
from archiver.model.api_calls import nights_left
from archiver.text_format import format_price, format_size, make_safe, pluralize
from archiver.wording import missing_targets

if TYPE_CHECKING:
    from archiver.archive.archive import Archive
    from archiver.model.run_status import Run, Status, VisitCounts, WorkerStatus
    from archiver.model.upstream import Balance

_TOO_OLD = PARTIAL
_MOST_HOSTS = 3


class StatusResult(Result, frozen=True):
    """The archive in numbers.

    ``_price``: of 1,000 units; ``_late``: what to say if the last run is too old; ``_is_silent``: no text.
    """

    _status: Status | None = None
    _balance: Balance | None = None
    _per_night: int | None = None
    _price: str | None = None
    _late: str = ""
    _is_silent: bool = False

    @property
    def exit_code(self) -> int:
        """Return the exit code."""
        return _TOO_OLD if self._late else 0

    def json_fields(self) -> dict[str, object]:
        """Return the fields of ``--json``."""
        if self._status is None:
            return {}
        hosts = [{"host": host, "files": files} for host, files in self._status.hosts_not_allowed]
        balance = _balance_view(self._balance, self._per_night)
        return {**asdict(self._status), "hosts_not_allowed": hosts, "balance": balance}

    def lines(self, width: int | None) -> Iterator[str]:
        """Yield the numbers for people, then the last runs."""
        if self._is_silent:
            return
        s = self._status
        assert s is not None
        different = f" ({s.blobs:,} different)" if s.blobs != s.files else ""
        held = f"{s.files:,}{different}, {format_size(s.bytes)}"
        lost = f", {s.lost:,} lost" if s.lost else ""
        how_to_list = f" ({advice.command_line('gaps')})" if s.open_failures else ""
        rows = [
            ("accounts", f"{s.accounts:,}"),
            ("highlights", f"{s.highlights:,}"),
            ("items", f"{s.items:,}"),
            ("files", held + lost),
            *([("waiting", _waiting(s.waiting))] if s.waiting else []),
            ("open failures", f"{s.open_failures:,}{how_to_list}"),
            *(
                ("not allowed", _refused_host(host, files))
                for host, files in s.hosts_not_allowed[:_MOST_HOSTS]
            ),
            *(("missing", make_safe(line)) for line in missing_targets(s.missing_targets)),
            ("units spent", f"{s.units:,}, including {s.units_this_month:,} this month (UTC)"),
            *([("their price", _price(self._price, s))] if self._price is not None else []),
            ("last success", _time(s.last_success_at)),
            *([("open run", _shared_run(s.shared_run))] if s.shared_run is not None else []),
        ]
        if self._balance is not None:
            rate = f", {self._balance.rate} calls a second" if self._balance.rate is not None else ""
            rows.append(("units left", f"{self._balance.units:,}{rate}"))
            rows.append(("enough for", _how_long(self._balance.units, self._per_night)))
        yield from (f"{name:<14} {value}" for name, value in rows)
        if s.workers:
            yield ""
            yield from output.format_table(
                ("worker", "started", "accounts now", "lease"), list(map(_worker_row, s.workers))
            )
        if s.last_runs:
            yield ""
            yield from output.format_table(
                ("run", "command", "started", "outcome", "code", "units"),
                [_row(run, s) for run in s.last_runs],
            )

    def messages(self, options: GlobalOptions) -> Iterator[str]:
        """Yield that the last successful run is too old."""
        if self._late:
            yield f"archiver: status: {self._late}"


@reads("status", reports_interrupt=True, json=StatusResult.blank)
@click.option(
    "--balance", "ask_balance", is_flag=True, help="Ask the API for the units left (free; needs the key)."
)
@click.option(
    "--max-age",
    type=DurationType(),
    metavar="36h",
    help="Exit with code 3 if the last successful run is older: for a monitor; with -q, print only that.",
)
def command(
    options: GlobalOptions, archive: Archive, ask_balance: bool, max_age: timedelta | None
) -> StatusResult:
    """Show the archive in numbers: what it holds, its last runs, what is missing, what was spent. Costs
    nothing.

    --balance also shows how many nights the units last. The cost of a night is the median of the UTC days
    with a run in the last 30 days, rounded up.

    \b
    Examples:
      archiver status --balance
      archiver status --max-age 36h -q || echo "the nightly archive is late"
    """
    balance = per_night = failure = None
    status = archive.status()
    if ask_balance:
        per_night = archive.units_per_night()
        try:
            balance = archive.balance()
        except ArchiverError as error:
            failure = error  # raised after the local numbers are printed
    is_silent = options.quiet and max_age is not None
    price = options.settings.budget.price_per_1000
    shown = StatusResult(status, balance, per_night, price, _describe_late(status, max_age), is_silent)
    if failure is None:
        return shown
    if options.blank is None:
        print_result(shown, options)
    else:
        options.blank = shown.json_fields()
        output.print_messages(*shown.messages(options))
    raise failure


def _describe_late(status: Status, max_age: timedelta | None) -> str:
    """Return what to say if the last successful run is older than ``max_age``, or there was none."""
    last = status.last_success_at
    if max_age is None or (last is not None and datetime.now(UTC) - last <= max_age):
        return ""
    return f"the last successful run is too old: {_time(last)} ({advice.command_line('gaps')})"


def _waiting(count: int) -> str:
    files = pluralize(count, "adopted file")
    return f"{files} not yet assigned to an item ({advice.command_line('show --adopted')})"


def _refused_host(host: str, files: int) -> str:
    from archiver.runner.tally import files_not_downloaded

    return make_safe(files_not_downloaded(host, files))


def _price(price: str, status: Status) -> str:
    month = format_price(price, status.units_this_month)
    return f"{format_price(price, status.units)}, including {month} this month"


def _shared_run(counts: VisitCounts) -> str:
    workers = pluralize(counts.workers, "worker")
    visited = f"{counts.ended:,} of {pluralize(counts.visits, 'account')} visited"
    return f"{counts.run_id}: {visited}, {counts.begun:,} under way by {workers}, {counts.waiting:,} waiting"


def _worker_row(worker: WorkerStatus) -> tuple[object, ...]:
    name = f"{worker.name} (waits for the others)" if worker.is_run else worker.name
    lease = f"{worker.expires_in:.0f} s left" if worker.expires_in > 0 else "expired"
    return name, f"{worker.started_at:%Y-%m-%d %H:%M}", worker.visits, lease


def _row(run: Run, status: Status) -> tuple[object, ...]:
    outcome = run.outcome if run.finished_at is not None else _describe_open(run, status)
    return run.id, run.command, f"{run.started_at:%Y-%m-%d %H:%M}", outcome, run.exit_code, run.units


def _describe_open(run: Run, status: Status) -> str:
    if run.id == status.running or (status.shared_run is not None and run.id == status.shared_run.run_id):
        return "running"
    return "killed" if run.id in status.killed else "not finished"


def _time(moment: datetime | None) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if moment is not None else "never"


def _balance_view(balance: Balance | None, per_night: int | None) -> dict[str, object] | None:
    if balance is None:
        return None
    return {
        "units": balance.units,
        "rate": balance.rate,
        "units_per_night": per_night,
        "nights": nights_left(balance.units, per_night),
    }


def _how_long(units: int, per_night: int | None) -> str:
    if per_night is None:
        return "unknown: no archiver run in the last 30 days"
    nights = nights_left(units, per_night)
    if nights is None:
        return "any number of nights: a night costs nothing"
    return f"about {pluralize(nights, 'night')} at {pluralize(per_night, 'unit')} a night"
