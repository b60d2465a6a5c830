"""A bare uvicorn that answers every request with the same bytes from memory, to compare servers with.

    python benchmarks/bare_server.py [--http h11|httptools] [--loop asyncio|uvloop]

The first line on stdout is its port. httptools and uvloop must be installed to be chosen.
"""

from __future__ import annotations

import argparse
import socket

import uvicorn
from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, Scope

_BODY = bytes(65_536)
_HEADERS = [(b"content-length", str(len(_BODY)).encode())]


def main() -> None:
    """Answer until it is killed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--http", choices=("h11", "httptools"), default="h11")
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio")
    options = parser.parse_args()
    # asyncio sends small pieces at once (TCP_NODELAY) only if the protocol is named.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        print(listener.getsockname()[1], flush=True)
        config = uvicorn.Config(
            _answer, http=options.http, loop=options.loop, log_config=None, access_log=False, lifespan="off"
        )
        uvicorn.Server(config).run([listener])


async def _answer(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    await send({"type": "http.response.start", "status": 206, "headers": _HEADERS, "trailers": False})
    await send({"type": "http.response.body", "body": _BODY, "more_body": False})


if __name__ == "__main__":
    main()
