"""Compare runs whose accounts are visited by workers with runs of one process, on PostgreSQL.

    python benchmarks/workers.py [--accounts 400] [--paced 45] [--workers 1 2 4] [--rounds 3] [--bucket]
                                 [--in DIRECTORY] [--picture FILE]

Each round makes an archive for one process (``cluster.enabled = false``), and one for each number of workers,
in another order. Its nights: a first night and a quiet one of ``--accounts``, at up to 500 calls a second.
Then, in the first round only, at 15 calls a second: a first night of ``--paced`` further accounts (all of
them would take minutes), and a quiet one of ``--accounts``.

All processes use one directory. With ``--bucket`` the archive is in a bucket of localbucket instead, and each
worker has a directory of its own, as on a machine of its own.

The workers are started before the nights, and each night begins when all of them wait. Its processor time is
that of ``archiver run`` (whole, as ``wait4`` reports it) and of the workers until they wait again (from
``/proc``, so this needs Linux). What a worker costs once, and while it waits, is printed apart: it is in no
night. The stand-in is part of this program, so that its log has the time of each call. It, PostgreSQL and a
look at the locks every 20 ms run on the same processors.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean, median
from typing import TYPE_CHECKING, Self

import pictures
from bucket_server import BUCKET, bucket_server
from cost import connect, postgresql
from processes import ARCHIVER, cpu_of_siblings, cpu_so_far, describe_machine, start
from standin import Upstream, archiver

from archiver.sandbox.standin import StandIn
from archiver.sandbox.world import World

if TYPE_CHECKING:
    from psycopg import Connection

HIGHLIGHTS, ITEMS = 2, 1
FAST, PACED = 500, 15
"""Calls a second that the configuration of a run allows."""
LOOK_SECONDS = 0.02
IDLE_SECONDS = 6.0
ONE_PROCESS = 0
"""In place of a number of workers."""

_WAITING = """
    SELECT (SELECT count(*) FROM workers),
        count(*) FILTER (WHERE application_name = 'archiver' AND state = 'idle'),
        count(*) FILTER (WHERE application_name LIKE 'archiver %' OR state <> 'idle')
    FROM pg_stat_activity WHERE application_name LIKE 'archiver%'
"""
_LOCKS = """
    SELECT wait_event FROM pg_stat_activity
    WHERE application_name LIKE 'archiver%' AND wait_event_type = 'Lock'
"""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of night: its name, and the calls a second that it allows."""

    name: str
    rate: int


FIRST, QUIET = Kind("first night", FAST), Kind("quiet night", FAST)
PACED_FIRST, PACED_QUIET = Kind("first night", PACED), Kind("quiet night", PACED)


@dataclass(frozen=True, slots=True)
class Night:
    """What a night took.

    ``cpu``, ``run``, ``server``: processor seconds of all processes of archiver, of ``archiver run`` alone,
    and of PostgreSQL. ``calls``: when each paid call arrived, in order. ``locks``: of each look at the server
    while calls were made, what its connections waited for.
    """

    accounts: int
    wall: float
    cpu: float
    run: float
    server: float
    calls: Sequence[datetime]
    locks: Sequence[Sequence[str]]

    @property
    def rate(self) -> float:
        """Calls a second, from the first to the last."""
        return (len(self.calls) - 1) / (self.calls[-1] - self.calls[0]).total_seconds()

    def windows(self, rate: int) -> list[int]:
        """Return the number of calls in each whole second, which is ``rate`` if they are spaced evenly.

        The seconds begin half a call before the first: so a call that comes a little early or late counts
        where it belongs.
        """
        seconds = Counter(int((call - self.calls[0]).total_seconds() + 0.5 / rate) for call in self.calls)
        return [seconds[second] for second in range(max(seconds))]

    @property
    def locked(self) -> float:
        """The share of the time in which a connection waited for a lock."""
        return mean(bool(waiting) for waiting in self.locks) if self.locks else 0.0

    @property
    def waiting(self) -> float:
        """How many connections waited for a lock, on average."""
        return mean(len(waiting) for waiting in self.locks) if self.locks else 0.0


