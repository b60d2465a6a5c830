"""Measure ``archiver serve`` as its readers see it: a process of its own, asked over HTTP.

    python benchmarks/million.py DIRECTORY
    python benchmarks/serve.py DIRECTORY [--rounds 15] [--minutes 5] [--videos 100] [--postgresql [URL]]

- **Pages**: the time until a page has arrived, over one connection. ``first`` is the first request for it,
  ``median`` and ``cpu`` are those of the others, in milliseconds of time and of the server's
  processor; the latter is an average, because Linux counts it in steps of 10 ms.
- **Videos**: the time until the first byte of a video's content has arrived, from the server and from nginx,
  in turns, on the same files. A browser asks for ``bytes=0-``. Each video is asked for once (``unseen``) and
  again and again (``seen``), over one connection or over new ones. The ``floor`` is a bare uvicorn that
  answers from memory.
- **Clicking**: the memory of the server while it answers a thousand requests a minute, for so many minutes.

The videos are random bytes that are added to the archive. nginx is needed (Debian: apt-get install
nginx-light). ``--postgresql`` copies the rows into an empty database, or into a server of its own, and serves
from that too.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import random
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from statistics import median, quantiles
from urllib.parse import urlencode, urlsplit

from cost import postgresql
from generated import OPENED, format_time
from nginx import nginx
from processes import ARCHIVER, cpu_so_far, describe_machine, start
from serve_pages import archive_requests, copy_rows

from archiver.catalog import Catalog

_VIDEO_BYTES = 2_000_000
_PER_MINUTE = 1000
_SEED = 17
_DAY = timedelta(days=1)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--minutes", type=int, default=5, help="0: do not click")
    parser.add_argument("--videos", type=int, default=100, help="how many; 0: none")
    parser.add_argument("--postgresql", nargs="?", const="", metavar="URL")
    options = parser.parse_args()
    directory = options.directory.absolute()
    names = [_add_video(directory, n) for n in range(options.videos)]
    print(describe_machine(), flush=True)
    with ExitStack() as stack:
        _measure(directory, names, options, None)
        if options.postgresql is not None:
            url = stack.enter_context(postgresql(options.postgresql))
            copy_rows(directory / "archive.db", url)
            _measure(directory, names, options, url)


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """A running server."""

    pid: int
    host: str
    port: int

    def memory(self) -> tuple[float, float]:
        """Return its resident memory in MiB, now and at most."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        now, most = (re.search(rf"{name}:\s+([0-9]+) kB", status) for name in ("VmRSS", "VmHWM"))
        assert now is not None
        assert most is not None
        return int(now[1]) / 1024, int(most[1]) / 1024


@contextmanager
def _served(directory: Path, database: str | None) -> Iterator[ServerProcess]:
    environ = {"ARCHIVER_ARCHIVE": str(directory)}
    if database is not None:
        environ["ARCHIVER_ARCHIVE_DATABASE"] = database
    process = start([ARCHIVER, "serve", "--port", "0"], cwd=directory, environ=environ)
    assert process.stdout is not None
    try:
        address = urlsplit(process.stdout.readline().decode().strip())
        if address.hostname is None or address.port is None:
            raise SystemExit("archiver serve has not started")
        yield ServerProcess(process.pid, address.hostname, address.port)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
        process.stdout.close()


def _measure(directory: Path, names: Sequence[str], options: argparse.Namespace, url: str | None) -> None:
    print(f"\n{'SQLite' if url is None else 'PostgreSQL'}")
    with Catalog.open(url or directory / "archive.db", write=False) as catalog:
        pages = list(_page_paths(catalog))
        clicks = _draw_clicks(catalog, names, _PER_MINUTE * options.minutes)
    with _served(directory, url) as server:
        measure_pages(server, pages, options.rounds)
    if names:
        with _served(directory, url) as server:
            measure_videos(server, directory, names, options.rounds)
    if clicks:
        with _served(directory, url) as server:
            click(server, clicks)


def measure_pages(server: ServerProcess, paths: Sequence[str], rounds: int) -> None:
    """Print a line for each page."""
    print("\npages, in milliseconds")
    with closing(http.client.HTTPConnection(server.host, server.port, timeout=60)) as connection:
        began = time.perf_counter()
        _fetch(connection, "/")
        took_first = (time.perf_counter() - began) * 1000
        connection.close()  # it would be idle for too long
        _wait_until_idle(server)
        took_all = time.perf_counter() - began
        print(f"first page of a new server: {took_first:.0f}; all sums of accounts after {took_all:.1f} s")
        for path in paths:
            took, size, cpu = [], 0, 0.0
            for n in range(rounds + 1):
                cpu = cpu_so_far(server.pid) if n == 1 else cpu
                began = time.perf_counter()
                size = _fetch(connection, path)
                took.append((time.perf_counter() - began) * 1000)
            used = (cpu_so_far(server.pid) - cpu) * 1000 / rounds
            print(
                f"{path:<52} first {took[0]:6.1f}  median {median(took[1:]):6.1f}  cpu {used:6.1f}"
                f"  {size:>8,} bytes",
                flush=True,
            )
    print("memory {:.0f} MiB, at most {:.0f} MiB".format(*server.memory()))


