"""Listening sockets on loopback, one thread for each connection: bare sockets, since faults need to break HTTP where libraries forbid it."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections.abc import Callable

from archiver.sandbox.wire import NotHttp, Wire

Serve = Callable[[Wire], None]

HOST = "127.0.0.1"


class Server:
    """Listeners, each with what it does with a connection. ``close`` ends everything that it started."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self._selector = selectors.DefaultSelector()
        self._bell, self._ear = socket.socketpair()
        self._selector.register(self._ear, selectors.EVENT_READ)
        self._lock = threading.Lock()
        self._open: dict[socket.socket, threading.Thread] = {}
        self._accepting: threading.Thread | None = None

    def listen(self, port: int = 0) -> tuple[socket.socket, str]:
        """A listening socket on loopback (port 0: any) and its ``host:port``. Raises ``OSError`` if the port is taken."""
        sock = socket.create_server((HOST, port), backlog=512)
        sock.setblocking(False)
        return sock, f"{HOST}:{sock.getsockname()[1]}"

    def start(self, listeners: dict[socket.socket, tuple[str, Serve]]) -> None:
        """Accepts connections from now on, in a thread of its own."""
        for sock, served in listeners.items():
            self._selector.register(sock, selectors.EVENT_READ, served)
        self._accepting = threading.Thread(target=self._accept, name="stand-in", daemon=True)
        self._accepting.start()

    def _accept(self) -> None:
        while not self.stopping.is_set():
            for key, _ in self._selector.select():
                if key.fileobj is self._ear or not isinstance(key.fileobj, socket.socket):
                    continue
                with contextlib.suppress(OSError):  # the peer went away between select and accept
                    self._welcome(key.fileobj.accept()[0], *key.data)

    def _welcome(self, sock: socket.socket, name: str, serve: Serve) -> None:
        sock.setblocking(True)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wire = Wire(sock, name, self.stopping)
        thread = threading.Thread(
            target=self._run, args=(sock, wire, serve), name=f"stand-in {name}", daemon=True
        )
        with self._lock:
            self._open[sock] = thread
        thread.start()

    def _run(self, sock: socket.socket, wire: Wire, serve: Serve) -> None:
        try:
            with contextlib.suppress(OSError, NotHttp):  # the peer went away, or is no HTTP client
                serve(wire)
        finally:
            wire.close()
            with self._lock:
                self._open.pop(sock, None)

    def close(self) -> None:
        """Ends all connections and threads, and frees the ports; waits five seconds at most for a hook that blocks.

        Closing twice is harmless.
        """
        if self.stopping.is_set():
            return
        self.stopping.set()
        self._bell.send(b".")
        if self._accepting is not None:
            self._accepting.join()
        with self._lock:
            remaining = dict(self._open)
        for sock in remaining:
            with contextlib.suppress(OSError):  # it was closed by its own thread
                sock.shutdown(socket.SHUT_RDWR)
        for thread in remaining.values():
            thread.join(5)
        for key in list(self._selector.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        self._selector.close()
        self._bell.close()
