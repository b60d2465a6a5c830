"""``archiver serve`` as a process of its own, and requests to it, well-formed or not."""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support import ROOT, leak_detector

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
    """A server. ``address`` is the first line that it printed."""

    process: subprocess.Popen[str]
    address: str

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
        return answer

    def connect(self) -> socket.socket:
        """Return a plain connection to it."""
        return socket.create_connection(self.place, timeout=SECONDS)

    def send_raw(self, request: bytes) -> bytes:
        """Send these bytes, and return everything that comes until the server closes the connection."""
        with self.connect() as connection:
            connection.sendall(request)
            return read_all(connection)

    def end(self, signum: int) -> tuple[int, str]:
        """Send a signal; return the exit code and what was written to stderr."""
        self.process.send_signal(signum)
        _, errors = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, errors


def read_all(connection: socket.socket) -> bytes:
    """Return everything until the other end closes the connection, or breaks it."""
    received = b""
    try:
        while piece := connection.recv(65_536):
            received += piece
    except ConnectionResetError:
        pass
    return received


def start_server(environ: Mapping[str, str], *words: str) -> subprocess.Popen[str]:
    """Start ``archiver serve WORDS``."""
    inherited = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8", "HOME": "/nowhere"}
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "archiver", "serve", *words],
        env={**inherited, **environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@contextmanager
def served(environ: Mapping[str, str], *words: str) -> Iterator[ServedArchive]:
    """``archiver serve --port 0 WORDS`` until the block ends; it must have reported no error."""
    process = start_server(environ, "--port", "0", *words)
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise AssertionError(process.communicate(timeout=SECONDS)[1])
    server = ServedArchive(process, line.rstrip("\n"))
    try:
        yield server
    finally:
        if process.poll() is None:
            process.terminate()
        out, errors = process.communicate(timeout=SECONDS)
        leak_detector.note_output(line + out, errors)
    assert out == ""
    unexpected = [text for text in errors.splitlines() if "stopped by" not in text and "note:" not in text]
    assert unexpected == []


def write_token(path: Path, token: str) -> Path:
    """Write a token file that only its owner can read."""
    path.write_text(f"{token}\n")
    path.chmod(0o600)
    return path
