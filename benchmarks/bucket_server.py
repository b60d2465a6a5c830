"""A bucket of localbucket, served by a process of its own that counts the requests.

    python benchmarks/bucket_server.py DIRECTORY

It prints its URL, and at its end, which is SIGTERM, what it was asked for: a JSON object.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from processes import Measurement, measure_end

BUCKET = "benchmark"


@dataclass(slots=True)
class BucketServer:
    """``environ``: the variables that a client needs. ``cost``: that of the server, once it has ended.

    The summary of ``cost`` has the number of ``connections``, and ``requests`` by what they were: method and
    first directory, such as ``PUT blobs``.
    """

    environ: dict[str, str]
    cost: Measurement | None = None


@contextmanager
def bucket_server(root: Path) -> Iterator[BucketServer]:
    """Serve an empty bucket during the block. Its objects are files below ``root``."""
    (root / BUCKET).mkdir(parents=True)
    started = time.monotonic()
    process = subprocess.Popen([sys.executable, __file__, str(root)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    environ = {
        "AWS_ENDPOINT_URL": process.stdout.readline().decode().strip(),
        "AWS_ACCESS_KEY_ID": "benchmark",
        "AWS_SECRET_ACCESS_KEY": "benchmark",
        "AWS_REGION": "us-east-1",
        "AWS_ALLOW_HTTP": "true",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }
    server = BucketServer(environ)
    try:
        yield server
    finally:
        process.terminate()
        server.cost = measure_end(process, started)


def main(root: Path) -> None:
    """Serve the buckets below ``root`` until SIGTERM."""
    from http.server import ThreadingHTTPServer

    from localbucket import S3Handler

    connections: list[None] = []
    requests: list[str] = []  # appending is safe in threads, counting is not

    class CountingHandler(S3Handler):  # type: ignore[misc]
        data_root = root

        def setup(self) -> None:
            connections.append(None)
            super().setup()

        def log_request(self, code: object = "", size: object = "") -> None:
            names = self.path.partition("?")[0].split("/")
            requests.append(" ".join((self.command, *names[2:3])))

    class Server(ThreadingHTTPServer):
        request_queue_size = 64  # localbucket's own, 5, lets clients wait that connect at the same time

    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # all threads inherit it
    with Server(("127.0.0.1", 0), CountingHandler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,)).start()
        print(f"http://127.0.0.1:{server.server_port}", flush=True)
        signal.sigwait({signal.SIGTERM})
        server.shutdown()
    print(json.dumps({"connections": len(connections), "requests": Counter(requests)}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
