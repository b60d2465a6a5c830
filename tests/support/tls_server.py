"""Hosts of a CDN with TLS, on this machine, for a dialer that believes they are elsewhere."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from archiver.http.sockets import TimeLimit
from archiver.media.direct_transport import Dialer
from tests.support.scripted_cdn import head

A, B = "157.240.27.63", "2a03:2880:f2ff:c3:face:b00c:0:43fe"
"""Public addresses."""


class Connections:
    """A connector that records where it is sent and goes to ``port`` of this machine instead; 0: nobody
    listens.
    """

    def __init__(self, port: int = 0) -> None:
        self.asked: list[tuple[str, int]] = []
        self._port = port

    def __call__(self, address: str, port: int, seconds: float, _limit: TimeLimit) -> socket.socket:
        self.asked.append((address, port))
        if not self._port:
            raise ConnectionRefusedError
        return socket.create_connection(("127.0.0.1", self._port), seconds)


class Names:
    """A name server: for each host, known by its first label, one answer after another, and then the last one
    for ever.
    """

    def __init__(self, **answers: Sequence[Sequence[str]]) -> None:
        self.asked: list[str] = []
        self._left = {label: list(each) for label, each in answers.items()}

    def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        answers = self._left[host.partition(".")[0]]
        return answers.pop(0) if len(answers) > 1 else answers[0]


class Authority:
    """A certificate authority of this test, and a certificate for a.fbcdn.net and b.fbcdn.net."""

    def __init__(self, directory: Path) -> None:
        openssl = shutil.which("openssl")
        if openssl is None:
            pytest.skip("the openssl program makes the certificate of this test")
        self.key, self.certificate = directory / "key.pem", directory / "cert.pem"
        names = "subjectAltName=DNS:a.fbcdn.net,DNS:b.fbcdn.net"
        kind = [
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ]
        subject = ["-subj", "/CN=a.fbcdn.net", "-addext", names]
        files = ["-keyout", str(self.key), "-out", str(self.certificate)]
        subprocess.run([openssl, *kind, *subject, *files], check=True, capture_output=True)

    def client(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.certificate))

    def server(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context


class TlsServer:
    """Serves ``answers``, raw HTTP by host and path, to any number of connections; an answer that says so
    ends its connection.

    ``names``: the server names asked for by TLS. ``requests``: the heads as they came.
    """

    def __init__(self, authority: Authority, answers: Mapping[str, bytes]) -> None:
        self.names: list[str | None] = []
        self.requests: list[str] = []
        self.connections = Connections()
        self._answers = answers
        self._authority = authority
        self._context = authority.server()
        self._context.sni_callback = self._note
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def dialer(self, names: Names) -> Dialer:
        """A dialer for which every address is this server; where it went stands in ``connections``."""
        self.connections = Connections(self._port)
        return Dialer(timeout=5, tls=self._authority.client(), resolver=names, connector=self.connections)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

    def _note(self, _socket: object, name: str | None, _context: object) -> None:
        self.names.append(name)

    def _accept(self) -> None:
        while True:
            try:
                raw, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(raw,), daemon=True).start()

    def _serve(self, raw: socket.socket) -> None:
        try:
            with raw, self._context.wrap_socket(raw, server_side=True) as peer:
                while request := peer.recv(65536).decode():
                    self.requests.append(request)
                    path = request.split(" ")[1].partition("?")[0]
                    host = request.lower().partition("host: ")[2].partition("\r\n")[0]
                    answer = self._answers[host + path]
                    peer.sendall(answer)
                    if b"connection: close" in answer.partition(b"\r\n\r\n")[0]:
                        return
        except OSError:
            return


def moved(location: str, **more: str) -> bytes:
    """Return a redirect without a body."""
    return head("302 Found", location=location, content_length=0, **more)
