"""Compare the first night of an archive in a bucket with scripts that upload the same files.

    python benchmarks/object_store.py [--files 1000] [--rounds 5] [--large-file 400000000] [--in DIRECTORY]
                                      [--against COMMAND] [--picture FILE]

nginx serves the files, and localbucket is the store: for each tool a new one, in a process of its own. The
scripts only download files, 16 at a time, and upload them with obstore: ``plain_upload.py`` with httpx,
``bare_upload.py`` with plain sockets, which is the least that Python can do. ``archiver run`` also asks the
API (the stand-in), checks and hashes each file, and records it. Each round runs all of them, in another
order. ``--against`` also compares another archiver.

Then the peak memory is measured of first nights of five files, the largest of which has 1, 40 and 400 MB.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import pictures
from bucket_server import BUCKET, BucketServer, bucket_server
from first_night import (
    OTHER,
    PARALLEL,
    Costs,
    Download,
    Setting,
    Tool,
    compare,
    cpu,
    make_parser,
    run_first_night,
    serving,
    wall,
)
from processes import ARCHIVER, Measurement, describe_machine, measure
from standin import Upstream, upstream

SCRIPTS = {"bare Python": "bare_upload.py", "plain script": "plain_upload.py"}
TOOLS = (*SCRIPTS, OTHER, "archiver")
SMALL_FILE = 1_000_000


def main() -> None:
    """Print the medians of all tools, and the peak memory with a large file."""
    options = parse_options()
    print(f"{describe_machine()}; medians of {options.rounds} rounds", flush=True)
    setting = Setting("plain HTTP", options.where)
    with (
        tempfile.TemporaryDirectory(dir=options.where) as home,
        serving(Path(home), options.files, options.video_size) as serve,
        serve(setting.served) as download,
    ):
        costs = compare(find_tools(download, options.against), download.size, options.where, options.rounds)
    size = f"{len(download.urls):,} files, {download.size / 1e9:.2f} GB"
    print_costs(f"{size}, {setting.name}, load {os.getloadavg()[0]:.1f}", costs, len(download.urls))
    nights = {
        f"{largest / 1e6:,.0f} MB": measure_nights(largest, options.where, options.rounds)
        for largest in (SMALL_FILE, options.large_file // 10, options.large_file)
    }
    print_peaks(nights)
    if options.picture:
        draw(options.picture, size, costs, nights)


def parse_options() -> argparse.Namespace:
    """Parse the arguments."""
    parser = make_parser(__doc__ or "", files=1000)
    parser.add_argument("--large-file", type=int, default=400_000_000, help="bytes")
    return parser.parse_args()


def find_tools(download: Download, other: str | None) -> list[Tool]:
    """Return what is compared. ``other``: the command of another archiver."""
    commands = {OTHER: other, "archiver": ARCHIVER}
    archivers = [
        partial(run_archiver, download.world, name, command) for name, command in commands.items() if command
    ]
    return [*(partial(run_script, download.urls, name) for name in SCRIPTS), *archivers]


def run_script(urls: Sequence[str], name: str, place: Path) -> dict[str, Measurement]:
    """Download and upload the files with a script."""
    (place / "urls").write_text("\n".join(urls))
    program = str(Path(__file__).with_name(SCRIPTS[name]))
    with bucket_server(place / "objects") as server:
        cost = measure([sys.executable, program, str(place / "urls"), BUCKET], environ=server.environ)
    return name_costs(name, cost, server)


def run_archiver(world: Upstream, name: str, command: str, place: Path) -> dict[str, Measurement]:
    """Run the first night of an archive in a bucket."""
    with bucket_server(place / "objects") as server:
        storage = {"ARCHIVER_ARCHIVE_STORAGE": f"s3://{BUCKET}"}
        reached = Upstream(world.environ | server.environ | storage)
        _, cost = run_first_night(reached, command, place)
    return name_costs(name, cost, server)


def name_costs(name: str, cost: Measurement, server: BucketServer) -> dict[str, Measurement]:
    """Return what a tool took, and what its store took, by their names."""
    assert server.cost is not None
    return {name: cost, store_of(name): server.cost}


def store_of(name: str) -> str:
    """Return the name of the measurements of a tool's store."""
    return f"the store of {name}"


