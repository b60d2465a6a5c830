"""Listens, and runs the application in uvicorn until it is stopped."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import socket
import ssl
import stat
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any

from msgspec import Struct
from starlette.types import ASGIApp
from uvicorn import Config, Server

from archiver.errors import UsageError
from archiver.web import connection_limits
from archiver.web.connection_limits import IDLE_SECONDS, LimitedConnection
from archiver.web.request_guard import MAX_HEAD_BYTES

_BACKLOG = 128
_OPEN_FILES = 2 * connection_limits.MAX_CONNECTIONS + 100
"""A connection may have a blob open; the others are the database's, and those of Python."""
_SECONDS_TO_END = 2
_SECONDS_WITHOUT_FILES = 1.0
"""How long to wait before the next connection if no more files may be opened."""


class Endpoint(Struct, frozen=True):
    """Where to listen: ``host`` and ``port``, or the Unix socket ``uds``.

    ``peers``: the only addresses that may connect, if any are named.
    """

    host: str
    port: int
    uds: Path | None = None
    tls: ssl.SSLContext | None = None
    peers: frozenset[IPv4Address | IPv6Address] = frozenset()

    def welcomes(self, address: object) -> bool:
        """Return whether a client at this address, as the socket names it, may connect."""
        if not self.peers:
            return True
        if not isinstance(address, tuple):  # a Unix socket has no address
            return False
        found = ip_address(address[0].partition("%")[0])
        mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
        return (mapped or found) in self.peers


