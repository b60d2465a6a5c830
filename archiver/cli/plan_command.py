"""``archiver plan``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from archiver.cli import advice, load, output, run_report
from archiver.cli.decorators import Result, plain
from archiver.cli.filter_options import complete_account
from archiver.cli.options import CostlyOption, GlobalOptions, max_units_option, wait_option
from archiver.model.identity import utcnow
from archiver.model.values import replace
from archiver.text_format import format_price, pluralize, price_number

if TYPE_CHECKING:
    from datetime import datetime

    from archiver.archive.archive import Archive
    from archiver.model.api_calls import BudgetLeft
    from archiver.model.target import Target
    from archiver.runner.context import RunOptions
    from archiver.runner.forecast import AccountPlan
    from archiver.runner.tally import Summary

_PERIODS = {"per_run": "", "per_day": " today (UTC)", "per_month": " this month (UTC)"}
_NONE = "none for now"
_MOST_NAMES = 5
"""How many targets are named in a command that is advised."""


class PlanResult(Result, frozen=True):
    """What the next run would do and cost.

    ``price``: of 1,000 units; ``listing``: a command that lists the trays, to advise. ``summary``: what was
    spent to make the plan exact.
    """

    plans: Sequence[AccountPlan] = ()
    budget: BudgetLeft | None = None
    price: str | None = None
    listing: str | None = None
    summary: Summary | None = None

    @classmethod
    def blank(cls) -> dict[str, object]:
        """Return the fields of ``--json`` if nothing was done, the failures last."""
        fields = super().blank()
        fields["failures"] = fields.pop("failures")
        return fields

    @property
    def exit_code(self) -> int:
        """Return the exit code."""
        return self.summary.exit_code if self.summary is not None else 0

    @property
    def units(self) -> int:
        """Return the price of the plan."""
        return sum(plan.units for plan in self.plans)

    def json_fields(self) -> dict[str, object]:
        """Return the fields of ``--json``: the plan, and what was spent to make it exact."""
        made = run_report.json_fields(self.summary) if self.summary is not None else {}
        left = self.budget
        return {
            "run_id": None,
            "failures": [],
            **{name: made[name] for name in ("run_id", "failures", "error") if name in made},
            "spent": self.summary.units if self.summary is not None else 0,
            "units": self.units,
            "price": None if self.price is None else price_number(self.price, self.units),
            "budget": None
            if left is None
            else {
                "limit": f"max_units_{left.limit}",
                "units": left.units,
                "left": left.left,
                "message": describe_limit(self.plans, left),
            },
            "accounts": [_account_view(plan) for plan in self.plans],
        }

    def lines(self, width: int | None) -> Iterator[str]:
        """Yield a row for each account, and a total."""
        rows = [(p.username or p.target, _price(p.units, p.is_exact), _reasons(p)) for p in self.plans]
        total = _price(self.units, all(plan.is_exact for plan in self.plans))
        rows.append(("total", total, ""))
        yield from output.format_table(("account", "units", "highlights to read"), rows, width)
        if any(row[-1] == _NONE for row in rows):
            yield f"{_NONE}: see {advice.command_line('gaps')}"

    def messages(self, options: GlobalOptions) -> Iterator[str]:
        """Yield what the plan leaves open, which limit ends the run, and what listing the trays has cost."""
        if options.blank is not None:
            return
        if not options.quiet:
            yield from remarks(self.plans, self.price, self.listing)
            if (limit := describe_limit(self.plans, self.budget)) is not None:
                yield f"archiver: {options.command}: {limit}"
        if self.summary is not None:
            yield from run_report.report_messages(options, self.summary, is_product=True)


@plain("plan", json=PlanResult.blank)
@click.argument("targets", nargs=-1, metavar="[TARGET...]", shell_complete=complete_account)
@click.option("--full", is_flag=True, help="Plan to fetch every highlight again.")
@click.option(
    "--list",
    "list_trays",
    cls=CostlyOption,
    is_flag=True,
    help="List the trays now, which costs units; the plan is then exact.",
)
@max_units_option("--list")
@wait_option("--list")
def command(
    options: GlobalOptions,
    targets: tuple[str, ...],
    full: bool,
    list_trays: bool,
    max_units: int | None,
    wait: bool,
) -> PlanResult:
    """Show what the next run would do and cost, from what is archived. Costs nothing, makes no call, needs no
    key.

    Without a TARGET it plans the accounts of the configuration, for "archiver run". TARGETs that are all
    configured are priced for "run TARGET", others for "backup TARGET".

    A "+" after the units means "at least": more may be new or changed, which only listing the tray (the
    account's highlights) can show. The units for listing it are included. If a budget leaves the run no
    units, a line says so.

    --list lists the trays now, which costs at least 1 unit an account (a new one needs 2) and is recorded as
    a run. Nothing is downloaded, and the changes it sees are recorded. A run that begins within an hour uses
    these trays, once, and costs what the plan says. "run NAME", "backup NAME" and --full list again; the plan
    then includes that price.

    \b
    Examples:
      archiver plan
      archiver plan natgeo --json
      archiver plan --list --max-units 200
    """
    from archiver.runner.context import RunOptions

    if not list_trays and (wait or max_units is not None):
        raise click.UsageError("--max-units and --wait need --list")
    config = load.config(options)
    asked = load.targets(targets) if targets else load.entries(config, ())
    configured = [load.entry(config, target) for target in asked]
    if None not in configured:
        asked = tuple(dict.fromkeys(entry for entry in configured if entry is not None))
    run_options = RunOptions(full=full, from_config=None not in configured, ignore_backoff=bool(targets))
    since, summary = None, None
    with load.open_archive(options) as archive:
        if list_trays:
            since = utcnow()
            summary = run_report.make_run(
                options,
                archive,
                asked,
                command="plan",
                run_options=replace(run_options, list_only=True),
                max_units=max_units,
                wait=wait,
            )
        return make_plan(options, archive, asked, run_options, since=since, summary=summary)


def make_plan(
    options: GlobalOptions,
    archive: Archive,
    targets: Sequence[Target],
    run_options: RunOptions,
    *,
    since: datetime | None = None,
    summary: Summary | None = None,
    max_units: int | None = None,
    can_list: bool = True,
) -> PlanResult:
    """Return what the next run would do and cost, from what is archived; also for ``--dry-run`` of a run.

    ``summary``: what was spent to make the plan exact, by listing the trays ``since`` then. ``max_units``:
    the limit of the run itself. ``can_list``: whether to advise ``plan --list``.
    """
    words = () if tuple(targets) == options.settings.accounts else [advice.quote(t.text) for t in targets]
    is_advised = can_list and len(words) <= _MOST_NAMES
    return PlanResult(
        archive.plan(targets, options=run_options, since=since),
        archive.budget_left(max_units=max_units),
        options.settings.budget.price_per_1000,
        advice.command_line(" ".join(("plan --list", *words))) if is_advised else None,
        summary,
    )


def remarks(plans: Sequence[AccountPlan], price: str | None, listing: str | None) -> Iterator[str]:
    """Yield what "+" means, if there is one, and the total in money.

    ``price``: of 1,000 units. ``listing``: a command that lists the trays of these accounts, to advise.
    """
    is_exact = all(plan.is_exact for plan in plans)
    if not is_exact:
        how = f" ({listing} reads it now, for at least 1 unit an account)" if listing is not None else ""
        yield (
            "+: at least this; only the list of highlights shows what is new or changed, and a run reads it"
            f" first{how}"
        )
    if price is not None:
        amount = format_price(price, sum(plan.units for plan in plans))
        yield f"price: {amount}{'' if is_exact else ' or more'}, at {price} for 1,000 units"


def describe_limit(plans: Sequence[AccountPlan], budget: BudgetLeft | None) -> str | None:
    """Return which limit of the budget ends the run, if the plan costs more than the limit leaves."""
    if budget is None:
        return None
    left = pluralize(budget.left, "unit") if budget.left else "no units"
    limit = f"{budget.name} leaves {left}{_PERIODS[budget.limit]}"
    if any(plan.refused_by for plan in plans):
        return f"{limit}: the next run makes no paid call"
    if sum(plan.units for plan in plans) > budget.left:
        return f"{limit}: the next run stops there, with code 5"
    return None


def _account_view(plan: AccountPlan) -> dict[str, object]:
    """Return one account as ``--json`` prints it."""
    return {
        "target": plan.target,
        "user_pk": plan.user_pk,
        "username": plan.username,
        "units": plan.units,
        "exact": plan.is_exact,
        "listed": plan.is_listed,
        "highlights": [
            {"pk": job.pk, "title": job.title, "reason": job.reason.value, "units": job.units}
            for job in plan.highlights
        ],
    }


def _price(units: int, is_exact: bool) -> str:
    return f"{units:,}" if is_exact else f"{units:,}+"


def _reasons(plan: AccountPlan) -> str:
    """Return the number of highlights to fetch for each reason, or why there are none."""
    if plan.refused_by:
        return f"none: budget.{plan.refused_by} is reached"
    if not plan.highlights and not plan.units:
        return _NONE
    if not plan.highlights and not plan.is_listed:
        return "unknown: never listed"
    counts = Counter(job.reason.value for job in plan.highlights)
    return ", ".join(f"{number:,} {reason}" for reason, number in counts.items())
