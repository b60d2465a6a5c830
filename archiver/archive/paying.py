"""What was paid and what a night costs, read from the archive that the configuration names."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from archiver.archive.opening import reading
from archiver.catalog.query import costs as cost_query
from archiver.config import Config
from archiver.model.billing import Cost, CostsBy, RunCost
from archiver.model.identity import utcnow
from archiver.runner import budget


@dataclass(frozen=True, slots=True)
class Bill:
    """The ledger summed up: ``rows`` by what was asked for, ``total``, and each run beside the API's own balance."""

    by: CostsBy
    since: datetime | None
    rows: tuple[Cost, ...]
    runs: tuple[RunCost, ...]

    @property
    def total(self) -> Cost:
        """All rows together."""
        rows = self.rows
        return Cost(
            None,
            sum(row.units for row in rows),
            sum(row.calls for row in rows),
            sum(row.unknown_calls for row in rows),
            sum(row.unknown_units for row in rows),
        )


def costs(config: Config, by: CostsBy, since: datetime | None = None) -> Bill:
    """What was paid since then, or ever."""
    with reading(config) as opened:
        rows = opened.catalog.read(cost_query.costs, by, since)
        return Bill(by, since, rows, opened.catalog.read(cost_query.run_costs, since))


def units_per_night(config: Config) -> int | None:
    """The units that a night cost of late, None where there was none; see ``runner.budget``."""
    now = utcnow()
    with reading(config) as opened:
        return budget.units_per_night(opened.catalog.read(cost_query.spending, now - budget.RECENT), now)
