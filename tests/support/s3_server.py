"""A real S3 server on loopback (localbucket) that notes its requests and can be told to fail."""

from __future__ import annotations

import re
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import localbucket
import pytest

from archiver.store.bucket_client import Bucket, TimeLimits

BUCKET = "archive-bucket"
KEY_ID, SECRET = "AKIACANARY0000000000", "canary/secret+access+key/0000000000000000"

QUICK = TimeLimits(connect=0.5, short=1, upload=2, retries=3, first_pause=0.01, longest_pause=0.05)
"""Limits for tests of a store that does not answer."""

Handler = Any  # localbucket has no types
Act = Callable[[Handler], bool]
"""Called for a request before the server handles it. True: the act has answered, or broken the connection."""


class Request(NamedTuple):
    """A request. ``name``: below the bucket, without the query. ``length``: bytes of its body."""

    method: str
    name: str
    query: str
    length: int
    headers: dict[str, str]


class S3Server:
    """``requests``: in the order of their arrival. ``objects``: the directory with the objects, as files.

    ``act``, if set, is called for every request.
    """

    def __init__(self, root: Path) -> None:
        self.objects = root / BUCKET
        self.objects.mkdir(parents=True)
        self.requests: list[Request] = []
        self.act: Act | None = None
        self._connections: list[socket.socket] = []
        noted = self

        class NotedHandler(localbucket.S3Handler):  # type: ignore[misc]
            data_root = root
            disable_nagle_algorithm = True  # it writes head and body separately: a pause of 40 ms each time

            def setup(self) -> None:
                noted._connections.append(self.request)
                super().setup()

            def parse_request(self) -> bool:
                return bool(super().parse_request()) and not noted._note(self)

            def log_message(self, *_: object) -> None:
                """Print nothing."""

        class QuietServer(ThreadingHTTPServer):
            request_queue_size = 64

            def handle_error(self, *_: object) -> None:
                """Print nothing about connections that broke."""

        self._server = QuietServer(("127.0.0.1", 0), NotedHandler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def _note(self, handler: Handler) -> bool:
        path, _, query = handler.path.partition("?")
        length = int(handler.headers.get("Content-Length") or 0)
        name = path.removeprefix(f"/{BUCKET}").removeprefix("/")
        self.requests.append(Request(handler.command, name, query, length, dict(handler.headers)))
        return self.act is not None and self.act(handler)

    def calls(self) -> list[str]:
        """Return the method and name of each request, and forget the requests."""
        calls = [f"{request.method} {request.name}".rstrip() for request in self.requests]
        self.requests.clear()
        return calls

    def environment(self, **changed: str) -> dict[str, str]:
        """Return the variables that a client of this server needs."""
        return client_environment(self.url) | changed

    def set_environment(self, patch: pytest.MonkeyPatch, *, limits: TimeLimits | None = None) -> None:
        """Let the environment name this server. ``limits``: those of the clients in this process."""
        for name, value in self.environment().items():
            patch.setenv(name, value)
        if limits is not None:
            patch.setattr("archiver.store.bucket_client.TimeLimits", lambda: limits)

    def bucket(self, prefix: str = "pre/fix", limits: TimeLimits | None = QUICK, **changed: str) -> Bucket:
        return Bucket.open(f"s3://{BUCKET}/{prefix}", self.environment(**changed), limits=limits)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self._thread.join(5)


@contextmanager
def s3_server(root: Path) -> Iterator[S3Server]:
    """Yield a server with one empty bucket, whose objects are files below ``root``."""
    server = S3Server(root)
    try:
        with no_proxy():
            yield server
    finally:
        server.stop()


@contextmanager
def no_proxy() -> Iterator[None]:
    """Let clients connect to loopback directly, whatever proxy the environment names."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("NO_PROXY", "no_proxy"):
            patch.setenv(name, "127.0.0.1")
        yield


@contextmanager
def rclone_server(root: Path) -> Iterator[str]:
    """Yield the URL of a server that ignores If-None-Match: ``rclone serve s3``, with one empty bucket."""
    (root / BUCKET).mkdir(parents=True)
    command = ["rclone", "serve", "s3", "--addr", "127.0.0.1:0", "--auth-key", f"{KEY_ID},{SECRET}"]
    command += ["--config", str(root / "no-config"), "--vfs-cache-mode", "off", str(root)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as child:
        assert child.stderr is not None
        try:
            for line in child.stderr:
                if found := re.search(r"Starting s3 server on \[(http://[0-9.:]+)/\]", line):
                    with no_proxy():
                        yield found[1]
                    break
            else:
                raise RuntimeError("rclone did not start")
        finally:
            child.kill()  # it would wait 5 s for connections that clients keep


def client_environment(url: str) -> dict[str, str]:
    """Return the variables that a client of the server at ``url`` needs."""
    return {
        "HOME": "/nonexistent",
        "AWS_ACCESS_KEY_ID": KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_ENDPOINT_URL": url,
        "AWS_ALLOW_HTTP": "true",
    }


def answer(status: int, body: bytes = b"", **headers: str) -> Act:
    """Answer so, once the body of the request was read. ``headers``: with ``_`` for ``-``; a length replaces
    that of the body.
    """

    def act(handler: Handler) -> bool:
        handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        sent = b"" if handler.command == "HEAD" else body
        handler.send_response(status)
        for name, value in {"Content_Length": str(len(sent)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(sent)
        return True

    return act


def describe(size: int, etag: str, body: bytes = b"") -> Act:
    """Say that an object has this size and this ETag (with its quotes), and send ``body`` of it."""
    date = "Thu, 26 Nov 2026 16:00:00 GMT"
    return answer(200, body, Content_Length=str(size), ETag=etag, Last_Modified=date)


def refuse(status: int, code: str, message: str = "refused") -> Act:
    """Answer with an error of S3, once the body of the request was read."""
    text = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>" if code else ""
    return answer(status, text.encode())


def at(method: str, part: str, act: Act) -> Act:
    """Let ``act`` answer requests of this method with this part in their path, and the server all others."""
    return lambda handler: handler.command == method and part in handler.path and act(handler)


def answer_listing(*listed: str, has_more: bool = False) -> Act:
    """List these names, whatever is asked for. ``has_more``: each page says that another one follows."""
    entries = "".join(
        f"<Contents><Key>pre/fix/{name}</Key><Size>1</Size><ETag>x</ETag>"
        "<LastModified>2026-11-01T00:00:00.000Z</LastModified></Contents>"
        for name in listed
    )
    more = "<IsTruncated>false</IsTruncated>"
    if has_more:
        more = "<IsTruncated>true</IsTruncated><NextContinuationToken>x</NextContinuationToken>"
    return answer(200, f"<ListBucketResult>{more}{entries}</ListBucketResult>".encode())


def list_without_end(form: str) -> Act:
    """List 1,000 names on each page, and say that another follows. ``form``: makes a name of a number."""
    pages = count()

    def act(handler: Handler) -> bool:
        first = next(pages) * 1000
        names = map(form.format, range(first, first + 1000))
        return answer_listing(*names, has_more=True)(handler)

    return act


def reset(handler: Handler) -> bool:
    """Break the connection with a RST."""
    handler.close_connection = True
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.rfile.close()
    handler.wfile.close()
    handler.connection.close()
    return True


def break_off(handler: Handler) -> bool:
    """End the connection after what has been sent."""
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)
    return True


def ignore_range(handler: Handler) -> bool:
    """Let the server answer with the whole object, as some stores do."""
    del handler.headers["Range"]
    return False


def ignore_preconditions(handler: Handler) -> bool:
    """Let the server forget If-None-Match, as some stores do."""
    del handler.headers["If-None-Match"]
    return False


def read_half_and_reset(handler: Handler) -> bool:
    """Read half of the body, and break the connection."""
    handler.rfile.read(int(handler.headers.get("Content-Length") or 0) // 2)
    return reset(handler)


def stall_until(over: threading.Event) -> Act:
    """Never answer; the test sets ``over`` at its end."""

    def act(handler: Handler) -> bool:
        over.wait(60)
        handler.close_connection = True
        return True

    return act


def first(times: int, act: Act, method: str = "") -> Act:
    """Let ``act`` answer the first requests (of one method), and the server all later ones."""
    lock = threading.Lock()
    left = times

    def limited(handler: Handler) -> bool:
        nonlocal left
        if method and handler.command != method:
            return False
        with lock:
            left -= 1
            is_due = left >= 0
        return is_due and act(handler)

    return limited


def lose_answer(handler: Handler) -> bool:
    """Do what is asked, and break the connection instead of answering."""
    written = handler.wfile

    class Lost:
        closed = False

        def write(self, _: bytes) -> int:
            raise ConnectionResetError

        def flush(self) -> None:
            """Do nothing."""

        def close(self) -> None:
            written.close()

    handler.wfile = Lost()
    handler.close_connection = True
    return False