def load_tls(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return the context for TLS 1.2 and newer. Raises UsageError if the files cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (ssl.SSLError, ValueError):
        reason = "they do not fit together"
    except OSError as exc:
        reason = exc.strerror or str(exc)
    else:
        return context
    message = f"the certificate {certificate} and the key {key} cannot be used: {reason}"
    raise UsageError(message, "both must be PEM files, the key without a password")


def _no_password() -> str:
    raise ValueError("the key has a password")


@contextmanager
def listen(endpoint: Endpoint) -> Iterator[tuple[socket.socket, str]]:
    """Listen, and yield the socket and its address for people. Raises UsageError if that is impossible."""
    with ExitStack() as opened:
        if endpoint.uds is not None:
            yield opened.enter_context(_listen_on_path(endpoint.uds)), f"unix:{endpoint.uds}"
            return
        listener = opened.enter_context(_listen_on_port(endpoint.host, endpoint.port))
        scheme = "http" if endpoint.tls is None else "https"
        host, port = listener.getsockname()[:2]
        name = f"[{host}]" if listener.family == socket.AF_INET6 else host
        yield listener, f"{scheme}://{name}:{port}/"


def _listen_on_port(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise UsageError(f"--host {host} is not an address of this machine") from None
    family, _, _, _, address = found[0]
    # asyncio sends small pieces at once (TCP_NODELAY) only if the protocol is named.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as exc:
        listener.close()
        raise UsageError(
            f"{host} port {port} cannot be used: {exc.strerror}", "choose another with --port, or 0 for any"
        ) from None
    return listener


@contextmanager
def _listen_on_path(path: Path) -> Generator[socket.socket, None, None]:
    """Listen on a Unix socket that its user and group can use, and remove it at the end."""
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with listener:
        mask = os.umask(0o117)
        try:
            listener.bind(str(path))
            listener.listen(_BACKLOG)
        except OSError as exc:
            reason = exc.strerror or str(exc)
            raise UsageError(f"the socket {path} cannot be made: {reason}", "name another file") from None
        finally:
            os.umask(mask)
        try:
            yield listener
        finally:
            with suppress(OSError):
                path.unlink()


def _remove_stale(path: Path) -> None:
    """Remove a socket on which nobody listens any more. Raises UsageError for anything else."""
    try:
        is_socket = stat.S_ISSOCK(path.lstat().st_mode)
    except OSError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            if not is_socket:
                raise UsageError(f"{path} exists already, and is not a socket", "name another file")
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
        except OSError as exc:
            raise UsageError(f"the socket {path} cannot be used: {exc.strerror}") from None
        else:
            raise UsageError(f"another process listens on {path}", "name another file")


def run(
    app: ASGIApp,
    listener: socket.socket,
    endpoint: Endpoint,
    *,
    report: Callable[[Exception], None],
    is_stopped: Callable[[], bool],
) -> None:
    """Answer requests until ``is_stopped``, then finish those that are under way, for two seconds.

    ``report`` is called with errors outside requests, such as a connection that could not be accepted.
    """
    _allow_open_files()
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # the application reports its errors
    config = Config(
        app,
        loop="asyncio",
        http=LimitedConnection,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=_SECONDS_TO_END,
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
    )
    _StoppableServer(config, endpoint, report, is_stopped).run([listener])


def _allow_open_files() -> None:
    """Raise the number of files that this process may open, if it is too low for all connections.

    macOS begins with 256. Where no more are allowed, clients wait until others have left.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class _StoppableServer(Server):
    """A server that leaves signals, and errors of the event loop, to the caller."""

    def __init__(
        self,
        config: Config,
        endpoint: Endpoint,
        report: Callable[[Exception], None],
        is_stopped: Callable[[], bool],
    ) -> None:
        super().__init__(config)
        self._endpoint, self._report, self._is_stopped = endpoint, report, is_stopped
        self._accepting: set[asyncio.Task[None]] = set()
        self._beginning: set[LimitedConnection] = set()
        """Connections that were accepted and are not open yet: TLS begins with a handshake."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave the handlers of signals as they are."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept connections. asyncio's own server shows them only after their TLS handshake."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._report_error)
        self.servers = []
        for listener in sockets or ():
            listener.setblocking(False)
            self._begin(self._accept(listener))
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more connections, and finish the requests that are under way."""
        for task in self._accepting:
            task.cancel()
        await super().shutdown(sockets)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._accepting.add(task)
        task.add_done_callback(self._accepting.discard)

    async def _accept(self, listener: socket.socket) -> None:
        """Accept connections, but none from elsewhere, and no more than there may be."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(0)  # a flood of connections must not keep others from being answered
            try:
                accepted, address = await loop.sock_accept(listener)
            except ConnectionError:
                continue
            except OSError as exc:
                self._report(exc)
                await asyncio.sleep(_SECONDS_WITHOUT_FILES)
                continue
            present = len(self._beginning | self.server_state.connections)
            if present < connection_limits.MAX_CONNECTIONS and self._endpoint.welcomes(address):
                self._begin(self._connect(accepted))
            else:
                accepted.close()

    async def _connect(self, accepted: socket.socket) -> None:
        """Give a connection to the application, after its TLS handshake if there is one."""
        loop, tls = asyncio.get_running_loop(), self._endpoint.tls
        connection = LimitedConnection(
            config=self.config, server_state=self.server_state, app_state={}, _loop=loop
        )
        self._beginning.add(connection)
        seconds = None if tls is None else connection_limits.SENDING_SECONDS
        try:
            with suppress(OSError):  # a handshake that fails, or takes too long
                await loop.connect_accepted_socket(
                    lambda: connection, accepted, ssl=tls, ssl_handshake_timeout=seconds
                )
        finally:
            self._beginning.discard(connection)

    def _report_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self._report(error if isinstance(error, Exception) else RuntimeError(context["message"]))

    async def on_tick(self, counter: int) -> bool:
        """Drop connections whose clients are too slow; return whether to end. Called ten times a second."""
        if counter % 10 == 0:
            for connection in list(self.server_state.connections):
                if isinstance(connection, LimitedConnection):
                    connection.drop_if_late(connection.loop.time())
        self.should_exit = self.should_exit or self._is_stopped()
        return await super().on_tick(counter)
