"""``archiver serve`` as a process of its own, and requests to it, well-formed or not."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import ssl
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.support.forked_commands import ProcessResult, shared_commands

SECONDS = 30


@dataclass(frozen=True, slots=True)
class Answer:
    """A response: its status, headers (names in lower case) and body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass(slots=True)
class ServedArchive:
    """A server. ``address`` is the first line that it printed; no answer may contain ``directory``."""

    pid: int
    address: str
    directory: str

    @property
    def place(self) -> tuple[str, int]:
        """The host and port."""
        host, _, port = self.address.partition("//")[2].rstrip("/").rpartition(":")
        return host.strip("[]"), int(port)

    def ask(
        self,
        path: str,
        method: str = "GET",
        body: bytes | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        **headers: str,
    ) -> Answer:
        """Send one request; underscores in names of headers are hyphens."""
        connection: http.client.HTTPConnection
        if tls is None:
            connection = http.client.HTTPConnection(*self.place, timeout=SECONDS)
        else:
            connection = http.client.HTTPSConnection(*self.place, timeout=SECONDS, context=tls)
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.putrequest(method, path, skip_host="Host" in names, skip_accept_encoding=True)
        if body is not None and "Content-Length" not in names:
            names["Content-Length"] = str(len(body))
        for name, value in names.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        response = connection.getresponse()
        answer = Answer(
            response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
        )
        connection.close()
        assert self.directory not in answer.body.decode("latin-1") + str(answer.headers)
        return answer

    def connect(self) -> socket.socket:
        """Return a plain connection to it."""
        return socket.create_connection(self.place, timeout=SECONDS)

    def send_raw(self, request: bytes) -> bytes:
        """Send these bytes, and return everything that comes until the server closes the connection."""
        with self.connect() as connection:
            connection.sendall(request)
            received = read_all(connection)
        assert self.directory.encode() not in received
        return received


def read_all(connection: socket.socket) -> bytes:
    """Return everything until the other end closes the connection, or breaks it."""
    received = b""
    try:
        while piece := connection.recv(65_536):
            received += piece
    except ConnectionResetError:
        pass
    return received


def run_to_end(environ: Mapping[str, str], *words: str) -> ProcessResult:
    """``archiver serve --port 0 WORDS``, which does not serve; return how it ended."""
    return shared_commands().run(_environ(environ), "serve", "--port", "0", *words)


@contextmanager
def served(environ: Mapping[str, str], *words: str, prints: str = "") -> Iterator[ServedArchive]:
    """``archiver serve --port 0 WORDS`` until the block ends.

    It must print no error but one that begins with ``prints``.
    """
    commands = shared_commands()
    with tempfile.TemporaryDirectory() as place:
        printed = Path(place, "out")
        whole = _environ(environ)
        pid = commands.begin(whole, "serve", "--port", "0", *words, stdout=printed)
        try:
            server = ServedArchive(pid, first_line(printed), whole["ARCHIVER_ARCHIVE"])
            yield server
        finally:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            ended = commands.end(pid)
        out = printed.read_text()
    assert out == f"{server.address}\n"
    assert ended.code == -signal.SIGTERM
    unexpected = [text for text in ended.err.splitlines() if "stopped by" not in text and "note:" not in text]
    assert len(unexpected) == bool(prints), unexpected
    assert all(text.startswith(prints) for text in unexpected), unexpected


def _environ(environ: Mapping[str, str]) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": "/nowhere", **environ}


def first_line(printed: Path) -> str:
    """Wait for the address of a server."""
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        if printed.exists() and (text := printed.read_text()).endswith("\n"):
            return text.rstrip("\n")
        time.sleep(0.01)
    raise AssertionError("the server has not started")


def write_token(path: Path, token: str) -> Path:
    """Write a token file that only its owner can read."""
    path.write_text(f"{token}\n")
    path.chmod(0o600)
    return path