def measure_nights(largest: int, where: Path, rounds: int) -> Costs:
    """Measure first nights of five files, the largest of which has so many bytes."""
    words = ("--accounts", "1", "--highlights", "1", "--items", "2", "--video-size", str(largest))
    with upstream(*words) as world:
        return compare([partial(run_archiver, world, "archiver", ARCHIVER)], largest, where, rounds)


def peak(costs: Sequence[Measurement]) -> float:
    """Return the median of the peak memory, in MiB."""
    return statistics.median(cost.peak for cost in costs)


def count_requests(costs: Sequence[Measurement]) -> float:
    """Return the median of the number of requests."""
    return statistics.median([float(sum(cost.summary["requests"].values())) for cost in costs])


def count_connections(costs: Sequence[Measurement]) -> float:
    """Return the median of the number of connections."""
    return statistics.median([float(cost.summary["connections"]) for cost in costs])


def print_costs(setting: str, costs: Costs, files: int) -> None:
    """Print the medians of all tools and of their stores, and what archiver asked its store for."""
    tools = [tool for tool in TOOLS if tool in costs]
    heads = [*tools, *(f"archiver / {tool}" for tool in tools[:-1])]
    print(f"\n| {setting} | {' | '.join(heads)} |\n|---|{'---:|' * len(heads)}")
    stores = {tool: costs[store_of(tool)] for tool in tools}

    def print_row(
        label: str,
        median: Callable[[Sequence[Measurement]], float],
        measured: Mapping[str, Sequence[Measurement]] = costs,
    ) -> None:
        numbers = [median(measured[tool]) for tool in tools]
        values = " | ".join(f"{number:.3g}" for number in numbers)
        ratios = " | ".join(f"**{numbers[-1] / number:.2f}**" for number in numbers[:-1])
        print(f"| {label} | {values} | {ratios} |")

    print_row("wall, s", wall)
    print_row("processor, s", cpu)
    print_row("peak memory, MiB", peak)
    print_row("processor of the store, s", cpu, stores)
    print_row("requests to the store, for each file", lambda found: count_requests(found) / files, stores)
    print_row(f"connections to the store, {PARALLEL} files at once", count_connections, stores)
    requests = stores["archiver"][-1].summary["requests"]
    listed = ", ".join(f"{kind} {number:,}" for kind, number in sorted(requests.items()))
    print(f"\nRequests of archiver, with `init`: {listed}")


def print_peaks(nights: Mapping[str, Costs]) -> None:
    """Print what first nights take by their largest file."""
    heads = ("largest file of five", "wall, s", "processor, s", "peak memory, MiB", "requests to the store")
    print(f"\n| {' | '.join(heads)} |\n|---|{'---:|' * (len(heads) - 1)}")
    for largest, costs in nights.items():
        night, requests = costs["archiver"], count_requests(costs[store_of("archiver")])
        print(f"| {largest} | {wall(night):.2f} | {cpu(night):.2f} | {peak(night):.0f} | {requests:.0f} |")


def draw(path: Path, size: str, costs: Costs, nights: Mapping[str, Costs]) -> None:
    """Draw the times of all tools, and the peak memory of archiver."""
    groups = ["wall time", "processor time", "processor time\nof the store"]
    times = pictures.Bars(
        "seconds",
        groups,
        {
            tool: [wall(costs[tool]), cpu(costs[tool]), cpu(costs[store_of(tool)])]
            for tool in TOOLS
            if tool in costs
        },
    )
    memory = pictures.Bars(
        "peak memory of archiver, MiB",
        [f"largest file\n{largest}" for largest in nights],
        {"archiver": [peak(found["archiver"]) for found in nights.values()]},
    )
    pictures.draw(path, f"A first night into a bucket: {size}, {PARALLEL} at once", [times, memory])


if __name__ == "__main__":
    main()