def _fetch(connection: http.client.HTTPConnection, path: str) -> int:
    connection.request("GET", path)
    response = connection.getresponse()
    size = len(response.read())
    if response.status != 200:
        raise SystemExit(f"{path}: status {response.status}")
    return size


def _wait_until_idle(server: ServerProcess) -> None:
    """Wait until the server has read the sums of all accounts, which it does after its first page."""
    before = -1.0
    while (used := cpu_so_far(server.pid)) > before:
        before = used
        time.sleep(0.5)


def _page_paths(catalog: Catalog) -> Iterator[str]:
    def value(sql: str) -> str:
        return str(catalog.run_query(sql, rows=1, seconds=60).rows[0][0])

    account, words = "natgeo-787132", "SELECT pk FROM {} WHERE user_pk = '787132'"
    yield from ("/", "/?sort=size", "/?sort=changed&page=2", "/?q=nat", "/?q=zzzz")
    yield from (f"/accounts/{account}/", f"/accounts/{account}/?page=50")
    last = value(
        "SELECT username || '-' || pk FROM users WHERE username IS NOT NULL ORDER BY pk DESC LIMIT 1"
    )
    yield f"/accounts/{last}/"
    largest = (
        f"SELECT highlight_pk FROM highlight_items WHERE highlight_pk IN ({words.format('highlights')})"
        " GROUP BY highlight_pk ORDER BY count(*) DESC LIMIT 1"
    )
    yield f"/accounts/{account}/{value(largest)}.html"
    yield f"/item/{value(words.format('items') + ' LIMIT 1')}"
    for path, query in archive_requests(catalog):
        yield path + (f"?{urlencode(query)}" if query else "")


def measure_videos(server: ServerProcess, directory: Path, names: Sequence[str], rounds: int) -> None:
    """Print the times to the first byte, in turns with nginx, and their ratios."""
    print(f"\nfirst byte of {len(names)} videos of {_VIDEO_BYTES:,} bytes, in milliseconds")
    with (
        tempfile.TemporaryDirectory() as home,
        nginx(directory / "blobs", Path(home), tls=False) as origin,
        _bare_server() as floor,
    ):
        port = urlsplit(origin).port
        assert port is not None
        ours = _Source(server.host, server.port, "/media/{}/{}.mp4")
        theirs = _Source("127.0.0.1", port, "/{}/{}")
        for name in names:
            theirs.time_first_byte(name)  # the disk is not what is measured
        for title, times, is_kept in (
            ("unseen, one connection", 1, True),
            ("seen, one connection", rounds, True),
            ("seen, new connections", rounds, False),
        ):
            sources = (ours, theirs, floor)
            took: tuple[list[float], ...] = ([], [], [])
            with ExitStack() as stack:
                kept = [stack.enter_context(source.connect()) if is_kept else None for source in sources]
                for name in [*names] * times:
                    for source, connection, results in zip(sources, kept, took, strict=True):
                        results.append(source.time_first_byte(name, connection))
            print(_compare(title, *took), flush=True)
        before = cpu_so_far(server.pid)
        with ours.connect() as connection:
            for name in names:
                ours.time_first_byte(name, connection)
        used = (cpu_so_far(server.pid) - before) * 1000 / len(names)
        print(f"processor time of a whole answer: {used:.2f}")


