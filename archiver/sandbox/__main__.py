"""``python -m archiver.sandbox``: the stand-in on its own, until SIGINT or SIGTERM.

It first prints shell ``export`` lines for archiver to stdout and, when it ends, a JSON line with the number
of requests to stderr: what is redirected into a file can be sourced by a shell.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence

from archiver.sandbox.http_server import Pace, StandInSettings
from archiver.sandbox.standin import StandIn
from archiver.sandbox.world import Size, World


def _size(text: str) -> Size:
    least, _, most = text.partition("-")
    return (int(least), int(most)) if most else int(least)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m archiver.sandbox", description="Serve a stand-in for HikerAPI and Instagram's CDN."
    )
    # Where the default is None, the help says in words what that means.
    world = parser.add_argument_group("the world")
    world.add_argument(
        "--accounts",
        type=int,
        help="generate this many accounts (default: the vendor's two examples, which the next four options"
        " do not change)",
    )
    world.add_argument(
        "--highlights", type=int, default=5, help="highlights of each account (default: %(default)s)"
    )
    world.add_argument("--items", type=int, default=10, help="items of each highlight (default: %(default)s)")
    size = "bytes of each file, or a range (default: the size of the sandbox's own files)"
    world.add_argument("--thumbnail-size", type=_size, metavar="N[-M]", help=size)
    world.add_argument("--video-size", type=_size, metavar="N[-M]", help=size)
    serving = parser.add_argument_group("port, speed and limits")
    serving.add_argument(
        "--port", type=int, default=0, help="port of the API (default: %(default)s, any free port)"
    )
    serving.add_argument(
        "--latency",
        type=float,
        default=0.0,
        help="seconds before each answer of the API (default: %(default)g)",
    )
    serving.add_argument("--rate", type=int, help="calls per second before 429 (default: no limit)")
    serving.add_argument(
        "--cdn-origin",
        metavar="URL",
        help="another server of the files, which all links name (default: the sandbox serves them)",
    )
    serving.add_argument(
        "--cdn-delay",
        type=float,
        default=0.0,
        help="seconds before each answer of the CDN (default: %(default)g)",
    )
    serving.add_argument(
        "--cdn-rate",
        type=float,
        default=0.0,
        help="bytes per second and connection (default: %(default)g, no limit)",
    )
    serving.add_argument(
        "--balance", type=int, default=1_000_000, help="units in the account (default: %(default)s)"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM, and return 0."""
    options = _parser().parse_args(arguments)
    world = World.seed()
    if options.accounts is not None:
        sizes = {"thumbnail_size": options.thumbnail_size, "video_size": options.video_size}
        world = World.generate(options.accounts, options.highlights, options.items, **sizes)
    settings = StandInSettings(
        rate=options.rate, latency=options.latency, pace=Pace(options.cdn_delay, options.cdn_rate)
    )
    ends = {signal.SIGINT, signal.SIGTERM}
    # Before any thread starts: all threads inherit the mask, so only sigwait receives these signals.
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    given = {"balance": options.balance, "port": options.port, "cdn_origin": options.cdn_origin}
    with StandIn(world, settings=settings, **given) as upstream:
        sys.stdout.write(
            f"export HIKERAPI_TOKEN={upstream.key}\n"
            f"export ARCHIVER_API_BASE_URL={upstream.base_url}\n"
            "export ARCHIVER_DOWNLOAD_ALLOWED_HOSTS=127.0.0.1\n"
        )
        sys.stdout.flush()
        signal.sigwait(ends)
    sys.stderr.write(json.dumps({**upstream.requests.counts(), "balance": upstream.balance}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
