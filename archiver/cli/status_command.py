"""``archiver status``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click
from msgspec.structs import asdict

from archiver.cli import advice, load, output, text_table
from archiver.cli.decorators import plain
from archiver.cli.options import GlobalOptions
from archiver.cli.parameter_types import DurationType
from archiver.errors import ArchiverError
from archiver.exit_codes import PARTIAL
from archiver.text_format import format_price, format_size, make_safe, pluralize
from archiver.wording import missing_targets

if TYPE_CHECKING:
    from archiver.model.run_status import Run, Status
    from archiver.model.shared_runs import VisitCounts, WorkerStatus
    from archiver.model.upstream import Balance

_TOO_OLD = PARTIAL
_MOST_HOSTS = 3


@plain("status", json={})
@click.option(
    "--balance", "ask_balance", is_flag=True, help="Ask the API for the units left (free; needs the key)."
)
@click.option(
    "--max-age",
    type=DurationType(),
    metavar="36h",
    help="Exit with code 3 if the last successful run is older: for a monitor; with -q, print only that.",
)
def command(options: GlobalOptions, ask_balance: bool, max_age: timedelta | None) -> int:
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
    with load.open_archive(options) as archive:
        status = archive.status()
        if ask_balance:
            per_night = archive.units_per_night()
            try:
                balance = archive.balance()
            except ArchiverError as error:
                failure = error  # raised after the local numbers are printed
    late = max_age is not None and is_late(status.last_success_at, max_age, datetime.now(UTC))
    code = _TOO_OLD if late else 0
    if options.blank is not None and failure is not None:
        options.blank = {**json_view(status), "balance": None}
    elif options.blank is not None:
        output.print_json(
            {
                "exit_code": code,
                "outcome": "partial" if late else "ok",
                **json_view(status),
                "balance": _balance_view(balance, per_night),
            }
        )
    elif not (options.quiet and max_age is not None):
        price = options.loaded.budget.price_per_1000 if options.loaded is not None else None
        output.print_data(
            "".join(f"{line}\n" for line in status_lines(status, balance, per_night, price=price))
        )
    if late:
        last = _time(status.last_success_at)
        output.print_messages(
            f"archiver: status: the last successful run is too old: {last} ({advice.command_line('gaps')})"
        )
    if failure is not None:
        raise failure
    return code


def is_late(last_success_at: datetime | None, max_age: timedelta, now: datetime) -> bool:
    """Return whether the last successful run is older than ``max_age``, or there was none. Pure."""
    return last_success_at is None or now - last_success_at > max_age


def json_view(status: Status) -> dict[str, object]:
    """Return the numbers as ``--json`` prints them."""
    numbers = asdict(status)
    numbers["hosts_not_allowed"] = [{"host": host, "files": n} for host, n in status.hosts_not_allowed]
    numbers["missing_targets"] = [asdict(missing) for missing in status.missing_targets]
    numbers["shared_run"] = None if status.shared_run is None else asdict(status.shared_run)
    numbers["workers"] = [asdict(worker) for worker in status.workers]
    numbers["last_runs"] = [asdict(run) for run in status.last_runs]
    return numbers


def status_lines(
    status: Status, balance: Balance | None, per_night: int | None = None, *, price: str | None = None
) -> Iterator[str]:
    """Yield the numbers for people, then the last runs. ``price``: of 1,000 units."""
    s = status
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
        *(("not allowed", _refused_host(host, files)) for host, files in s.hosts_not_allowed[:_MOST_HOSTS]),
        *(("missing", make_safe(line)) for line in missing_targets(s.missing_targets)),
        ("units spent", f"{s.units:,}, including {s.units_this_month:,} this month (UTC)"),
        *([("their price", _price(price, s))] if price is not None else []),
        ("last success", _time(s.last_success_at)),
        *([("open run", _shared_run(s.shared_run))] if s.shared_run is not None else []),
    ]
    if balance is not None:
        rate = f", {balance.rate} calls a second" if balance.rate is not None else ""
        rows.append(("units left", f"{balance.units:,}{rate}"))
        rows.append(("enough for", _how_long(balance.units, per_night)))
    yield from (f"{name:<14} {value}" for name, value in rows)
    if s.workers:
        yield ""
        yield from text_table.format_table(
            ("worker", "started", "accounts now", "lease"), list(map(_worker_row, s.workers))
        )
    if s.last_runs:
        yield ""
        yield from text_table.format_table(
            ("run", "command", "started", "outcome", "code", "units"),
            [_row(run, s) for run in s.last_runs],
        )


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
    from archiver.runner import supply

    return {
        "units": balance.units,
        "rate": balance.rate,
        "units_per_night": per_night,
        "nights": supply.nights_left(balance.units, per_night),
    }


def _how_long(units: int, per_night: int | None) -> str:
    if per_night is None:
        return "unknown: no archiver run in the last 30 days"
    from archiver.runner import supply

    nights = supply.nights_left(units, per_night)
    if nights is None:
        return "any number of nights: a night costs nothing"
    return f"about {pluralize(nights, 'night')} at {pluralize(per_night, 'unit')} a night"
