"""A small server on a real loopback socket, with TLS or without. The test writes one act for each accepted
connection.
"""

from __future__ import annotations

import shutil
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest


class Connection:
    """One accepted connection, as an act sees it."""

    def __init__(self, sock: socket.socket, over: threading.Event) -> None:
        self.sock = sock
        self.over = over
        """Set when the test is over: an act that stalls waits for it."""

    def request(self) -> bytes:
        """Read up to the empty line; b'' if the peer closed."""
        got = b""
        while not got.endswith(b"\r\n\r\n"):
            more = self.sock.recv(65_536)
            if not more:
                return b""
            got += more
        return got

    def answer(self, body: bytes, *headers: str, status: str = "200 OK") -> None:
        """Send a whole answer with its length."""
        lines = "".join(f"{h}\r\n" for h in headers)
        self.sock.sendall(f"HTTP/1.1 {status}\r\n{lines}content-length: {len(body)}\r\n\r\n".encode() + body)

    def drip(self, data: bytes) -> None:
        """Send ``data`` over and over, a byte each 20 ms, until the test ends or the peer closes."""
        while not self.over.is_set():
            for byte in data:
                self.sock.send(bytes([byte]))
                if self.over.wait(0.02):
                    return

    def reset(self) -> None:
        """Close with a RST instead of a FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


Act = Callable[[Connection], None]


class ScriptedServer:
    """``requests``: the heads that were read, in order; ``url``: the base URL; ``connections``: how many were
    accepted.
    """

    def __init__(
        self, listener: socket.socket, acts: tuple[Act, ...], context: ssl.SSLContext | None
    ) -> None:
        self.port: int = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.requests: list[str] = []
        self.connections = 0
        self.over = threading.Event()
        self._listener = listener
        self._acts = acts
        self._context = context
        self._threads: list[threading.Thread] = []

    def link(self, path: str = "/p/photo.jpg?oh=SIGNED&oe=7FFFFFFF") -> str:
        """Return the URL of a path, by default that of a signed picture."""
        return f"{self.url}{path}"

    def header(self, request: int, name: str) -> str | None:
        """Return a header of a request by its number, or None."""
        for line in self.requests[request].split("\r\n")[1:]:
            key, _, value = line.partition(": ")
            if key.lower() == name:
                return value
        return None

    def accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            act = self._acts[min(self.connections, len(self._acts) - 1)]
            self.connections += 1
            thread = threading.Thread(target=self._play, args=(act, sock))
            thread.start()
            self._threads.append(thread)  # once it can be joined: the test may end meanwhile

    def _play(self, act: Act, sock: socket.socket) -> None:
        with suppress(OSError):
            if self._context is not None:
                sock = self._context.wrap_socket(sock, server_side=True)
            act(_Noting(sock, self.over, self.requests))
        sock.close()

    def end(self) -> None:
        self.over.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)


class _Noting(Connection):
    def __init__(self, sock: socket.socket, over: threading.Event, requests: list[str]) -> None:
        super().__init__(sock, over)
        self._requests = requests

    def request(self) -> bytes:
        got = super().request()
        if got:
            self._requests.append(got.decode("latin-1"))
        return got


@contextmanager
def scripted_server(*acts: Act, context: ssl.SSLContext | None = None) -> Iterator[ScriptedServer]:
    """Yield a server on a free port. The n-th connection gets the n-th act, later ones the last."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = ScriptedServer(listener, acts, context)
    accepting = threading.Thread(target=server.accept)
    accepting.start()
    try:
        yield server
    finally:
        server.end()
        accepting.join(5)


@contextmanager
def black_hole() -> Iterator[int]:
    """A port on which connections are neither accepted nor refused: its queue is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        time.sleep(0.01)  # the kernel completes the first of them
        yield listener.getsockname()[1]


class Authority:
    """A certificate that signs itself, for the hosts ``names``, and its key. ``validity``: for openssl."""

    def __init__(self, directory: Path, *names: str, validity: Sequence[str] = ("-days", "2")) -> None:
        openssl = shutil.which("openssl")
        if openssl is None:
            pytest.skip("the openssl program makes the certificate of this test")
        self.key, self.certificate = directory / "key.pem", directory / "cert.pem"
        kind = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        hosts = "subjectAltName=" + ",".join(f"DNS:{name}" for name in names)
        subject = ["-subj", f"/CN={names[0]}", "-addext", hosts]
        files = ["-keyout", str(self.key), "-out", str(self.certificate)]
        subprocess.run([openssl, "req", *kind, *validity, *subject, *files], check=True, capture_output=True)

    def client(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.certificate))

    def server(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context
