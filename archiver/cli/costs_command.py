"""``archiver costs``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from archiver.cli import load, output, run_report, signals, text_table
from archiver.cli.options import EPILOG, Given, everywhere, json_output
from archiver.cli.parameter_types import TimeType
from archiver.model.billing import CostsBy
from archiver.text_format import pluralize

if TYPE_CHECKING:
    from archiver.archive import Bill
    from archiver.model.billing import Cost, RunCost

_SHOWN = 20
"""Runs whose balance fell by another number named one by one: the latest; all are in ``--json``."""
_NOTHING: dict[str, object] = {
    "by": None,
    "since": None,
    "units": 0,
    "calls": 0,
    "unknown_calls": 0,
    "unknown_units": 0,
    "costs": [],
    "runs": [],
}
_FIELD = {CostsBy.DAY: "day", CostsBy.ACCOUNT: "account", CostsBy.ENDPOINT: "path", CostsBy.RUN: "run_id"}


@click.command("costs", epilog=EPILOG)
@click.option(
    "--by",
    type=click.Choice([by.value for by in CostsBy]),
    default=CostsBy.DAY.value,
    show_default=True,
    help="What the units are summed up by; days are those of UTC.",
)
@click.option(
    "--since",
    type=TimeType(),
    metavar="WHEN",
    help="From a date (2026-11-01), a time (2026-11-01T03:17, UTC), or so long ago (36h, 7d). [default: all]",
)
@json_output(_NOTHING)
@everywhere
@click.pass_obj
def command(given: Given, by: str, since: datetime | None) -> int:
    """What was paid, by the ledger, which has a row for each attempt at the API. Reads only, beside a run too; costs nothing.

    A call whose answer nobody knows, as when the run was killed, counts at its price, and is told as unknown. Runs whose units differ
    from what the API's own balance fell by meanwhile are named below: that need not be an error, since other programs may use the
    same key, and an account may be topped up. Free looks at the balance count as no calls.

    \b
    Examples:
      archiver costs --since 30d
      archiver costs --by account --json
    """
    from archiver import archive

    config = load.config(given)
    with signals.die_on_interrupt():
        bill = archive.costs(config, CostsBy(by), since)
    if given.blank is not None:
        output.print_json({"exit_code": 0, "outcome": "ok", **fields_of(bill)})
    else:
        output.print_data("".join(f"{line}\n" for line in lines(bill, output.terminal_width())))
    return 0


def fields_of(bill: Bill) -> dict[str, object]:
    """The sums as ``--json`` shows them."""
    return {
        "by": bill.by.value,
        "since": bill.since,
        **_sums(bill.total),
        "costs": [{**_key(bill.by, cost), **_sums(cost)} for cost in bill.rows],
        "runs": [
            {
                "run_id": run.run_id,
                "units": run.units,
                "balance_before": run.balance_before,
                "balance_after": run.balance_after,
                "fall": run.fall,
                "mismatch": run.mismatch,
            }
            for run in bill.runs
        ],
    }


def lines(bill: Bill, width: int | None = None) -> Iterator[str]:
    """A row for each day, account, endpoint or run, one for all, and the runs to which the balance says otherwise."""
    runs = {str(run.run_id): run for run in bill.runs}
    rows = [(_name(bill.by, cost, runs), cost.units, cost.calls, _unknown(cost)) for cost in bill.rows]
    rows.append((f"all {len(bill.rows):,}", bill.total.units, bill.total.calls, _unknown(bill.total)))
    columns = (
        f"{bill.by.value} (UTC)" if bill.by is CostsBy.DAY else bill.by.value,
        "units",
        "calls",
        "unknown",
    )
    yield from text_table.format_table(columns, rows, width)
    if bill.total.unknown_calls:
        yield "unknown: counted, though nobody knows the answer (a run that was killed, a connection that broke)"
    apart = [run for run in bill.runs if run.mismatch]
    for run in apart[-_SHOWN:]:
        yield f"run {run.run_id}, {run.started_at.astimezone(UTC):%Y-%m-%d}: {run_report.describe_mismatch(run.units, run.mismatch or 0)}"
    if len(apart) > _SHOWN:
        yield f"and {len(apart) - _SHOWN:,} earlier runs (--json shows all)"


def _name(by: CostsBy, cost: Cost, runs: dict[str, RunCost]) -> str:
    if by is CostsBy.RUN and (run := runs.get(cost.key or "")) is not None:
        return f"{run.run_id} {run.command} {run.started_at.astimezone(UTC):%Y-%m-%d %H:%M}"
    return cost.key if cost.key is not None else "(no account known)"


def _unknown(cost: Cost) -> str:
    return f"{cost.unknown_units:,} of {pluralize(cost.unknown_calls, 'call')}" if cost.unknown_calls else ""


def _key(by: CostsBy, cost: Cost) -> dict[str, object]:
    if by is CostsBy.RUN:
        return {"run_id": int(cost.key or 0)}
    whose = {"user_pk": cost.user_pk} if by is CostsBy.ACCOUNT else {}
    return {_FIELD[by]: cost.key, **whose}


def _sums(cost: Cost) -> dict[str, object]:
    return {
        "units": cost.units,
        "calls": cost.calls,
        "unknown_calls": cost.unknown_calls,
        "unknown_units": cost.unknown_units,
    }
