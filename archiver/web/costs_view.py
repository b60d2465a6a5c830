"""The costs: the units that were paid, by month, day and run, and what the last run paid for."""

from __future__ import annotations

from datetime import timedelta

from archiver.catalog import Catalog
from archiver.catalog.query import costs
from archiver.hiker import endpoints
from archiver.model.api_calls import CostsBy
from archiver.model.identity import utcnow
from archiver.pages import html_pages
from archiver.web.page_parts import Page, PageRequest

DAYS = 31
"""How many days with costs are listed, and of how many days the runs."""

_SHOWN = 20
"""How many accounts are listed: those that cost most."""


def show_costs(catalog: Catalog, request: PageRequest) -> Page:
    """Return the page of the costs."""
    now = utcnow()
    with catalog.snapshot() as snapshot:
        units = snapshot.read(costs.units_by_period)
        runs = snapshot.read(costs.run_costs, now - timedelta(days=DAYS), free_path=endpoints.BALANCE)
        last = snapshot.read(costs.last_paid_run)
        accounts, paths = (
            snapshot.read(
                costs.costs, by, run_id=last, free_path=endpoints.BALANCE, name_paths=endpoints.BY_NAME
            )
            if last is not None
            else ()
            for by in (CostsBy.ACCOUNT, CostsBy.ENDPOINT)
        )
    latest_first = list(units.items())[::-1]
    months = [(period, number) for period, number in latest_first if len(period) == len("2026-11")]
    days = [(period, number) for period, number in latest_first if len(period) == len("2026-11-27")]
    values = {
        "this_month": units.get(f"{now:%Y-%m}", 0),
        "in_total": sum(number for _, number in months),
        "months": months,
        "days": days[:DAYS],
        "runs": runs[::-1][:DAYS],
        "accounts": accounts[:_SHOWN],
        "endpoints": paths,
    }
    return Page(html_pages.archive_page("costs", **values).encode())
