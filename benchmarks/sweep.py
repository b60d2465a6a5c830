"""Count the units that quiet accounts cost: one a night for the list, and the share of the sweep.

    python benchmarks/sweep.py [--highlights 10000] [--seed 1] [--days 30] [--days-max 180]

Highlights are drawn, 20 to an account, and fetched in the first night. Nothing changes after that. The rule
of the program says when each is fetched again. The newest items were posted 0 to 2 years, or 0 to 30 days,
before the first night.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random

from archiver.catalog.query.account_state import HighlightState
from archiver.model.upstream import TrayNumbers
from archiver.model.values import replace
from archiver.runner.context import RunOptions
from archiver.runner.due_highlights import Why, next_fetch_at, why_fetch

PER_ACCOUNT = 20
FIRST = datetime(2026, 11, 29, 3, 0, tzinfo=UTC)
NIGHT = timedelta(days=1)
NIGHTS = 760
AGES = {"0 to 2 years": 730, "0 to 30 days": 30}
SPANS = ((1, 120), (121, 399), (400, 760))


def main() -> None:
    """Print a line for each age of the newest items, and each rule: the units of each span of nights."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--highlights", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--days-max", type=int, default=180)
    options = parser.parse_args()
    spans = " | ".join(f"nights {first} to {last}" for first, last in SPANS)
    print(f"| newest items | `sweep_days` | `sweep_days_max` | {spans} |")
    print(f"|---|---|---|{'---|' * len(SPANS)}")
    for age, days in AGES.items():
        for most in dict.fromkeys((options.days_max, options.days)):
            rule = RunOptions(sweep_days=options.days, sweep_days_max=most)
            counts = [0] * (NIGHTS + 1)
            draw = Random(f"{options.seed} {age}")
            for number in range(options.highlights):
                posted_at = FIRST - timedelta(days=draw.uniform(0, days))
                for night in fetches(str(17_900_000_000_000_000 + number), posted_at, rule):
                    counts[night] += 1
            accounts = options.highlights / PER_ACCOUNT
            units = (1 + sum(counts[a : b + 1]) / (b + 1 - a) / accounts for a, b in SPANS)
            prices = " | ".join(f"{price:.3f}" for price in units)
            print(f"| {age} | {options.days} | {most} | {prices} |", flush=True)


def fetches(pk: str, posted_at: datetime, rule: RunOptions) -> Iterator[int]:
    """Yield the nights in which a highlight is fetched again. ``posted_at``: its newest item."""
    numbers = TrayNumbers(int(posted_at.timestamp()), 10)
    state = HighlightState(
        pk, "quiet", numbers, numbers, fetched_at=FIRST, completed_at=FIRST, changed_at=posted_at
    )
    while (due := next_fetch_at(state, rule)) is not None:
        night = -((FIRST - due) // NIGHT)  # the first night after it
        if night > NIGHTS:
            return
        now = FIRST + night * NIGHT
        assert why_fetch(state, rule, now) is Why.SWEEP
        yield night
        state = replace(state, fetched_at=now, completed_at=now)


if __name__ == "__main__":
    main()