@dataclass(frozen=True, slots=True)
class Upkeep:
    """What a worker costs beside its nights.

    ``start``: processor seconds until it waits. ``ready``: seconds until all wait. ``idle``: milliseconds of
    processor time for each second of waiting.
    """

    start: float
    ready: float
    idle: float


@dataclass(slots=True)
class Found:
    """All measurements, by the number of workers."""

    nights: dict[Kind, dict[int, list[Night]]] = field(default_factory=dict)
    upkeep: dict[int, Upkeep] = field(default_factory=dict)

    def add(self, kind: Kind, workers: int, night: Night) -> None:
        """Add a night."""
        self.nights.setdefault(kind, {}).setdefault(workers, []).append(night)


def main() -> None:
    """Print a table for each kind of night, and one of what workers cost beside their nights."""
    options = parse_options()
    setups = [ONE_PROCESS, *options.workers]
    print(f"{describe_machine()}; medians of {options.rounds} rounds", flush=True)
    found = Found()
    world = World.generate(options.accounts + options.paced, HIGHLIGHTS, ITEMS)
    with StandIn(world, balance=100_000_000) as standin, postgresql("") as database:
        for number in range(options.rounds):
            for workers in setups[number % len(setups) :] + setups[: number % len(setups)]:
                with archive(standin, database, workers, options) as measured:
                    measure_nights(measured, workers, options, found, is_first=number == 0)
    for kind, nights in found.nights.items():
        print_nights(kind, nights)
    print_upkeep(found.upkeep)
    print(f"\nLoad after the last night: {os.getloadavg()[0]:.1f}")
    if options.picture:
        draw(options.picture, found)


