"""Compare the first night of an archive with curl and wget2, which download the same files from nginx.

    python benchmarks/first_night.py [--files 2555] [--rounds 5] [--gallery-dl] [--picture FILE]
                                     [--tls] [--in DIRECTORY] | [--all] | [--slow]
                                     [--against COMMAND]

Each round runs every tool once, in another order, 16 files at a time; gallery-dl has no such option and
downloads one after another. ``archiver run`` also asks the API (the stand-in), checks, hashes and syncs each
file, and records it. ``bare_download.py`` only hashes, syncs and records. Then start-up is
measured: a second ``run``, which finds nothing new, ``status`` and ``--version``.

The files are downloaded to ``--in`` (default: the directory for temporary files). ``--all`` measures plain
HTTP and TLS, each there and in memory (/dev/shm). With ``--slow`` the stand-in serves the files, as slowly as
a real CDN (40 ms to the first byte, 25 MB/s per connection, 500 ms for each call), and a quiet night of five
accounts is measured too. ``--against`` also measures another archiver.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pictures
from nginx import nginx
from processes import ARCHIVER, Measurement, describe_machine, measure
from standin import Upstream, add_against_option, archiver, upstream

PARALLEL = 16
OTHER = "the other archiver"
TOOLS = ("gallery-dl", "wget2", "curl", "bare Python", OTHER, "archiver")
BASES = ("curl", "bare Python", OTHER)
"""Those that archiver is compared with."""
HIGHLIGHTS = 20
MEMORY = Path("/dev/shm")
SLOW = ("--cdn-delay", "0.04", "--cdn-rate", "25e6", "--latency", "0.5")


@dataclass(frozen=True, slots=True)
class Setting:
    """How the files are served, and the directory on the disk that they are written to."""

    served: str
    place: Path

    @property
    def name(self) -> str:
        """What is measured, for example ``TLS to /tmp (ext4)``."""
        return f"{self.served} to {self.place} ({find_filesystem(self.place)})"


@dataclass(frozen=True, slots=True)
class Download:
    """The files to download: their URLs and total bytes, the API that lists them, nginx's certificate."""

    urls: Sequence[str]
    size: int
    world: Upstream
    certificate: Path | None


Costs = dict[str, list[Measurement]]
"""The measurements of all rounds, by the name of a tool, or by what archiver did."""


def main() -> None:
    """Print the medians of all tools in each setting, then those of archiver's start-up."""
    options = parse_options()
    settings = list(choose_settings(options))
    print(f"{describe_machine()}; medians of {options.rounds} rounds", flush=True)
    found: dict[str, Costs] = {}
    size = ""
    with (
        tempfile.TemporaryDirectory(dir=settings[0].place) as home,
        serving(Path(home), options.files, options.video_size, slow=options.slow) as serve,
    ):
        for setting in settings:
            with serve(setting.served) as download:
                tools = find_tools(download, options.against, gallery_dl=options.gallery_dl)
                costs = compare(tools, download.size, setting.place, options.rounds)
            if not found:
                size = f"{len(download.urls):,} files, {download.size / 1e9:.2f} GB"
                print_head(size, costs)
            print_costs(setting.name, costs)
            found[setting.name] = costs
    print_start(list(found.values()))
    if options.slow:
        print_quiet_nights(options)
    if options.picture:
        draw(options.picture, found, size)


def parse_options() -> argparse.Namespace:
    """Parse the arguments."""
    parser = make_parser(__doc__ or "", files=2555)
    parser.add_argument("--tls", action="store_true", help="nginx serves the files over TLS")
    parser.add_argument("--all", action="store_true", help=f"plain and TLS, each to --in and to {MEMORY}")
    parser.add_argument("--slow", action="store_true", help="as slow as a real CDN")
    parser.add_argument("--gallery-dl", action="store_true", help="compare with gallery-dl too")
    options = parser.parse_args()
    if shutil.which("curl") is None:
        parser.error("curl is needed (Debian: apt-get install curl)")
    if options.slow and (options.all or options.tls):
        parser.error("--slow: the stand-in serves the files, over plain HTTP")
    return options


