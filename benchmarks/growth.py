"""Measure what grows with an archive: the cost of a quiet account and of a reservation, and peak memory.

    python benchmarks/growth.py [--items 10000 100000 1000000] [--accounts 100 1000 10000]
                                [--calls 30000 300000 3000000] [--rounds 5] [--in DIRECTORY] [--picture FILE]

- A quiet account (20 highlights, nothing new) as a slope, in ms of processor time: a night with all accounts
  listed less one with a tenth of them. Once for archives that hold so many items, with 500 accounts listed
  (generated rows: the others belong to accounts that are not listed). Once for so many accounts listed.
- For the same nights: the processor time that is left at no account (start and end), the wall time and the
  peak memory with all.
- ``ledger.reserve`` after so many calls in the month, with a limit for the run, the day and the month: the
  processor time of its statements.

A size takes up to ten minutes to prepare, and a million items 5 GB. Name fewer sizes, or none, to measure
less.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import pictures
from processes import ARCHIVER, Measurement, apart, describe_machine, measure
from standin import Upstream, archiver, upstream

HIGHLIGHTS, ITEMS = 20, 1
ARCHIVED = 20
"""Accounts that are archived from the stand-in; the others are copies."""
LISTED = 500
"""Accounts that are listed while the number of items grows: they hold 10,000."""


@dataclass(frozen=True, slots=True)
class Quiet:
    """Milliseconds of processor time for one more quiet account; seconds of it for a night without any.

    ``wall``, ``peak``: seconds and MiB of a night with all.
    """

    cost: float
    rest: float
    wall: float
    peak: float


def main() -> None:
    """Print a table for each kind of growth."""
    options = parse_options()
    print(f"{describe_machine()}; medians of at least {options.rounds} rounds", flush=True)
    items, costs, peaks = {}, {}, {}
    print_head("items held")
    for held in options.items:
        quiet = measure_quiet(LISTED, options.rounds, options.where, held)
        items[held] = quiet.cost
        print_quiet(held, quiet, items)
    print_head("accounts listed")
    for accounts in options.accounts:
        # Short nights differ by little: more of them are as good as longer ones.
        rounds = options.rounds * (4 if accounts < 1000 else 1)
        quiet = measure_quiet(accounts, rounds, options.where)
        costs[accounts], peaks[accounts] = quiet.cost, quiet.peak
        print_quiet(accounts, quiet, costs)
    reservations = {}
    print("\n| calls in the month | ms for `ledger.reserve` |\n|---:|---:|")
    for calls in options.calls:
        with tempfile.TemporaryDirectory(dir=options.where) as folder:
            reservations[calls] = apart(measure_reserve, Path(folder) / "archive", calls)
        print(f"| {calls:,} | {reservations[calls]:.3f} |", flush=True)
    if options.picture:
        quiet_account = "a quiet account,\nms of processor time"
        curves = [
            pictures.Curve(quiet_account, "items held", items),
            pictures.Curve(quiet_account, "accounts listed", costs),
            pictures.Curve("a quiet night,\nMiB of peak memory", "accounts listed", peaks),
            pictures.Curve("ledger.reserve,\nms of processor time", "calls in the month", reservations),
        ]
        pictures.draw(options.picture, "What grows", [curve for curve in curves if curve.points])


def parse_options() -> argparse.Namespace:
    """Parse the arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--items", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--accounts", type=int, nargs="*", default=[100, 1_000, 10_000])
    parser.add_argument("--calls", type=int, nargs="*", default=[30_000, 300_000, 3_000_000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--in", dest="where", type=Path, help="a directory on the disk to measure")
    pictures.add_option(parser)
    options = parser.parse_args()
    least = LISTED * HIGHLIGHTS * ITEMS
    if any(held < least for held in options.items):
        parser.error(f"--items: the listed accounts alone hold {least:,}")
    if any(accounts < 10 for accounts in options.accounts):
        parser.error("--accounts: at least 10")
    return options


def print_head(sizes: str) -> None:
    """Print the head of a table."""
    print(f"\n| {sizes} | ms for a quiet account | × | start and end, s | night, s | peak, MiB |")
    print("|---:|---:|---:|---:|---:|---:|", flush=True)


def print_quiet(size: int, quiet: Quiet, costs: dict[int, float]) -> None:
    """Print a row. ``costs``: those so far, the smallest size first."""
    ratio = quiet.cost / next(iter(costs.values()))
    print(f"| {size:,} | {quiet.cost:.2f} | {ratio:.2f} ", end="")
    print(f"| {quiet.rest:.2f} | {quiet.wall:.1f} | {quiet.peak:.0f} |", flush=True)


def measure_quiet(accounts: int, rounds: int, where: Path | None, held: int | None = None) -> Quiet:
    """Return what a quiet account costs if so many are listed, in an archive that holds so many items.

    ``held``: None for those of the accounts alone.
    """
    size = ("--accounts", str(accounts), "--highlights", str(HIGHLIGHTS), "--items", str(ITEMS))
    with upstream(*size, "--balance", "100000000") as world, tempfile.TemporaryDirectory(dir=where) as folder:
        nights = make_nights(world, Path(folder), accounts, held)
        few, all_listed = [], []
        for _ in range(rounds):
            few.append(nights.run(accounts // 10))
            all_listed.append(nights.run(accounts))
    least = median(night.cpu for night in few)
    cost = (median(night.cpu for night in all_listed) - least) / (accounts - accounts // 10)
    return Quiet(
        cost * 1000,
        least - cost * (accounts // 10),
        median(night.wall for night in all_listed),
        max(night.peak for night in all_listed),
    )


def make_nights(world: Upstream, home: Path, accounts: int, held: int | None) -> Nights:
    """Make an archive in which all accounts are quiet."""
    more = 0 if held is None else held - accounts * HIGHLIGHTS * ITEMS
    if more:
        program = str(Path(__file__).with_name("million.py"))
        others = str(max(1, more // 1000))
        measure([sys.executable, program, str(home / "archive"), "--items", str(more), "--accounts", others])
    nights = Nights(world, home, world.init_nights(home, accounts))
    archived = min(ARCHIVED, accounts)
    nights.run(archived, is_quiet=False)
    database = home / "archive" / "archive.db"
    apart(copy_accounts, database, archived, accounts, HIGHLIGHTS, ITEMS)
    measure([ARCHIVER, "-q", "db", "snapshot"], cwd=home, environ=nights.environ)
    nights.run(accounts)
    return nights


@dataclass(frozen=True, slots=True)
class Nights:
    """Nights of an archive. ``environ``: the variables of the program."""

    world: Upstream
    home: Path
    environ: dict[str, str]

    def run(self, accounts: int, *, is_quiet: bool = True) -> Measurement:
        """Run a night in which so many accounts are listed. Ends the program if it is not quiet."""
        listed = self.home / "accounts.txt"
        listed.write_text("".join(f"account{n:04}\n" for n in range(accounts)))
        self.world.counts(reset=True)
        night = archiver(self.environ, "run", cwd=self.home)
        counts = self.world.counts()
        found: dict[str, Any] = {"units": counts["units"], "CDN requests": counts["cdn_requests"]}
        found |= {name: night.summary[name] for name in ("exit_code", "changes_total", "files_new")}
        if is_quiet and list(found.values()) != [accounts, 0, 0, 0, 0]:
            raise SystemExit(f"the night of {accounts:,} accounts was not quiet: {found}")
        return night


def copy_accounts(*arguments: Any) -> None:
    """See ``quiet_accounts``, which is imported only in the process that does it."""
    from quiet_accounts import copy_accounts

    copy_accounts(*arguments)


def measure_reserve(directory: Path, calls: int) -> float:
    """Return the milliseconds of a reservation in an archive that has so many calls in the month."""
    from reservations import measure_reserve

    return measure_reserve(directory, calls)


if __name__ == "__main__":
    main()