def parse_options() -> argparse.Namespace:
    """Parse the arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--accounts", type=int, default=400)
    parser.add_argument(
        "--paced", type=int, default=45, metavar="N", help=f"accounts of the first night at {PACED} calls/s"
    )
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4], metavar="N")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bucket", action="store_true", help="the archive is in a bucket")
    parser.add_argument("--in", dest="where", type=Path, help="a directory on the disk to measure")
    pictures.add_option(parser)
    return parser.parse_args()


def measure_nights(
    measured: Archive, workers: int, options: argparse.Namespace, found: Found, *, is_first: bool
) -> None:
    """Measure the nights of a new archive. ``is_first``: also what is measured only in the first round."""
    everyone = [f"account{number:04}" for number in range(options.accounts + options.paced)]
    accounts, others = everyone[: options.accounts], everyone[options.accounts :]
    with ExitStack() as stack:
        if workers:
            crew = stack.enter_context(Crew(measured, workers))
            measured.crew = crew
            if is_first:
                found.upkeep[workers] = crew.measure_upkeep()
        found.add(FIRST, workers, measured.run(FIRST, accounts))
        found.add(QUIET, workers, measured.run(QUIET, accounts))
        if is_first and others:
            found.add(PACED_FIRST, workers, measured.run(PACED_FIRST, others))
            found.add(PACED_QUIET, workers, measured.run(PACED_QUIET, accounts))


@contextmanager
def archive(standin: StandIn, database: str, workers: int, options: argparse.Namespace) -> Iterator[Archive]:
    """Make an archive for these workers, and remove it after the block."""
    environ = {
        "HIKERAPI_TOKEN": standin.key,
        "ARCHIVER_API_BASE_URL": standin.base_url,
        "ARCHIVER_DOWNLOAD_ALLOWED_HOSTS": "127.0.0.1",
        "ARCHIVER_ARCHIVE_DATABASE": database,
        "ARCHIVER_CLUSTER_ENABLED": "true" if workers else "false",
    }
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=options.where)))
        if options.bucket:
            server = stack.enter_context(bucket_server(home / "objects"))
            environ |= server.environ | {"ARCHIVER_ARCHIVE_STORAGE": f"s3://{BUCKET}/archive"}
        connection = stack.enter_context(connect(database))
        connection.autocommit = True
        stack.callback(connection.execute, "DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        environ = Upstream(environ).init_nights(home, 0)
        yield Archive(standin, home, environ, connection, options.bucket)


@dataclass(slots=True)
class Archive:
    """An archive on PostgreSQL, and the workers that visit its accounts, if any."""

    standin: StandIn
    home: Path
    environ: dict[str, str]
    connection: Connection
    has_bucket: bool
    crew: Crew | None = None

    def run(self, kind: Kind, accounts: Sequence[str]) -> Night:
        """Run a night in which these accounts are listed. Ends the program if it is not what it should be."""
        (self.home / "accounts.txt").write_text("".join(f"{name}\n" for name in accounts))
        environ = self.environ | {"ARCHIVER_API_REQUESTS_PER_SECOND": str(kind.rate)}
        self.standin.requests.reset()
        before, server = self._worker_seconds(), self._server_seconds()
        with LockSampler(self.environ["ARCHIVER_ARCHIVE_DATABASE"]) as sampler:
            run = archiver(environ, "run", cwd=self.home)
        if self.crew is not None:
            self.crew.wait_until_waiting()
        calls = sorted(call.at for call in self.standin.requests.api_calls() if call.units)
        expected = len(accounts) * (1 if kind.name == QUIET.name else 1 + HIGHLIGHTS)
        if run.summary["exit_code"] or not run.summary["api_calls"] == len(calls) == expected:
            raise SystemExit(f"{kind.name}: {len(calls)} calls instead of {expected}: {run.summary}")
        return Night(
            len(accounts),
            run.wall,
            run.cpu + self._worker_seconds() - before,
            run.cpu,
            self._server_seconds() - server,
            calls,
            sampler.between(calls[0], calls[-1]),
        )

    def _worker_seconds(self) -> float:
        return sum(self.crew.seconds()) if self.crew is not None else 0.0

    def _server_seconds(self) -> float:
        return cpu_of_siblings(self.connection.info.backend_pid)


class Crew:
    """Workers of an archive that run during the block."""

    def __init__(self, measured: Archive, count: int) -> None:
        self._measured, self._count = measured, count
        self._processes: list[subprocess.Popen[bytes]] = []
        self._started = time.monotonic()

    def __enter__(self) -> Self:
        for number in range(self._count):
            home = self._measured.home / f"machine-{number}"
            own = {"ARCHIVER_ARCHIVE": str(home)} if self._measured.has_bucket else {}
            with (self._measured.home / f"worker-{number}.log").open("wb") as log:
                environ = self._measured.environ | own
                self._processes.append(start([ARCHIVER, "worker"], environ=environ, stderr=log))
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.communicate()

    def seconds(self) -> list[float]:
        """Return the processor seconds of each worker so far."""
        return [cpu_so_far(process.pid) for process in self._processes]

    def measure_upkeep(self) -> Upkeep:
        """Wait until all workers wait, and for a while longer."""
        self.wait_until_waiting()
        ready, began = time.monotonic() - self._started, self.seconds()
        time.sleep(IDLE_SECONDS)
        idle = mean(self.seconds()) - mean(began)
        return Upkeep(mean(began), ready, idle / IDLE_SECONDS * 1000)

    def wait_until_waiting(self) -> None:
        """Return once each worker only looks for a run. Ends the program if one has ended."""
        while True:
            row = self._measured.connection.execute(_WAITING).fetchone()
            if row == (0, self._count, 0):
                return
            for number, process in enumerate(self._processes):
                if process.poll() is not None:
                    log = (self._measured.home / f"worker-{number}.log").read_text()
                    raise SystemExit(f"a worker has ended: {log}")
            time.sleep(0.05)


class LockSampler:
    """Looks during the block, again and again, at what the connections of archiver wait for."""

    def __init__(self, database: str) -> None:
        self._database = database
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._looks: list[tuple[datetime, list[str]]] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def between(self, first: datetime, last: datetime) -> list[list[str]]:
        """Return what was seen between two times, one list for each look."""
        return [waiting for at, waiting in self._looks if first <= at <= last]

    def _look(self) -> None:
        with connect(self._database) as connection:
            connection.autocommit = True
            while not self._ended.wait(LOOK_SECONDS):
                waiting = [str(event) for (event,) in connection.execute(_LOCKS)]
                self._looks.append((datetime.now(UTC), waiting))


def name_of(workers: int) -> str:
    """Return the head of a column."""
    if workers == ONE_PROCESS:
        return "one process"
    return f"{workers} worker" + ("s" if workers > 1 else "")


def per_account(
    nights: Sequence[Night], seconds: Callable[[Night], float] = lambda night: night.cpu
) -> float:
    """Return the median of the milliseconds for an account."""
    return median(seconds(night) / night.accounts for night in nights) * 1000


def rate_of(nights: Sequence[Night]) -> float:
    """Return the median of the calls a second."""
    return median(night.rate for night in nights)


def print_nights(kind: Kind, nights: dict[int, list[Night]]) -> None:
    """Print the medians of one kind of night."""
    setups = sorted(nights)
    one = nights[setups[0]]
    title = f"{kind.name} of {one[0].accounts} accounts, at most {kind.rate} calls a second"
    print(f"\n| {title} | {' | '.join(map(name_of, setups))} |\n|---|{'---:|' * len(setups)}")

    def print_row(label: str, value: Callable[[list[Night]], str]) -> None:
        print(f"| {label} | {' | '.join(value(nights[workers]) for workers in setups)} |")

    print_row("wall, s", lambda found: f"{median(night.wall for night in found):.1f}")
    print_row("calls a second, from the first to the last", lambda found: f"{rate_of(found):.2f}")
    if kind.rate == PACED:
        print_row(f"less or more than {PACED}, %", lambda found: f"{(rate_of(found) / PACED - 1) * 100:+.1f}")
        print_row("calls in each second, least to most", describe_windows)
    print_row("processor, ms for an account", lambda found: f"{per_account(found):.1f}")
    print_row("× one process", lambda found: f"**{per_account(found) / per_account(one):.2f}**")
    print_row("processor of `archiver run` alone, s", lambda found: f"{median(n.run for n in found):.2f}")
    print_row(
        "processor of PostgreSQL, ms for an account",
        lambda found: f"{per_account(found, lambda night: night.server):.1f}",
    )
    print_row("time in which a connection waits for a lock, %", lambda found: f"{100 * locked(found):.1f}")
    print_row("connections that wait for one, on average", lambda found: f"{waiting(found):.2f}")
    events = Counter(
        event for found in nights.values() for night in found for look in night.locks for event in look
    )
    if events:
        print(f"\nWhat they wait for: {', '.join(f'{name} {n}' for name, n in events.most_common())} (looks)")


def describe_windows(nights: Sequence[Night]) -> str:
    """Return the least and the greatest number of calls in a second."""
    counts = [count for night in nights for count in night.windows(PACED)]
    return f"{min(counts)} to {max(counts)}" if counts else "–"


def locked(nights: Sequence[Night]) -> float:
    """Return the median share of the time in which a connection waits for a lock."""
    return median(night.locked for night in nights)


def waiting(nights: Sequence[Night]) -> float:
    """Return the median of the connections that wait."""
    return median(night.waiting for night in nights)


def print_upkeep(upkeep: dict[int, Upkeep]) -> None:
    """Print what workers cost beside their nights."""
    heads = (
        "in no night",
        "start, processor s",
        "until all wait, s",
        "waiting, ms of processor time a second",
    )
    print(f"\n| {' | '.join(heads)} |\n|---|{'---:|' * (len(heads) - 1)}")
    for workers, found in sorted(upkeep.items()):
        print(f"| each of {name_of(workers)} | {found.start:.2f} | {found.ready:.1f} | {found.idle:.1f} |")


def draw(path: Path, found: Found) -> None:
    """Draw the calls a second and the processor time of all nights."""

    def panel(title: str, value: Callable[[list[Night]], float], rate: int) -> pictures.Bars:
        kinds = [kind for kind in found.nights if kind.rate == rate]
        setups = sorted(found.nights[kinds[0]])
        series = {
            name_of(workers): [value(found.nights[kind][workers]) for kind in kinds] for workers in setups
        }
        return pictures.Bars(title, [kind.name for kind in kinds], series)

    panels = [
        panel(f"calls a second, at most {FAST}", rate_of, FAST),
        panel("ms of processor time for an account", per_account, FAST),
    ]
    if PACED_FIRST in found.nights:
        panels.append(panel(f"calls a second, at most {PACED}", rate_of, PACED))
    accounts = found.nights[FIRST][ONE_PROCESS][0].accounts
    pictures.draw(path, f"Workers on one machine: nights of {accounts} accounts", panels)


if __name__ == "__main__":
    main()
