"""Compare the first night of an archive with ``curl --parallel`` for the same files, by wall time.

    python benchmarks/first_night.py [--files 1000] [--rounds 3] [--slow]

``archiver run`` also lists, hashes, syncs and records. With ``--slow`` the CDN takes 40 ms to the first byte
and sends 25 MB/s per connection.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path

from standin import Upstream, archiver, init, upstream

PARALLEL = 16
HIGHLIGHTS = 20


def main() -> None:
    """Print both wall times and their ratio for each round, and the median ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--video-size",
        default="2000000-5000000",
        help="in bytes; the default is the size of real story videos",
    )
    parser.add_argument("--slow", action="store_true", help="as slow as a real CDN")
    args = parser.parse_args()
    # Every other item is a video with a thumbnail: two items have three files.
    items = args.files // HIGHLIGHTS * 2 // 3
    options = ["--accounts", "1", "--highlights", str(HIGHLIGHTS), "--items", str(items)]
    options += ["--thumbnail-size", "80000-300000", "--video-size", args.video_size]
    if args.slow:
        options += ["--cdn-delay", "0.04", "--cdn-rate", "25e6"]
    ratios = []
    with upstream(*options) as world:
        urls = list_urls(world)
        for _ in range(args.rounds):
            curl_time, size = measure_curl(urls)
            archiver_time, files = measure_archiver(world)
            ratios.append(archiver_time / curl_time)
            print(
                f"{len(urls)} URLs, {size / 1e6:.0f} MB: curl {curl_time:.2f} s; "
                f"archiver {archiver_time:.2f} s ({files} files); ratio {archiver_time / curl_time:.2f}",
                flush=True,
            )
    print(f"median ratio archiver : curl = {statistics.median(ratios):.2f}")


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


def measure_curl(urls: list[str]) -> tuple[float, int]:
    """Return the seconds that curl takes to download the URLs to disk, and their size in bytes."""
    folder = Path(tempfile.mkdtemp())
    config = folder / "urls"
    config.write_text("".join(f'url = "{url}"\noutput = "{folder}/{n}"\n' for n, url in enumerate(urls)))
    started = time.monotonic()
    subprocess.run(
        [
            "curl",
            "--silent",
            "--fail",
            "--parallel",
            "--parallel-max",
            str(PARALLEL),
            "--config",
            str(config),
        ],
        check=True,
    )
    wall = time.monotonic() - started
    size = sum(p.stat().st_size for p in folder.iterdir() if p != config)
    shutil.rmtree(folder)
    return wall, size


def measure_archiver(world: Upstream) -> tuple[float, int]:
    """Return the seconds of a first night in a new archive, and the number of files that it stored."""
    folder = Path(tempfile.mkdtemp())
    environ = world.environ | {
        "ARCHIVER_ARCHIVE": str(folder / "archive"),
        "ARCHIVER_API_REQUESTS_PER_SECOND": "1000",
        "ARCHIVER_DOWNLOAD_CONCURRENCY": str(PARALLEL),
        "ARCHIVER_CONFIG": str(folder / "config.toml"),
    }
    (folder / "config.toml").touch()
    (folder / "accounts.txt").write_text("account0000\n")
    environ["ARCHIVER_SYNC_ACCOUNTS_FILE"] = str(folder / "accounts.txt")
    init(environ, cwd=folder)
    night = archiver(environ, "run", cwd=folder)
    shutil.rmtree(folder)
    return night.wall, night.summary["files_new"]


if __name__ == "__main__":
    main()
