"""``python -m archiver.sandbox``: the stand-in on its own, until SIGINT or SIGTERM.

It first prints shell ``export`` lines for the program, and at its end a JSON line with the number of
requests.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence

from archiver.sandbox.generated_world import Size
from archiver.sandbox.http_server import Pace
from archiver.sandbox.standin import StandIn
from archiver.sandbox.standin_settings import StandInSettings
from archiver.sandbox.world import World


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
    world.add_argument("--highlights", type=int, default=5, help="of each account (default: %(default)s)")
    world.add_argument("--items", type=int, default=10, help="of each highlight (default: %(default)s)")
    size = "bytes of each, or a range (default: as those that ship with the sandbox)"
    world.add_argument("--thumbnail-size", type=_size, metavar="N[-M]", help=size)
    world.add_argument("--video-size", type=_size, metavar="N[-M]", help=size)
    served = parser.add_argument_group("how it is served")
    served.add_argument("--port", type=int, default=0, help="of the API (default: %(default)s, any free one)")
    served.add_argument(
        "--latency",
        type=float,
        default=0.0,
        help="seconds before each answer of the API (default: %(default)g)",
    )
    served.add_argument("--rate", type=int, help="calls per second before 429 (default: no limit)")
    served.add_argument(
        "--cdn-delay",
        type=float,
        default=0.0,
        help="seconds before each answer of the CDN (default: %(default)g)",
    )
    served.add_argument(
        "--cdn-rate",
        type=float,
        default=0.0,
        help="bytes per second and connection (default: %(default)g, no limit)",
    )
    served.add_argument(
        "--balance", type=int, default=1_000_000, help="units in the account (default: %(default)s)"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM, and return 0."""
    asked = _parser().parse_args(arguments)
    world = World.seed()
    if asked.accounts is not None:
        sizes = {"thumbnail_size": asked.thumbnail_size, "video_size": asked.video_size}
        world = World.generate(asked.accounts, asked.highlights, asked.items, **sizes)
    settings = StandInSettings(
        rate=asked.rate, latency=asked.latency, pace=Pace(asked.cdn_delay, asked.cdn_rate)
    )
    ends = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(
        signal.SIG_BLOCK, ends
    )  # before any thread starts: all inherit it, sigwait alone receives
    with StandIn(world, balance=asked.balance, port=asked.port, settings=settings) as upstream:
        sys.stdout.write(
            f"export HIKERAPI_TOKEN={upstream.key}\n"
            f"export ARCHIVER_API_BASE_URL={upstream.base_url}\n"
            "export ARCHIVER_DOWNLOAD_ALLOWED_HOSTS=127.0.0.1\n"
        )
        sys.stdout.flush()
        signal.sigwait(ends)
    sys.stdout.write(json.dumps({**upstream.requests.counts(), "balance": upstream.balance}) + "\n")
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