def make_parser(description: str, files: int) -> argparse.ArgumentParser:
    """Return a parser with the options of every comparison of first nights, with so many files by default."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=files)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--video-size", default="1000000-2000000", help="in bytes")
    parser.add_argument(
        "--in", dest="where", type=Path, default=Path(tempfile.gettempdir()), help="on the disk to measure"
    )
    add_against_option(parser)
    pictures.add_option(parser)
    return parser


def choose_settings(options: argparse.Namespace) -> Iterator[Setting]:
    """Yield what the options ask for."""
    if options.slow:
        yield Setting("a slow CDN", options.where)
        return
    places = [options.where, MEMORY] if options.all and MEMORY.is_dir() else [options.where]
    for place in places:
        if options.all or not options.tls:
            yield Setting("plain HTTP", place)
        if options.all or options.tls:
            yield Setting("TLS", place)


def find_filesystem(place: Path) -> str:
    """Return the kind of filesystem of a directory, if the system says it as Linux does."""
    mounts = Path("/proc/mounts")
    if not mounts.exists():
        return "filesystem unknown"
    kinds = {fields[1]: fields[2] for fields in map(str.split, mounts.read_text().splitlines())}
    return next(
        kinds[str(path)] for path in (place.resolve(), *place.resolve().parents) if str(path) in kinds
    )


@contextmanager
def serving(
    home: Path, files: int, video_size: str, *, slow: bool = False
) -> Iterator[Callable[[str], AbstractContextManager[Download]]]:
    """Write about so many files for nginx into ``home``; yield a function that serves them during a block.

    ``video_size``: bytes, or a range. ``slow``: the stand-in serves them instead.
    """
    # Every other item is a video with a thumbnail: two items have three files.
    items = files // HIGHLIGHTS * 2 // 3
    words = ["--accounts", "1", "--highlights", str(HIGHLIGHTS), "--items", str(items)]
    words += ["--thumbnail-size", "80000-300000", "--video-size", video_size]
    root = home / "served"
    with upstream(*words) as world:
        size = sum(copy(url, root) for url in list_urls(world))

    @contextmanager
    def serve(how: str) -> Iterator[Download]:
        if slow:
            with upstream(*words, *SLOW) as world:
                yield Download(list_urls(world), size, world, None)
            return
        own = home / how.split()[0]
        own.mkdir(exist_ok=True)
        with (
            nginx(root, own, tls=how == "TLS") as origin,
            upstream(*words, "--cdn-origin", origin) as world,
        ):
            yield Download(list_urls(world), size, world, own / "cert.pem" if how == "TLS" else None)

    yield serve


def copy(url: str, root: Path) -> int:
    """Download a file to the same path below ``root``, and return its size."""
    place = root / urllib.parse.urlsplit(url).path.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    with urllib.request.urlopen(url, timeout=60) as answer:
        return place.write_bytes(answer.read())


def list_urls(world: Upstream) -> list[str]:
    """Return all URLs of the account that a first night downloads."""
    tray = get_json(world, "/v1/user/highlights/by/username", username="account0000", force="on")
    urls = [h["cover_media"]["cropped_image_version"]["url"] for h in tray]
    urls.append(tray[0]["user"]["profile_pic_url"])
    for highlight in tray:
        page = get_json(
            world,
            "/v1/highlight/by/url",
            url=f"https://www.instagram.com/stories/highlights/{highlight['pk']}/",
        )
        for item in page["items"]:
            urls += [item[key] for key in ("thumbnail_url", "video_url") if item[key]]
    return urls


def get_json(world: Upstream, path: str, **params: str):  # type: ignore[no-untyped-def]
    """Call the API and return its answer as parsed JSON."""
    url = f"{world.environ['ARCHIVER_API_BASE_URL']}{path}?{urllib.parse.urlencode(params)}"
    headers = {"x-access-key": world.environ["HIKERAPI_TOKEN"], "user-agent": "benchmark"}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60) as answer:
        return json.load(answer)


Tool = Callable[[Path], dict[str, Measurement]]
"""Downloads everything into an empty directory; returns its measurement by its name, and others if any."""


def find_tools(download: Download, other: str | None, *, gallery_dl: bool) -> list[Tool]:
    """Return the tools that are installed. Of those that are not, print how to install them.

    ``other``: the command of another archiver.
    """
    tools: list[Tool] = [partial(run_curl, download), partial(run_bare_python, download)]
    if shutil.which("wget2"):
        tools.append(partial(run_wget2, download))
    else:
        print("wget2 is left out: it is not installed (Debian: apt-get install wget2)")
    beside = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    program = shutil.which("gallery-dl", path=beside)
    if gallery_dl and program:
        tools.append(partial(run_gallery_dl, download, program))
    elif gallery_dl:
        print("gallery-dl is left out: it is not installed (pip install gallery-dl)")
    if other is not None:
        tools.append(partial(run_archiver, download, OTHER, other))
    return [*tools, partial(run_archiver, download, "archiver", ARCHIVER)]


def compare(tools: list[Tool], size: int, where: Path, rounds: int) -> Costs:
    """Run all tools ``rounds`` times. Ends the program if one has not stored ``size`` bytes."""
    costs: Costs = {}
    for number in range(rounds):
        turn = number % len(tools)
        for tool in tools[turn:] + tools[:turn]:
            with tempfile.TemporaryDirectory(dir=where) as folder:
                os.sync()  # what earlier tools have left to be written
                for name, cost in tool(Path(folder)).items():
                    costs.setdefault(name, []).append(cost)
                stored = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
            if stored < size:
                raise SystemExit(f"{tool} has stored {stored:,} of {size:,} bytes")
        print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return costs


def run_curl(download: Download, place: Path) -> dict[str, Measurement]:
    """Download with curl."""
    lines = (f'url = "{url}"\noutput = "{place}/{n}"\n' for n, url in enumerate(download.urls))
    (place / "config").write_text("".join(lines))
    trust = ["--cacert", str(download.certificate)] if download.certificate else []
    words = ["--silent", "--fail", "--parallel", "--parallel-max", str(PARALLEL), *trust]
    return {"curl": measure(["curl", *words, "--config", str(place / "config")])}


def run_wget2(download: Download, place: Path) -> dict[str, Measurement]:
    """Download with wget2."""
    (place / "urls").write_text("\n".join(download.urls))
    trust = ["--ca-certificate", str(download.certificate)] if download.certificate else []
    words = ["--quiet", f"--max-threads={PARALLEL}", "--cut-file-get-vars", *trust]
    words += ["--directory-prefix", str(place), "--input-file", str(place / "urls")]
    return {"wget2": measure(["wget2", *words])}


def run_bare_python(download: Download, place: Path) -> dict[str, Measurement]:
    """Download with the least that an archive in Python needs."""
    (place / "urls").write_text("\n".join(download.urls))
    trust = [str(download.certificate)] if download.certificate else []
    program = str(Path(__file__).with_name("bare_download.py"))
    return {"bare Python": measure([sys.executable, program, str(place / "urls"), str(place), *trust])}


def run_gallery_dl(download: Download, program: str, place: Path) -> dict[str, Measurement]:
    """Download with gallery-dl, which takes links to files."""
    (place / "urls").write_text("\n".join(download.urls))
    trust = ["-o", f"verify={download.certificate}"] if download.certificate else []
    words = ["--config-ignore", "--quiet", *trust, "-D", str(place), "--input-file", str(place / "urls")]
    return {"gallery-dl": measure([program, *words])}


def run_archiver(download: Download, name: str, command: str, place: Path) -> dict[str, Measurement]:
    """Return what a first night takes in a new archive, and what commands take that have nothing to do."""
    trust = {"SSL_CERT_FILE": str(download.certificate)} if download.certificate else {}
    environ, night = run_first_night(Upstream(download.world.environ | trust), command, place)
    return {
        name: night,
        f"{name} run": archiver(environ, "run", cwd=place, command=command),
        f"{name} status": measure([command, "status"], cwd=place, environ=environ),
        f"{name} --version": measure([command, "--version"], cwd=place, environ=environ),
    }


def run_first_night(world: Upstream, command: str, place: Path) -> tuple[dict[str, str], Measurement]:
    """Make an archive and run its first night. Returns its variables too. Ends the program on a failure."""
    environ = world.init_nights(place, 1, command)
    environ["ARCHIVER_DOWNLOAD_CONCURRENCY"] = str(PARALLEL)
    night = archiver(environ, "run", cwd=place, command=command)
    if night.summary["exit_code"] or not night.summary["files_new"]:
        raise SystemExit(f"{command} run: {night.summary}")
    return environ, night


def print_head(size: str, costs: Costs) -> None:
    """Print the head of the table of downloads."""
    tools = [tool for tool in TOOLS if tool in costs]
    heads = [*tools, *(f"archiver / {tool}" for tool in BASES if tool in costs)]
    print(f"\n| {size} | | {' | '.join(heads)} |\n|---|---|{'---:|' * len(heads)}")


def print_costs(setting: str, costs: Costs) -> None:
    """Print the medians of all tools."""
    heading = f"{setting}, load {os.getloadavg()[0]:.1f}"
    for name, median in ((f"{heading} | wall, s", wall), ("| processor, s", cpu)):
        values = " | ".join(f"{median(costs[tool]):.2f}" for tool in TOOLS if tool in costs)
        ratios = [
            f"**{median(costs['archiver']) / median(costs[tool]):.2f}**" for tool in BASES if tool in costs
        ]
        print(f"| {name} | {values} | {' | '.join(ratios)} |", flush=True)


def print_start(settings: Sequence[Costs]) -> None:
    """Print the medians of commands that have nothing to do, and the peak memory, of all settings."""
    print("\n| nothing to do | wall, s | processor, s |\n|---|---:|---:|")
    for command in (name for name in settings[0] if name not in TOOLS):
        costs = [cost for setting in settings for cost in setting[command]]
        print(f"| `{command}` | {wall(costs):.2f} | {cpu(costs):.2f} |")
    for name in (OTHER, "archiver"):
        if name in settings[0]:
            peak = max(cost.peak for setting in settings for cost in setting[name])
            print(f"\nPeak memory of {name} in a first night: {peak:.0f} MiB")


def print_quiet_nights(options: argparse.Namespace) -> None:
    """Print the wall times of quiet nights with a slow API."""
    print("\n| quiet night, 500 ms for each call | by default, s | with a stated rate, s |\n|---|---:|---:|")
    commands = {"archiver": ARCHIVER} | ({OTHER: options.against} if options.against else {})
    nights = measure_quiet_nights(5, options.rounds, options.where, list(commands.values()))
    for name, (default, stated) in zip(commands, nights, strict=True):
        print(f"| 5 accounts, {name} | {wall(default):.2f} | {wall(stated):.2f} |", flush=True)


def measure_quiet_nights(
    accounts: int, rounds: int, where: Path, commands: Sequence[str]
) -> list[tuple[list[Measurement], list[Measurement]]]:
    """Measure quiet nights of each command, with no rate in the configuration, and with 15 calls a second."""
    words = ("--accounts", str(accounts), "--highlights", str(HIGHLIGHTS), "--items", "1", "--latency", "0.5")
    nights = []
    with ExitStack() as stack:
        for command in commands:
            world = stack.enter_context(upstream(*words, "--balance", "100000000"))
            home = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=where)))
            environ = world.init_nights(home, accounts, command)
            night = partial(archiver, cwd=home, command=command)
            night(environ, "run")
            del environ["ARCHIVER_API_REQUESTS_PER_SECOND"]
            stated = environ | {"ARCHIVER_API_REQUESTS_PER_SECOND": "15"}
            nights.append((partial(night, environ, "run"), partial(night, stated, "run")))
        found: list[tuple[list[Measurement], list[Measurement]]] = [([], []) for _ in commands]
        for _ in range(rounds):
            for functions, measurements in zip(nights, found, strict=True):
                for function, costs in zip(functions, measurements, strict=True):
                    costs.append(function())
    return found


def wall(costs: Sequence[Measurement]) -> float:
    """Return the median of the wall times, in seconds."""
    return statistics.median(cost.wall for cost in costs)


def cpu(costs: Sequence[Measurement]) -> float:
    """Return the median of the processor times, in seconds."""
    return statistics.median(cost.cpu for cost in costs)


def draw(path: Path, found: dict[str, Costs], size: str) -> None:
    """Draw the wall and processor times of the tools."""
    measured = next(iter(found.values()))
    tools = [tool for tool in TOOLS if tool in measured]
    bars = [
        pictures.Bars(
            title, list(found), {tool: [median(costs[tool]) for costs in found.values()] for tool in tools}
        )
        for title, median in (("seconds of wall time", wall), ("seconds of processor time", cpu))
    ]
    pictures.draw(path, f"A first night: {size}, {PARALLEL} at once", bars)


if __name__ == "__main__":
    main()
