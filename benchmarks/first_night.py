"""Compare the first night of an archive with curl and wget2, which download the same files from nginx.

    python benchmarks/first_night.py [--files 2555] [--rounds 5] [--tls] [--in DIRECTORY] [--slow]

Each round runs every tool once, in another order, 16 files at a time. ``archiver run`` also asks the API (the
stand-in), checks, hashes and syncs each file, and records it. A second night, which finds nothing new, shows
how much of that is start and end. With ``--slow`` the stand-in serves the files, as slowly as a real CDN
(40 ms to the first byte, 25 MB/s per connection, 500 ms for each call).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from nginx import nginx
from standin import Upstream, archiver, init, upstream

PARALLEL = 16
HIGHLIGHTS = 20


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of wall time and of processor time."""

    wall: float
    cpu: float


def main() -> None:
    """Print wall and processor time of each tool for each round, and the medians against curl's."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=2555)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--video-size", default="1000000-2000000", help="in bytes")
    parser.add_argument("--tls", action="store_true", help="nginx serves the files over TLS")
    parser.add_argument("--in", dest="where", type=Path, help="a directory on the disk to measure")
    parser.add_argument("--slow", action="store_true", help="as slow as a real CDN")
    options = parser.parse_args()
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=options.where)))
        world, certificate = _serve(options, home, stack)
        compare(world, options.rounds, home, certificate)


def _serve(options: argparse.Namespace, home: Path, stack: ExitStack) -> tuple[Upstream, Path | None]:
    """Start what serves the files; return the stand-in, and nginx's certificate if there is one."""
    # Every other item is a video with a thumbnail: two items have three files.
    items = options.files // HIGHLIGHTS * 2 // 3
    words = ["--accounts", "1", "--highlights", str(HIGHLIGHTS), "--items", str(items)]
    words += ["--thumbnail-size", "80000-300000", "--video-size", options.video_size]
    if options.slow:
        words += ["--cdn-delay", "0.04", "--cdn-rate", "25e6", "--latency", "0.5"]
        return stack.enter_context(upstream(*words)), None
    root, own = home / "served", home / "nginx"
    own.mkdir()
    with upstream(*words) as world:
        for url in list_urls(world):
            place = root / urllib.parse.urlsplit(url).path.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            with urllib.request.urlopen(url, timeout=60) as answer:
                place.write_bytes(answer.read())
    origin = stack.enter_context(nginx(root, own, tls=options.tls))
    world = stack.enter_context(upstream(*words, "--cdn-origin", origin))
    return world, own / "cert.pem" if options.tls else None


def compare(world: Upstream, rounds: int, home: Path, certificate: Path | None) -> None:
    """Run all tools ``rounds`` times, and print what they took."""
    urls = list_urls(world)
    tools = {
        "curl": lambda place: measure_curl(urls, place, certificate),
        "wget2": lambda place: measure_wget2(urls, place, certificate),
        "archiver": lambda place: measure_archiver(world, place, certificate, again),
    }
    again: list[Cost] = []
    if shutil.which("wget2") is None:
        print("wget2 is not installed: it is left out")
        del tools["wget2"]
    costs: dict[str, list[Cost]] = {name: [] for name in tools}
    for number in range(rounds):
        names = list(tools)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            place = Path(tempfile.mkdtemp(dir=home))
            costs[name].append(tools[name](place))
            shutil.rmtree(place)
        print(
            "; ".join(f"{n} {c[-1].wall:.2f} s, {c[-1].cpu:.2f} s cpu" for n, c in costs.items()), flush=True
        )
    costs["again"] = again
    load = os.getloadavg()[0]
    print(f"medians of {rounds} rounds, {len(urls)} files, load {load:.1f}:")
    base = _median(costs["curl"])
    for name, found in costs.items():
        cost = _median(found)
        print(
            f"  {name:8} {cost.wall:6.2f} s = {cost.wall / base.wall:4.2f} x curl; "
            f"processor {cost.cpu:6.2f} s = {cost.cpu / base.cpu:4.2f} x curl"
        )


def _median(costs: list[Cost]) -> Cost:
    return Cost(statistics.median(c.wall for c in costs), statistics.median(c.cpu for c in costs))


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


def measure_curl(urls: list[str], place: Path, certificate: Path | None) -> Cost:
    """Return what curl takes to download the URLs to ``place``."""
    config = place / "urls"
    config.write_text("".join(f'url = "{url}"\noutput = "{place}/{n}"\n' for n, url in enumerate(urls)))
    trust = ["--cacert", str(certificate)] if certificate else []
    command = ["curl", "--silent", "--fail", "--parallel", "--parallel-max", str(PARALLEL), *trust]
    return _measure([*command, "--config", str(config)])


def measure_wget2(urls: list[str], place: Path, certificate: Path | None) -> Cost:
    """Return what wget2 takes to download the URLs to ``place``."""
    (place / "urls").write_text("\n".join(urls))
    trust = ["--ca-certificate", str(certificate)] if certificate else []
    command = ["wget2", "--quiet", f"--max-threads={PARALLEL}", "--cut-file-get-vars", *trust]
    return _measure([*command, "--directory-prefix", str(place), "--input-file", str(place / "urls")])


def _measure(command: list[str]) -> Cost:
    started = time.monotonic()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command[0]} ended with {process.returncode}")
    return Cost(time.monotonic() - started, usage.ru_utime + usage.ru_stime)


def measure_archiver(world: Upstream, place: Path, certificate: Path | None, again: list[Cost]) -> Cost:
    """Return what a first night takes in a new archive in ``place``; add what the next one takes."""
    environ = world.environ | {
        "ARCHIVER_ARCHIVE": str(place / "archive"),
        "ARCHIVER_API_REQUESTS_PER_SECOND": "1000",
        "ARCHIVER_DOWNLOAD_CONCURRENCY": str(PARALLEL),
        "ARCHIVER_CONFIG": str(place / "config.toml"),
        "ARCHIVER_SYNC_ACCOUNTS_FILE": str(place / "accounts.txt"),
    }
    if certificate is not None:
        environ["SSL_CERT_FILE"] = str(certificate)
    (place / "config.toml").touch()
    (place / "accounts.txt").write_text("account0000\n")
    init(environ, cwd=place)
    night = archiver(environ, "run", cwd=place)
    if night.summary["exit_code"] or not night.summary["files_new"]:
        raise SystemExit(f"archiver run: {night.summary}")
    second = archiver(environ, "run", cwd=place)
    again.append(Cost(second.wall, second.cpu))
    return Cost(night.wall, night.cpu)


if __name__ == "__main__":
    main()