@contextmanager
def _bare_server() -> Iterator[_Source]:
    program = Path(__file__).with_name("bare_server.py")
    with subprocess.Popen([sys.executable, str(program)], stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None
            yield _Source("127.0.0.1", int(server.stdout.readline()), "/media/{}/{}.mp4")
        finally:
            server.kill()


def _compare(title: str, ours: Sequence[float], theirs: Sequence[float], floor: Sequence[float]) -> str:
    columns = (
        f"{name} median {median(times):6.3f}, of 95 % {quantiles(times, n=20)[-1]:6.3f}"
        for name, times in (("archiver", ours), ("nginx", theirs), ("floor", floor))
    )
    return f"{title:<24} {'  '.join(columns)}  ratio {median(ours) / median(theirs):5.2f}"


@dataclass(frozen=True, slots=True)
class _Source:
    """A server of the videos. ``path`` has places for the directory and the name of a file."""

    host: str
    port: int
    path: str

    def connect(self) -> socket.socket:
        """Return a new connection."""
        return socket.create_connection((self.host, self.port), timeout=60)

    def time_first_byte(self, name: str, kept: socket.socket | None = None) -> float:
        """Return the milliseconds until the first byte of a video was there; then read the others."""
        request = (
            f"GET {self.path.format(name[:2], name)} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n"
            "User-Agent: Mozilla/5.0\r\nAccept: */*\r\nAccept-Language: en\r\nRange: bytes=0-\r\n\r\n"
        ).encode()
        buffer = bytearray(1 << 20)
        began = time.perf_counter()
        connection = kept or self.connect()
        connection.sendall(request)
        head, end = b"", -1
        while end < 0 or len(head) <= end + 4:
            piece = connection.recv(65_536)
            if not piece:
                raise SystemExit(f"{self.host}:{self.port} has closed the connection: {head!r}")
            head += piece
            end = head.find(b"\r\n\r\n")
        took = (time.perf_counter() - began) * 1000
        length = re.search(rb"(?i)content-length: ([0-9]+)", head[:end])
        if not head.startswith(b"HTTP/1.1 206 ") or length is None:
            raise SystemExit(f"{self.host}:{self.port} answered {head[:end]!r}")
        left = int(length[1]) - (len(head) - end - 4)
        while left > 0:
            left -= connection.recv_into(buffer)
        if kept is None:
            connection.close()
        return took


def _add_video(directory: Path, number: int) -> str:
    """Add a video of random bytes to the archive, unless it has it; return its name."""
    content = random.Random(f"{_SEED} {number}").randbytes(_VIDEO_BYTES)
    name = hashlib.sha256(content).hexdigest()
    path = directory / "blobs" / name[:2] / name
    if not path.exists():
        path.write_bytes(content)
    with closing(sqlite3.connect(directory / "archive.db")) as connection, connection:
        connection.execute(
            "INSERT OR IGNORE INTO blobs (sha256, size, mime, stored_at) VALUES (?, ?, 'video/mp4', ?)",
            (name, _VIDEO_BYTES, format_time(OPENED)),
        )
    return name


def _draw_clicks(catalog: Catalog, names: Sequence[str], number: int) -> list[str]:
    """Return the paths that somebody asks for who looks at everything: mostly accounts and highlights."""

    def rows(sql: str) -> list[str]:
        return [str(row[0]) for row in catalog.run_query(sql, rows=10_000, seconds=60).rows]

    draw = random.Random(_SEED)
    accounts = rows(
        "SELECT username || '-' || pk FROM users WHERE username IS NOT NULL ORDER BY pk LIMIT 10000"
    )
    places = rows(
        "SELECT u.username || '-' || u.pk || '/' || h.pk FROM highlights h JOIN users u ON u.pk = h.user_pk"
        " WHERE u.username IS NOT NULL ORDER BY h.pk LIMIT 10000"
    )
    items = rows("SELECT pk FROM items ORDER BY pk LIMIT 10000")
    kinds: list[tuple[int, Callable[[], str]]] = [
        (20, lambda: f"/accounts/{draw.choice(accounts)}/"),
        (25, lambda: f"/accounts/{draw.choice(places)}.html"),
        (15, lambda: f"/item/{draw.choice(items)}"),
        (5, lambda: f"/?page={draw.randint(1, 16)}&sort={draw.choice(('name', 'size', 'changed'))}"),
        (10, lambda: f"/timeline?day={format_time(OPENED - _DAY * draw.randrange(2000))[:10]}"),
        (5, lambda: f"/search?q={draw.choice(('travel', 'a', 'natgeo', 'photo', 'zzzz'))}"),
        (5, lambda: f"/{draw.choice(('changes', 'gaps', 'costs', 'feed.atom', 'timeline'))}"),
        (15 if names else 0, lambda: _media_path(draw.choice(names))),
    ]
    weights, makers = zip(*kinds, strict=True)
    return [make() for make in draw.choices(makers, weights, k=number)]


def _media_path(name: str) -> str:
    return f"/media/{name[:2]}/{name}.mp4"


def click(server: ServerProcess, clicks: Sequence[str]) -> None:
    """Ask for these paths, a thousand a minute, and print the server's memory after each minute."""
    print(f"\nmemory in MiB, at {_PER_MINUTE} requests a minute")
    with closing(http.client.HTTPConnection(server.host, server.port, timeout=60)) as connection:
        began, late, took = time.monotonic(), 0, []
        for n, path in enumerate(clicks, 1):
            wait = began + n * 60 / _PER_MINUTE - time.monotonic()
            late += wait < -1
            time.sleep(max(0, wait))
            asked = time.perf_counter()
            _fetch(connection, path)
            took.append((time.perf_counter() - asked) * 1000)
            if n % _PER_MINUTE == 0:
                now, most = server.memory()
                cpu = cpu_so_far(server.pid)
                print(
                    f"minute {n // _PER_MINUTE:>3}: {now:6.1f}, at most {most:6.1f}; processor {cpu:6.1f} s;"
                    f" median {median(took):5.1f} ms, longest {max(took):6.1f} ms; {late} more than 1 s late",
                    flush=True,
                )
                took.clear()


if __name__ == "__main__":
    main()
