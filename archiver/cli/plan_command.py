"""``archiver plan``."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from archiver.cli import advice, load, night, output, run_report, text_table
from archiver.cli.options import EPILOG, Given, Unsuggested, everywhere, json_output
from archiver.text_format import pluralize

if TYPE_CHECKING:
    from archiver.model.billing import BudgetLeft
    from archiver.runner.forecast import AccountPlan
    from archiver.runner.tally import Summary

_PERIODS = {"per_run": "", "per_day": " today (UTC)", "per_month": " this month (UTC)"}
_NONE = "none for now"


@click.command("plan", epilog=EPILOG)
@click.argument("targets", nargs=-1, metavar="[TARGET...]")
@click.option("--full", is_flag=True, help="As if every highlight were paid for again.")
@click.option(
    "--list",
    "lists",
    cls=Unsuggested,
    is_flag=True,
    help="Pay for the trays now; the plan is then exact.",
)
@click.option(
    "--max-units", type=click.IntRange(min=0), metavar="N", help="With --list: spend no more than N units."
)
@click.option("--wait", is_flag=True, help="With --list: wait for another run to end, instead of code 11.")
@json_output({"run_id": None, "spent": 0, "units": 0, "budget": None, "accounts": [], "failures": []})
@everywhere
@click.pass_obj
def command(
    given: Given, targets: tuple[str, ...], full: bool, lists: bool, max_units: int | None, wait: bool
) -> int:
    """What the next run would do and cost, from what is held. Costs nothing, asks nobody, needs no key.

    Without a TARGET the accounts of the configuration. TARGETs that are all among them are priced as for a
    run, others as for a backup. A "+" behind the units says "at least": only the tray, the account's list of
    highlights, tells whether more is new or changed, and to ask for it costs units, which are counted here.
    Where a budget leaves the run no units, a line says so.

    --list asks for the trays: 1 unit an account, as in a run, recorded like one and under its lock. What it sees is history in the
    archive, nothing is downloaded, and the next run costs what the plan then says, as long as nothing changes upstream; its own look
    at the trays is counted in.

    \b
    Examples:
      archiver plan
      archiver plan natgeo --json
      archiver plan --list --max-units 200
    """
    from archiver import archive
    from archiver.model.identity import utcnow
    from archiver.runner.context import RunOptions

    if not lists and (wait or max_units is not None):
        raise click.UsageError("--max-units and --wait go with --list")
    config = load.config(given)
    asked = load.targets(targets) if targets else load.entries(config, ())
    configured = [load.entry(config, target) for target in asked]
    if None not in configured:
        asked = tuple(dict.fromkeys(entry for entry in configured if entry is not None))
    manner = RunOptions(full=full, from_config=None not in configured, ignore_backoff=None in configured)
    since, summary = None, None
    if lists:
        since = utcnow()
        summary = night.keep(
            given,
            config,
            asked,
            command="plan",
            manner=replace(manner, list_only=True),
            max_units=max_units,
            wait=wait,
        )
    plans = list(archive.plan(config, asked, manner=manner, since=since))
    room = archive.room(config)
    if given.blank is not None:
        output.print_json(document(plans, summary, room))
    else:
        output.print_lines(lines(plans))
        if output.terminal_width() is not None and not all(plan.exact for plan in plans):
            output.print_data("+: at least; only the tray, which costs units, tells more\n")
        if (limit := limit_reached(plans, room)) is not None and not given.quiet:
            output.print_messages(f"archiver: plan: {limit}")
    return told(given, summary) if summary is not None else 0


def told(given: Given, summary: Summary) -> int:
    """Tell what the look at the trays came to, and return its exit code."""
    if given.blank is None:
        run_report.print_report(given, summary)
    return summary.exit_code


def limit_reached(plans: list[AccountPlan], room: BudgetLeft | None) -> str | None:
    """Say where the budget ends the run, if it does not leave the units that the plan comes to."""
    if room is None:
        return None
    left = pluralize(room.left, "unit") if room.left else "no units"
    limit = f"budget.max_units_{room.limit} = {room.units:,} leaves {left}{_PERIODS[room.limit]}"
    if any(plan.refused_by for plan in plans):
        return f"{limit}: the next run makes no paid call"
    if sum(plan.units for plan in plans) > room.left:
        return f"{limit}: the next run stops there, with code 5"
    return None


def document(
    plans: list[AccountPlan], summary: Summary | None, room: BudgetLeft | None = None
) -> dict[str, object]:
    """The object of ``--json``: the plan, and what was spent to make it exact."""
    made = run_report.json_fields(summary) if summary is not None else {}
    return {
        "exit_code": 0,
        "outcome": "ok",
        "run_id": None,
        "failures": [],
        **{
            name: made[name]
            for name in ("exit_code", "outcome", "run_id", "failures", "error")
            if name in made
        },
        "spent": summary.units if summary is not None else 0,
        "units": sum(plan.units for plan in plans),
        "budget": None
        if room is None
        else {
            "limit": f"max_units_{room.limit}",
            "units": room.units,
            "left": room.left,
            "message": limit_reached(plans, room),
        },
        "accounts": [fields_of(plan) for plan in plans],
    }


def lines(plans: list[AccountPlan]) -> list[str]:
    """A row for each account and one for all."""
    rows = [(p.username or p.target, _price(p.units, p.exact), _reasons(p)) for p in plans]
    total = _price(sum(p.units for p in plans), all(p.exact for p in plans))
    rows.append((f"all {len(plans):,}", total, ""))
    found = list(
        text_table.format_table(("account", "units", "highlights to read"), rows, output.terminal_width())
    )
    if any(row[-1] == _NONE for row in rows):
        found.append(f"{_NONE}: see {advice.command_line('gaps')}")
    return found


def fields_of(plan: AccountPlan) -> dict[str, object]:
    """One account as ``--json`` shows it."""
    return {
        "target": plan.target,
        "user_pk": plan.user_pk,
        "username": plan.username,
        "units": plan.units,
        "exact": plan.exact,
        "listed": plan.listed,
        "highlights": [
            {"pk": job.pk, "title": job.title, "reason": job.reason.value, "units": job.units}
            for job in plan.highlights
        ],
    }


def _price(units: int, exact: bool) -> str:
    return f"{units:,}" if exact else f"{units:,}+"


def _reasons(plan: AccountPlan) -> str:
    """What is to be read and why; without that what a person would take for no news."""
    if plan.refused_by:
        return f"none: budget.{plan.refused_by} is reached"
    if not plan.highlights and not plan.units:
        return _NONE
    if not plan.highlights and not plan.listed:
        return "not known: never listed"
    counts = Counter(job.reason.value for job in plan.highlights)
    return ", ".join(f"{number:,} {reason}" for reason, number in counts.items())
