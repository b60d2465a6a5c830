"""``archiver plan``."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import click

from archiver.cli import load, show, table
from archiver.cli.options import EPILOG, Given, everywhere, json_output

if TYPE_CHECKING:
    from archiver.runner.price import AccountPlan


@click.command("plan", epilog=EPILOG)
@click.argument("targets", nargs=-1, metavar="[TARGET...]")
@click.option("--full", is_flag=True, help="As if every highlight were paid for again.")
@json_output({"units": 0, "accounts": []})
@everywhere
@click.pass_obj
def command(given: Given, targets: tuple[str, ...], full: bool) -> int:
    """What the next run would do and cost, from what is held. Costs nothing, asks nobody, needs no key.

    Without a TARGET the accounts of the configuration. A "+" behind the units says "at least": only the tray, the account's list
    of highlights, tells whether more is new or changed, and to ask for it costs units, which are counted here.

    \b
    Examples:
      archiver plan
      archiver plan natgeo --json
    """
    from archiver import archive
    from archiver.runner.manner import Manner

    config = load.config(given)
    asked = load.targets(targets) if targets else load.entries(config, ())
    plans = list(
        archive.plan(config, asked, manner=Manner(full=full, bound=not targets, insist=bool(targets)))
    )
    if given.blank is not None:
        units = sum(plan.units for plan in plans)
        accounts = [fields_of(plan) for plan in plans]
        show.document({"exit_code": 0, "outcome": "ok", "units": units, "accounts": accounts})
    else:
        show.data("".join(f"{line}\n" for line in lines(plans)))
        if show.width() is not None and not all(plan.exact for plan in plans):
            show.data("+: at least; only the tray, which costs units, tells more\n")
    return 0


def lines(plans: list[AccountPlan]) -> list[str]:
    """A row for each account and one for all."""
    rows = [(p.username or p.target, _price(p.units, p.exact), _reasons(p)) for p in plans]
    total = _price(sum(p.units for p in plans), all(p.exact for p in plans))
    rows.append((f"all {len(plans):,}", total, ""))
    return list(table.lines(("account", "units", "highlights to read"), rows, show.width()))


def fields_of(plan: AccountPlan) -> dict[str, object]:
    """One account as ``--json`` shows it."""
    return {
        "target": plan.target,
        "user_pk": plan.user_pk,
        "username": plan.username,
        "units": plan.units,
        "exact": plan.exact,
        "highlights": [
            {"pk": job.pk, "title": job.title, "reason": job.reason.value, "units": job.units}
            for job in plan.highlights
        ],
    }


def _price(units: int, exact: bool) -> str:
    return f"{units:,}" if exact else f"{units:,}+"


def _reasons(plan: AccountPlan) -> str:
    counts = Counter(job.reason.value for job in plan.highlights)
    return ", ".join(f"{number:,} {reason}" for reason, number in counts.items())
