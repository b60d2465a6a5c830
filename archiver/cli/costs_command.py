"""``archiver costs``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from archiver.cli import output
from archiver.cli.decorators import Result, reads
from archiver.cli.filter_options import FROM_WHEN, since_option
from archiver.cli.options import GlobalOptions
from archiver.model.api_calls import Cost, CostReport, CostsBy, RunCost
from archiver.text_format import format_price, pluralize, price_number
from archiver.wording import describe_mismatch

if TYPE_CHECKING:
    from archiver.archive.archive import Archive

_SHOWN = 20
"""How many runs that differ from the balance are listed: the latest; ``--json`` has all."""
_FIELD = {
    CostsBy.DAY: "day",
    CostsBy.MONTH: "month",
    CostsBy.ACCOUNT: "account",
    CostsBy.ENDPOINT: "path",
    CostsBy.RUN: "run_id",
}
_DATES = (CostsBy.DAY, CostsBy.MONTH)


class CostsResult(Result, frozen=True):
    """What was paid. ``price_per_1000``: of 1,000 units. ``_report``: the sums that the text shows."""

    by: CostsBy | None = None
    since: datetime | None = None
    price_per_1000: str | None = None
    units: int = 0
    calls: int = 0
    unknown_calls: int = 0
    unknown_units: int = 0
    price: float | None = None
    costs: tuple[dict[str, object], ...] = ()
    runs: tuple[dict[str, object], ...] = ()
    _report: CostReport | None = None

    @classmethod
    def of(cls, report: CostReport, price: str | None) -> CostsResult:
        """Return the sums of a report. ``price``: of 1,000 units."""
        return cls(
            report.by,
            report.since,
            price,
            **_sums(report.total, price),
            costs=tuple({**_key(report.by, cost), **_sums(cost, price)} for cost in report.rows),
            runs=tuple(
                {
                    "run_id": run.run_id,
                    "units": run.units,
                    "balance_before": run.balance_before,
                    "balance_after": run.balance_after,
                    "fall": run.balance_drop,
                    "mismatch": run.mismatch,
                }
                for run in report.runs
            ),
            _report=report,
        )

    def lines(self, width: int | None) -> Iterator[str]:
        """Yield a row for each key, a total, and the runs that differ from the balance."""
        report, price = self._report, self.price_per_1000
        assert report is not None
        runs = {str(run.run_id): run for run in report.runs}

        def row(name: str, cost: Cost) -> tuple[object, ...]:
            money = () if price is None else (format_price(price, cost.units),)
            calls = pluralize(cost.unknown_calls, "call")
            unknown = f"{cost.unknown_units:,} of {calls}" if cost.unknown_calls else ""
            return name, cost.units, *money, cost.calls, unknown

        rows = [
            *(row(_name(report.by, cost, runs), cost) for cost in report.rows),
            row("total", report.total),
        ]
        columns = (
            f"{report.by.value} (UTC)" if report.by in _DATES else report.by.value,
            "units",
            *(() if price is None else ("price",)),
            "calls",
            "unknown",
        )
        yield from output.format_table(columns, rows, width)
        if report.total.unknown_calls:
            yield "unknown: counted, but without an answer (a run that was killed, a connection that broke)"
        apart = [run for run in report.runs if run.mismatch]
        for run in apart[-_SHOWN:]:
            day = f"{run.started_at.astimezone(UTC):%Y-%m-%d}"
            yield f"run {run.run_id}, {day}: {describe_mismatch(run.units, run.mismatch or 0)}"
        if len(apart) > _SHOWN:
            yield f"and {len(apart) - _SHOWN:,} earlier runs (--json shows all)"


@reads("costs", json=CostsResult.blank)
@click.option(
    "--by",
    type=click.Choice([by.value for by in CostsBy]),
    default=CostsBy.DAY.value,
    show_default=True,
    help="What to sum by; days and months are in UTC.",
)
@since_option(f"{FROM_WHEN} [default: all]")
def command(options: GlobalOptions, archive: Archive, by: str, since: datetime | None) -> CostsResult:
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
    price = options.settings.budget.price_per_1000
    return CostsResult.of(archive.costs(by, since=since), price)


def _name(by: CostsBy, cost: Cost, runs: dict[str, RunCost]) -> str:
    if by is CostsBy.RUN and (run := runs.get(cost.key or "")) is not None:
        return f"{run.run_id} {run.command} {run.started_at.astimezone(UTC):%Y-%m-%d %H:%M}"
    return cost.key if cost.key is not None else "(unknown account)"


def _key(by: CostsBy, cost: Cost) -> dict[str, object]:
    if by is CostsBy.RUN:
        return {"run_id": int(cost.key or 0)}
    whose = {"user_pk": cost.user_pk} if by is CostsBy.ACCOUNT else {}
    return {_FIELD[by]: cost.key, **whose}


def _sums(cost: Cost, price: str | None) -> dict[str, Any]:
    return {
        "units": cost.units,
        "calls": cost.calls,
        "unknown_calls": cost.unknown_calls,
        "unknown_units": cost.unknown_units,
        "price": None if price is None else price_number(price, cost.units),
    }
