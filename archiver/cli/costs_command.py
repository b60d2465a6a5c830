"""``archiver costs``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from archiver.cli import load, output, signals, text_table
from archiver.cli.options import EPILOG, GlobalOptions, global_options, json_option
from archiver.cli.parameter_types import TimeType
from archiver.cli.run_report import describe_mismatch
from archiver.model.api_calls import CostsBy
from archiver.text_format import format_price, pluralize, price_number

if TYPE_CHECKING:
    from archiver.archive.reports import CostReport
    from archiver.model.api_calls import Cost, RunCost

_SHOWN = 20
"""How many runs that differ from the balance are listed: the latest; ``--json`` has all."""
_NOTHING: dict[str, object] = {
    "by": None,
    "since": None,
    "units": 0,
    "calls": 0,
    "unknown_calls": 0,
    "unknown_units": 0,
    "price_per_1000": None,
    "price": None,
    "costs": [],
    "runs": [],
}
_FIELD = {
    CostsBy.DAY: "day",
    CostsBy.MONTH: "month",
    CostsBy.ACCOUNT: "account",
    CostsBy.ENDPOINT: "path",
    CostsBy.RUN: "run_id",
}
_DATES = (CostsBy.DAY, CostsBy.MONTH)


@click.command("costs", epilog=EPILOG)
@click.option(
    "--by",
    type=click.Choice([by.value for by in CostsBy]),
    default=CostsBy.DAY.value,
    show_default=True,
    help="What to sum by; days and months are in UTC.",
)
@click.option(
    "--since",
    type=TimeType(),
    metavar="WHEN",
    help="From a date (2026-11-01), a time (2026-11-01T03:17, UTC), or for the last 36h, 7d. [default: all]",
)
@json_option(_NOTHING)
@global_options
@click.pass_obj
def command(options: GlobalOptions, by: str, since: datetime | None) -> int:
    """Sum up what was paid. The ledger has a row for each call of the API. Reads only, also during a run;
    costs nothing.

    A call whose answer is unknown, because the run was killed, counts at its price and is listed as unknown.
    Runs are listed below the table if the API's own balance fell by another amount. That need not be an
    error: other programs may use the same key, and the balance may be topped up. Free calls for the balance
    are not counted. With budget.price_per_1000 in the configuration, it also shows money.

    \b
    Examples:
      archiver costs --since 30d
      archiver costs --by month
      archiver costs --by account --json
    """
    with load.open_archive(options) as archive, signals.die_on_interrupt():
        report = archive.costs(by, since=since)
    price = options.loaded.budget.price_per_1000 if options.loaded is not None else None
    if options.blank is not None:
        output.print_json({"exit_code": 0, "outcome": "ok", **json_view(report, price)})
    else:
        output.print_data("".join(f"{line}\n" for line in cost_lines(report, output.terminal_width(), price)))
    return 0


def json_view(report: CostReport, price: str | None = None) -> dict[str, object]:
    """Return the sums as ``--json`` prints them. ``price``: of 1,000 units."""
    return {
        "by": report.by.value,
        "since": report.since,
        "price_per_1000": price,
        **_sums(report.total, price),
        "costs": [{**_key(report.by, cost), **_sums(cost, price)} for cost in report.rows],
        "runs": [
            {
                "run_id": run.run_id,
                "units": run.units,
                "balance_before": run.balance_before,
                "balance_after": run.balance_after,
                "fall": run.balance_drop,
                "mismatch": run.mismatch,
            }
            for run in report.runs
        ],
    }


def cost_lines(report: CostReport, width: int | None = None, price: str | None = None) -> Iterator[str]:
    """Yield a row for each key, a total, and the runs that differ from the balance."""
    runs = {str(run.run_id): run for run in report.runs}

    def row(name: str, cost: Cost) -> tuple[object, ...]:
        money = () if price is None else (format_price(price, cost.units),)
        return name, cost.units, *money, cost.calls, _unknown(cost)

    rows = [*(row(_name(report.by, cost, runs), cost) for cost in report.rows), row("total", report.total)]
    columns = (
        f"{report.by.value} (UTC)" if report.by in _DATES else report.by.value,
        "units",
        *(() if price is None else ("price",)),
        "calls",
        "unknown",
    )
    yield from text_table.format_table(columns, rows, width)
    if report.total.unknown_calls:
        yield "unknown: counted, but without an answer (a run that was killed, a connection that broke)"
    apart = [run for run in report.runs if run.mismatch]
    for run in apart[-_SHOWN:]:
        day = f"{run.started_at.astimezone(UTC):%Y-%m-%d}"
        yield f"run {run.run_id}, {day}: {describe_mismatch(run.units, run.mismatch or 0)}"
    if len(apart) > _SHOWN:
        yield f"and {len(apart) - _SHOWN:,} earlier runs (--json shows all)"


def _name(by: CostsBy, cost: Cost, runs: dict[str, RunCost]) -> str:
    if by is CostsBy.RUN and (run := runs.get(cost.key or "")) is not None:
        return f"{run.run_id} {run.command} {run.started_at.astimezone(UTC):%Y-%m-%d %H:%M}"
    return cost.key if cost.key is not None else "(unknown account)"


def _unknown(cost: Cost) -> str:
    return f"{cost.unknown_units:,} of {pluralize(cost.unknown_calls, 'call')}" if cost.unknown_calls else ""


def _key(by: CostsBy, cost: Cost) -> dict[str, object]:
    if by is CostsBy.RUN:
        return {"run_id": int(cost.key or 0)}
    whose = {"user_pk": cost.user_pk} if by is CostsBy.ACCOUNT else {}
    return {_FIELD[by]: cost.key, **whose}


def _sums(cost: Cost, price: str | None) -> dict[str, object]:
    return {
        "units": cost.units,
        "calls": cost.calls,
        "unknown_calls": cost.unknown_calls,
        "unknown_units": cost.unknown_units,
        "price": None if price is None else price_number(price, cost.units),
    }
